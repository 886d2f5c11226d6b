/** The members of a workspace as the edges see them: manifests, entry points and files with their imports. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Import, importsOf } from './source.ts';

/** The fields of a package.json the edges follow from. */
interface Manifest {
  readonly name: string;
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
}

/** One package, app, or folder of the root. Paths are relative to the workspace's root and use `/`. */
export interface Member {
  /** `packages/core`; a folder of the root (`bench`) is a member without entry points. */
  readonly folder: string;
  readonly manifest: Manifest;
  /** The name without the scope: `core`. */
  readonly short: string;
  /** Entry points and their source files: `.` -> `packages/core/src/index.ts`. */
  readonly entries: ReadonlyMap<string, string>;
  /** Every source and test file, with what it imports. */
  readonly files: ReadonlyMap<string, readonly Import[]>;
}

/** The condition under which an entry point is its source instead of its built output. */
const sourceCondition = '@faultyard/source';

function filesBelow(root: string, folder: string): Map<string, readonly Import[]> {
  const found = new Map<string, readonly Import[]>();
  if (!existsSync(join(root, folder))) return found;
  for (const name of readdirSync(join(root, folder)).sort()) {
    if (name === 'node_modules' || name === 'dist' || name.startsWith('.')) continue;
    const path = `${folder}/${name}`;
    if (statSync(join(root, path)).isDirectory())
      for (const [file, imports] of filesBelow(root, path)) found.set(file, imports);
    else if (/\.m?[jt]s$/.test(name))
      found.set(path, importsOf(path, readFileSync(join(root, path), 'utf8')));
  }
  return found;
}

function readMember(root: string, folder: string): Member {
  const manifest: Manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
  const entries = new Map<string, string>();
  for (const [entry, target] of Object.entries(manifest.exports ?? {})) {
    const source = typeof target === 'string' ? undefined : target[sourceCondition];
    if (source) entries.set(entry, `${folder}/${source.replace(/^\.\//, '')}`);
  }
  return {
    folder,
    manifest,
    short: manifest.name.replace(/^@faultyard\//, ''),
    entries,
    files: filesBelow(root, folder),
  };
}

/** Every member of the workspace at `root`: packages, apps, and the root's own folders of code. */
export function readWorkspace(root: string): Member[] {
  const members: Member[] = [];
  for (const parent of ['packages', 'apps']) {
    if (!existsSync(join(root, parent))) continue;
    for (const name of readdirSync(join(root, parent)).sort())
      if (existsSync(join(root, parent, name, 'package.json')))
        members.push(readMember(root, `${parent}/${name}`));
  }
  const rootManifest: Manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const folder of ['bench', 'scripts', 'test']) {
    const files = filesBelow(root, folder);
    const own = join(root, folder, 'package.json');
    const manifest = existsSync(own) ? JSON.parse(readFileSync(own, 'utf8')) : rootManifest;
    if (files.size) members.push({ folder, manifest, short: folder, entries: new Map(), files });
  }
  return members;
}

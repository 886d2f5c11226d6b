/** The documentation of the loaded packages, read from their sources when first asked for. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Doc, extractDocs } from './extract.ts';

const require = createRequire(import.meta.url);
const here = dirname(fileURLToPath(import.meta.url));

/** Documentation by name. */
export interface Library {
  /** What is documented under a name (`createVm`, `Vm.run`), in the order of the packages. */
  named(name: string): readonly Doc[];
  /** Members of a class or interface. */
  members(owner: string): readonly Doc[];
  /** Every name. */
  names(): readonly string[];
}

/** The source files of a package, or of a single file named by path. */
function sourcesOf(specifier: string): string[] {
  if (/^[./]/.test(specifier))
    return existsSync(specifier) && /\.m?ts$/.test(specifier) ? [resolve(specifier)] : [];
  try {
    return typescriptIn(join(dirname(require.resolve(`${specifier}/package.json`)), 'src'));
  } catch (error) {
    // a package without `./package.json` in its exports, or without sources, has no documentation to show
    if (
      /^(MODULE_NOT_FOUND|ERR_PACKAGE_PATH_NOT_EXPORTED|ENOENT)$/.test(
        String((error as { code?: string }).code),
      )
    )
      return [];
    throw error;
  }
}

function typescriptIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((f) => /\.ts$/.test(f) && !/\.d\.ts$/.test(f))
    .sort()
    .map((f) => join(folder, f));
}

/** The file that documents the globals of a session. */
const SESSION_SOURCE = join(here, '..', 'lab', 'globals.ts');

/** Opens the documentation of packages; nothing is read before the first question. */
export function openLibrary(specifiers: readonly string[]): Library {
  let index: Map<string, Doc[]> | undefined;
  const read = (): Map<string, Doc[]> => {
    if (index) return index;
    index = new Map();
    for (const file of [SESSION_SOURCE, ...specifiers.flatMap(sourcesOf)])
      for (const doc of extractDocs(readFileSync(file, 'utf8'), file)) {
        const same = index.get(doc.name);
        if (same) same.push(doc);
        else index.set(doc.name, [doc]);
      }
    return index;
  };
  return {
    named: (name) => read().get(name) ?? [],
    members: (owner) => [...read().values()].flat().filter((d) => d.name.startsWith(`${owner}.`)),
    names: () => [...read().keys()],
  };
}

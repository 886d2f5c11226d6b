/** An empty project with the workspace's packed packages installed by plain npm: what a user gets. */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { inject } from 'vitest';
import { packAll } from '../scripts/pack.ts';

/** The workspace's root. */
export const root: string = dirname(import.meta.dirname);
const bin = join(root, 'node_modules', '.bin');
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';

interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, unknown>>;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** A project outside the workspace. */
export interface PackedProject {
  readonly folder: string;
  /** Every entry point of every installed package: `@faultyard/plugin-sea/vmm`. */
  readonly specifiers: readonly string[];
  /** Writes a file of the project. */
  write(name: string, text: string): void;
  /**
   * Compiles the project's TypeScript files into a folder named like the way of resolving modules; returns the
   * compiler's complaints, `''` if it has none. Declarations of installed packages are checked too, unless they are
   * `trusted`: checked by another test.
   */
  compile(compiler: 'tsc' | 'tsc6', resolution: 'nodenext' | 'bundler', trusted?: 'trusted'): string;
  /** Runs a compiled program under Node, without any condition; returns its standard output. */
  node(file: string, ...args: readonly string[]): string;
  /**
   * Installs core as if it were published in another version; `declarations` are what that version adds to its types.
   * Returns what npm says of peers that do not fit, `''` if all do.
   */
  installCore(version: string, declarations?: string): string;
  remove(): void;
}

function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${status}\n${error ?? stdout + stderr}`);
  return stdout;
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
}

/** The folders of a package's libraries and of theirs, as the workspace has them installed. */
function libraries(packageFolder: string, found: Set<string>): Set<string> {
  const store = packageFolder.lastIndexOf('node_modules');
  const modules =
    store < 0 ? join(packageFolder, 'node_modules') : packageFolder.slice(0, store + 'node_modules'.length);
  for (const name of Object.keys(manifestOf(packageFolder).dependencies ?? {})) {
    const library = realpathSync(join(modules, name));
    if (!found.has(library)) libraries(library, found.add(library));
  }
  return found;
}

/**
 * Packs packages as built (all, or those in the folders named, which must hold what they stand on) and installs them
 * together, with no network, into a new project.
 */
export function packedProject(names?: readonly string[]): PackedProject {
  const outer = mkdtempSync(join(tmpdir(), 'faultyard-'));
  const folder = join(outer, 'project');
  const complaints = inject('build');
  if (names?.some((name) => complaints.includes(`packages/${name}/`)) ?? complaints !== '')
    throw new Error(`the packages do not build:\n${complaints}`);
  const packages = [...packAll(outer, names).keys()];
  const specifiers = packages.map(manifestOf).flatMap(({ name, exports }) =>
    Object.keys(exports)
      .filter((entry) => !entry.endsWith('.json'))
      .map((entry) => `${name}${entry.slice(1)}`),
  );
  // Libraries come from the workspace's own copies, so that no registry is asked.
  const needed = new Set<string>();
  for (const packageFolder of packages) libraries(packageFolder, needed);
  const offline = ['--offline', '--ignore-scripts'];
  for (const library of needed) run(npm, ['pack', ...offline, '--pack-destination', outer, library], outer);
  const tarballs = readdirSync(outer).filter((name) => name.endsWith('.tgz'));
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }');
  run(
    npm,
    ['install', ...offline, '--no-audit', '--no-fund', ...tarballs.map((name) => `../${name}`)],
    folder,
  );
  return {
    folder,
    specifiers,
    write: (name, text) => writeFileSync(join(folder, name), text),
    compile(compiler, resolution, trusted) {
      const compilerOptions = {
        target: 'es2023',
        module: resolution === 'nodenext' ? 'nodenext' : 'esnext',
        moduleResolution: resolution,
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: trusted !== undefined,
        rewriteRelativeImportExtensions: true,
        typeRoots: [join(root, 'node_modules', '@types')],
        types: ['node'],
        outDir: resolution,
        rootDir: '.',
      };
      const settings = `tsconfig.${resolution}.json`;
      writeFileSync(join(folder, settings), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
      const { status, stdout } = spawnSync(join(bin, compiler), ['-p', settings, '--pretty', 'false'], {
        cwd: folder,
        encoding: 'utf8',
      });
      return status === 0 ? '' : `status ${status}: ${stdout}`;
    },
    node: (file, ...args) => run(process.execPath, [file, ...args], folder),
    installCore(version, declarations = '') {
      const copy = join(outer, `core-${version}`);
      rmSync(copy, { recursive: true, force: true });
      cpSync(join(folder, 'node_modules', '@faultyard', 'core'), copy, { recursive: true });
      const edit = (file: string, change: (text: string) => string): void => {
        const before = readFileSync(join(copy, file), 'utf8');
        const after = change(before);
        if (after === before) throw new Error(`${file} of core does not say its version where it did`);
        writeFileSync(join(copy, file), after);
      };
      edit('package.json', (text) => text.replace(/("version": ")[^"]*/, `$1${version}`));
      edit('dist/plugin.js', (text) => text.replace(/(CORE_VERSION = ')[^']*/, `$1${version}`));
      if (declarations) edit('dist/index.d.ts', (text) => `${text}\n${declarations}\n`);
      run(npm, ['pack', ...offline, '--pack-destination', outer, copy], outer);
      const args = ['install', ...offline, '--no-audit', '--no-fund', `../faultyard-core-${version}.tgz`];
      const { status, stderr } = spawnSync(npm, args, { cwd: folder, encoding: 'utf8' });
      if (status !== 0) throw new Error(`npm install of core ${version}: ${status}\n${stderr}`);
      return stderr
        .split('\n')
        .filter((line) => /ERESOLVE|peer/.test(line))
        .join('\n');
    },
    remove: () => rmSync(outer, { recursive: true, force: true }),
  };
}

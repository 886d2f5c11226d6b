import { spawnSync } from 'node:child_process';
import {
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
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packAll } from '../scripts/pack.ts';

const root = dirname(import.meta.dirname);
const bin = join(root, 'node_modules', '.bin');
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';

interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, unknown>>;
  readonly dependencies?: Readonly<Record<string, string>>;
}

let folder: string;
let project: string;
/** Every entry point of every package: `@faultyard/plugin-sea/vmm`. */
const specifiers: string[] = [];

/** Runs a command and returns what it printed; fails with all of it. */
function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  expect(status, `${command} ${args.join(' ')}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}

/** The folders of a package's libraries and of theirs, as the workspace has them installed. */
function libraries(packageFolder: string, found: Set<string>): Set<string> {
  const manifest: Manifest = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));
  for (const name of Object.keys(manifest.dependencies ?? {})) {
    let modules = join(packageFolder, 'node_modules');
    if (packageFolder.includes(join('node_modules', '.pnpm')))
      modules = packageFolder.slice(0, packageFolder.lastIndexOf('node_modules') + 'node_modules'.length);
    const library = realpathSync(join(modules, name));
    if (!found.has(library)) libraries(library, found.add(library));
  }
  return found;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultyard-consumer-'));
  project = join(folder, 'project');
  run(join(bin, 'tsc'), ['-b', 'tsconfig.build.json', '--pretty', 'false'], root);
  const ours = packAll(folder);
  const others = new Set<string>();
  for (const packageFolder of ours.keys()) {
    libraries(packageFolder, others);
    const { name, exports }: Manifest = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));
    for (const entry of Object.keys(exports))
      if (!entry.endsWith('.json')) specifiers.push(`${name}${entry.slice(1)}`);
  }
  // Libraries come from the workspace's own copies, so that the test needs no network.
  for (const library of others)
    run(npm, ['pack', '--ignore-scripts', '--offline', '--pack-destination', folder, library], folder);
  const tarballs = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }');
  run(
    npm,
    [
      'install',
      '--offline',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      ...tarballs.map((name) => `../${name}`),
    ],
    project,
  );
  const imports = specifiers.map((specifier, n) => `import * as m${n} from '${specifier}';`);
  const names = specifiers.map((specifier, n) => `'${specifier}': Object.keys(m${n})`);
  writeFileSync(
    join(project, 'entries.ts'),
    `${imports.join('\n')}\nconst all: Record<string, string[]> = { ${names.join(', ')} };\nconsole.log(JSON.stringify(all));\n`,
  );
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Compiles the project's programs with a compiler and a way of resolving modules; what it printed, if it failed. */
function compile(compiler: string, resolution: 'nodenext' | 'bundler'): string {
  const settings = {
    compilerOptions: {
      target: 'es2023',
      module: resolution === 'nodenext' ? 'nodenext' : 'esnext',
      moduleResolution: resolution,
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      typeRoots: [join(root, 'node_modules', '@types')],
      types: ['node'],
      outDir: resolution,
      rootDir: '.',
    },
    include: ['*.ts'],
  };
  writeFileSync(join(project, `tsconfig.${resolution}.json`), JSON.stringify(settings));
  const { stdout, status } = spawnSync(
    join(bin, compiler),
    ['-p', `tsconfig.${resolution}.json`, '--pretty', 'false'],
    {
      cwd: project,
      encoding: 'utf8',
    },
  );
  return status === 0 ? '' : `status ${status}: ${stdout}`;
}

describe('packed packages in an empty project', () => {
  test.each(['nodenext', 'bundler'] as const)(
    'tsc, %s resolution -> compiles, declarations included',
    (resolution) => {
      expect(compile('tsc', resolution)).toBe('');
    },
  );

  test('the TypeScript with a JavaScript API, nodenext -> compiles', () => {
    expect(compile('tsc6', 'nodenext')).toBe('');
  });

  test('node, compiled program -> every entry point loads built output', () => {
    expect(compile('tsc', 'nodenext')).toBe('');
    const printed = run(process.execPath, ['nodenext/entries.js'], project);
    const exported: Record<string, string[]> = JSON.parse(printed);
    expect(Object.keys(exported)).toEqual(specifiers);
    expect(exported['@faultyard/core']).not.toEqual([]);
  });

  test('node_modules -> one copy of each package, with its licence and its sources', () => {
    for (const name of readdirSync(join(root, 'packages'))) {
      const installed = readdirSync(join(project, 'node_modules', '@faultyard', name));
      expect(installed, name).toEqual(expect.arrayContaining(['LICENSE', 'dist', 'package.json', 'src']));
      expect(installed, name).not.toContain('node_modules');
    }
  });
});

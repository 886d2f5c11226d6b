import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { checkEdges } from '../scripts/edges/check.ts';

let root: string | undefined;
afterEach(() => root && rmSync(root, { recursive: true, force: true }));

function manifest(short: string, peers: string[], more: object = {}): string {
  const named = Object.fromEntries(peers.map((peer) => [`@faultyard/${peer}`, 'workspace:^']));
  const entries: Record<string, string[]> = {
    'plugin-sea': ['vmm', 'scenarios'],
    testkit: ['oracle'],
  };
  const exports: Record<string, object> = { '.': { '@faultyard/source': './src/index.ts' } };
  for (const entry of entries[short] ?? [])
    exports[`./${entry}`] = { '@faultyard/source': `./src/${entry}/index.ts` };
  return JSON.stringify({
    name: `@faultyard/${short}`,
    exports,
    peerDependencies: named,
    devDependencies: named,
    ...more,
  });
}

/** A workspace in which every edge is as it may be. */
const sound: Readonly<Record<string, string>> = {
  'package.json': '{"name":"faultyard"}',
  'packages/core/package.json': manifest('core', []),
  'packages/core/src/index.ts': 'export const core = 1;',
  'packages/engine/package.json': manifest('engine', ['core']),
  'packages/engine/src/index.ts': "import { core } from '@faultyard/core';\nexport const engine = core;",
  'packages/arch-arm64/package.json': manifest('arch-arm64', ['core', 'engine']),
  'packages/arch-arm64/src/index.ts': "export { engine } from '@faultyard/engine';",
  'packages/arch-arm64/test/a.test.ts': "import '@faultyard/testkit/oracle';\nimport 'node:fs';",
  'packages/arch-toy/package.json': manifest('arch-toy', ['core']),
  'packages/arch-toy/src/index.ts': "export { core } from '@faultyard/core';",
  'packages/vmm/package.json': manifest('vmm', ['core']),
  'packages/vmm/src/index.ts': "export { core } from '@faultyard/core';",
  'packages/testkit/package.json': manifest('testkit', ['core', 'vmm']),
  'packages/testkit/src/index.ts': "export { core } from '@faultyard/vmm';",
  'packages/testkit/src/oracle/index.ts': "export { spawn } from 'node:child_process';",
  'packages/plugin-mce/package.json': manifest('plugin-mce', ['core']),
  'packages/plugin-mce/src/index.ts': "export { core } from '@faultyard/core';",
  'packages/plugin-sea/package.json': manifest('plugin-sea', ['core', 'arch-arm64', 'vmm', 'testkit']),
  'packages/plugin-sea/src/index.ts': "export { engine } from '@faultyard/arch-arm64';",
  'packages/plugin-sea/src/vmm/index.ts':
    "export { core } from '@faultyard/vmm';\nimport type {} from '../index.ts';",
  'packages/plugin-sea/src/scenarios/index.ts': "import '@faultyard/testkit';\nimport '../vmm/index.ts';",
  'apps/repl/package.json': JSON.stringify({
    name: '@faultyard/repl',
    dependencies: { '@faultyard/plugin-sea': 'workspace:*' },
  }),
  'apps/repl/src/main.ts': "import 'node:repl';\nimport '@faultyard/plugin-sea/vmm';",
};

/** The problems of the sound workspace with some files replaced, as `at: what`. */
function problems(changed: Readonly<Record<string, string>>): string[] {
  root = mkdtempSync(join(tmpdir(), 'edges-'));
  for (const [path, text] of Object.entries({ ...sound, ...changed })) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return checkEdges(root).map(({ at, what }) => `${at}: ${what}`);
}

describe('edges', () => {
  test('a workspace along the edges -> no problem', () => {
    expect(problems({})).toEqual([]);
  });

  const refused: [name: string, path: string, text: string, problem: string][] = [
    [
      'core imports engine',
      'packages/core/src/index.ts',
      "import '@faultyard/engine';",
      'packages/core/src/index.ts:1: core may import no other package, not engine',
    ],
    [
      'a plugin imports a plugin',
      'packages/plugin-sea/src/index.ts',
      "\nimport type {} from '@faultyard/plugin-mce';",
      'packages/plugin-sea/src/index.ts:2: plugin-sea may import core, engine, arch-*, not plugin-mce',
    ],
    [
      'an arch imports an arch',
      'packages/arch-arm64/src/deep/walk.ts',
      "export * from '@faultyard/arch-toy';",
      'packages/arch-arm64/src/deep/walk.ts:1: arch-arm64 may import core, engine, not arch-toy',
    ],
    [
      "a module augmentation of another plugin's map",
      'packages/plugin-sea/src/index.ts',
      "declare module '@faultyard/plugin-mce' { interface A { a: 1 } }",
      'packages/plugin-sea/src/index.ts:1: plugin-sea may import core, engine, arch-*, not plugin-mce',
    ],
    [
      "a relative path into another package's src",
      'packages/engine/src/index.ts',
      "export * from '../../core/src/index.ts';",
      'packages/engine/src/index.ts:1: reaches into packages/core: import @faultyard/core',
    ],
    [
      "a test that reaches into another package's src",
      'packages/arch-arm64/test/a.test.ts',
      "import '../../core/src/index.ts';",
      'packages/arch-arm64/test/a.test.ts:1: reaches into packages/core: import @faultyard/core',
    ],
    [
      'a subpath that is no entry point',
      'packages/engine/src/index.ts',
      "export * from '@faultyard/core/src/index.ts';",
      'packages/engine/src/index.ts:1: @faultyard/core/src/index.ts is no entry point of a package of this workspace',
    ],
    [
      'node: in a package',
      'packages/core/src/index.ts',
      "import { readFileSync } from 'node:fs';",
      'packages/core/src/index.ts:1: core runs in browsers too and may not import node:fs',
    ],
    [
      'a Node module without node:, imported at run time',
      'packages/vmm/src/index.ts',
      "export const fs = await import('fs/promises');",
      'packages/vmm/src/index.ts:1: vmm runs in browsers too and may not import fs/promises',
    ],
    [
      "testkit's main entry that loads the oracle",
      'packages/testkit/src/index.ts',
      "import './oracle/index.ts';",
      'packages/testkit/src/oracle/index.ts:1: testkit runs in browsers too and may not import node:child_process',
    ],
    [
      "a plugin's scenarios that load testkit's oracle",
      'packages/plugin-sea/src/scenarios/index.ts',
      "import '@faultyard/testkit/oracle';",
      'packages/plugin-sea/src/scenarios/index.ts:1: plugin-sea/scenarios runs in browsers too and may not import @faultyard/testkit/oracle, which needs Node',
    ],
    [
      "a plugin's main entry that imports vmm",
      'packages/plugin-sea/src/index.ts',
      "import '@faultyard/vmm';",
      'packages/plugin-sea/src/index.ts:1: plugin-sea may import core, engine, arch-*, not vmm',
    ],
    [
      "a plugin's ./vmm that loads what a VMM cannot know, through its own main entry",
      'packages/plugin-sea/src/vmm/index.ts',
      "import '../index.ts';",
      'packages/plugin-sea/src/index.ts:1: plugin-sea/vmm may import core, vmm, not arch-arm64',
    ],
    [
      "a plugin's ./vmm that loads scenarios of testkit",
      'packages/plugin-sea/src/vmm/deep.ts',
      "import '@faultyard/testkit';",
      'packages/plugin-sea/src/vmm/deep.ts:1: plugin-sea/vmm may import core, vmm, not testkit',
    ],
    [
      'a workspace package that the manifest does not name',
      'packages/plugin-mce/src/index.ts',
      "import '@faultyard/engine';",
      'packages/plugin-mce/package.json: @faultyard/engine is missing from peerDependencies',
    ],
    [
      'a library that the manifest does not name',
      'packages/vmm/src/index.ts',
      "import { match } from 'ts-pattern';",
      'packages/vmm/src/index.ts:1: ts-pattern is imported but not a dependency in packages/vmm/package.json',
    ],
    [
      'a second copy of core',
      'packages/engine/package.json',
      manifest('engine', [], {
        dependencies: { '@faultyard/core': 'workspace:^' },
        peerDependencies: {},
      }),
      'packages/engine/package.json: @faultyard/core belongs into peerDependencies, so that a program has one copy of it',
    ],
    [
      'an optional peer that the main entry needs',
      'packages/engine/package.json',
      manifest('engine', ['core'], { peerDependenciesMeta: { '@faultyard/core': { optional: true } } }),
      'packages/engine/package.json: the main entry point does not load without @faultyard/core: it is no optional peer',
    ],
    [
      'a peer against the edges',
      'packages/core/package.json',
      manifest('core', ['vmm']),
      'packages/core/package.json: @faultyard/vmm may not be a peer of @faultyard/core',
    ],
    [
      'a package the architecture has no room for',
      'packages/helpers/package.json',
      manifest('helpers', []),
      'packages/helpers/package.json: @faultyard/helpers has no place in scripts/edges/rules.ts',
    ],
    [
      'an app that imports a package it does not declare',
      'apps/repl/src/main.ts',
      "import '@faultyard/core';",
      'apps/repl/src/main.ts:1: @faultyard/core is imported but not in apps/repl/package.json',
    ],
  ];
  test.each(refused)('%s -> refused with its place and reason', (_name, path, text, problem) => {
    expect(problems({ [path]: text })).toContain(problem);
  });
});

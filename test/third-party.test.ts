/** A plugin of somebody else's: outside the workspace, on the packed packages, and on the cores of tomorrow. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { examplesOfPage } from '../scripts/examples/extract.ts';
import { type PackedProject, packedProject, root } from './packed-project.ts';

const source = (name: string): string => readFileSync(join(import.meta.dirname, 'third-party', name), 'utf8');

/** What main.ts prints. */
interface Report {
  readonly core: string;
  readonly hash: string;
}

/** What every core must show; `core` and state hashes apart. */
const expected = {
  exit: { kind: 'acme-trap', vcpu: 0, ret: 0, word: 0x0100_0024 },
  at: 'acmepop x4, x1',
  disassembled: ['acmepop x4, x1', 'acmepop xzr, xzr', 'mrs x3, acme_ctl_el1'],
  kvmRun: {
    reason: 0xac0,
    word: 0x0100_0024,
    decoded: { kind: 'acme-trap', payload: { word: 0x0100_0024 } },
  },
  // x0: counted; x3: RES0 bits of the register; x4: counted once the VMM let it; x5: the guest went on
  afterwards: { exit: 'intr', x0: '0x8', x3: '0xff', x4: '0x8', x5: '0x1' },
  traps: { op: 1, api: 1 },
  ioctl: [{ ret: 1 }, { ret: -1, errno: 'EFAULT' }],
  restored: { sameHash: true, pc: '0x4000001c', traps: 1, sameEnd: true },
  fork: { sameHash: true, traps: 1 },
  // EC 0, IL 1, at acmepop
  undefinedKnob: { exit: 'intr', esr: '0x2000000', elr: '0x4000001c', traps: 1 },
};

let project: PackedProject;
let report: Report | undefined;
const main = (): Report => JSON.parse(project.node('nodenext/main.js', '../guest.s'));
/** What another core may add in a minor version. */
const declarations = `declare module './exit.js' {
  interface ExitMap { 'added-in-1-1': { readonly n: number } }
}
declare module './op.js' {
  interface OpMap { 'added-in-1-1': { readonly on: 'vm'; readonly arg: {}; readonly result: 0 } }
}
declare module './plugin.js' {
  interface SetupCtx { addedIn11(): void }
  interface PluginDef<K, Api> { readonly addedIn11?: boolean }
}`;

beforeAll(() => {
  project = packedProject(['core', 'engine', 'arch-arm64']);
  for (const name of ['acme.ts', 'main.ts', 'refused.ts', 'guest.s']) project.write(name, source(name));
});
afterAll(() => project?.remove());

describe('a plugin outside the workspace', () => {
  test('at most 100 lines', () => {
    expect(source('acme.ts').trimEnd().split('\n').length).toBeLessThanOrEqual(100);
  });

  test('docs/writing-a-plugin.md -> shows it whole, in order', () => {
    const page = 'docs/writing-a-plugin.md';
    const shown = examplesOfPage(page, readFileSync(join(root, page), 'utf8'));
    const lines = (text: string): string[] => text.split('\n').filter((line) => line.trim() !== '');
    const [, ...plugin] = lines(source('acme.ts'));
    expect(shown.slice(0, -1).flatMap(({ code }) => lines(code))).toEqual(plugin);
  });

  test('tsc6 and tsc, nodenext -> compile it with the declarations of the packages', () => {
    expect(project.compile('tsc6', 'nodenext', 'trusted')).toBe('');
    expect(project.compile('tsc', 'nodenext')).toBe('');
  });

  test('this core, its guest -> instruction, register, guard, exit, op, knob and cell do what they say', () => {
    report = main();
    const { core, hash, ...rest } = report;
    expect(rest).toEqual(expected);
    expect(core).toBe('1.0.0');
    expect(hash).toMatch(/^[0-9a-f]{16}$/);
  });

  test('core 1.1.0 with more exits, operations and setup -> npm installs it; the plugin as compiled for 1.0.0 runs, and compiles anew', () => {
    expect(project.installCore('1.1.0', declarations)).toBe('');
    expect(main()).toEqual({ ...report, core: '1.1.0' });
    project.write(
      'newer.ts',
      `import type { Exit } from '@faultyard/core';\nexport const n = (e: Exit<'added-in-1-1'>): number => e.n;\n`,
    );
    expect(project.compile('tsc', 'nodenext')).toBe('');
    expect(main()).toEqual({ ...report, core: '1.1.0' });
  });

  test('core 2.0.0 -> npm warns of peers and installs it; the plugin is refused with FY_PLUGIN_VERSION', () => {
    expect(project.installCore('2.0.0')).toContain('peer @faultyard/core@"^1.0.0"');
    expect(JSON.parse(project.node('nodenext/refused.js'))).toEqual({
      core: '2.0.0',
      acme: 'FY_PLUGIN_VERSION: plugin acme was made for core ^1.0.0, this is core 2.0.0; install matching versions of acme and @faultyard/core',
      vm: 'FY_PLUGIN_VERSION',
    });
  });
});

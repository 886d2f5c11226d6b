/** The monitor's word `mce` in a session. */
import { describe, expect, test } from 'vitest';
import { program } from './commands.ts';

const MACHINE = [
  'const { vm, cpu, asm } = lab.x86({ plugins: [mce()] })',
  'policy.mce.setupMachineChecks(vm)',
  'load(0x1000, asm`mov ecx, 0x425; rdmsr; hlt`)',
];
const session = (...lines: string[]): ReturnType<typeof program> =>
  program([], { input: [...MACHINE, ...lines].join('\n') });

describe('.mce', () => {
  test('a deferred error -> nothing said, the guest reads it; the session ends well', async () => {
    const { out, err, status } = await session(
      '.mce 0 9 0x9c00180000000000 5 0x9000 0x8c',
      'run()',
      'cpu.edx',
    );
    expect([err, status]).toEqual(['', 0]);
    expect(out.trimEnd().split('\n').slice(1)).toEqual(['hlt pc=0x1008', '0x9c001800n']);
  }, 30_000);
  test.each([
    ['0 10 0xbc00080000000000 7 0 0', 'Invalid MCE bank number'],
    ['0 9 0x3c00080000000000 7 0 0', 'Invalid MCE status code'],
    ['0 9 0xbc00080000000000 7 0 0', 'CPU 0: MCE capability is not enabled, raising triple fault'],
    ['0 9', 'usage: mce [-b] cpu bank status mcgstatus addr misc'],
  ])(
    '%s -> %s; the line has failed',
    async (words, text) => {
      const { out, status } = await session(`.mce ${words}`);
      expect([out.trimEnd().split('\n').at(-1), status]).toEqual([text, 1]);
    },
    30_000,
  );
  test('a machine without machine checks -> not supported', async () => {
    const { out, status } = await program([], { input: 'lab.arm64()\n.mce 0 9 0xbc00080000000000 7 0 0' });
    expect([out.trimEnd().split('\n').at(-1), status]).toEqual(['MCE injection not supported', 1]);
  }, 30_000);
  test('no machine -> how to make one', async () => {
    for (const run of [program([], { input: '.mce 0' }), program(['mce', '0', '9'])]) {
      const { err, status } = await run;
      expect(err).toContain('lab.x86({ plugins: [mce()] })');
      expect(status).not.toBe(0);
    }
  }, 30_000);
});

/** Which MSRs exist: every index of three ranges read, and written with what was read. */
import type { Case } from '../support/bare-image.ts';
import type { Suite } from './suite.ts';

/** Values are not compared: they are each processor's own. */
const codes: Suite['codes'] = {
  32: {
    // what was there is written back, whatever it is
    same: '  rdmsr\n  wrmsr\n  xor eax, eax\n  xor edx, edx',
  },
};
const range = (from: number, count: number): readonly number[] =>
  Array.from({ length: count }, (_, n) => from + n);
const RANGES: readonly (readonly [name: string, indexes: readonly number[]])[] = [
  ['low', range(0, 0x2000)],
  ['extended', range(0xc000_0000, 0x2000)],
  ['amd', range(0xc001_0000, 0x2000)],
];
const cases = (code: string, indexes: readonly number[]): readonly Case[] =>
  indexes.map((cx) => ({ mode: 'pm32', code, regs: { cx } }));

/** Suites of MSRs: KVM's alone, QEMU takes every index. */
export const msrSuites: readonly Suite[] = RANGES.flatMap(([name, indexes]) => [
  {
    name: `msr-${name}`,
    what: `every MSR from ${(indexes[0] ?? 0).toString(16)} on: RDMSR, WRMSR of the same -> #GP or not`,
    codes,
    cases: () => cases('same', indexes),
    with: ['kvm'],
  },
]);

import { describe, expect, test } from 'vitest';
import { image, QEMU, recorded, runHere, runQemu } from '../support/bare-metal.ts';
import { defined, SWEEPS, type Sweep, sweepBody } from './encodings.ts';

/** What the real CPU (as QEMU models it) has and this model has not, and the other way round; each with its reason. */
const QEMU_ONLY: readonly (readonly [RegExp, string])[] = [
  [/^S3_0_C4_C6_0$|^S3_0_C12_C(8|9|11|12)_/, 'GIC CPU interface: comes with the GIC'],
  [
    /^S3_3_C9_C1[234]_|^S3_0_C9_C14_|^S3_3_C14_C(8|12)_|^S3_3_C14_C15_7$/,
    'performance monitors: not in this CPU',
  ],
  [/^S3_1_C1[15]_/, 'implementation defined registers'],
  [/^S3_0_C12_C0_1$/, 'RVBAR_EL1: only where EL1 is the highest level; under KVM EL2 is'],
  [/^S3_0_C10_C4_/, 'FEAT_LOR (Armv8.1)'],
  [/^S3_3_C4_C2_6$/, 'FEAT_SSBS'],
  [/^S2_0_C0_C[2345]_[4567]$/, 'breakpoints and watchpoints beyond two'],
];
const HERE_ONLY: readonly (readonly [RegExp, string])[] = [
  [/^S3_0_C5_C[345]_/, 'error record registers: KVM reads zero; QEMU without records UNDEFINED'],
  [/^S2_0_C0_C[036]_2$|^S2_0_C1_C4_4$|^S2_0_C7_C|^S2_3_C0_C[45]_0$/, 'debug registers that QEMU leaves out'],
];

const unexplained = (
  names: readonly string[],
  reasons: readonly (readonly [RegExp, string])[],
): readonly string[] => names.filter((n) => !reasons.some(([r]) => r.test(n)));

const check = (s: Sweep, text: string, reference: string): void => {
  const here = defined(s, text);
  const there = defined(s, reference);
  expect(text.split('\n').length).toBe(257);
  expect(
    unexplained(
      [...here].filter((n) => !there.has(n)),
      HERE_ONLY,
    ),
  ).toEqual([]);
  expect(
    unexplained(
      [...there].filter((n) => !here.has(n)),
      QEMU_ONLY,
    ),
  ).toEqual([]);
};

describe('all 16384 encodings of one op0 -> UNDEFINED exactly where QEMU says so, but for what is explained', () => {
  for (const s of SWEEPS)
    test(s.name, () => check(s, runHere(image(sweepBody(s)), s.cpu, 1, 200_000_000), recorded(s.name)));
});

const reason = QEMU ? '' : ' (skipped: qemu-system-aarch64 is not installed)';
describe.skipIf(!QEMU)(`recordings of encodings against qemu-system-aarch64${reason}`, () => {
  for (const s of SWEEPS)
    test(`${s.name}: QEMU still prints what was recorded`, () => {
      expect(runQemu(image(sweepBody(s)), s.cpu)).toBe(recorded(s.name));
    });
});

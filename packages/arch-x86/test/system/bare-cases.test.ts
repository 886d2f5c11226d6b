/**
 * The privileged half against implementations that are not ours: every suite of bare-metal cases here, compared with what
 * qemu-system-x86_64 and KVM were recorded to make of it (`tools/record-system.ts`), but for `differs.ts`; and the
 * recordings against the installed ones.
 */
import { describe, expect, test } from 'vitest';
import { bareImage } from '../support/bare-image.ts';
import { readResults } from '../support/bare-recording.ts';
import { missingKvm, missingQemu, runHere, runKvm, runQemu } from '../support/bare-runner.ts';
import { type Compared, compare } from './comparison.ts';
import { DIFFERENCES } from './differs.ts';
import { OTHERS, type Other, OURS, QEMU_CPU, type Suite } from './suite.ts';
import { SUITES } from './suites.ts';

const NAMES: Readonly<Record<Other, string>> = { qemu: 'QEMU', kvm: 'KVM' };
const comparisons = SUITES.flatMap((suite) => (suite.with ?? OTHERS).map((other) => ({ suite, other })));
const used = new Set<number>();
/** All of them run with FAULTYARD_ALL set, as in CI; else one in three, for they take most of a minute. */
const ALL = process.env.FAULTYARD_ALL !== undefined;
const LEFT = ' (skipped: one in three runs; all with FAULTYARD_ALL=1)';

function compareHere(suite: Suite, other: Other): Compared {
  const theirs = readResults(`${suite.name}.${other}`);
  if (!theirs) throw new Error('there is no recording');
  const cases = suite.cases();
  const compared = compare(
    suite,
    cases,
    other,
    runHere(bareImage(suite.codes, cases), OURS[other]),
    theirs,
    DIFFERENCES,
  );
  for (const k of compared.explained.keys()) used.add(k);
  return compared;
}

describe('bare-metal cases against recordings', () => {
  for (const [n, { suite, other }] of comparisons.entries()) {
    const left = !ALL && n % 3 !== 0;
    test.skipIf(left)(`${suite.name}: ${suite.what} (as ${NAMES[other]})${left ? LEFT : ''}`, () => {
      const { unexplained, records } = compareHere(suite, other);
      expect(unexplained.slice(0, 20)).toEqual([]);
      expect(records).toBeGreaterThan(0);
    });
  }
  test.skipIf(!ALL)(`differs.ts -> nothing in it that no case needs${ALL ? '' : LEFT}`, () => {
    expect(DIFFERENCES.filter((_, k) => !used.has(k)).map((d) => `${d.who}: ${d.why}`)).toEqual([]);
  });
});

// other versions have other bugs, but ours must not be among the differences
for (const [other, name, reason, ask] of [
  ['qemu', 'exceptions', missingQemu(), (image) => runQemu(image, QEMU_CPU)],
  ['kvm', 'paging-4', missingKvm(), runKvm],
] as const satisfies readonly (readonly [
  Other,
  string,
  string | undefined,
  (image: ReturnType<typeof bareImage>) => Uint8Array,
])[])
  describe.skipIf(reason !== undefined)(
    `bare-metal cases against the installed ${NAMES[other]}${reason ? ` (skipped: ${reason})` : ''}`,
    () => {
      test(`${name} -> as ours`, () => {
        const suite = SUITES.find((s) => s.name === name) as Suite;
        const cases = suite.cases();
        const image = bareImage(suite.codes, cases);
        const { unexplained, records } = compare(
          suite,
          cases,
          other,
          runHere(image, OURS[other]),
          ask(image),
          DIFFERENCES,
        );
        expect(unexplained.slice(0, 20)).toEqual([]);
        expect(records).toBeGreaterThan(0);
      });
    },
  );

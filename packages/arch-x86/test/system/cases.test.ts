import { describe, expect, test } from 'vitest';
import { readCases } from '../support/case-recording.ts';
import { differences, missingQemu, runHere, runQemu } from '../support/case-runner.ts';
import { CASE_SETS, type CaseSet } from './case-sets.ts';
import { uncompared } from './qemu-differs.ts';

describe('bare-metal cases against recordings of qemu-system-x86_64', () => {
  test.each(CASE_SETS)('$name: $what', (set: CaseSet) => {
    const cases = set.cases();
    const here = runHere(set.image(cases), cases.length, set.vendor);
    const found = differences(
      here,
      readCases(set.name, cases.length),
      (n) => JSON.stringify(cases[n]),
      (n, field, row) => uncompared(cases[n] ?? { code: '' }, field, row, set.vendor),
    );
    expect(found).toEqual([]);
  });
});

const why = missingQemu();
describe.skipIf(why !== undefined)(`recordings against QEMU${why ? ` (skipped: ${why})` : ''}`, () => {
  test.each(CASE_SETS)('$name: QEMU still answers what was recorded', (set: CaseSet) => {
    const cases = set.cases();
    const there = runQemu(set.image(cases), cases.length, set.vendor);
    expect(differences(there, readCases(set.name, cases.length), String, () => 0)).toEqual([]);
  });
});

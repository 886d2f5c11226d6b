/**
 * Every instruction form of user mode against a processor: registers, flags, memory, instruction pointer and faults of
 * recorded cases, replayed on the engine. `tools/record-user-vectors.ts` records them on x86-64 Linux; the cases are made
 * again from their seeds. `data/user-vectors.report.tsv` counts cases per form.
 */
import { describe, expect, it } from 'vitest';
import { MiniMachine, type Outcome } from './support/mini-machine.ts';
import { CASES, userCases } from './support/user-cases.ts';
import { describeCase, difference } from './support/user-difference.ts';
import { type UserForm, userForms } from './support/user-forms.ts';
import { askProcessor, oracleMissing } from './support/user-oracle.ts';
import { type FormVectors, readVectors } from './support/user-vectors.ts';
import type { UserCase, UserResult } from './support/user-world.ts';

const forms: ReadonlyMap<string, UserForm> = new Map(userForms().map((f) => [f.name, f]));
const casesOf = (name: string): readonly UserCase[] => {
  const form = forms.get(name);
  return form ? userCases(form) : [];
};
const vectors: readonly (FormVectors & { readonly cases: readonly UserCase[] })[] = [...readVectors(casesOf)];

/** Forms that leave generated code: a whole vCPU does them, and other tests compare it. */
const LEAVES = /^\d+ (Popf[wdq]|Enter[wdq]_imm16_imm8)$/;

function failures(single: boolean, every: number): string[] {
  const machine = new MiniMachine();
  const out: string[] = [];
  let n = 0;
  for (const { form, cases, results } of vectors) {
    for (const [i, c] of cases.entries()) {
      if (n++ % every !== 0) continue;
      const got: Outcome = machine.run(c, single);
      const found =
        'slow' in got
          ? LEAVES.test(form)
            ? []
            : [`left by slow operation ${got.slow}`]
          : difference(c, results[i] as UserResult, got);
      if (found.length > 0 && out.length < 100) out.push(`${describeCase(c)}: ${found.join('; ')}`);
    }
  }
  return out;
}

describe('x86 instructions of user mode as a processor runs them', () => {
  it('every recorded case, run -> engine: same registers, flags, memory, rip and fault', () => {
    expect(failures(false, 1)).toEqual([]);
  }, 180_000);

  it('every eleventh recorded case, stepped -> engine: the same with every access on the slow path', () => {
    expect(failures(true, 11)).toEqual([]);
  }, 60_000);

  it('the list of forms -> recording: at least 50 cases of each, none missing', () => {
    const recorded = new Map(vectors.map((v) => [v.form, v.cases.length]));
    expect([...forms.keys()].filter((form) => (recorded.get(form) ?? 0) < 50)).toEqual([]);
    expect([...recorded.keys()].filter((form) => !forms.has(form))).toEqual([]);
    const cases = vectors.reduce((n, v) => n + v.cases.length, 0);
    expect({ forms: vectors.length, cases }).toEqual({ forms: vectors.length, cases: vectors.length * CASES });
  });

  const missing = oracleMissing();
  it.skipIf(missing !== undefined)(
    `one case of every form, asked again -> this processor: what was recorded${missing ? ` (${missing})` : ''}`,
    () => {
      const cases = vectors.map((v, i) => v.cases[i % v.cases.length] as UserCase);
      const again = askProcessor(cases);
      const out: string[] = [];
      for (const [i, c] of cases.entries()) {
        const v = vectors[i] as FormVectors;
        const found = difference(c, v.results[i % v.results.length] as UserResult, again[i] as UserResult);
        if (found.length > 0) out.push(`${describeCase(c)}: ${found.join('; ')}`);
      }
      expect(out).toEqual([]);
    },
    60_000,
  );
});

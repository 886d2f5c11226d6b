/**
 * Every instruction form of user mode against a processor: registers, flags, memory, instruction pointer and faults of
 * recorded cases, replayed on the engine. `tools/record-user-vectors.ts` records them on x86-64 Linux; the cases are made
 * again from their seeds. `data/user-vectors.report.tsv` counts cases per form.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { MiniMachine, type Outcome } from './support/mini-machine.ts';
import { CASES, userCases } from './support/user-cases.ts';
import { describeCase, difference } from './support/user-difference.ts';
import { type UserForm, userForms } from './support/user-forms.ts';
import { askProcessor, oracleMissing } from './support/user-oracle.ts';
import { readVectors } from './support/user-vectors.ts';
import type { UserCase, UserResult } from './support/user-world.ts';
import { WholeMachine } from './support/whole-machine.ts';

const forms: ReadonlyMap<string, UserForm> = new Map(userForms().map((f) => [f.name, f]));

/** Codes that may leave generated code: only a whole vCPU does them. */
const LEAVES =
  /^(Popf|Pushf|Enter|Hlt|Cli|Sti|Clts|Invd|Wbinvd|Swapgs|Rdmsr|Wrmsr|Invlpg|L[gi]dt_|Lldt_|Ltr_|Lmsw_|Mov_r\d\d_[cd]r|Mov_[cd]r_|Mov_r.*Sreg|In_|Out_|Ins|Outs|Into|Int1|Rd[fg]sbase|Push[wdq]_.S$)/;
/** One recorded case in this many runs: all of them with FAULTYARD_ALL set, as CI does (a minute more). */
const WHOLE = process.env.FAULTYARD_ALL ? 1 : 7;
/** One case in this many runs on a bare vCPU, too: at full speed and stepped. */
const BARE = 11;
const EVERY =
  WHOLE === 1 ? 'every recorded case' : `every ${WHOLE}th recorded case (all with FAULTYARD_ALL=1)`;

/** What one pass over the vectors found. */
const found = {
  whole: [] as string[],
  bare: [] as string[],
  stepped: [] as string[],
  cases: new Map<string, number>(),
  total: 0,
};
/** One recorded case of every form. */
const sample: { readonly c: UserCase; readonly result: UserResult }[] = [];

function check(c: UserCase, want: UserResult, got: Outcome): string | undefined {
  if ('slow' in got)
    return LEAVES.test(c.code) ? undefined : `${describeCase(c)}: left by slow operation ${got.slow}`;
  const differs = difference(c, want, got);
  return differs.length > 0 ? `${describeCase(c)}: ${differs.join('; ')}` : undefined;
}

function note(list: string[], what: string | undefined): void {
  if (what !== undefined && list.length < 100) list.push(what);
}

describe('x86 instructions of user mode as a processor runs them', () => {
  beforeAll(() => {
    const whole = new WholeMachine();
    const bare = new MiniMachine();
    const casesOf = (name: string): readonly UserCase[] => {
      const form = forms.get(name);
      return form ? userCases(form) : [];
    };
    for (const { form, cases, results } of readVectors(casesOf)) {
      for (const [i, c] of cases.entries()) {
        const want = results[i] as UserResult;
        // counted on, so that every form's cases differ from those of the form before
        const n = found.total++;
        if (n % WHOLE === 0) note(found.whole, check(c, want, whole.run(c)));
        if (n % BARE !== 0) continue;
        note(found.bare, check(c, want, bare.run(c)));
        note(found.stepped, check(c, want, bare.run(c, true)));
      }
      const chosen = sample.length % cases.length;
      sample.push({ c: cases[chosen] as UserCase, result: results[chosen] as UserResult });
      found.cases.set(form, cases.length);
    }
    whole.dispose();
  });

  it(`${EVERY} -> vCPU with page tables and IDT: same registers, flags, memory, rip and fault`, () => {
    expect(found.whole).toEqual([]);
  });

  it('every eleventh recorded case -> generated code alone: the same', () => {
    expect(found.bare).toEqual([]);
  });

  it('every eleventh recorded case, stepped -> the same with every access on the slow path', () => {
    expect(found.stepped).toEqual([]);
  });

  it('the list of forms -> recording: at least 50 cases of each, none missing', () => {
    const { cases } = found;
    expect([...forms.keys()].filter((form) => (cases.get(form) ?? 0) < 50)).toEqual([]);
    expect([...cases.keys()].filter((form) => !forms.has(form))).toEqual([]);
    expect(found.total).toBe(forms.size * CASES);
    console.info(`${found.total} cases of ${forms.size} forms`);
  });

  const missing = oracleMissing();
  it.skipIf(missing !== undefined)(
    `one case of every form, asked again -> this processor: what was recorded${missing ? ` (${missing})` : ''}`,
    () => {
      const again = askProcessor(sample.map((s) => s.c));
      const out: string[] = [];
      for (const [i, { c, result }] of sample.entries()) {
        const differs = difference(c, result, again[i] as UserResult);
        if (differs.length > 0) out.push(`${describeCase(c)}: ${differs.join('; ')}`);
      }
      expect(out).toEqual([]);
    },
  );
});

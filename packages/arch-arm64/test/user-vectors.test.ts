/**
 * Every instruction form of EL0 against QEMU: registers, flags, memory, pc and faults of recorded cases, replayed on
 * the engine. `tools/record-user-vectors.ts` records them; `data/user-vectors.report.tsv` counts cases per form.
 */
import { describe, expect, it } from 'vitest';
import { standardTable } from '../src/isa/forms.ts';
import { userFormNames } from './support/user-cases.ts';
import { UserMachine } from './support/user-machine.ts';
import { readVectors, type UserVector } from './support/user-vectors.ts';
import type { UserResult } from './support/user-world.ts';

const vectors = readVectors();

/** What differs; nothing = equal. QEMU 7.2 moves the elements of one access one after the other, we all or none. */
function difference(want: UserResult, got: UserResult): string[] {
  const out: string[] = [];
  const note = (what: string, a: unknown, b: unknown): void => {
    if (a !== b) out.push(`${what}: ${String(a)} expected, ${String(b)} found`);
  };
  const value = (what: string, a: bigint | undefined, b: bigint | undefined): void => {
    if (a !== b) note(what, a?.toString(16), b?.toString(16));
  };
  const [to, at] = [want.state, got.state];
  note('end', want.end, got.end);
  value('pc', to.pc, at.pc);
  value('sp', to.sp, at.sp);
  note('nzcv', to.nzcv >>> 28, at.nzcv >>> 28);
  for (const [n, x] of to.x.entries()) value(`x${n}`, x, at.x[n]);
  if (want.end !== 'done') {
    note('window', 0, got.window.size);
    return out;
  }
  if (Buffer.compare(to.v, at.v) !== 0) {
    note('v', Buffer.from(to.v).toString('hex'), Buffer.from(at.v).toString('hex'));
  }
  const bytes = (m: ReadonlyMap<number, number>): string => [...m].map(([i, b]) => `${i}=${b}`).join(' ');
  note('window', bytes(want.window), bytes(got.window));
  return out;
}

function failures(single: boolean, chosen: readonly UserVector[]): string[] {
  const machine = new UserMachine();
  const out: string[] = [];
  for (const { case: c, result } of chosen) {
    const found = difference(result, machine.run(c, single));
    const words = c.words.map((w) => w.toString(16).padStart(8, '0')).join(' ');
    if (found.length > 0) out.push(`${c.form} (${words}): ${found.join('; ')}`);
  }
  return out;
}

describe('instructions of EL0 as QEMU runs them', () => {
  it('every recorded case, run -> engine: same registers, flags, memory, pc and fault', () => {
    expect(failures(false, vectors)).toEqual([]);
  }, 60_000);

  it('every seventh recorded case, stepped -> engine: the same with every access on the slow path', () => {
    expect(
      failures(
        true,
        vectors.filter((_, i) => i % 7 === 0),
      ),
    ).toEqual([]);
  }, 60_000);

  it('the table -> recording: at least 50 cases of every form that EL0 can run, none missing', () => {
    const recorded = new Map<string, number>();
    for (const { case: c } of vectors) recorded.set(c.form, (recorded.get(c.form) ?? 0) + 1);
    const wanted = userFormNames(standardTable());
    expect([...wanted].filter((form) => (recorded.get(form) ?? 0) < 50)).toEqual([]);
    expect([...recorded.keys()].filter((form) => !wanted.has(form))).toEqual([]);
  }, 60_000);
});

/** Row 13, offset by offset; and what follows the end of rows 7a and 12. */
import type { Arm64Api } from '@faultyard/arch-arm64';
import { type Exit, resume, stop, type Verdict } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import table from '../data/decision-table.json' with { type: 'json' };
import { PORT, SAYS, VICTIMS } from '../src/scenarios/guest/layout.ts';
import { scenarios } from '../src/scenarios/index.ts';
import type { Backing } from '../src/scenarios/machine.ts';
import { inject, type SeaStep, unmap } from '../src/vmm/index.ts';
import { V } from './support/bench.ts';
import { deaths, drive, guestVm, records } from './support/guest.ts';

const BLOCK = 0x1_0000_0000n;
const OFFSETS: Readonly<Record<string, bigint>> = {
  '+0': 0n,
  '+4K': 0x1000n,
  '+2M-4K': 0x1f_f000n,
  '+2M': 0x20_0000n,
};
interface Touches {
  readonly id: string;
  readonly knobs: { readonly backing: Backing };
  readonly touch: Readonly<Record<string, readonly string[]>>;
}
const rows = (table.rows as readonly unknown[] as readonly Touches[]).filter((r) => r.touch);

/** One process for each offset; what the last thing was that its touch gave. */
function touches(r: Touches, column: string): readonly string[] {
  const steps: readonly SeaStep[] = column === 'P4' ? [unmap(), inject({ at: ['hole'] })] : [inject()];
  const offsets = (r.touch['offsets'] ?? []).map((o) => V + (OFFSETS[o] as bigint));
  const g = guestVm(offsets, steps, {
    guest: { dataGpa: BLOCK },
    machine: {
      knobs: column === 'P1' ? { apei: 'claims' } : { capEnabled: 'on' },
      data: { gpa: BLOCK, backing: r.knobs.backing },
    },
  });
  const seen: string[] = [];
  const handler = (e: Exit): Verdict => {
    if (e.kind === 'mmio' && e.gpa === PORT.gpa) {
      if (Number(e.value & 0xffn) === SAYS.report) return stop('report');
      if (!seen.length) g.vm.poison(BLOCK);
      seen.push('OK');
      return resume;
    }
    const lsb = g.vm.signals.pending()[0]?.lsb;
    seen[seen.length - 1] =
      e.kind === 'intr'
        ? `CL(AR,${lsb})`
        : e.kind === 'arm-sea'
          ? `X(${e.esr.toString(16)})`
          : e.kind === 'mmio'
            ? `H1(${e.write ? 'w' : 'r'},${e.size})`
            : e.kind;
    return g.policy.handle(e) ?? stop(e.kind);
  };
  expect(g.vm.drive(handler, 200_000).why).toBe('report');
  // a touch that no exit interrupted has completed
  const past = records(g.vm).filter((x) => x.note === 'past').length;
  expect(past).toBe(seen.filter((s) => s === 'OK').length);
  return seen;
}

describe.each(rows.map((r) => [r.id, r] as const))('row %s, touched at +0, +4K, +2M-4K, +2M', (_, r) => {
  for (const [column, want] of Object.entries(r.touch))
    if (column !== 'offsets')
      it(`${column} -> ${want.join(', ')}`, () => expect(touches(r, column)).toEqual(want));
});

describe('after the end of a row', () => {
  it('7a: the next access meets the bad stage 2 table again; the guest’s RAM is fine', () => {
    const g = guestVm([V, V], [inject()]);
    g.vm.api<never, Arm64Api>('arm64').poisonStage2Table(VICTIMS.D.gpa, { level: 3, s1ptw: false });
    g.vm.poke(VICTIMS.D.gpa, 0x1234);
    expect(drive(g, [])).toBe('report');
    expect(deaths(g.vm)).toBe(2);
    expect(g.vm.peek(VICTIMS.D.gpa)).toBe(0x1234n);
  });
  it('12: after the TLBI the guest takes its own translation fault, level 3', () => {
    const r = scenarios.run('sea/12', { column: 'P2' });
    expect(r.outcome).toBe('RETRY');
    const ticks = r.log.filter((l) => / trap \+480 /.test(l));
    const pcs = new Set(ticks.map((l) => / elr=(\w+)/.exec(l)?.[1]));
    expect(ticks.length).toBeGreaterThanOrEqual(3);
    expect(pcs.size).toBe(1);
    expect(r.log.join('\n')).toMatch(/trap \+400 esr=92000007 far=400128/);
  });
});

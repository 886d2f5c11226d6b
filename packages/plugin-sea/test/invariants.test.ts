/** Section 7.2 as properties: over rows, columns, knobs and the way a machine is driven. */

import { assemble } from '@faultyard/arch-arm64';
import type { Exit } from '@faultyard/core';
import { cellKnobs, Ride, type ScenarioCase, type TableEntry, type Way } from '@faultyard/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SEA_KNOBS } from '../src/knobs.ts';
import { TABLE } from '../src/scenarios/generated/table.ts';
import { VICTIMS } from '../src/scenarios/guest/layout.ts';
import { STIMULI } from '../src/scenarios/guest/stimuli.ts';
import { Lab } from '../src/scenarios/lab.ts';
import { planOf } from '../src/scenarios/plan.ts';
import type { Seen } from '../src/scenarios/seen.ts';
import { bench, ELSEWHERE, I, V } from './support/bench.ts';

/** Rows that one CPU drives from one touch to its end. */
const ROWS = TABLE.rows.filter((r) => !r.gap && !/^(8|12|14|23)/.test(r.row));
const COLUMNS = Object.keys(TABLE.columns);
/** Knobs of hardware, host and KVM that change what an abort looks like, not how a VM is told of one. */
const FREE = [
  'apei',
  'hostRas',
  'vmRas',
  'set',
  'ea',
  'fnv',
  'wnrOnAtomics',
  'trappedIL',
  'walkRule',
  'atFailure',
  'guestRasGate',
  'injectFnV',
  'injectLevel',
  'injectIL',
  'serrorInjection',
  'vserrorTopByte',
  'serrorWhilePending',
  'deliverLoad',
  'deliverStore',
  'deliverFetch',
  'deliverWalk',
  'deliverCmo',
  'deliverAtomic',
] as const;

const knobsOf = (ids: readonly (typeof FREE)[number][]): fc.Arbitrary<Record<string, string>> =>
  fc
    .tuple(
      ...ids.map((id) =>
        fc.option(fc.constantFrom(...(SEA_KNOBS[id].values as readonly string[])), { freq: 3 }),
      ),
    )
    .map((values) =>
      Object.fromEntries(ids.flatMap((id, n) => (values[n] ? [[id, values[n] as string]] : []))),
    );
const way: fc.Arbitrary<Way> = fc.oneof(
  fc.constant<Way>({ kind: 'whole' }),
  fc.integer({ min: 1, max: 1 << 20 }).map((seed): Way => ({ kind: 'slices', seed, most: 17 })),
  fc.constant<Way>({ kind: 'moves' }),
);
/** Cases of some columns; `quiet` leaves alone what decides whether there is an abort that reaches KVM at all. */
const cases = (columns: readonly string[], quiet: boolean) =>
  fc.record({
    entry: fc.constantFrom(...ROWS),
    column: fc.constantFrom(...columns),
    set: knobsOf(
      quiet ? FREE.filter((id) => !/^(apei|hostRas|fnv|guestRas|walkRule|deliver)/.test(id)) : FREE,
    ),
    way,
  });

interface Run {
  readonly lab: Lab;
  readonly seen: readonly Seen[];
  readonly knobs: Readonly<Record<string, unknown>>;
  /** #D after every step of the policy. */
  readonly distinct: readonly number[];
}

function run(x: { entry: TableEntry; column: string; set: Record<string, string>; way: Way }): Run {
  const all = cellKnobs(TABLE, x.entry, x.column, x.set);
  const c: ScenarioCase = { ...x, knobs: all, ride: (make) => new Ride(make, x.way) };
  const lab = new Lab(c, planOf(c));
  lab.ready();
  if (!lab.stopped) lab.begin();
  const distinct: number[] = [];
  // a few steps say as much as a loop of a thousand
  for (let n = 0; n < 12 && !lab.done(0); n++) {
    const e = lab.next(undefined, 3000);
    if (e.kind === 'budget') break;
    lab.handle(e);
    distinct.push(lab.counters.pages);
  }
  return { lab, seen: lab.seen(), knobs: all, distinct };
}

const seas = (r: Run): readonly (Seen & { saw: 'sea' })[] => r.seen.filter((s) => s.saw === 'sea');
const bits = (esr: bigint, high: number, low: number): number =>
  Number((esr >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n));
/** A property; `check` says how many observations it had something to say about. */
const holds = (name: string, check: (r: Run) => number, columns = COLUMNS, quiet = false): void =>
  it(name, () => {
    let told = 0;
    fc.assert(
      fc.property(cases(columns, quiet), (x) => {
        told += check(run(x));
      }),
      { numRuns: 60, seed: 245_041 },
    );
    expect(told, 'observations').toBeGreaterThan(3);
  });

describe('invariants', () => {
  holds('exit 41 -> capability on, host RAS, not claimed; esr, flags, gva and gpa agree', (r) => {
    const k = r.knobs;
    for (const s of seas(r)) {
      expect(k['capEnabled']).toBe('on');
      expect(k['hostRas']).toBe('1');
      expect(['absent', 'fails', 'duplicate']).toContain(k['apei']);
      const mask = k['vmRas'] === '0' ? 0xfe00_077fn : 0xfe00_1f7fn;
      expect(s.esr & ~mask).toBe(0n);
      expect(s.flags & ~1n).toBe(0n);
      expect(s.gpa & 0xfffn).toBe(0n);
      if (s.flags === 0n) expect(s.gpa).toBe(0n);
      const fsc = bits(s.esr, 5, 0);
      expect([0x20, 0x24]).toContain(bits(s.esr, 31, 26));
      if (bits(s.esr, 10, 10)) {
        expect(s.gva).toBe(0n);
        if (fsc === 0x10) expect(s.flags).toBe(0n);
      }
      if (fsc >= 0x13 && fsc <= 0x17) {
        expect(s.flags).toBe(0n);
        expect(s.gva).toBe(r.lab.plan.v);
        expect(k['walkRule']).not.toBe('rfc1');
      }
    }
    return seas(r).length;
  });

  holds('one replay -> exactly one exception entry before the next, its ELR the aborting pc', (r) => {
    let open = false;
    let told = 0;
    for (const s of r.seen) {
      if (s.saw === 'replay') open = true;
      else if (
        s.saw === 'record' &&
        s.record.note === 'trap' &&
        bits(s.record.esr, 31, 26) !== 0x15 &&
        open
      ) {
        expect(s.record.elr).toBe(r.lab.touch.pc);
        open = false;
        told++;
      }
    }
    return told;
  });

  holds(
    '#D never falls, and repeats of a page leave it',
    (r) => {
      if (!r.lab.ride.machine.threshold) return 0;
      for (let n = 1; n < r.distinct.length; n++)
        expect(r.distinct[n]).toBeGreaterThanOrEqual(r.distinct[n - 1] as number);
      expect(r.distinct.at(-1) ?? 0).toBeLessThanOrEqual(1);
      return r.distinct.at(-1) ?? 0;
    },
    ['P5'],
    true,
  );

  holds(
    'a page cut out -> no further exit 41 for it',
    (r) => {
      const device = r.lab.plan.i === VICTIMS.device.gpa;
      if (r.knobs['hole'] !== 'memslot' || device) return 0;
      const named = seas(r).filter((s) => s.flags !== 0n);
      expect(new Set(named.map((s) => s.gpa)).size).toBe(named.length);
      return named.length;
    },
    ['P4'],
    true,
  );

  holds(
    'a claim -> never exit 41, and KVM makes no exception for the guest',
    (r) => {
      if (r.knobs['apei'] !== 'claims' || r.knobs['hostRas'] !== '1') return 0;
      if (['async', 'none'].some((d) => Object.values(r.knobs).includes(d))) return 0;
      // row 25 is about addresses outside all slots: KVM's own aborts, without an error
      if (r.lab.plan.damage.kind === 'none') return 0;
      expect(seas(r)).toEqual([]);
      const traps = r.seen.filter((s) => s.saw === 'record' && s.record.note === 'trap');
      expect(traps.filter((s) => s.saw === 'record' && bits(s.record.esr, 31, 26) !== 0x15)).toEqual([]);
      return 1;
    },
    ['P1'],
    true,
  );

  holds('no host physical address in anything the VMM sees', (r) => {
    const frame = r.lab.vm.stage2.frameOf(Number(r.lab.plan.i >> 12n));
    if (frame <= 0) return 0;
    const host = [BigInt(frame), BigInt(frame) << 12n];
    for (const s of seas(r)) for (const v of [s.esr, s.gva, s.gpa]) expect(host).not.toContain(v);
    for (const rec of r.lab.ride.machine.observe.records)
      for (const v of Object.values(rec)) expect(host).not.toContain(v);
    return seas(r).length;
  });
});

describe('exit 41 has no effect on the guest', () => {
  const quick = Object.values(STIMULI).filter(
    (s) => !s.fetch && !s.late && s.access !== 'casp x' && !/ivac|ivau|mrs/.test(s.access),
  );
  const registers = [
    'pc',
    'pstate',
    'sp',
    'esr_el1',
    'far_el1',
    'elr_el1',
    'spsr_el1',
    'par_el1',
    ...Array.from({ length: 31 }, (_, n) => `x${n}`),
  ];
  it('registers and RAM are equal before and after; re-running gives the same kvm_run page', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...quick),
        fc.array(fc.bigInt(0n, (1n << 64n) - 1n), { minLength: 31, maxLength: 31 }),
        (s, x) => {
          const b = bench({ set: { 'sea.capEnabled': 'on', 'sea.storeConsumes': 'sea' } });
          b.vm.write(0x8004_0000n, assemble(s.text, { origin: ELSEWHERE }).bytes);
          b.cpu.set('sctlr_el1', b.cpu.get('sctlr_el1') | (1n << 26n) | (1n << 14n));
          b.cpu.set('cpacr_el1', 3 << 20);
          for (let n = 1; n < 31; n++) b.cpu.set(`x${n}`, x[n] as bigint);
          b.cpu.set('x0', s.access === 'dc zva' ? V & ~63n : V);
          b.cpu.pc = ELSEWHERE;
          b.vm.poison(I);
          const state = (): unknown => [registers.map((r) => b.cpu.get(r)), [...b.vm.read(I, 4096)]];
          const before = state();
          const first: Exit = b.cpu.run(3);
          expect(first.kind).toBe('arm-sea');
          expect(state()).toEqual(before);
          const page = new Uint8Array(
            b.cpu.kvmRun.buffer,
            b.cpu.kvmRun.byteOffset,
            b.cpu.kvmRun.byteLength,
          ).slice();
          expect(b.cpu.run(3)).toEqual(first);
          const again = new Uint8Array(b.cpu.kvmRun.buffer, b.cpu.kvmRun.byteOffset, b.cpu.kvmRun.byteLength);
          expect([...again]).toEqual([...page]);
          expect(state()).toEqual(before);
        },
      ),
      { numRuns: 40, seed: 41 },
    );
  });
});

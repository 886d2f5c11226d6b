/**
 * The two-vCPU race over a passed-through BAR (memory-fault sheet 6.6): vCPU A writes COMMAND.MEM = 0 while vCPU B
 * accesses the BAR. Every interleaving of A's steps with B's fault, within two preemptions, is run; what B gets is
 * compared with the sheet's rows.
 */
import { readFileSync } from 'node:fs';
import {
  at,
  createVm,
  drive,
  explore,
  type Replay,
  replay,
  type Task,
  type Vcpu,
  type Vm,
  type World,
} from '@faultyard/core';
import { describe, expect, test } from 'vitest';
import { toy, toyAddi, toyHalt, toyLoad, toyStore } from '../src/index.ts';
import { Passthrough } from '../src/toy/passthrough.ts';

interface Row {
  readonly id: string;
  readonly L: string;
  readonly X: string;
}
const table = JSON.parse(
  readFileSync(new URL('../../core/test/data/race-T.json', import.meta.url), 'utf8'),
) as { readonly rows: readonly Row[]; readonly defaults: { readonly retryLimit: number } };

const RAM = 0x10_0000;
const BAR = 0x900_0000;
const CONFIG = 0xa00_0000;
const VALUE = 0x600d_600d;
const ONES = 0xffff_ffffn;
/** Point at which the toy enters the guest again after KVM said RETRY. */
const RETRY = 'toy.retry';

/** `L`: KVM only fails; `X`: KVM annotates and the VMM synchronises and retries (S0). */
type Policy = 'L' | 'X';

interface Setting {
  readonly policy: Policy;
  /** What the VMM does for A. Default: the config write that clears MEM. */
  readonly a?: (d: Passthrough) => Task<void>;
  /** B stores instead of loading. */
  readonly store?: boolean;
  /** L: how often the VMM runs B again after -EFAULT. */
  readonly retries?: number;
}

/** One race. */
interface Race extends World {
  /** What happened, in order: A's steps, and B's, which begin with `B.`. */
  readonly log: readonly string[];
  /** What B got, in the sheet's codes. */
  readonly codes: readonly string[];
  readonly vm: Vm;
}

function race(o: Setting): Race {
  const vm = createVm({
    arch: toy(),
    vcpus: 2,
    memslots: [{ gpa: BigInt(RAM), size: 0x10000n }],
    set: { faultPolicy: o.policy === 'X' ? 'exit' : 'legacy' },
  }) as unknown as Vm;
  const log: string[] = [];
  const codes: string[] = [];
  let stopped: string | undefined;
  const device = new Passthrough(vm, { bar: BAR }, (s) => log.push(s.startsWith('fault') ? `B.${s}` : s));
  const frame = vm.host.allocFrame();
  device.region.pages.put(0, frame);
  vm.host.dv.setUint32(frame * 4096, VALUE, true);
  const [a, b] = vm.vcpus as readonly [Vcpu, Vcpu];
  const put = (v: Vcpu, gpa: number, code: number[]): void => {
    vm.write(gpa, Uint8Array.from(code));
    v.pc = BigInt(gpa);
    // the code is mapped, so that every fault is one of the BAR
    drive(vm.stage2.fault({ gpa, write: false, exec: true, origin: 'hardware' }));
  };
  put(a, RAM, [...toyStore(4, 0, 0, CONFIG), ...toyHalt()]);
  const access = o.store ? [...toyAddi(2, 0, 0x77), ...toyStore(4, 2, 0, BAR)] : toyLoad(4, 1, 0, BAR);
  put(b, RAM + 0x1000, [...access, ...toyHalt()]);

  function* taskA(): Task<void> {
    yield* a.runTask();
    log.push('A0');
    yield at('A0');
    yield* (o.a ?? ((d) => d.configWrite(false)))(device);
    log.push('A3');
    yield* a.runTask();
  }

  /** B's KVM_RUN; notes the points it goes on from, and RETRY as it is answered. */
  function* runB() {
    const run = b.runTask();
    for (let s = run.next(); ; s = run.next()) {
      if (s.done) return s.value;
      if (s.value.at === RETRY) codes.push('RETRY');
      yield s.value;
      log.push(`B.${s.value.at}`);
    }
  }
  /** The VMM's handler of B's exits. */
  function* taskB(): Task<void> {
    for (let tries = 0; ; ) {
      const topology = device.topology;
      const from = log.length;
      const e = yield* runB();
      const since = log.slice(from);
      const waited = since.lastIndexOf('B.fault');
      if (
        waited >= 0 &&
        since.indexOf('K5', waited) > waited &&
        since.indexOf('B.fault.locked', waited) > since.indexOf('K5')
      )
        codes.push('BLOCK(K5)');
      if (e.kind === 'hlt') {
        const r1 = b.get('r1');
        codes.push(o.store ? 'done' : r1 === BigInt(VALUE) ? 'value' : r1 === ONES ? 'ones' : 'garbage');
        return;
      }
      if (e.kind === 'run-error') {
        codes.push('EF');
        if (tries++ >= (o.retries ?? 0)) {
          stopped = 'VM stops';
          return;
        }
        yield { at: 'EF', spins: true };
        continue;
      }
      codes.push(e.kind === 'mmio' ? 'MMIO' : e.kind === 'memory-fault' ? 'MF' : e.kind);
      yield* device.deviceLock.write();
      device.deviceLock.endWrite();
      if (e.kind === 'mmio') {
        if (!e.write) b.answer(e, ONES);
      } else if (device.topology === topology || ++tries > table.defaults.retryLimit) {
        stopped = 'no change of topology explains the fault';
        return;
      } else codes.push('S0');
    }
  }
  return { tasks: { A: taskA(), B: taskB() }, check: () => stopped, log, codes, vm };
}

interface Seen {
  readonly log: readonly string[];
  readonly code: string;
  readonly failure: string | undefined;
}

/** Runs every interleaving. */
function every(o: Setting, preemptions = 2): { readonly runs: readonly Seen[]; readonly complete: boolean } {
  const runs: Seen[] = [];
  const make = (): World => {
    const r = race(o);
    const check = (): string | undefined => {
      const failure = r.check();
      runs.push({ log: r.log, code: r.codes.join(' > '), failure });
      r.vm.dispose();
      return failure;
    };
    return { tasks: r.tasks, check };
  };
  const { complete } = explore(make, { preemptions, first: false });
  return { runs, complete };
}

/** Rows T1 to T7 that B's attempts met, by when they looked things up; from the log alone. */
function rowsOf(log: readonly string[]): string[] {
  const when = (step: string): number => (log.includes(step) ? log.indexOf(step) : Infinity);
  const rows: string[] = [];
  const entries = log.flatMap((s, i) => (s === 'B.vcpu1.entry' ? [i] : []));
  for (const [n, entry] of entries.entries()) {
    const end = entries[n + 1] ?? log.length;
    const find = (step: string): number => {
      const i = log.indexOf(step, entry);
      return i >= 0 && i < end ? i : Infinity;
    };
    const lookup = find('B.fault.lookup');
    const called = find('B.fault');
    const locked = find('B.fault.locked');
    const mapped = find('B.fault.map');
    const within = (at: number, from: string, to: string): boolean => at > when(from) && at < when(to);
    if (lookup === Infinity) {
      // no fault: the mapping was there, or no slot was
      if (entry < when('K2.start')) rows.push('T1');
      else if (entry > when('M3')) rows.push('T7');
    } else if (within(lookup, 'M1', 'M3')) rows.push('T6');
    else if (within(lookup, 'K2.start', 'K2.end')) rows.push('T3');
    else if (called < when('K5') && locked > when('K5')) rows.push('T4');
    else if (called !== Infinity && called > when('K5')) rows.push('T5');
    else if (mapped > when('K2.start') && lookup < when('K2.start')) rows.push('T2');
    // the instruction is done with this attempt
    if (rows.at(-1) === 'T1' || rows.at(-1) === 'T7') break;
  }
  return rows;
}

/** What the sheet says B gets when its attempts meet these rows. A row that goes on as another ends there. */
function expectedCode(rows: readonly string[], policy: Policy): string {
  const out: string[] = [];
  for (const id of rows) {
    const code = (table.rows.find((r) => r.id === id) as Row)[policy].split(' > ');
    for (const token of code) {
      if (/^T\d/.test(token)) break;
      out.push(token.replace('*', ''));
      // the next attempt is the next row's
      if (token === 'S0') break;
    }
  }
  return out.join(' > ');
}

describe.each(['L', 'X'] as const)('MEM cleared against a load from the BAR, policy %s', (policy) => {
  const { runs, complete } = every({ policy });
  const rows = runs.map((r) => rowsOf(r.log));

  test('every interleaving within two preemptions was run', () => {
    expect(complete).toBe(true);
    expect(runs.length).toBeGreaterThan(250);
  });
  test.each(['T1', 'T2', 'T3', 'T4', 'T5', 'T6', 'T7'])('row %s is met', (id) => {
    expect(rows.some((r) => r.includes(id))).toBe(true);
  });
  test('what B gets -> the sheet: the code of its row, in every run', () => {
    const wrong = runs
      .map((r, i) => ({ ...r, rows: rows[i] as string[] }))
      .filter((r) => r.code !== expectedCode(r.rows, policy))
      .map((r) => `${r.rows} gives ${r.code}, expected ${expectedCode(r.rows, policy)}: ${r.log.join(' ')}`);
    expect(wrong).toEqual([]);
  });
  test(`T4 and T5 -> the VM ${policy === 'L' ? 'stops' : 'goes on'}`, () => {
    for (const [i, r] of runs.entries()) {
      const bad = rows[i]?.some((id) => id === 'T4' || id === 'T5');
      expect(r.failure).toBe(bad && policy === 'L' ? 'VM stops' : undefined);
    }
  });
});

test('policy L -> explore finds the failing order; one line replays it', () => {
  const make = (): World => race({ policy: 'L' });
  const found = explore(make);
  expect(found.failures.map((f) => f.failure)).toEqual(['VM stops']);
  const { schedule } = found.failures[0] as Replay;
  expect(schedule).toMatch(/^([AB](\*\d+)? ?)+$/);
  const again = race({ policy: 'L' });
  expect(replay(() => again, schedule)).toEqual(found.failures[0]);
  expect(['T4', 'T5']).toContain(rowsOf(again.log).at(-1));
  const handled = race({ policy: 'X' });
  expect(() => replay(() => handled, schedule)).toThrow(/FY_SCHEDULE/);
});

const toggle = (keepSlot: boolean) =>
  function* (d: Passthrough): Task<void> {
    yield* d.configWrite(false, keepSlot);
    yield* d.configWrite(true, keepSlot);
  };
const ends = (runs: readonly Seen[]): Set<string> =>
  new Set(runs.map((r) => r.code.split(' > ').at(-1) as string));

describe('MEM cleared and set again', () => {
  test('T8, policy X: B faults, A sets MEM again before the handler -> MF, S0, the device value', () => {
    const { runs } = every({ policy: 'X', a: toggle(false) }, 1);
    expect(runs.some((r) => r.code.endsWith('MF > S0 > value'))).toBe(true);
    expect(runs.filter((r) => r.failure)).toEqual([]);
    expect([...ends(runs)].sort()).toEqual(['ones', 'value']);
  });
  test('T8, policy L: a VMM that retries -> EF, the device value; one that does not stops', () => {
    const tolerant = every({ policy: 'L', a: toggle(false), retries: 8 }, 1);
    expect(tolerant.runs.some((r) => r.code.endsWith('EF > value'))).toBe(true);
    expect([...ends(tolerant.runs)].every((c) => ['value', 'ones', 'EF'].includes(c))).toBe(true);
    const strict = every({ policy: 'L', a: toggle(false) }, 1);
    expect(strict.runs.some((r) => r.failure === 'VM stops')).toBe(true);
  });
  test('T9, policy X: the slot stays while MEM toggles -> MF, S0, the device value; never MMIO', () => {
    const { runs } = every({ policy: 'X', a: toggle(true) }, 1);
    expect(runs.some((r) => r.code.endsWith('MF > S0 > value'))).toBe(true);
    expect(runs.filter((r) => r.code.includes('MMIO'))).toEqual([]);
    // S0 gives up (S1 is next) only where fault and handler both lie between the two writes
    for (const { log, failure } of runs)
      if (failure) expect(log.lastIndexOf('B.vcpu1.entry')).toBeGreaterThan(log.indexOf('A2'));
  });
  test('T10, policy X: a store in the window -> MF, S0, done late on the enabled device', () => {
    let late = 0;
    explore(
      () => {
        const r = race({ policy: 'X', store: true, a: toggle(false) });
        const check = (): undefined => {
          if (r.codes.join(' > ').endsWith('MF > S0 > done')) {
            expect(r.vm.peek(BAR, 4)).toBe(0x77n);
            late++;
          }
          r.vm.dispose();
        };
        return { tasks: r.tasks, check };
      },
      { preemptions: 1, first: false },
    );
    expect(late).toBeGreaterThan(0);
  });
  test.each(['L', 'X'] as const)(
    'T13, policy %s: a reset instead -> B blocks until its end, then the value',
    (policy) => {
      const { runs } = every({ policy, a: (d) => d.reset() });
      expect(ends(runs)).toEqual(new Set(['value']));
      expect(runs.some((r) => r.code === 'BLOCK(K5) > value')).toBe(true);
      expect(runs.filter((r) => /EF|MF|MMIO/.test(r.code))).toEqual([]);
    },
  );
});

import { describe, expect, test } from 'vitest';
import { at, drive, explore, FaultyardError, Lock, replay, type Task, type World } from '../src/index.ts';

/** Two tasks that add 1 to a number in two steps. */
function counters(): World {
  let n = 0;
  function* add(): Task<void> {
    const seen = n;
    yield at('between');
    n = seen + 1;
  }
  return { tasks: { A: add(), B: add() }, check: () => (n === 2 ? undefined : `n is ${n}`) };
}

/** Two tasks that take two locks in different orders. */
function crossed(): World {
  const [p, q] = [new Lock('p'), new Lock('q')];
  function* both(x: Lock, y: Lock): Task<void> {
    yield* x.write();
    yield* y.write();
    y.endWrite();
    x.endWrite();
  }
  return { tasks: { A: both(p, q), B: both(q, p) }, check: () => undefined };
}

describe('explore', () => {
  test('a lost update -> found, with the order that loses it; replay gives the same', () => {
    const e = explore(counters);
    const [f] = e.failures;
    expect(f).toMatchObject({ schedule: 'A B*2 A', failure: 'n is 1', points: ['A@between', 'B@between'] });
    expect(replay(counters, 'A B*2 A')).toEqual(f);
  });
  test('every interleaving of two tasks of two steps -> six runs, and which of them fail', () => {
    const e = explore(counters, { first: false });
    expect(e).toMatchObject({ runs: 6, complete: true });
    expect(e.failures.map((f) => f.schedule)).toEqual(['A B*2 A', 'A B A B', 'B A*2 B', 'B A B A']);
  });
  test('no preemption allowed -> only whole tasks, nothing found', () => {
    expect(explore(counters, { preemptions: 0 })).toEqual({ runs: 2, complete: true, failures: [] });
  });
  test('locks taken in different orders -> a deadlock that names tasks and locks', () => {
    const [f] = explore(crossed).failures;
    expect(f?.failure).toBe('deadlock: A at lock.q waits for q; B at lock.p waits for p');
    expect(replay(crossed, f?.schedule ?? '')).toEqual(f);
  });
  test('a task that spins -> another goes first, so the run ends', () => {
    const make = (): World => {
      let ready = false;
      function* spin(): Task<void> {
        while (!ready) yield { at: 'again', spins: true };
      }
      function* set(): Task<void> {
        yield at('before');
        ready = true;
      }
      return { tasks: { A: spin(), B: set() }, check: () => undefined };
    };
    expect(explore(make, { first: false, steps: 50 })).toMatchObject({ complete: true, failures: [] });
  });
  test('a bound on runs -> said to be incomplete', () => {
    expect(explore(counters, { first: false, runs: 2 })).toMatchObject({ runs: 2, complete: false });
  });
});

describe('replay', () => {
  test.each([
    ['A*9', 'A cannot go on'],
    ['A', 'it ends while'],
    ['C', 'C cannot go on'],
    ['A**2', 'cannot read A**2'],
  ])('schedule %s -> FY_SCHEDULE: %s', (schedule, why) => {
    expect(() => replay(counters, schedule)).toThrow(FaultyardError);
    expect(() => replay(counters, schedule)).toThrow(why);
  });
});

test('drive alone at a lock that is held -> FY_DEADLOCK', () => {
  const l = new Lock('memory_lock');
  drive(l.write());
  expect(() => drive(l.read())).toThrow(/FY_DEADLOCK.*alone at lock\.memory_lock, waiting for memory_lock/);
});

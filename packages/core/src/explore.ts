/** Enumerates the interleavings of tasks, finds one that fails, and replays it from one line. */
import { FaultyardError } from './errors.ts';
import type { Task, YieldPoint } from './task.ts';

/** A fresh world with its tasks; made again for every schedule, so it must not share state with another. */
export interface World {
  /** Tasks by name, in the order in which they are preferred. */
  readonly tasks: Readonly<Record<string, Task<unknown>>>;
  /** Asked when every task has ended: what is wrong, or nothing. */
  check(): string | undefined;
}

/** One complete run under one schedule. */
export interface Replay {
  /** `A*2 B A`: which task took how many steps in a row. */
  readonly schedule: string;
  /** What is wrong, or nothing. */
  readonly failure?: string;
  /** Points passed, `task@point`. */
  readonly points: readonly string[];
}

/** Result of {@link explore}. */
export interface Exploration {
  /** Schedules run. */
  readonly runs: number;
  /** Whether every schedule within the bound was run. */
  readonly complete: boolean;
  /** Failing schedules, in the order they were found. */
  readonly failures: readonly Replay[];
}

/** Bounds of {@link explore}. */
export interface ExploreOptions {
  /** How often a task that could go on is set aside for another. Default 2. */
  readonly preemptions?: number;
  /** Most schedules to run. Default 10,000. */
  readonly runs?: number;
  /** Stop at the first failure. Default true. */
  readonly first?: boolean;
  /** Most steps of one run, against tasks that never end. Default 100,000. */
  readonly steps?: number;
}

interface Choice {
  readonly enabled: readonly string[];
  taken: number;
}

/**
 * Runs every interleaving of the world's tasks with at most `preemptions` preemptions, depth first, replaying
 * prefixes from a fresh world.
 * A deadlock is a failure like any other: it names the waiting tasks, nothing is thrown.
 */
export function explore(make: () => World, o: ExploreOptions = {}): Exploration {
  const most = o.runs ?? 10_000;
  const bound = o.preemptions ?? 2;
  const failures: Replay[] = [];
  const path: Choice[] = [];
  let runs = 0;
  for (;;) {
    const r = once(make(), path, bound, o.steps ?? 100_000);
    runs++;
    if (r.failure !== undefined) {
      failures.push(r);
      if (o.first ?? true) return { runs, complete: false, failures };
    }
    while (
      path.length &&
      (path[path.length - 1] as Choice).taken + 1 >= (path[path.length - 1] as Choice).enabled.length
    )
      path.pop();
    const last = path[path.length - 1];
    if (!last) return { runs, complete: true, failures };
    if (runs >= most) return { runs, complete: false, failures };
    last.taken++;
  }
}

/**
 * Runs one schedule as {@link explore} printed it.
 * @throws FaultyardError FY_SCHEDULE when it names a task that is absent, ended or not ready.
 */
export function replay(make: () => World, schedule: string): Replay {
  const world = make();
  const run = new Run(world);
  const refuse = (why: string): never => {
    throw new FaultyardError('FY_SCHEDULE', {
      schedule,
      why,
      fix: 'use a line printed by explore for this world',
    });
  };
  for (const word of schedule.trim().split(/\s+/)) {
    const m = /^([^*\s]+)(?:\*(\d+))?$/.exec(word) ?? refuse(`cannot read ${word}`);
    for (let n = Number(m[2] ?? 1); n > 0; n--) {
      const name = m[1] as string;
      if (!run.enabled().includes(name)) refuse(`${name} cannot go on after ${run.line() || 'the start'}`);
      run.step(name);
    }
  }
  if (run.enabled().length) refuse(`it ends while ${run.enabled().join(', ')} can still go on`);
  return run.result();
}

/** One run: the tasks, where each stands, and the steps taken. */
class Run {
  readonly #world: World;
  readonly #at = new Map<string, YieldPoint | undefined>();
  readonly #steps: string[] = [];
  readonly #points: string[] = [];
  constructor(world: World) {
    this.#world = world;
    for (const name of Object.keys(world.tasks)) this.#at.set(name, undefined);
  }
  get last(): string | undefined {
    return this.#steps[this.#steps.length - 1];
  }
  get length(): number {
    return this.#steps.length;
  }
  /** Tasks that can take a step, the one that took the last step first. */
  enabled(): string[] {
    const last = this.last;
    const ready = [...this.#at].filter(([, p]) => p?.ready?.() ?? true).map(([n]) => n);
    const others = ready.filter((n) => n !== last);
    const names = last !== undefined && others.length && this.#at.get(last)?.spins ? others : ready;
    return last !== undefined && names.includes(last) ? [last, ...names.filter((n) => n !== last)] : names;
  }
  step(name: string): void {
    const s = (this.#world.tasks[name] as Task<unknown>).next();
    this.#steps.push(name);
    if (s.done) this.#at.delete(name);
    else {
      this.#at.set(name, s.value);
      this.#points.push(`${name}@${s.value.at}`);
    }
  }
  line(): string {
    const out: [string, number][] = [];
    for (const n of this.#steps) {
      const l = out[out.length - 1];
      if (l && l[0] === n) l[1]++;
      else out.push([n, 1]);
    }
    return out.map(([n, k]) => (k > 1 ? `${n}*${k}` : n)).join(' ');
  }
  result(cut?: string): Replay {
    const stuck = [...this.#at].map(
      ([n, p]) => `${n} at ${p?.at ?? 'its start'} waits for ${p?.waits ?? 'its turn'}`,
    );
    const failure = cut ?? (stuck.length ? `deadlock: ${stuck.join('; ')}` : this.#world.check());
    return { schedule: this.line(), points: this.#points, ...(failure === undefined ? {} : { failure }) };
  }
}

function once(world: World, path: Choice[], bound: number, steps: number): Replay {
  const run = new Run(world);
  let preempted = 0;
  for (let depth = 0; ; depth++) {
    let enabled = run.enabled();
    if (!enabled.length) return run.result();
    if (run.length >= steps) return run.result(`not ended after ${steps} steps`);
    const canGoOn = run.last !== undefined && enabled[0] === run.last;
    if (canGoOn && preempted >= bound) enabled = enabled.slice(0, 1);
    let c = path[depth];
    if (!c) {
      c = { enabled, taken: 0 };
      path.push(c);
    }
    const name = c.enabled[c.taken] as string;
    if (canGoOn && name !== run.last) preempted++;
    run.step(name);
  }
}

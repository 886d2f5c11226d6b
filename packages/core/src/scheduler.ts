/** Which vCPU runs next, and for how many instructions. */
import { FaultyardError } from './errors.ts';
import type { Exit, ExitKind } from './exit.ts';
import { checkBudget, type Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/**
 * How {@link Scheduler.run} interleaves vCPUs:
 * - `round-robin`: rounds of `quantum` instructions each, in order of number;
 * - `random`: rounds of 1..`quantum` instructions in an order drawn from `seed`;
 * - `list`: explicit steps `0*100 1*3 0` (vCPU, times instructions), then round robin.
 */
export type Schedule =
  | { readonly kind: 'round-robin'; readonly quantum?: number }
  | { readonly kind: 'random'; readonly seed: number; readonly quantum?: number }
  | { readonly kind: 'list'; readonly steps: string };

/** Instructions a vCPU gets in one round by default. */
export const DEFAULT_QUANTUM = 10_000;

/** A vCPU, and the instructions it has left. */
interface Turn {
  readonly vcpu: number;
  left: number;
}

/** Where a schedule stands. */
export interface SchedulerImage {
  /** Explicit steps still to come. */
  readonly steps: readonly { readonly vcpu: number; readonly left: number }[];
  /** State of the random sequence. */
  readonly seed: number;
  /** What is left of the round under way, and its end in virtual ns. */
  readonly round: readonly { readonly vcpu: number; readonly left: number }[];
  readonly end: number;
  readonly inRound: boolean;
}

/** Steps the vCPUs of a VM through virtual time. */
export class Scheduler {
  readonly #vm: Vm;
  #schedule: Schedule = { kind: 'round-robin' };
  #steps: Turn[] = [];
  #seed = 1;
  /** vCPUs still to run in the round under way, each with the instructions it has left in it. */
  #round: Turn[] = [];
  /** End of the round in virtual ns. */
  #end = 0;
  #inRound = false;

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  /** Whether a round is under way: a vCPU's time is then its own until the round ends. */
  get inRound(): boolean {
    return this.#inRound;
  }

  /** The schedule in force. */
  get schedule(): Schedule {
    return this.#schedule;
  }
  /**
   * Replaces the schedule; the round under way is dropped.
   * @throws FaultyardError FY_SCHEDULE for steps that cannot be read or name no vCPU.
   */
  set schedule(s: Schedule) {
    this.#steps = s.kind === 'list' ? parseSteps(s.steps, this.#vm.vcpus.length) : [];
    if (s.kind === 'random') this.#seed = s.seed | 0 || 1;
    this.#schedule = s;
    this.#round = [];
  }

  /** A vCPU is run on its own: no round is under way any more. */
  alone(): void {
    if (this.#inRound) this.#close();
  }
  /** A vCPU's time moved on; outside rounds the clock follows. */
  passed(v: { readonly now: number }): void {
    if (!this.#inRound) this.#vm.clock.advanceTo(v.now);
  }

  /**
   * Steps the schedule to the next exit of any vCPU.
   * @throws FaultyardError FY_ARGUMENT for a budget that is no positive whole number.
   */
  run<E extends ExitKind>(vcpus: readonly Vcpu<E>[], budget: number): Exit<E> {
    checkBudget(budget);
    let left = budget;
    let last = vcpus[0] as Vcpu<E>;
    while (left > 0) {
      if (!this.#round.length && !this.#open(vcpus)) {
        // nobody can run, and nothing will wake anybody
        const idle = vcpus.find((v) => v.arch.power === 'on') ?? last;
        this.#vm.signals.kick(idle.id);
        return idle.run();
      }
      const turn = this.#round[0] as Turn;
      const v = vcpus[turn.vcpu] as Vcpu<E>;
      last = v;
      const n = Math.min(turn.left, left);
      const before = v.retired;
      const out = (v.open ? undefined : v.begin()) ?? v.enterGuest(n);
      const ran = v.retired - before;
      left -= ran;
      turn.left -= ran;
      if (out === 'wait' || turn.left <= 0) this.#round.shift();
      if (out === 'wait') v.now = Math.max(v.now, Math.min(this.#end, v.arch.deadline()));
      if (!this.#round.length) this.#close();
      if (typeof out === 'object') return out;
    }
    last.open = false;
    return last.spent(budget);
  }

  /** Opens a round at the clock's time; `false` when nobody can ever run. */
  #open(vcpus: readonly Vcpu[]): boolean {
    const clock = this.#vm.clock;
    const ns = clock.nsPerInstruction;
    for (let jumped = false; ; ) {
      const ready = vcpus.filter((v) => v.arch.power === 'on' && v.arch.runnable());
      const due = Math.min(
        clock.next()?.when ?? Infinity,
        ...vcpus.filter((v) => !ready.includes(v)).map((v) => v.arch.deadline()),
      );
      if (!ready.length) {
        if (due === Infinity || jumped) return false;
        clock.advanceTo(due);
        for (const v of vcpus) v.now = Math.max(v.now, clock.now);
        jumped = true;
        continue;
      }
      const picked = this.#pick(ready);
      const q = Math.max(1, Math.min(picked.quantum, Math.ceil((due - clock.now) / ns)));
      this.#round = picked.order.map((v) => ({ vcpu: v.id, left: q }));
      this.#end = clock.now + q * ns;
      for (const v of vcpus) v.now = clock.now;
      this.#inRound = true;
      return true;
    }
  }
  #pick(ready: readonly Vcpu[]): { order: readonly Vcpu[]; quantum: number } {
    const step = this.#steps.find((s) => ready.some((v) => v.id === s.vcpu));
    if (step) {
      this.#steps.splice(this.#steps.indexOf(step), 1);
      return { order: ready.filter((v) => v.id === step.vcpu), quantum: step.left };
    }
    const s = this.#schedule;
    const quantum = (s.kind === 'list' ? undefined : s.quantum) ?? DEFAULT_QUANTUM;
    if (s.kind !== 'random') return { order: ready, quantum };
    const order = [...ready];
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.#draw(i + 1);
      [order[i], order[j]] = [order[j] as Vcpu, order[i] as Vcpu];
    }
    return { order, quantum: 1 + this.#draw(quantum) };
  }
  #draw(below: number): number {
    let x = this.#seed;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#seed = x;
    return (x >>> 0) % below;
  }
  #close(): void {
    this.#inRound = false;
    this.#round = [];
    const last = this.#vm.vcpus.reduce((t, v) => Math.max(t, Math.min(v.now, this.#end)), 0);
    this.#vm.clock.advanceTo(last);
  }

  /** For snapshots: where the schedule stands. */
  save(): SchedulerImage {
    const copy = (l: readonly Turn[]): Turn[] => l.map((t) => ({ ...t }));
    return {
      steps: copy(this.#steps),
      seed: this.#seed,
      round: copy(this.#round),
      end: this.#inRound ? this.#end : 0,
      inRound: this.#inRound,
    };
  }
  /** For snapshots. */
  restore(s: SchedulerImage): void {
    this.#steps = s.steps.map((x) => ({ ...x }));
    this.#seed = s.seed;
    this.#round = s.round.map((x) => ({ ...x }));
    this.#end = s.end;
    this.#inRound = s.inRound;
  }
}

function parseSteps(text: string, vcpus: number): Turn[] {
  return text
    .trim()
    .split(/\s+/)
    .filter((w) => w)
    .map((w) => {
      const m = /^(\d+)(?:\*(\d+))?$/.exec(w);
      const vcpu = Number(m?.[1]);
      const left = Number(m?.[2] ?? 1);
      if (!m || vcpu >= vcpus || !(left > 0))
        throw new FaultyardError('FY_SCHEDULE', {
          schedule: text,
          why: `step ${w} is not <vcpu>*<instructions> with a vcpu below ${vcpus}`,
          fix: 'write steps like 0*100 1*3 0',
        });
      return { vcpu, left };
    });
}

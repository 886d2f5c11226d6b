/** Rides: one machine driven whole, in slices, or from VM to VM, with the same result each way. */
import {
  DEFAULT_BUDGET,
  type Driven,
  type Exit,
  type ExitKind,
  type Verdict,
  type Vm,
} from '@faultyard/core';

/** A VM with what its VMM does with exits. Everything that changes later lives in the VM's cells. */
export interface Machine {
  readonly vm: Vm;
  /** The VMM; not needed by rides that only {@link Ride.run}. */
  handler?(exit: Exit, vm: Vm): Verdict;
}

/**
 * How a machine is driven:
 * - `whole`: as it is;
 * - `slices`: every run is cut into pieces of 1..`most` instructions, drawn from `seed`;
 * - `moves`: at every exit the state moves into a new VM;
 * - `cuts`: slices, and at up to `cuts` of them the state moves into a new VM.
 */
export type Way =
  | { readonly kind: 'whole' }
  | { readonly kind: 'slices'; readonly seed: number; readonly most?: number }
  | { readonly kind: 'moves' }
  | { readonly kind: 'cuts'; readonly seed: number; readonly most?: number; readonly cuts?: number };

/** A seeded sequence of integers 1..`most` (xorshift32). */
export function draws(seed: number): (most: number) => number {
  let x = Math.imul(seed, 0x9e3779b1) | 1;
  return (most) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return 1 + ((x >>> 0) % most);
  };
}

/** A machine on its way. */
export class Ride<M extends Machine = Machine> {
  /** Kinds of exit so far, in order; slices' ends are not among them. */
  readonly exits: ExitKind[] = [];
  readonly #make: () => M;
  readonly #way: Way;
  readonly #draw: (most: number) => number;
  #machine: M;
  #cuts = 0;

  constructor(make: () => M, way: Way = { kind: 'whole' }) {
    this.#make = make;
    this.#way = way;
    this.#draw = draws('seed' in way ? way.seed : 1);
    this.#machine = make();
  }

  /** The machine as it is now. Do not keep it: a move replaces it. */
  get machine(): M {
    return this.#machine;
  }
  /** The VM as it is now. Do not keep it. */
  get vm(): M['vm'] {
    return this.#machine.vm;
  }
  /** Instructions retired by all vCPUs. */
  get instructions(): number {
    return this.vm.vcpus.reduce((n, v) => n + v.retired, 0);
  }

  /** Moves the state into a newly made machine and gives the old one's memory back. */
  move(): void {
    const old = this.#machine;
    const snapshot = old.vm.snapshot();
    this.#machine = this.#make();
    this.#machine.vm.restore(snapshot);
    snapshot.dispose();
    old.vm.dispose();
  }

  /**
   * Runs to the next exit of the schedule (`vcpu` absent) or of one vCPU.
   * @param budget instructions after which a `budget` exit is returned.
   */
  run(vcpu?: number, budget: number = DEFAULT_BUDGET): Exit {
    const way = this.#way;
    const sliced = way.kind === 'slices' || way.kind === 'cuts';
    for (let left = budget; ; ) {
      const n = sliced ? Math.min(left, this.#draw(way.most ?? 64)) : left;
      const e: Exit = vcpu === undefined ? this.vm.run(n) : this.#vcpu(vcpu).run(n);
      if (e.kind === 'budget' && left > n) {
        left -= n;
        if (way.kind === 'cuts' && this.#cuts < (way.cuts ?? 100)) {
          this.#cuts++;
          this.move();
        }
        continue;
      }
      this.exits.push(e.kind);
      if (way.kind === 'moves' || way.kind === 'cuts') this.move();
      return e;
    }
  }
  #vcpu(id: number): Vm['vcpus'][number] {
    return this.vm.vcpus[id] as Vm['vcpus'][number];
  }

  /** Answers a load exit. */
  answer(exit: Exit, value: bigint | number | readonly (bigint | number)[]): void {
    this.#vcpu(exit.vcpu).answer(exit, value);
  }

  /** Run, the machine's handler, settle, until it stops. */
  drive(vcpu?: number, budget: number = DEFAULT_BUDGET): Driven<ExitKind> {
    for (let exits = 1; ; exits++) {
      const exit = this.run(vcpu, budget);
      const v: Verdict = this.#machine.handler?.(exit, this.vm) ?? {
        verdict: 'stop',
        why: `no handler for ${exit.kind}`,
      };
      if (v.verdict === 'stop') return { why: v.why, exit, exits };
      if (v.verdict === 'answer') this.answer(exit, v.value);
    }
  }
}

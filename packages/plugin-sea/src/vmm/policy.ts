/**
 * A VMM's policy for external aborts, composed of steps: observe, isolate, inject, count, restart. All three doors
 * lead here: exit 41 (unclaimed), SIGBUS (claimed), and later accesses to pages that the policy itself took away.
 */
import { type Exit, FaultyardError, type Plain, type Vcpu, type Verdict, type Vm } from '@faultyard/core';
import { fromExit, levelOf, type SeaEvent } from './event.ts';

/** What a step decides: go on with the next step, or end here. */
export type StepResult = 'next' | Verdict;

/** One step of a policy. */
export interface SeaStep {
  /** `observe`, `unmap`, `inject`, `threshold`, `ignore`, `kill`, or a name of your own. */
  readonly name: string;
  /** Sees every event, in the order of the list. */
  on(e: SeaEvent, p: SeaPolicy): StepResult;
  /** State that snapshots keep. */
  save?(): Plain;
  /** Takes what {@link save} gave. */
  restore?(v: Plain): void;
}

interface SavedPolicy {
  readonly events: number;
  readonly isolated: readonly (readonly [number, readonly number[]])[];
  readonly steps: Readonly<Record<string, Plain>>;
}

/** A composed policy; call {@link SeaPolicy.handle} from the VMM's exit handler. */
export class SeaPolicy {
  readonly vm: Vm;
  readonly steps: readonly SeaStep[];
  #events = 0;
  /** Pages taken away, as gpa / 4096, with the time of every vCPU then. */
  #isolated = new Map<number, readonly number[]>();

  /**
   * Composes steps for a VM and keeps their state in its cell `sea.vmm`.
   * @throws FaultyardError FY_POLICY when two steps have one name.
   */
  constructor(vm: Vm, steps: readonly SeaStep[]) {
    this.vm = vm;
    this.steps = steps;
    const twice = steps.find((s, i) => steps.findIndex((t) => t.name === s.name) !== i);
    if (twice)
      throw new FaultyardError('FY_POLICY', {
        policy: 'sea',
        why: `two steps are named ${twice.name}`,
        fix: 'keep one',
      });
    vm.keep({
      name: 'sea.vmm',
      version: 1,
      side: 'vmm',
      read: () => ({
        events: this.#events,
        isolated: [...this.#isolated].sort(([a], [b]) => a - b),
        steps: Object.fromEntries(steps.map((s) => [s.name, s.save?.() ?? null])),
      }),
      write: (v) => {
        const s = v as unknown as SavedPolicy;
        this.#events = s.events;
        this.#isolated = new Map(s.isolated);
        for (const step of steps)
          if (step.restore && step.name in s.steps) step.restore(s.steps[step.name] as Plain);
      },
    });
  }

  /** Events seen so far. */
  get events(): number {
    return this.#events;
  }
  /** Whether a page was taken away. */
  isolated(gpa: bigint): boolean {
    return this.#isolated.has(Number(gpa >> 12n));
  }
  /** Remembers that a page was taken away. */
  markIsolated(gpa: bigint): void {
    this.#isolated.set(
      Number(gpa >> 12n),
      this.vm.vcpus.map((v) => v.now),
    );
  }
  /**
   * Whether an abort came from a page after it was taken away. An exit that another vCPU had made already when the
   * page went does not count: that vCPU has not run since.
   */
  hitAgain(e: SeaEvent): boolean {
    const since = e.gpa === undefined ? undefined : this.#isolated.get(Number(e.gpa >> 12n));
    return e.door === 'exit' && since !== undefined && e.time > (since[e.vcpu] ?? Infinity);
  }

  /**
   * Handles an exit if it is this policy's business; `undefined` leaves it to the VMM's other handlers.
   */
  handle(exit: Exit): Verdict | undefined {
    const e = this.#event(exit);
    if (!e) return undefined;
    for (const s of this.steps) {
      const r = s.on(e, this);
      if (r !== 'next') return r;
    }
    return { verdict: 'run' };
  }

  #event(exit: Exit): SeaEvent | undefined {
    const vcpu = this.vm.vcpus[exit.vcpu] as Vcpu;
    switch (exit.kind) {
      case 'arm-sea':
        return fromExit(exit, vcpu, ++this.#events);
      case 'intr':
        return this.#signal(vcpu);
      case 'mmio':
        return this.#hole(vcpu, exit.gpa);
      case 'arm-nisv':
        return this.#hole(vcpu, exit.faultIpa);
      case 'memory-fault':
        return exit.flags & 16n ? this.#hole(vcpu, exit.gpa) : undefined;
      case 'run-error':
        // -ENOSYS tells nothing: only a VMM that took pages away and asks KVM for no syndrome can guess
        return exit.errno === 'ENOSYS' && this.#isolated.size ? this.#hole(vcpu) : undefined;
      default:
        return undefined;
    }
  }
  #signal(vcpu: Vcpu): SeaEvent | undefined {
    const s = this.vm.signals.drain({ vcpu: vcpu.id }).find((x) => x.code === 'BUS_MCEERR_AR');
    if (!s) return undefined;
    const gpa = s.addr === undefined ? undefined : this.vm.memory.gpaOf(s.addr);
    return {
      id: ++this.#events,
      door: 'sigbus',
      vcpu: vcpu.id,
      time: vcpu.now,
      ...(gpa === undefined ? {} : { gpa: BigInt(gpa) }),
      ...(s.lsb === undefined ? {} : { lsb: s.lsb }),
      el: levelOf(vcpu),
      pc: vcpu.pc,
    };
  }
  #hole(vcpu: Vcpu, gpa?: bigint): SeaEvent | undefined {
    if (gpa !== undefined && !this.isolated(gpa)) return undefined;
    return {
      id: ++this.#events,
      door: 'hole',
      vcpu: vcpu.id,
      time: vcpu.now,
      ...(gpa === undefined ? {} : { gpa }),
      el: levelOf(vcpu),
      pc: vcpu.pc,
    };
  }
}

/** Composes a policy: `seaPolicy(vm, observe(), unmap(), inject())`. */
export function seaPolicy(vm: Vm, ...steps: readonly SeaStep[]): SeaPolicy {
  return new SeaPolicy(vm, steps);
}

/**
 * SIGBUS to machine check: the relay between a host that lost a page and the guest that had it. Steps decide, in order:
 * remember the page, make the guest a machine check, or end as a VMM whose own memory is bad.
 */
import {
  type Exit,
  FaultyardError,
  type Plain,
  type Signal,
  stop,
  type Vcpu,
  type Verdict,
  type Vm,
} from '@faultyard/core';
import { McaMsr, McgCap } from '../bits.ts';
import type { LogLine, MemoryFailureEvent, SigbusEvent } from './event.ts';
import { getMsr } from './guest-cpu.ts';
import { type Injected, injectMachineCheck } from './inject.ts';
import type { MachineCheck } from './shape.ts';

/** What a step decides: go on with the next step, or end here. */
export type StepResult = 'next' | Verdict;

/** One step of a relay. */
export interface RelayStep {
  /** `remember`, `inject`, `own`, or a name of your own. */
  readonly name: string;
  /** Sees every SIGBUS of a bad page, in the order of the list. */
  on(e: SigbusEvent, relay: MceRelay): StepResult;
  /** State that snapshots keep. */
  save?(): Plain;
  /** Takes what {@link save} gave. */
  restore?(v: Plain): void;
}

/** How a relay behaves as a whole. */
export interface RelayOptions {
  /** Errors go to the guest only if its MCG_CAP has SER_P, as QEMU wants it. Default true. */
  readonly requireSerP?: boolean;
}

interface SavedRelay {
  readonly count: number;
  readonly events: readonly MemoryFailureEvent[];
  readonly log: readonly LogLine[];
  readonly reset: boolean;
  readonly steps: Readonly<Record<string, Plain>>;
}

/** Why a drive stops when the VM is to be reset; {@link resetVm} does it. */
export const RESET: Verdict = stop('system reset');

/** A composed relay: give it `intr` exits, and call {@link MceRelay.main} where the main thread may have a signal. */
export class MceRelay {
  readonly vm: Vm;
  readonly steps: readonly RelayStep[];
  readonly #requireSerP: boolean;
  #count = 0;
  #events: readonly MemoryFailureEvent[] = [];
  #log: readonly LogLine[] = [];
  #reset = false;

  /**
   * Composes steps for a VM and keeps their state in its cell `mce.vmm`.
   * @throws FaultyardError FY_POLICY when two steps have one name.
   */
  constructor(vm: Vm, steps: readonly RelayStep[], o: RelayOptions = {}) {
    this.vm = vm;
    this.steps = steps;
    this.#requireSerP = o.requireSerP ?? true;
    const twice = steps.find((s, i) => steps.findIndex((t) => t.name === s.name) !== i);
    if (twice)
      throw new FaultyardError('FY_POLICY', {
        policy: 'mce',
        why: `two steps are named ${twice.name}`,
        fix: 'keep one',
      });
    vm.keep({
      name: 'mce.vmm',
      version: 1,
      side: 'vmm',
      read: () => ({
        count: this.#count,
        events: this.#events as unknown as Plain,
        log: this.#log as unknown as Plain,
        reset: this.#reset,
        steps: Object.fromEntries(steps.map((s) => [s.name, s.save?.() ?? null])),
      }),
      write: (v) => {
        const s = v as unknown as SavedRelay;
        this.#count = s.count;
        this.#events = [...s.events];
        this.#log = [...s.log];
        this.#reset = s.reset;
        for (const step of steps)
          if (step.restore && step.name in s.steps) step.restore(s.steps[step.name] as Plain);
      },
    });
  }

  /** Events MEMORY_FAILURE so far, oldest first. */
  get events(): readonly MemoryFailureEvent[] {
    return this.#events;
  }
  /** Lines written so far: the log's, and the monitor's. */
  get log(): readonly LogLine[] {
    return this.#log;
  }
  /** A reset was asked for and not done yet. */
  get resetRequested(): boolean {
    return this.#reset;
  }
  /** The step of a name. */
  step(name: string): RelayStep | undefined {
    return this.steps.find((s) => s.name === name);
  }

  /** Tells the control socket. */
  emit(e: MemoryFailureEvent): void {
    this.#events = [...this.#events, e];
  }
  /** Writes a line. */
  say(to: LogLine['to'], text: string): void {
    this.#log = [...this.#log, { to, text }];
  }
  /** The VM was reset. */
  wasReset(): void {
    this.#reset = false;
  }

  /** Whether the guest can be told of an error: its own memory, and (unless told otherwise) MCG_CAP.SER_P. */
  reaches(e: SigbusEvent): boolean {
    return e.gpa !== undefined && this.recoverable(e);
  }
  /** Whether the vCPU's MCG_CAP, and the address that the kernel gave, allow a relay at all. */
  recoverable(e: SigbusEvent): boolean {
    if (e.hva === 0n) return false;
    return !this.#requireSerP || ((getMsr(this.cpu(e.vcpu), McaMsr.MCG_CAP) ?? 0n) & McgCap.SER_P) !== 0n;
  }
  /** A vCPU. */
  cpu(n: number): Vcpu {
    return this.vm.vcpus[n] as Vcpu;
  }

  /** Puts an error into a vCPU and tells who has to be told. */
  put(vcpu: number, mce: MachineCheck, forced: boolean = false): Injected {
    const r = injectMachineCheck(this.cpu(vcpu), mce, forced);
    if (r.event) this.emit(r.event);
    if (r.said) this.say(r.said.to, r.said.text);
    if (r.action === 'reset') this.#reset = true;
    return r;
  }

  /** What an exit brought for its vCPU's thread; `undefined` leaves it to other handlers. */
  handle(exit: Exit): Verdict | undefined {
    if (exit.kind !== 'intr') return undefined;
    const signals = this.vm.signals.drain({ vcpu: exit.vcpu });
    return signals.length ? this.#all(signals, exit.vcpu) : undefined;
  }
  /** What waits for the main thread: errors that nobody consumed go to vCPU 0. */
  main(): Verdict | undefined {
    const signals = this.vm.signals.drain('main');
    if (signals.some((s) => s.code === 'BUS_MCEERR_AR'))
      return stop('abort: action required in the main thread');
    for (const s of signals) {
      const v = this.#all([s], 0);
      if (v?.verdict === 'stop') return v;
    }
    return signals.length ? { verdict: 'run' } : undefined;
  }

  /** The handler keeps one error until it is dealt with: a second one, or another code, is the process's end. */
  #all(signals: readonly Signal[], vcpu: number): Verdict {
    const [s] = signals;
    if (!s || signals.length > 1 || (s.code !== 'BUS_MCEERR_AO' && s.code !== 'BUS_MCEERR_AR'))
      return stop('killed by SIGBUS');
    const hva = BigInt(s.addr ?? 0);
    const gpa = this.vm.memory.gpaOf(hva);
    const e: SigbusEvent = {
      id: ++this.#count,
      code: s.code,
      vcpu,
      hva,
      lsb: s.lsb ?? 0,
      ...(gpa === undefined ? {} : { gpa: BigInt(gpa) }),
    };
    for (const step of this.steps) {
      const r = step.on(e, this);
      if (r !== 'next') return r;
    }
    return { verdict: 'run' };
  }
}

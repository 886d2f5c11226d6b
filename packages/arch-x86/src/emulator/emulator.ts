/**
 * KVM's instruction emulator, as far as device memory is concerned (arch/x86/kvm/x86.c x86_emulate_instruction,
 * emulator_read_write, complete_emulated_mmio). An instruction with an operand outside memory is executed once more on
 * the one-instruction path: loads of devices stop it until they are answered, stores are queued, and what is queued when
 * it is committed leaves piece by piece.
 */
import {
  type Cell,
  type Exit,
  MemFlag,
  type Plain,
  Stop,
  type Task,
  type Vcpu,
  type Vm,
} from '@faultyard/core';
import { type AccessFault, accessFault } from '../memory/access-fault.ts';

import type { Pair } from '../state.ts';
import { DeviceAccesses, type Piece } from './accesses.ts';
import type { SimpleAccess } from './simple.ts';

/** What the emulator needs of its vCPU. */
export interface Emulated {
  readonly vm: Vm;
  readonly core: Vcpu;
  /**
   * Executes the instruction at pc on the slow path, with `accesses` in the place of device pages, and whatever comes
   * with it (slow operations, exceptions, single step). `Done`: it is committed or raised an exception.
   */
  executeOnce(accesses: DeviceAccesses): OnceResult;
  /** Deals with the access that just failed for another reason than a device: maps its page. An exit if it cannot. */
  mapOperand(): Task<Exit | undefined>;
  /** The emulator cannot do the instruction at pc: an exit, or #UD in the guest. */
  cannotEmulate(f: AccessFault): Exit | undefined;
}

/** How one execution ended. */
export const Once = {
  /** Committed, or the guest has an exception. */
  Done: 0,
  /** A device load waits for an answer. */
  Device: 1,
  /** Another page has to be mapped first. */
  Map: 2,
  /** The instruction wants a device where KVM's emulator has none to offer. */
  Cannot: 3,
  /** It is OUTS, and its port is next: that access stands in `Vcpu.device`, and is not this emulator's. */
  Port: 4,
} as const;
/** One of {@link Once}. */
export type OnceResult = 0 | 1 | 2 | 3 | 4;

/** What a resumed or started emulation came to: an exit, a device access in `Vcpu.device`, or the guest goes on. */
export type Outcome = Exit | typeof Stop.Device | undefined;

/** The emulator of one vCPU. */
export class Emulator {
  readonly #v: Emulated;
  readonly accesses: DeviceAccesses;
  /** The exit that userspace has: a load to be answered, or a store that is made. */
  #waiting: 'load' | 'store' | 'simple' | undefined = undefined;
  /** The plain load whose answer is awaited; none for a plain store, which is done. */
  #simple: SimpleAccess | undefined = undefined;
  /** The access that began it. */
  #fault: AccessFault = accessFault();

  constructor(v: Emulated) {
    this.#v = v;
    const { vm, core } = v;
    this.accesses = new DeviceAccesses({
      bus: vm.bus,
      vcpu: core.id,
      copyFrom: (gpa, size, out) => copyFrom(vm, gpa, size, out),
      copyTo: (gpa, size, lo, hi) => copyTo(vm, gpa, size, lo, hi),
    });
  }

  /** Emulates the instruction at pc. */
  *start(f: Readonly<AccessFault>): Task<Outcome> {
    this.accesses.forget();
    this.#fault = { ...f };
    return yield* this.#go();
  }
  /** KVM_RUN again after an exit of {@link start}: `Vcpu.device` has the answer of a load. */
  *resume(): Task<Outcome> {
    const waited = this.#waiting;
    this.#waiting = undefined;
    if (waited === 'load') {
      const d = this.#v.core.device;
      this.accesses.answer(d.lo, d.hi);
      return yield* this.#go();
    }
    return this.#stores();
  }
  /** A plain move left with a device access in `Vcpu.device`: a load, or a store (none), which is done. */
  leaveSimply(load: SimpleAccess | undefined): void {
    this.#waiting = 'simple';
    this.#simple = load;
  }
  /** The plain load whose answer is there, its instruction at pc; taken by the one who asks. */
  takeSimple(): SimpleAccess | undefined {
    const a = this.#simple;
    this.#simple = undefined;
    this.#waiting = undefined;
    return a;
  }
  /** Whether what is out is a plain move. */
  get simple(): boolean {
    return this.#waiting === 'simple';
  }
  /** An exit of this emulator is out. */
  get waits(): boolean {
    return this.#waiting !== undefined;
  }

  *#go(): Task<Outcome> {
    const f = this.#fault;
    for (;;) {
      this.accesses.again();
      this.accesses.reuse = f.gpa;
      const once = this.#v.executeOnce(this.accesses);
      if (once === Once.Done) return this.#stores();
      if (once === Once.Device) {
        const { wanted } = this.accesses;
        if (wanted) return this.#leave('load', wanted);
        continue;
      }
      if (once === Once.Port) {
        this.accesses.forget();
        return Stop.Device;
      }
      if (once === Once.Cannot) {
        this.accesses.forget();
        return this.#v.cannotEmulate(f);
      }
      const exit = yield* this.#v.mapOperand();
      if (exit) {
        this.accesses.forget();
        return exit;
      }
    }
  }
  #stores(): Outcome {
    const p = this.accesses.flush();
    if (p) return this.#leave('store', p);
    this.accesses.forget();
    return undefined;
  }
  #leave(what: 'load' | 'store', p: Piece): typeof Stop.Device {
    const d = this.#v.core.device;
    d.port = false;
    d.count = 1;
    d.gpa = p.gpa;
    d.size = p.size;
    d.write = what === 'store';
    d.lo = p.lo;
    d.hi = p.hi;
    this.#waiting = what;
    return Stop.Device;
  }

  /** State between an exit and the KVM_RUN after it. */
  cell(name: string): Cell {
    return {
      name,
      version: 1,
      side: 'guest',
      read: (): Plain => ({
        waiting: this.#waiting ?? 'nothing',
        loads: this.accesses.loads.map(plain),
        stores: this.accesses.stores.map(plain),
        wanted: this.accesses.wanted ? [plain(this.accesses.wanted)] : [],
        fault: { ...this.#fault },
        simple: this.#simple ? [{ ...this.#simple }] : [],
      }),
      write: (v) => {
        const s = v as unknown as Saved;
        this.#waiting = s.waiting === 'nothing' ? undefined : s.waiting;
        this.accesses.forget();
        this.accesses.loads = s.loads.map(piece);
        this.accesses.stores = s.stores.map(piece);
        this.accesses.wanted = s.wanted.map(piece)[0];
        this.#fault = { ...s.fault };
        this.#simple = s.simple[0];
      },
    };
  }
}

interface Saved {
  readonly waiting: 'nothing' | 'load' | 'store' | 'simple';
  readonly loads: readonly number[][];
  readonly stores: readonly number[][];
  readonly wanted: readonly number[][];
  readonly fault: AccessFault;
  readonly simple: readonly SimpleAccess[];
}
const plain = (p: Piece): number[] => [p.linearLo, p.linearHi, p.gpa, p.size, p.lo, p.hi];
const piece = (n: readonly number[]): Piece => {
  const [linearLo = 0, linearHi = 0, gpa = 0, size = 1, lo = 0, hi = 0] = n;
  return { linearLo, linearHi, gpa, size, lo, hi };
};

/** KVM's copy from a slot's memory; it fails like a plain load of the VMM would, and the access is MMIO then. */
export function copyFrom(vm: Vm, gpa: number, size: number, out: Pair): boolean {
  const bytes = vm.memory.load(gpa, size);
  if (!(bytes instanceof Uint8Array)) return false;
  out.lo = 0;
  out.hi = 0;
  for (let i = 0; i < size; i++) {
    const byte = bytes[i] as number;
    if (i < 4) out.lo |= byte << (8 * i);
    else out.hi |= byte << (8 * i - 32);
  }
  return true;
}
/** The same to it; read-only slots are left alone. */
export function copyTo(vm: Vm, gpa: number, size: number, lo: number, hi: number): boolean {
  const slot = vm.memslots.find(Math.floor(gpa / 4096));
  if (!slot || slot.flags & MemFlag.ReadOnly) return false;
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = i < 4 ? lo >>> (8 * i) : hi >>> (8 * i - 32);
  if (vm.memory.store(gpa, bytes) !== true) return false;
  if (slot.dirty) vm.memslots.markDirty(slot, Math.floor(gpa / 4096));
  return true;
}

/**
 * The device accesses of one instruction while KVM emulates it (arch/x86/kvm/x86.c emulator_read_write). Loads that were
 * answered are kept in order: the instruction runs again after every exit, and its k-th load takes the k-th answer before
 * anything is translated. Stores are queued until the instruction is committed.
 */
import type { KernelBus } from '@faultyard/core';
import type { Pair } from '../state.ts';

/** A piece of an access: at most 8 bytes of one page. */
export interface Piece {
  /** Linear address of its first byte. */
  readonly linearLo: number;
  readonly linearHi: number;
  readonly gpa: number;
  /** Bytes, 1 to 8. */
  readonly size: number;
  readonly lo: number;
  readonly hi: number;
}

/** What a piece can be served from without an exit. */
export interface AccessParts {
  readonly bus: KernelBus;
  readonly vcpu: number;
  /** KVM's plain copy from the slot's memory; `false`: there is none, or it fails, and the access is MMIO. */
  readonly copyFrom: (gpa: number, size: number, out: Pair) => boolean;
  /** The copy to it: not into read-only slots. */
  readonly copyTo: (gpa: number, size: number, lo: number, hi: number) => boolean;
}

/** Accesses of the instruction under way. */
export class DeviceAccesses {
  readonly #p: AccessParts;
  readonly #value: Pair = { lo: 0, hi: 0 };
  /**
   * gpa of the access that began the emulation: an operand with the same offset in its page is taken to be there, without
   * a walk. -1: not for this instruction.
   */
  reuse = -1;
  /** Answered loads, in order. */
  loads: Piece[] = [];
  /** Stores in order, not yet made. */
  stores: Piece[] = [];
  /** The load that nobody here can answer. */
  wanted: Piece | undefined = undefined;
  /** Loads that this execution has asked for. */
  #asked = 0;
  /** Linear address that the port translated last, and the gpa it has. */
  #linearLo = 0;
  #linearHi = 0;
  #gpa = 0;

  constructor(p: AccessParts) {
    this.#p = p;
  }
  /** Another execution of the same instruction begins. */
  again(): void {
    this.#asked = 0;
    this.stores = [];
    this.wanted = undefined;
  }
  /** The instruction is done, or given up. */
  forget(): void {
    this.loads = [];
    this.again();
  }
  /** The answer to {@link wanted}. */
  answer(lo: number, hi: number): void {
    const w = this.wanted;
    if (!w) return;
    const high = w.size > 4 ? hi & mask(w.size - 4) : 0;
    this.loads.push({ ...w, lo: lo & mask(w.size), hi: high });
    this.wanted = undefined;
  }

  /** gpa of an answered load that begins at a linear address and is still to be taken; -1 if there is none. */
  known(lo: number, hi: number): number {
    for (let i = this.#asked; i < this.loads.length; i++) {
      const p = this.loads[i] as Piece;
      if (p.linearLo === lo && p.linearHi === hi) return p.gpa;
    }
    return -1;
  }
  /** The port found that a linear address leads to a gpa outside memory. */
  leads(lo: number, hi: number, gpa: number): void {
    this.#linearLo = lo;
    this.#linearHi = hi;
    this.#gpa = gpa;
  }
  #piece(gpa: number, size: number, lo: number, hi: number): Piece {
    // pieces of one page follow each other in linear addresses as they do in physical ones
    const from = (this.#linearLo + (gpa - this.#gpa)) | 0;
    return { linearLo: from, linearHi: this.#linearHi, gpa, size, lo, hi };
  }

  /** A device load of the engine: 0, or -1 when userspace is to answer. */
  load(gpa: number, size: number, out: Pair): number {
    const known = this.loads[this.#asked];
    if (known && known.gpa === gpa && known.size === size) {
      this.#asked++;
      out.lo = known.lo;
      out.hi = known.hi;
      return 0;
    }
    const v = this.#value;
    v.lo = 0;
    v.hi = 0;
    const { bus, vcpu, copyFrom } = this.#p;
    if (copyFrom(gpa, size, v) || bus.load(gpa, size, vcpu, v)) {
      this.loads.splice(this.#asked, this.loads.length, this.#piece(gpa, size, v.lo, v.hi));
      this.#asked++;
      out.lo = v.lo;
      out.hi = v.hi;
      return 0;
    }
    this.wanted = this.#piece(gpa, size, 0, 0);
    return -1;
  }
  /** A device store of the engine: queued. */
  store(gpa: number, size: number, lo: number, hi: number): number {
    this.stores.push(this.#piece(gpa, size, lo, hi));
    return 0;
  }
  /** Makes queued stores until one needs userspace: that one, taken off the queue. */
  flush(): Piece | undefined {
    const { bus, vcpu, copyTo } = this.#p;
    for (;;) {
      const p = this.stores.shift();
      if (!p) return undefined;
      if (!copyTo(p.gpa, p.size, p.lo, p.hi) && !bus.store(p.gpa, p.size, vcpu, p.lo, p.hi)) return p;
    }
  }
}

/** Ones for the low `bytes` of an int32; all of them from 4 on. */
const mask = (bytes: number): number => (bytes >= 4 ? -1 : (1 << (8 * bytes)) - 1);

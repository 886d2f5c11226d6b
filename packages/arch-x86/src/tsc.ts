/**
 * The time-stamp counter: a function of virtual time. Guest TSC = ticks of the clock at the vCPU's frequency + offset
 * (AMD64 APM volume 2, 13.2.4; KVM_SET_TSC_KHZ).
 */
import { definePoint, type Point } from '@faultyard/core';
import { type Pair, SR, type X86State } from './state.ts';
import type { X86Vcpu } from './vcpu.ts';

/** What a contribution at {@link tsc} is asked; it changes `lo` and `hi`. One object, reused. */
export interface TscQuestion extends Pair {
  readonly vcpu: X86Vcpu;
}
/**
 * What the guest reads as TSC (RDTSC, RDTSCP, MSR 10h): contributions change the value in turn, in plugin order. It begins
 * as ticks of the clock; the architecture adds the vCPU's own offset, a plugin after it an inner guest's offset and ratio.
 */
export const tsc: Point<TscQuestion, void> = definePoint('x86.tsc', (fns) => (q) => {
  for (const f of fns) f(q);
});

const WIDE = 0x1_0000_0000;

/** The counter of one vCPU. */
export class Tsc {
  readonly #v: X86Vcpu;
  readonly #s: X86State;
  readonly #out: TscQuestion;
  readonly #change: (q: TscQuestion) => void;
  /** Frequency in kHz. State (a cell). */
  khz: number;

  constructor(v: X86Vcpu, s: X86State, khz: number) {
    this.#v = v;
    this.#s = s;
    this.khz = khz;
    this.#out = { vcpu: v, lo: 0, hi: 0 };
    this.#change = v.vm.ask(tsc);
  }

  /** Ticks of the clock, without the offset, as halves in `out`. */
  #ticks(out: Pair): void {
    const now = this.#v.now();
    const ms = Math.floor(now / 1e6);
    const n = ms * this.khz + Math.floor(((now - ms * 1e6) * this.khz) / 1e6);
    out.lo = n | 0;
    out.hi = Math.floor(n / WIDE) | 0;
  }
  /** Adds the vCPU's offset: the architecture's contribution to {@link tsc}. */
  addOffset(o: Pair): void {
    const lo = (o.lo + this.#s.sysLo(SR.TSC_OFFSET)) | 0;
    o.hi = (o.hi + this.#s.sysHi(SR.TSC_OFFSET) + (lo >>> 0 < o.lo >>> 0 ? 1 : 0)) | 0;
    o.lo = lo;
  }
  /** The vCPU's own TSC: ticks + offset, as the host sees it. The object is reused. */
  own(): Pair {
    this.#ticks(this.#out);
    this.addOffset(this.#out);
    return this.#out;
  }
  /** What the guest reads. The object is reused. */
  read(): Pair {
    this.#ticks(this.#out);
    this.#change(this.#out);
    return this.#out;
  }
  /** Nanoseconds until {@link own} reaches a value; not positive: it has. */
  until(lo: number, hi: number): number {
    const o = this.own();
    // unsigned 64-bit difference, as far as a number holds it
    const ticks = ((hi >>> 0) - (o.hi >>> 0)) * WIDE + ((lo >>> 0) - (o.lo >>> 0));
    return Math.ceil((ticks * 1e6) / this.khz);
  }
  /** Sets the offset so that {@link own} reads a value now; returns how far the offset moved. */
  set(lo: number, hi: number): Pair {
    const o = this.own();
    const dlo = (lo - o.lo) | 0;
    const dhi = (hi - o.hi - (lo >>> 0 < o.lo >>> 0 ? 1 : 0)) | 0;
    this.move(dlo, dhi);
    o.lo = dlo;
    o.hi = dhi;
    return o;
  }
  /** Adds to the offset. */
  move(lo: number, hi: number): void {
    const s = this.#s;
    const sum = (s.sysLo(SR.TSC_OFFSET) + lo) | 0;
    const carry = sum >>> 0 < lo >>> 0 ? 1 : 0;
    s.setSys(SR.TSC_OFFSET, sum, (s.sysHi(SR.TSC_OFFSET) + hi + carry) | 0);
    this.#v.apic?.timer.tscChanged();
  }
}

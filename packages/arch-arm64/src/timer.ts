/**
 * The generic timers of EL1 and EL0 (DDI 0487, D12): counts are functions of the VM's clock. Without an interrupt
 * controller both timers' outputs are wired to the vCPU's IRQ line.
 */
import { type Arm64State, type Pair, SR, wide } from './state.ts';
import type { TimerPort } from './sysregs/def.ts';

/** Bits of CNTP_CTL_EL0 and CNTV_CTL_EL0. */
const ENABLE = 1;
const IMASK = 2;

/** Physical and virtual timer of one vCPU. */
export class Timer implements TimerPort {
  readonly #s: Arm64State;
  /** Hz. */
  readonly #frequency: number;
  readonly #now: () => number;
  readonly #moved: () => void;

  /**
   * @param now virtual time in nanoseconds
   * @param moved called when a register changed: lines and deadlines may be others
   */
  constructor(s: Arm64State, frequency: number, now: () => number, moved: () => void) {
    this.#s = s;
    this.#frequency = frequency;
    this.#now = now;
    this.#moved = moved;
  }

  /** Ticks now. */
  get #ticks(): number {
    return Math.floor((this.#now() * this.#frequency) / 1e9);
  }
  count(_virtual: boolean, out: Pair): void {
    const n = this.#ticks;
    out.lo = n | 0;
    out.hi = Math.floor(n / 0x1_0000_0000) | 0;
  }
  changed(): void {
    this.#moved();
  }
  condition(virtual: boolean): boolean {
    return this.#ticks >= this.#compare(virtual);
  }
  #compare(virtual: boolean): number {
    const slot = virtual ? SR.CNTV_CVAL_EL0 : SR.CNTP_CVAL_EL0;
    return wide(this.#s.lo(slot), this.#s.hi(slot));
  }
  #control(virtual: boolean): number {
    return this.#s.lo(virtual ? SR.CNTV_CTL_EL0 : SR.CNTP_CTL_EL0);
  }
  /** Output line: enabled, not masked, condition holds. */
  line(virtual: boolean): boolean {
    return (this.#control(virtual) & (ENABLE | IMASK)) === ENABLE && this.condition(virtual);
  }
  /** Virtual time in ns at which a line rises next; Infinity if none will. */
  deadline(): number {
    return Math.min(this.#rises(false), this.#rises(true));
  }
  #rises(virtual: boolean): number {
    if ((this.#control(virtual) & (ENABLE | IMASK)) !== ENABLE) return Infinity;
    const at = this.#compare(virtual);
    if (this.#ticks >= at) return Infinity;
    return Math.ceil((at * 1e9) / this.#frequency);
  }
}

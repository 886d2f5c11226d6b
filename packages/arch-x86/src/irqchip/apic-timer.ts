/** The timer of a local APIC: one-shot, periodic, TSC deadline (SDM volume 3A, 11.5.4; arch/x86/kvm/lapic.c). */
import type { Plain } from '@faultyard/core';
import type { Pair } from '../state.ts';

/** Bits 18:17 of the timer's LVT entry. */
const TimerMode = { OneShot: 0, Periodic: 1, Deadline: 2 } as const;

/** KVM's shortest period of a periodic timer (module parameter min_timer_period_us), in nanoseconds. */
export const SHORTEST_PERIOD = 200_000;

/** What the timer needs. */
export interface TimerPlace {
  /** Virtual time in nanoseconds. */
  now(): number;
  /** Nanoseconds until the guest's TSC reaches a value; not positive: it has. */
  untilTsc(lo: number, hi: number): number;
  /** {@link ApicTimer.due} changed. */
  retime(): void;
  /** The timer's LVT entry is to be delivered. */
  fire(): void;
  /** Whether delivering it would change nothing: masked, or pending already. */
  futile(): boolean;
}

/** The timer. KVM's APIC bus runs at 1 GHz: a count of 1 with divisor 1 is a nanosecond. */
export class ApicTimer {
  readonly #p: TimerPlace;
  #mode = 0;
  #divisor = 2;
  #initial = 0;
  /** Nanoseconds from load to firing; 0: never loaded. */
  #period = 0;
  /** Virtual time at which it fires; Infinity: stopped. */
  #due = Infinity;
  readonly #deadline: Pair = { lo: 0, hi: 0 };

  constructor(p: TimerPlace) {
    this.#p = p;
  }
  /** RESET and INIT. */
  reset(): void {
    this.#mode = 0;
    this.#divisor = 2;
    this.#initial = 0;
    this.#cancel();
  }
  #cancel(): void {
    this.#period = 0;
    this.#deadline.lo = 0;
    this.#deadline.hi = 0;
    this.#aim(Infinity);
  }
  #aim(due: number): void {
    if (due === this.#due) return;
    this.#due = due;
    this.#p.retime();
  }

  /** Virtual time at which {@link expire} wants to be called. */
  get due(): number {
    return this.#due;
  }
  /** Fires if its time has come. Ticks that were missed while they could change nothing are passed over. */
  expire(): void {
    const now = this.#p.now();
    if (this.#due > now) return;
    if (this.#mode === TimerMode.Deadline) {
      const left = this.#p.untilTsc(this.#deadline.lo, this.#deadline.hi);
      if (left > 0) {
        this.#aim(now + left);
        return;
      }
    }
    this.#aim(this.#next(now));
    this.#p.fire();
    if (this.#mode === TimerMode.Deadline) {
      this.#deadline.lo = 0;
      this.#deadline.hi = 0;
    }
  }
  /** When it fires after having fired now. */
  #next(now: number): number {
    if (this.#mode !== TimerMode.Periodic || this.#period === 0) return Infinity;
    return this.#due + this.#period * (Math.floor((now - this.#due) / this.#period) + 1);
  }

  /** The LVT entry has another mode. Only to and from TSC deadline stops it (lapic.c, apic_update_lvtt). */
  setMode(mode: number): void {
    if (mode === this.#mode) return;
    if ((mode === TimerMode.Deadline) !== (this.#mode === TimerMode.Deadline)) {
      this.#cancel();
      this.#initial = 0;
    }
    this.#mode = mode;
    this.#limit();
  }
  #limit(): void {
    if (this.#mode === TimerMode.Periodic && this.#period > 0)
      this.#period = Math.max(this.#period, SHORTEST_PERIOD);
  }
  /** Loads the period from the initial count; `false`: it is 0. */
  #load(): boolean {
    this.#period = this.#initial * this.#divisor;
    this.#limit();
    return this.#period > 0;
  }
  /** Initial count, unsigned. */
  get initial(): number {
    return this.#initial;
  }
  /** Loads it and starts; ignored in TSC-deadline mode. */
  setInitial(count: number): void {
    if (this.#mode === TimerMode.Deadline) return;
    this.#initial = count >>> 0;
    const starts = this.#load() && this.#mode <= TimerMode.Periodic;
    this.#aim(starts ? this.#p.now() + this.#period : Infinity);
  }
  /** Current count, int32. */
  get current(): number {
    if (this.#due === Infinity || this.#mode === TimerMode.Deadline) return 0;
    return Math.floor(Math.max(0, this.#due - this.#p.now()) / this.#divisor) | 0;
  }
  /** The divide configuration register: what is left of a running count counts at the new rate. */
  setDivide(value: number): void {
    const old = this.#divisor;
    this.#divisor = 1 << ((((value & 3) | ((value & 8) >>> 1)) + 1) & 7);
    if (old === this.#divisor || this.#period === 0) return;
    this.#load();
    if (this.#due === Infinity) return;
    const now = this.#p.now();
    this.#aim(now + Math.floor((Math.max(0, this.#due - now) * this.#divisor) / old));
  }
  /** KVM_SET_LAPIC: goes on from `current` (lapic.c, set_target_expiration); an expired one-shot fires again. */
  resume(initial: number, divide: number, current: number): void {
    this.#initial = initial >>> 0;
    this.#aim(Infinity);
    this.setDivide(divide);
    if (this.#mode === TimerMode.Deadline) {
      this.setDeadline(this.#deadline.lo, this.#deadline.hi);
      return;
    }
    if (!this.#load() || this.#mode > TimerMode.Periodic) return;
    const left = (current >>> 0) * this.#divisor;
    const whole = left > this.#period || (left === 0 && this.#mode === TimerMode.Periodic);
    this.#aim(this.#p.now() + (whole ? this.#period : left));
  }
  /** MSR 6E0h; 0 outside TSC-deadline mode. */
  get deadline(): Readonly<Pair> {
    return this.#deadline;
  }
  /** Writes it; ignored in other modes. 0 disarms, the past fires at once. */
  setDeadline(lo: number, hi: number): void {
    if (this.#mode !== TimerMode.Deadline) return;
    this.#deadline.lo = lo;
    this.#deadline.hi = hi;
    const left = (lo | hi) === 0 ? Infinity : Math.max(0, this.#p.untilTsc(lo, hi));
    this.#aim(this.#p.now() + left);
  }
  /** The TSC was set or its rate changed: the same deadline is at another time. */
  tscChanged(): void {
    if (this.#due !== Infinity) this.setDeadline(this.#deadline.lo, this.#deadline.hi);
  }

  /** For the vCPU's cell. What a sleeping vCPU has not looked at yet, because it changes nothing, counts as done. */
  save(): Plain {
    const now = this.#p.now();
    const past = this.#due <= now && this.#mode !== TimerMode.Deadline && this.#p.futile();
    const due = past ? this.#next(now) : this.#due;
    return {
      mode: this.#mode,
      divisor: this.#divisor,
      initial: this.#initial,
      period: this.#period,
      due: due === Infinity ? -1 : due,
      deadline: [this.#deadline.lo, this.#deadline.hi],
    };
  }
  /** For the vCPU's cell. */
  restore(saved: Plain): void {
    const s = saved as unknown as Record<'mode' | 'divisor' | 'initial' | 'period' | 'due', number> & {
      deadline: [number, number];
    };
    this.#mode = s.mode;
    this.#divisor = s.divisor;
    this.#initial = s.initial;
    this.#period = s.period;
    this.#due = s.due < 0 ? Infinity : s.due;
    [this.#deadline.lo, this.#deadline.hi] = s.deadline;
    this.#p.retime();
  }
}

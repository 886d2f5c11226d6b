/**
 * The 8254 interval timer that KVM keeps, and port 61h (Intel 8254 data sheet; arch/x86/kvm/i8254.c). As KVM's it counts
 * in binary always, and ticks that the guest has not acknowledged are kept and injected later.
 */
import type { Clock, Plain } from '@faultyard/core';
import { SHORTEST_PERIOD } from './apic-timer.ts';

/** Input clock in hertz (KVM_PIT_FREQ). */
const HERTZ = 1_193_182;
/** Bytes of `struct kvm_pit_state2`. */
export const PIT_STATE_BYTES = 112;
/** Bytes of `struct kvm_pit_channel_state`. */
const CHANNEL_BYTES = 24;
/** Key of channel 0 in the VM's clock. */
const KEY = 'x86.pit';
/** States of a channel's byte order: low byte, high byte, low then high. */
const Half = { Low: 1, High: 2, Word0: 3, Word1: 4 } as const;
/** A channel that was never programmed. */
const NO_MODE = 0xff;

/** One channel: members of `struct kvm_pit_channel_state`. */
interface Channel {
  /** Reload value, 1 to 65536. */
  count: number;
  latchedCount: number;
  /** Byte of a latched count that is read next; 0: none is latched. */
  latched: number;
  statusLatched: boolean;
  status: number;
  readState: number;
  writeState: number;
  writeLow: number;
  access: number;
  mode: number;
  bcd: number;
  gate: number;
  /** Virtual time at which the count was loaded. */
  loaded: number;
}

const channel = (gate: number): Channel => ({
  count: 0x1_0000,
  latchedCount: 0,
  latched: 0,
  statusLatched: false,
  status: 0,
  readState: 0,
  writeState: 0,
  writeLow: 0,
  access: 0,
  mode: NO_MODE,
  bcd: 0,
  gate,
  loaded: 0,
});

/** The timer. Channel 0 pulses global interrupt 0. */
export class Pit {
  readonly #clock: Clock;
  readonly #now: () => number;
  readonly #pulse: () => void;
  readonly #channels: readonly [Channel, Channel, Channel] = [channel(1), channel(1), channel(0)];
  /** Port 61h bit 1: speaker data. */
  #speaker = 0;
  /** Channel 0: nanoseconds between ticks, whether they repeat, when the next is; Infinity: none. */
  #period = 0;
  #periodic = false;
  #due = Infinity;
  /** Ticks that were not injected yet, the one under way included, and whether the guest acknowledged the last. */
  #pending = 0;
  #acknowledged = true;

  /** @param pulse raises and lowers the interrupt line. */
  constructor(clock: Clock, now: () => number, pulse: () => void) {
    this.#clock = clock;
    this.#now = now;
    this.#pulse = pulse;
  }

  // ---- channel 0's interrupt ---------------------------------------------------------------------------------------
  /** While the last tick is not acknowledged, further ones are only counted: nobody needs to wake up for them. */
  #follow(): void {
    if (this.#due === Infinity || !this.#acknowledged) this.#clock.disarm(KEY);
    else this.#clock.arm({ key: KEY, when: this.#due, fire: () => this.#tick() });
  }
  /** Counts the ticks until `now`. */
  #count(now: number): void {
    if (this.#due > now) return;
    if (!this.#periodic) {
      this.#pending++;
      this.#due = Infinity;
      return;
    }
    const ticks = Math.floor((now - this.#due) / this.#period) + 1;
    this.#pending += ticks;
    this.#due += ticks * this.#period;
  }
  #tick(): void {
    this.#count(this.#clock.now);
    this.#inject();
  }
  #inject(): void {
    if (this.#acknowledged) {
      this.#acknowledged = false;
      this.#follow();
      this.#pulse();
    } else this.#follow();
  }
  /** RESET: no channel is set up (kvm_pit_reset). */
  reset(): void {
    for (const [i, c] of this.#channels.entries())
      Object.assign(c, channel(i === 2 ? 0 : 1), { loaded: this.#now() });
    this.#speaker = 0;
    this.#start(this.#channels[0]);
  }
  /** Forgets its deadline. */
  stop(): void {
    this.#due = Infinity;
    this.#clock.disarm(KEY);
  }
  /** The guest ended an interrupt of the timer (kvm_pit_ack_irq). */
  acknowledge(): void {
    this.#count(this.#now());
    this.#acknowledged = true;
    if (this.#pending > 0) this.#pending--;
    if (this.#pending > 0) this.#inject();
    else this.#follow();
  }
  /** The line was unmasked: ticks that were missed are forgotten (kvm_pit_reset_reinject). */
  forget(): void {
    this.#count(this.#now());
    this.#pending = 0;
    this.#acknowledged = true;
    this.#follow();
  }
  #start(c: Channel): void {
    const once = c.mode === 0 || c.mode === 1 || c.mode === 4;
    this.#periodic = c.mode === 2 || c.mode === 3;
    this.#pending = 0;
    this.#acknowledged = true;
    if (once || this.#periodic) {
      const interval = Math.floor((c.count * 1e9) / HERTZ);
      this.#period = this.#periodic ? Math.max(interval, SHORTEST_PERIOD) : interval;
      this.#due = this.#now() + interval;
    } else this.#due = Infinity;
    this.#follow();
  }

  // ---- counting ----------------------------------------------------------------------------------------------------
  /** Ticks of the input clock since the count was loaded. */
  #elapsed(c: Channel): number {
    const ns = this.#now() - c.loaded;
    return Math.floor((ns * HERTZ) / 1e9);
  }
  #value(c: Channel): number {
    const t = this.#elapsed(c);
    if (c.mode === 0 || c.mode === 1 || c.mode === 4 || c.mode === 5) return (c.count - t) & 0xffff;
    return (c.count - ((c.mode === 3 ? 2 * t : t) % c.count)) & 0x1_ffff;
  }
  #out(c: Channel): number {
    const t = this.#elapsed(c);
    switch (c.mode) {
      case 1:
        return Number(t < c.count);
      case 2:
        return Number(t % c.count === 0 && t !== 0);
      case 3:
        return Number(t % c.count < (c.count + 1) >> 1);
      case 4:
      case 5:
        return Number(t === c.count);
      default:
        return Number(t >= c.count);
    }
  }
  #load(n: number, value: number): void {
    const c = this.#channels[n] as Channel;
    c.count = value === 0 ? 0x1_0000 : value;
    c.loaded = this.#now();
    if (n === 0) this.#start(c);
  }

  // ---- ports -------------------------------------------------------------------------------------------------------
  /** Ports 40h to 43h, and 61h. */
  read(port: number): number {
    if (port === 0x61) {
      const [, , c] = this.#channels;
      // the refresh clock toggles about every 15 microseconds
      const refresh = Math.floor(this.#now() / 0x4000) & 1;
      return (this.#speaker << 1) | c.gate | (this.#out(c) << 5) | (refresh << 4);
    }
    const c = this.#channels[port & 3];
    if (!c) return 0;
    if (c.statusLatched) {
      c.statusLatched = false;
      return c.status;
    }
    if (c.latched) {
      const high = c.latched === Half.High;
      c.latched = c.latched === Half.Word0 ? Half.High : 0;
      return (high ? c.latchedCount >>> 8 : c.latchedCount) & 0xff;
    }
    const v = this.#value(c);
    const high = c.readState === Half.High || c.readState === Half.Word1;
    if (c.readState === Half.Word0) c.readState = Half.Word1;
    else if (c.readState === Half.Word1) c.readState = Half.Word0;
    return (high ? v >>> 8 : v) & 0xff;
  }
  /** Writes a port. */
  write(port: number, v: number): void {
    if (port === 0x61) {
      this.#speaker = (v >>> 1) & 1;
      const [, , c] = this.#channels;
      // modes 1, 2, 3 and 5 start over at a rising gate
      if (c.gate < (v & 1) && [1, 2, 3, 5].includes(c.mode)) c.loaded = this.#now();
      c.gate = v & 1;
    } else if ((port & 3) === 3) this.#command(v);
    else this.#write(port & 3, v);
  }
  #write(n: number, v: number): void {
    const c = this.#channels[n] as Channel;
    if (c.writeState === Half.High) this.#load(n, v << 8);
    else if (c.writeState === Half.Word0) {
      c.writeLow = v;
      c.writeState = Half.Word1;
    } else if (c.writeState === Half.Word1) {
      this.#load(n, c.writeLow | (v << 8));
      c.writeState = Half.Word0;
    } else this.#load(n, v);
  }
  #command(v: number): void {
    const n = v >>> 6;
    if (n === 3) {
      for (let i = 0; i < 3; i++) if (v & (2 << i)) this.#readBack(this.#channels[i] as Channel, v);
      return;
    }
    const c = this.#channels[n] as Channel;
    const access = (v >>> 4) & 3;
    if (access === 0) {
      this.#latch(c);
      return;
    }
    c.access = access;
    c.readState = access;
    c.writeState = access;
    const mode = (v >>> 1) & 7;
    c.mode = mode > 5 ? mode - 4 : mode;
    c.bcd = v & 1;
  }
  #latch(c: Channel): void {
    if (c.latched) return;
    c.latchedCount = this.#value(c) & 0xffff;
    c.latched = c.access;
  }
  #readBack(c: Channel, v: number): void {
    if (!(v & 0x20)) this.#latch(c);
    if (v & 0x10 || c.statusLatched) return;
    c.status = ((this.#out(c) << 7) | (c.access << 4) | (c.mode << 1) | c.bcd) & 0xff;
    c.statusLatched = true;
  }

  // ---- as bytes ----------------------------------------------------------------------------------------------------
  /** `struct kvm_pit_state2`: three channels, then flags (bit 1: speaker data). */
  image(): Uint8Array {
    const out = new Uint8Array(PIT_STATE_BYTES);
    const v = new DataView(out.buffer);
    for (const [i, c] of this.#channels.entries()) {
      const at = CHANNEL_BYTES * i;
      v.setUint32(at, c.count, true);
      v.setUint16(at + 4, c.latchedCount, true);
      const { latched, status, readState, writeState, writeLow, access, mode, bcd, gate } = c;
      const rest = [latched, Number(c.statusLatched), status, readState, writeState, writeLow, access, mode];
      out.set([...rest, bcd, gate], at + 6);
      v.setBigInt64(at + 16, BigInt(Math.floor(c.loaded)), true);
    }
    v.setUint32(72, this.#speaker << 1, true);
    return out;
  }
  /** KVM_SET_PIT2: counts are loaded anew. */
  setImage(bytes: Uint8Array): void {
    const v = new DataView(bytes.buffer, bytes.byteOffset, PIT_STATE_BYTES);
    this.#speaker = (v.getUint32(72, true) >>> 1) & 1;
    for (const [i, c] of this.#channels.entries()) {
      const at = CHANNEL_BYTES * i;
      const byte = (n: number): number => v.getUint8(at + n);
      c.latchedCount = v.getUint16(at + 4, true);
      c.latched = byte(6);
      c.statusLatched = byte(7) !== 0;
      [c.status, c.readState, c.writeState] = [byte(8), byte(9), byte(10)];
      [c.writeLow, c.access, c.mode] = [byte(11), byte(12), byte(13)];
      [c.bcd, c.gate] = [byte(14), byte(15)];
      this.#load(i, v.getUint32(at, true));
    }
  }
  /** For the VM's cell. Ticks that nobody has looked at yet are counted. */
  save(): Plain {
    const now = this.#now();
    const late = this.#due <= now && !this.#acknowledged;
    const ticks = !late ? 0 : this.#periodic ? Math.floor((now - this.#due) / this.#period) + 1 : 1;
    const due = !late ? this.#due : this.#periodic ? this.#due + ticks * this.#period : Infinity;
    return {
      channels: this.#channels.map((c) => ({ ...c })),
      speaker: this.#speaker,
      period: this.#period,
      periodic: this.#periodic,
      due: due === Infinity ? -1 : due,
      pending: this.#pending + ticks,
      acknowledged: this.#acknowledged,
    };
  }
  /** For the VM's cell. */
  restore(saved: Plain): void {
    const s = saved as unknown as Record<'speaker' | 'period' | 'due' | 'pending', number> & {
      channels: Channel[];
      periodic: boolean;
      acknowledged: boolean;
    };
    for (const [i, c] of s.channels.entries()) Object.assign(this.#channels[i] as Channel, c);
    this.#speaker = s.speaker;
    this.#period = s.period;
    this.#periodic = s.periodic;
    this.#due = s.due < 0 ? Infinity : s.due;
    this.#pending = s.pending;
    this.#acknowledged = s.acknowledged;
    this.#follow();
  }
}

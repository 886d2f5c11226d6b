/** The 8254 interval timer that KVM keeps (Intel 8254 data sheet; arch/x86/kvm/i8254.c), and port 61h. */
import type { Clock, Plain } from '@faultyard/core';

/** Input clock in hertz. */
const HERTZ = 1_193_182;
const NS_PER_TICK = 1e9 / HERTZ;
/** Key of channel 0 in the VM's clock. */
const KEY = 'x86.pit';

/** One channel. */
interface Channel {
  /** Reload value, 1 to 65536. */
  count: number;
  latched: number;
  /** Bytes of a latched count still to be read. */
  latchedLeft: number;
  status: number;
  statusLatched: boolean;
  readState: number;
  writeState: number;
  writeLow: number;
  /** 1 low, 2 high, 3 low then high. */
  access: number;
  mode: number;
  bcd: boolean;
  gate: boolean;
  /** Virtual time at which the count was loaded. */
  loaded: number;
}

const channel = (gate: boolean): Channel => ({
  count: 0x1_0000,
  latched: 0,
  latchedLeft: 0,
  status: 0,
  statusLatched: false,
  readState: 0,
  writeState: 0,
  writeLow: 0,
  access: 0,
  mode: 0xff,
  bcd: false,
  gate,
  loaded: 0,
});

/** The timer. Channel 0 pulses global interrupt 0. */
export class Pit {
  readonly #clock: Clock;
  readonly #now: () => number;
  readonly #pulse: () => void;
  readonly #channels: readonly [Channel, Channel, Channel] = [channel(true), channel(true), channel(false)];
  /** Port 61h: speaker data and gate of channel 2. */
  #speaker = 0;
  /** When channel 0 fires next; Infinity: it does not. */
  #due = Infinity;

  /** @param pulse raises and lowers the interrupt line. */
  constructor(clock: Clock, now: () => number, pulse: () => void) {
    this.#clock = clock;
    this.#now = now;
    this.#pulse = pulse;
  }

  // ---- counting ----------------------------------------------------------------------------------------------------
  /** Ticks since the count was loaded. */
  #ticks(c: Channel): number {
    return Math.floor((this.#now() - c.loaded) / NS_PER_TICK);
  }
  #value(c: Channel): number {
    const t = this.#ticks(c);
    let left: number;
    switch (c.mode) {
      case 0:
      case 1:
      case 4:
      case 5:
        left = (c.count - t) & 0xffff;
        break;
      case 3:
        left = c.count - ((2 * t) % c.count);
        break;
      default:
        left = c.count - (t % c.count);
    }
    return c.bcd ? toBcd(left) : left & 0xffff;
  }
  #out(c: Channel): boolean {
    const t = this.#ticks(c);
    switch (c.mode) {
      case 2:
        return t % c.count === 0 && t !== 0;
      case 3:
        return t % c.count < Math.ceil(c.count / 2);
      case 4:
      case 5:
        return t === c.count;
      default:
        return t >= c.count;
    }
  }
  #load(n: number, value: number): void {
    const c = this.#channels[n] as Channel;
    const v = c.bcd ? fromBcd(value) : value;
    c.count = v === 0 ? (c.bcd ? 10_000 : 0x1_0000) : v;
    c.loaded = this.#now();
    if (n === 0) this.#arm(c);
  }
  #arm(c: Channel): void {
    // KVM fires for modes 0, 1 and 4 once, for 2 and 3 again and again
    const once = c.mode === 0 || c.mode === 1 || c.mode === 4;
    const again = c.mode === 2 || c.mode === 3;
    this.#due = once || again ? c.loaded + c.count * NS_PER_TICK : Infinity;
    this.#follow();
  }
  #follow(): void {
    if (this.#due === Infinity) this.#clock.disarm(KEY);
    else this.#clock.arm({ key: KEY, when: this.#due, fire: () => this.#fire() });
  }
  #fire(): void {
    const [c] = this.#channels;
    const again = c.mode === 2 || c.mode === 3;
    this.#due = again ? this.#due + c.count * NS_PER_TICK : Infinity;
    this.#follow();
    this.#pulse();
  }

  // ---- ports -------------------------------------------------------------------------------------------------------
  /** Ports 40h to 43h, and 61h. */
  read(port: number): number {
    if (port === 0x61) {
      const [, , c] = this.#channels;
      const refresh = Math.floor(this.#now() / 15_085) & 1;
      return (this.#speaker & 2) | (c.gate ? 1 : 0) | (this.#out(c) ? 0x20 : 0) | (refresh << 4);
    }
    const c = this.#channels[port & 3];
    if (!c) return 0;
    if (c.statusLatched) {
      c.statusLatched = false;
      return c.status;
    }
    if (c.latchedLeft > 0) {
      const high = c.access === 2 || (c.access === 3 && c.latchedLeft === 1);
      c.latchedLeft--;
      return (high ? c.latched >>> 8 : c.latched) & 0xff;
    }
    const v = this.#value(c);
    if (c.access === 1) return v & 0xff;
    if (c.access === 2) return v >>> 8;
    c.readState ^= 1;
    return (c.readState ? v : v >>> 8) & 0xff;
  }
  /** Writes a port. */
  write(port: number, v: number): void {
    if (port === 0x61) {
      this.#speaker = v & 2;
      const [, , c] = this.#channels;
      const gate = (v & 1) !== 0;
      // modes 1, 2, 3 and 5 start over at a rising gate
      if (gate && !c.gate && c.mode !== 0 && c.mode !== 4) c.loaded = this.#now();
      c.gate = gate;
      return;
    }
    if ((port & 3) === 3) this.#command(v);
    else this.#count(port & 3, v);
  }
  #count(n: number, v: number): void {
    const c = this.#channels[n] as Channel;
    if (c.access === 1) this.#load(n, v);
    else if (c.access === 2) this.#load(n, v << 8);
    else if (c.writeState === 0) {
      c.writeLow = v;
      c.writeState = 1;
    } else {
      c.writeState = 0;
      this.#load(n, c.writeLow | (v << 8));
    }
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
    c.readState = 0;
    c.writeState = 0;
    const mode = (v >>> 1) & 7;
    c.mode = mode > 5 ? mode - 4 : mode;
    c.bcd = (v & 1) !== 0;
  }
  #latch(c: Channel): void {
    if (c.latchedLeft > 0) return;
    c.latched = this.#value(c);
    c.latchedLeft = c.access === 3 ? 2 : 1;
  }
  #readBack(c: Channel, v: number): void {
    if (!(v & 0x20)) this.#latch(c);
    if (v & 0x10 || c.statusLatched) return;
    c.status = (this.#out(c) ? 0x80 : 0) | (c.access << 4) | ((c.mode & 7) << 1) | (c.bcd ? 1 : 0);
    c.statusLatched = true;
  }

  /** For the VM's cell. */
  save(): Plain {
    return {
      channels: this.#channels.map((c) => ({ ...c })),
      speaker: this.#speaker,
      due: this.#due === Infinity ? -1 : this.#due,
    };
  }
  /** For the VM's cell. */
  restore(saved: Plain): void {
    const s = saved as unknown as { channels: Channel[]; speaker: number; due: number };
    for (const [i, c] of s.channels.entries()) Object.assign(this.#channels[i] as Channel, c);
    this.#speaker = s.speaker;
    this.#due = s.due < 0 ? Infinity : s.due;
    this.#follow();
  }
}

const toBcd = (v: number): number => {
  const d = v % 10_000;
  return (
    (Math.floor(d / 1000) << 12) |
    ((Math.floor(d / 100) % 10) << 8) |
    ((Math.floor(d / 10) % 10) << 4) |
    (d % 10)
  );
};
const fromBcd = (v: number): number =>
  (v >>> 12) * 1000 + ((v >>> 8) & 15) * 100 + ((v >>> 4) & 15) * 10 + (v & 15);

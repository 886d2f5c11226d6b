/** Small devices at a PC's I/O ports: the exit port, CMOS with its clock, and ports that reset the machine. */
import { type Cell, type Plain, stop, type Verdict } from '@faultyard/core';
import type { PortDevice } from './port-bus.ts';

/**
 * Ends the run, as QEMU's `isa-debug-exit` does: writing `v` ends with status `(v << 1) | 1`, so that no guest can claim
 * the status 0 of an emulator that was closed. Writing 0 gives 1, 1 gives 3. The drive stops with `guest exit <status>`.
 */
export class ExitPort implements PortDevice {
  readonly name = 'exit-port';
  readonly port: number;
  readonly size = 4;
  readonly width = 4;
  #status: number | undefined;

  constructor(port: number) {
    this.port = port;
  }
  /** Status of the last exit; `undefined` before one. */
  get status(): number | undefined {
    return this.#status;
  }
  load(): number {
    return 0;
  }
  store(_offset: number, _size: number, value: number): Verdict {
    this.#status = (value * 2 + 1) >>> 0;
    return stop(`guest exit ${this.#status}`);
  }
  /** State that snapshots keep. */
  get cell(): Cell {
    return {
      name: 'vmm.exit-port',
      version: 1,
      side: 'vmm',
      read: (): Plain => ({ status: this.#status ?? -1 }),
      write: (v) => {
        const { status } = v as { status: number };
        this.#status = status < 0 ? undefined : status;
      },
    };
  }
}

/** Reset control register (ports CF9h) and port 92h: bits that restart the machine stop the drive with `guest reset`. */
export class ResetPorts {
  readonly name = 'reset-ports';
  /** System control port A: bit 1 is the A20 gate (always open here), bit 0 resets. */
  readonly controlA: PortDevice = {
    name: 'port-92',
    port: 0x92,
    size: 1,
    width: 1,
    load: () => 2,
    store: (_offset, _size, value) => (value & 1 ? stop('guest reset') : undefined),
  };
  /** RST_CNT: bit 2 resets, bits 1 and 3 say how. */
  readonly control: PortDevice = {
    name: 'reset-control',
    port: 0xcf9,
    size: 1,
    width: 1,
    load: () => 0,
    store: (_offset, _size, value) => (value & 4 ? stop('guest reset') : undefined),
  };
}

/** What CMOS tells a guest. */
export interface CmosOptions {
  /** Bytes of memory from 0 to the hole below 4 GiB. */
  readonly below4g: number;
  /** Bytes of memory from 4 GiB on. */
  readonly above4g?: number;
  /** Seconds since 1970 (UTC) at virtual time 0. Default 2000-01-01. */
  readonly start?: number;
  /** Virtual time now, in nanoseconds. */
  now(): number;
}

const Y2K = 946_684_800;
const DAY = 86_400;
const bcd = (n: number): number => (Math.floor(n / 10) << 4) | (n % 10);

/** The date of a day since 1970-01-01, in the Gregorian calendar, for days from 1970 on. */
function calendar(days: number): { readonly year: number; readonly month: number; readonly day: number } {
  let year = 1970;
  let left = days;
  const leap = (y: number): boolean => y % 4 === 0 && (y % 100 !== 0 || y % 400 === 0);
  for (let n = 365; left >= n; n = leap(year) ? 366 : 365) {
    left -= n;
    year++;
  }
  const months = [31, leap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  let month = 0;
  for (; left >= (months[month] ?? 31); month++) left -= months[month] ?? 31;
  return { year, month: month + 1, day: left + 1 };
}

/**
 * CMOS memory and clock (MC146818) at 70h and 71h: the clock runs on virtual time, in BCD and 24 hours; memory sizes stand
 * where PC firmware puts them. Alarms and interrupts of the clock are not there.
 */
export class Cmos implements PortDevice {
  readonly name = 'cmos';
  readonly port: number;
  readonly size = 2;
  readonly width = 1;
  readonly #o: CmosOptions;
  readonly #ram = new Uint8Array(128);
  #index = 0;

  constructor(port: number, o: CmosOptions) {
    this.port = port;
    this.#o = o;
    const put = (at: number, bytes: number, value: number): void => {
      for (let i = 0; i < bytes; i++) this.#ram[at + i] = Math.floor(value / 256 ** i) & 0xff;
    };
    const kib = o.below4g / 1024;
    put(0x15, 2, Math.min(640, kib));
    put(0x17, 2, Math.min(0xffff, Math.max(0, kib - 1024)));
    put(0x30, 2, Math.min(0xffff, Math.max(0, kib - 1024)));
    // above 16 MiB and above 4 GiB in units of 64 KiB
    put(0x34, 2, Math.min(0xffff, Math.max(0, (kib - 16 * 1024) / 64)));
    put(0x5b, 3, (o.above4g ?? 0) / 65536);
    // status A: 32.768 kHz time base; B: 24 hours; D: the battery is good
    this.#ram[0x0a] = 0x26;
    this.#ram[0x0b] = 0x02;
    this.#ram[0x0d] = 0x80;
  }
  load(offset: number): number {
    if (offset === 0) return 0xff;
    return this.#clock(this.#index) ?? this.#ram[this.#index] ?? 0xff;
  }
  store(offset: number, _size: number, value: number): undefined {
    // bit 7 masks NMIs, which nothing here raises
    if (offset === 0) this.#index = value & 0x7f;
    else if (this.#index > 0x0d) this.#ram[this.#index] = value;
    return undefined;
  }
  #clock(register: number): number | undefined {
    const seconds = (this.#o.start ?? Y2K) + Math.floor(this.#o.now() / 1e9);
    const days = Math.floor(seconds / DAY);
    const rest = seconds - days * DAY;
    switch (register) {
      case 0x00:
        return bcd(rest % 60);
      case 0x02:
        return bcd(Math.floor(rest / 60) % 60);
      case 0x04:
        return bcd(Math.floor(rest / 3600));
      case 0x06:
        return bcd(((days + 4) % 7) + 1);
      case 0x07:
        return bcd(calendar(days).day);
      case 0x08:
        return bcd(calendar(days).month);
      case 0x09:
        return bcd(calendar(days).year % 100);
      case 0x32:
        return bcd(Math.floor(calendar(days).year / 100));
      default:
        return undefined;
    }
  }
  /** State that snapshots keep. */
  get cell(): Cell {
    return {
      name: 'vmm.cmos',
      version: 1,
      side: 'vmm',
      read: (): Plain => ({ index: this.#index, ram: [...this.#ram] }),
      write: (v) => {
        const s = v as unknown as { index: number; ram: number[] };
        this.#index = s.index;
        this.#ram.set(s.ram);
      },
    };
  }
}

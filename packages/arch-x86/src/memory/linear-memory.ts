/** Transactions over the port: guest memory by linear address, all or nothing (the contract is `linear.ts`). */
import type { HostMemory } from '@faultyard/core';
import { Access, type AccessInfo, type Resolution, Resolved } from '@faultyard/engine';
import type { Pair, X86State } from '../state.ts';
import { AccessClass } from './access-class.ts';
import { Cause } from './access-fault.ts';
import type { LinearMemory, Transaction } from './linear.ts';
import { currentContext, type X86Port } from './port.ts';
import { WalkEnd } from './walk.ts';

/** Words of a kept write: host address ({@link DEVICE}: none), bytes (1 to 8), value as two halves. */
const WORDS = 4;
/** In the place of a host address: a device, where KVM's emulator takes the instruction's own accesses to one. */
const DEVICE = -2;

/** Guest memory of one vCPU, and its one transaction. */
export class X86LinearMemory implements LinearMemory, Transaction {
  readonly #port: X86Port;
  readonly #s: X86State;
  readonly #host: HostMemory;
  readonly #a: AccessInfo = { lo: 0, hi: 0, size: 0, kind: 0, ctx: 0, cls: 0, ordinal: 0, align: 1 };
  readonly #out: Resolution = { frame: 0, cache: false, gpa: 0 };
  readonly #pair: Pair = { lo: 0, hi: 0 };
  /** Writes in order. */
  #kept: Int32Array = new Int32Array(64 * WORDS);
  /** Physical addresses of kept writes to devices. */
  readonly #gpas: number[] = [];
  #n = 0;
  #ctx = 0;
  #cls = 0;
  failed = false;
  hi = 0;

  constructor(port: X86Port, s: X86State, host: HostMemory) {
    this.#port = port;
    this.#s = s;
    this.#host = host;
  }

  begin(ctx?: number): Transaction {
    this.#n = 0;
    this.failed = false;
    this.hi = 0;
    this.#ctx = ctx ?? currentContext(this.#s);
    this.#cls = ctx === undefined ? 0 : AccessClass.System;
    return this;
  }
  get ctx(): number {
    return this.#ctx;
  }
  set ctx(ctx: number) {
    this.#ctx = ctx;
    this.#cls = AccessClass.System;
  }
  get hostFault(): boolean {
    return this.failed && this.#port.fault.cause >= Cause.Stage2;
  }

  // ---- reading ---------------------------------------------------------------------------------------------------

  read(lo: number, hi: number, size: number, forWrite: boolean = false): number {
    this.hi = 0;
    if (!this.#open(lo, hi, size, forWrite ? Access.ReadWrite : Access.Read)) return 0;
    const room = 4096 - (lo & 0xfff);
    const first = this.#part(lo, hi, Math.min(size, room));
    const p = this.#pair;
    if (!this.#load(first, Math.min(size, room))) return 0;
    if (size > room) {
      const { lo: low, hi: high } = p;
      const next = (lo + room) | 0;
      const second = this.#part(next, next === 0 ? (hi + 1) | 0 : hi, size - room);
      if (!this.#load(second, size - room)) return 0;
      join(low, high, 8 * room, p);
    }
    this.hi = p.hi;
    return p.lo;
  }
  readBytes(lo: number, hi: number, to: Uint8Array): void {
    if (!this.#open(lo, hi, to.length, Access.Read)) return;
    for (let done = 0; done < to.length; ) {
      const at = (lo + done) | 0;
      const n = Math.min(to.length - done, 4096 - (at & 0xfff));
      const from = this.#part(at, at >>> 0 < lo >>> 0 ? (hi + 1) | 0 : hi, n);
      const gpa = this.#out.gpa;
      for (let i = 0; i < n; i += 8) {
        this.#out.gpa = gpa + i;
        if (!this.#load(from < 0 ? from : from + i, Math.min(8, n - i))) return;
        for (let b = 0; b < Math.min(8, n - i); b++)
          to[done + i + b] = byteOf(this.#pair.lo, this.#pair.hi, b);
      }
      done += n;
    }
  }
  readPhysical(pa: number): number {
    this.hi = 0;
    if (this.failed) return 0;
    if (this.#port.readPhysical(pa, this.#pair) !== WalkEnd.Done) {
      this.failed = true;
      return 0;
    }
    this.hi = this.#pair.hi;
    return this.#pair.lo;
  }

  // ---- writing ---------------------------------------------------------------------------------------------------

  write(lo: number, hi: number, size: number, valueLo: number, valueHi: number = 0): void {
    if (!this.#open(lo, hi, size, Access.Write)) return;
    const room = 4096 - (lo & 0xfff);
    const first = this.#part(lo, hi, Math.min(size, room));
    if (first === -1) return;
    const gpa = this.#out.gpa;
    if (size <= room) {
      this.#keep(first, gpa, size, valueLo, valueHi);
      return;
    }
    const next = (lo + room) | 0;
    const second = this.#part(next, next === 0 ? (hi + 1) | 0 : hi, size - room);
    if (second === -1) return;
    this.#keep(first, gpa, room, valueLo, valueHi);
    const by = 8 * room;
    const rest = by >= 32 ? valueHi >>> (by - 32) : (valueLo >>> by) | (valueHi << (32 - by));
    this.#keep(second, this.#out.gpa, size - room, rest, by >= 32 ? 0 : valueHi >>> by);
  }
  writeBytes(lo: number, hi: number, from: Uint8Array): void {
    if (!this.#open(lo, hi, from.length, Access.Write)) return;
    for (let done = 0; done < from.length; ) {
      const at = (lo + done) | 0;
      const n = Math.min(from.length - done, 4096 - (at & 0xfff));
      const to = this.#part(at, at >>> 0 < lo >>> 0 ? (hi + 1) | 0 : hi, n);
      if (to === -1) return;
      const { gpa } = this.#out;
      for (let i = 0; i < n; i += 8) {
        const some = Math.min(8, n - i);
        let low = 0;
        let high = 0;
        for (let b = 0; b < some; b++) {
          const byte = from[done + i + b] as number;
          if (b < 4) low |= byte << (8 * b);
          else high |= byte << (8 * b - 32);
        }
        this.#keep(to < 0 ? to : to + i, gpa + i, some, low, high);
      }
      done += n;
    }
  }
  commit(): void {
    if (this.failed) return;
    const { dv } = this.#host;
    const k = this.#kept;
    for (let i = 0; i < this.#n * WORDS; i += WORDS) {
      const at = (k[i] as number) >>> 0;
      const size = k[i + 1] as number;
      const lo = k[i + 2] as number;
      const hi = k[i + 3] as number;
      if (k[i] === DEVICE) {
        this.#port.deviceStore(this.#gpas[i / WORDS] as number, size, this.#a, lo, hi);
        continue;
      }
      this.#host.codeWritten(at >>> 12);
      if (size === 8) {
        dv.setInt32(at, lo, true);
        dv.setInt32(at + 4, hi, true);
      } else if (size === 4) dv.setInt32(at, lo, true);
      else if (size === 2) dv.setInt16(at, lo, true);
      else for (let b = 0; b < size; b++) dv.setUint8(at + b, byteOf(lo, hi, b));
    }
    this.#n = 0;
  }

  // ---- translation -----------------------------------------------------------------------------------------------

  /** Describes an access and checks it as a whole. */
  #open(lo: number, hi: number, size: number, kind: AccessInfo['kind']): boolean {
    if (this.failed) return false;
    const a = this.#a;
    a.lo = lo;
    a.hi = hi;
    a.size = size;
    a.kind = kind;
    a.ctx = this.#ctx;
    a.cls = this.#cls;
    if (this.#port.check(a) !== 0) this.failed = true;
    return !this.failed;
  }
  /** Host address of a part that lies on one page; -1: none; {@link DEVICE}: its gpa is in the resolution. */
  #part(lo: number, hi: number, size: number): number {
    const a = this.#a;
    a.lo = lo;
    a.hi = hi;
    a.size = size;
    const r = this.#port.resolve(a, this.#out);
    if (r === Resolved.Ram) return this.#out.frame + (lo & 0xfff);
    if (r === Resolved.Device && this.#port.emulating) return DEVICE;
    // a device: the port has described the access as one
    this.failed = true;
    return -1;
  }

  // ---- kept writes -----------------------------------------------------------------------------------------------

  #keep(at: number, gpa: number, size: number, lo: number, hi: number): void {
    const i = this.#n * WORDS;
    if (i === this.#kept.length) {
      const more = new Int32Array(2 * i);
      more.set(this.#kept);
      this.#kept = more;
    }
    const k = this.#kept;
    k[i] = at | 0;
    this.#gpas[this.#n] = gpa;
    k[i + 1] = size;
    k[i + 2] = lo;
    k[i + 3] = hi;
    this.#n++;
  }
  /** Brings up to 8 bytes at a host address to {@link #pair}, as the kept writes leave them; `false` if it fails. */
  #load(at: number, size: number): boolean {
    const { u8 } = this.#host;
    const p = this.#pair;
    p.lo = 0;
    p.hi = 0;
    if (at < 0) {
      if (at === DEVICE && this.#port.deviceLoad(this.#out.gpa, size, this.#a, p) === 0) return true;
      this.failed = true;
      return false;
    }
    for (let b = 0; b < size; b++) put(p, b, u8[at + b] as number);
    const k = this.#kept;
    for (let i = 0; i < this.#n * WORDS; i += WORDS) {
      const from = (k[i] as number) >>> 0;
      if (k[i] === DEVICE) continue;
      if (from >= at + size || from + (k[i + 1] as number) <= at) continue;
      for (let b = 0; b < (k[i + 1] as number); b++) {
        const to = from + b - at;
        if (to >= 0 && to < size) put(p, to, byteOf(k[i + 2] as number, k[i + 3] as number, b));
      }
    }
    return true;
  }
}

/** Byte `b` (0 to 7) of two halves. */
function byteOf(lo: number, hi: number, b: number): number {
  return (b < 4 ? lo >>> (8 * b) : hi >>> (8 * b - 32)) & 0xff;
}
/** Replaces byte `b` of a pair. */
function put(p: Pair, b: number, value: number): void {
  if (b < 4) p.lo = (p.lo & ~(0xff << (8 * b))) | (value << (8 * b));
  else p.hi = (p.hi & ~(0xff << (8 * b - 32))) | (value << (8 * b - 32));
}
/** Puts `lo`, `hi` of `bits` bits (8 to 56) below the pair. */
function join(lo: number, hi: number, bits: number, p: Pair): void {
  const above = p.lo;
  if (bits < 32) {
    p.hi = (p.hi << bits) | (above >>> (32 - bits));
    p.lo = lo | (above << bits);
  } else {
    p.hi = hi | (above << (bits - 32));
    p.lo = lo;
  }
}

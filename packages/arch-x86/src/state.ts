/**
 * Architectural state of one vCPU: general registers, rip and flags lie in the engine's block; everything else here.
 * 64-bit values are pairs of int32 halves; bigint appears in accessors for people only.
 *
 * The engine's pc is a linear address. RIP is what is left of it without CS.base.
 */
import type { Cpu } from '@faultyard/engine';
import { FL, OTHER, packFlags, unpackCarries, unpackResult } from './isa/flags.ts';
import {
  Mode,
  SEG_BASE,
  SEG_FIRST,
  SEG_LAST_READ,
  SEG_LAST_WRITE,
  Seg,
  type SegNumber,
} from './isa/layout.ts';

/** Two halves of a 64-bit value; objects of this kind are reused. */
export interface Pair {
  lo: number;
  hi: number;
}

/** Two halves as a 64-bit value. */
export function join(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
/** Low half of a 64-bit value. */
export function low(v: bigint): number {
  return Number(BigInt.asIntN(32, v));
}
/** High half of it. */
export function high(v: bigint): number {
  return Number(BigInt.asIntN(64, v) >> 32n);
}

/** 64-bit slots of {@link X86State.sys}: registers that generated code does not look at. */
export const SR = {
  CR0: 0,
  CR2: 1,
  CR3: 2,
  CR4: 3,
  CR8: 4,
  EFER: 5,
  XCR0: 6,
  DR0: 7,
  DR1: 8,
  DR2: 9,
  DR3: 10,
  DR6: 11,
  DR7: 12,
  GDTR_BASE: 13,
  GDTR_LIMIT: 14,
  IDTR_BASE: 15,
  IDTR_LIMIT: 16,
  STAR: 17,
  LSTAR: 18,
  CSTAR: 19,
  SFMASK: 20,
  KERNEL_GS_BASE: 21,
  SYSENTER_CS: 22,
  SYSENTER_ESP: 23,
  SYSENTER_EIP: 24,
  PAT: 25,
  TSC_AUX: 26,
  /** Guest TSC minus the virtual clock's ticks. */
  TSC_OFFSET: 27,
  APIC_BASE: 28,
  MISC_ENABLE: 29,
  DEBUGCTL: 30,
  TSC_ADJUST: 31,
  PKRU: 32,
  SMBASE: 33,
  /** PAE page-directory pointers, loaded with CR3. */
  PDPTE0: 34,
  PDPTE1: 35,
  PDPTE2: 36,
  PDPTE3: 37,
} as const;
/** Number of slots in {@link SR}. */
export const SR_COUNT = 40;

/** Bits of CR0. */
export const CR0 = {
  PE: 1,
  MP: 2,
  EM: 4,
  TS: 8,
  ET: 0x10,
  NE: 0x20,
  WP: 0x1_0000,
  AM: 0x4_0000,
  NW: 0x2000_0000,
  CD: 0x4000_0000,
  PG: -0x8000_0000 as number,
} as const;
/** Bits of CR4. */
export const CR4 = {
  VME: 1,
  PVI: 2,
  TSD: 4,
  DE: 8,
  PSE: 0x10,
  PAE: 0x20,
  MCE: 0x40,
  PGE: 0x80,
  PCE: 0x100,
  OSFXSR: 0x200,
  OSXMMEXCPT: 0x400,
  UMIP: 0x800,
  LA57: 0x1000,
  FSGSBASE: 0x1_0000,
  PCIDE: 0x2_0000,
  OSXSAVE: 0x4_0000,
  SMEP: 0x10_0000,
  SMAP: 0x20_0000,
  PKE: 0x40_0000,
} as const;
/** Bits of EFER. */
export const EFER = { SCE: 1, LME: 0x100, LMA: 0x400, NXE: 0x800, SVME: 0x1000, FFXSR: 0x4000 } as const;

/** Bits of a segment's attributes: descriptor bits 47:40 and 55:52, as in a VMCB; bit 16: unusable (a null selector). */
export const Attr = {
  Type: 0xf,
  /** Code segment (with S). */
  Code: 8,
  /** Conforming code, or expand-down data. */
  Conforming: 4,
  ExpandDown: 4,
  /** Readable code, or writable data. */
  Readable: 2,
  Writable: 2,
  Accessed: 1,
  S: 0x10,
  DplShift: 5,
  P: 0x80,
  AVL: 0x100,
  L: 0x200,
  DB: 0x400,
  G: 0x800,
  Unusable: 0x1_0000,
} as const;

/** A segment register with its hidden part. `limit`: last byte's offset as an int32 (scaled by G), `base` as halves. */
export interface Segment {
  selector: number;
  attr: number;
  limit: number;
  baseLo: number;
  baseHi: number;
}

/** Width of code and stack, and which rules of protection hold. */
export type CpuMode = 'real' | 'virtual-8086' | 'protected' | 'compatibility' | 'long';

/** The state. Setters of single registers do not recompute what hangs on them; see {@link segmentsChanged}. */
export class X86State {
  readonly i32: Int32Array;
  /** Index of the low half of register file `r`. */
  readonly #r: number;
  readonly #pc: number;
  readonly #fr: number;
  readonly #fa: number;
  readonly #fl: number;
  readonly #csb: number;
  readonly #csl: number;
  /** System registers, {@link SR}: pairs lo, hi. */
  readonly sys: Int32Array = new Int32Array(2 * SR_COUNT);
  /** ES CS SS DS FS GS LDTR TR. */
  readonly segments: readonly Segment[] = Array.from({ length: 8 }, () => ({
    selector: 0,
    attr: 0,
    limit: 0,
    baseLo: 0,
    baseHi: 0,
  }));
  /** Current privilege level. */
  cpl = 0;

  constructor(cpu: Pick<Cpu, 'regAddr' | 'stateAddr' | 'pcAddr'>, i32: Int32Array) {
    this.i32 = i32;
    this.#r = cpu.regAddr('r', 0) >>> 2;
    this.#pc = cpu.pcAddr >>> 2;
    this.#fr = cpu.stateAddr('fr') >>> 2;
    this.#fa = cpu.stateAddr('fa') >>> 2;
    this.#fl = cpu.stateAddr('fl') >>> 2;
    this.#csb = cpu.stateAddr('csb') >>> 2;
    this.#csl = cpu.stateAddr('csl') >>> 2;
  }

  // ---- general registers ---------------------------------------------------------------------------------------
  /** Low half of a slot of file `r`. */
  lo(slot: number): number {
    return this.i32[this.#r + 2 * slot] as number;
  }
  /** High half. */
  hi(slot: number): number {
    return this.i32[this.#r + 2 * slot + 1] as number;
  }
  /** Writes all 64 bits. */
  set(slot: number, lo: number, hi: number): void {
    this.i32[this.#r + 2 * slot] = lo;
    this.i32[this.#r + 2 * slot + 1] = hi;
  }
  /** Writes the low `size` bytes as an instruction would: 4 bytes clear the upper half, 1 and 2 bytes merge. */
  setSized(slot: number, size: number, lo: number, hi: number): void {
    if (size >= 4) this.set(slot, lo, size === 8 ? hi : 0);
    else {
      const mask = size === 2 ? 0xffff : 0xff;
      const i = this.#r + 2 * slot;
      this.i32[i] = ((this.i32[i] as number) & ~mask) | (lo & mask);
    }
  }

  // ---- rip -------------------------------------------------------------------------------------------------------
  /** Linear address of the next instruction, low half. */
  get pcLo(): number {
    return this.i32[this.#pc] as number;
  }
  /** High half. */
  get pcHi(): number {
    return this.i32[this.#pc + 1] as number;
  }
  /** Sets the linear address. */
  setPc(lo: number, hi: number): void {
    this.i32[this.#pc] = lo;
    this.i32[this.#pc + 1] = hi;
  }
  /** Low half of RIP. */
  get ipLo(): number {
    const cs = this.segments[Seg.CS] as Segment;
    const ip = this.code === 8 ? this.pcLo : (this.pcLo - cs.baseLo) | 0;
    return this.code === 2 && this.mode !== 'protected' && this.mode !== 'compatibility' ? ip & 0xffff : ip;
  }
  /** High half of RIP: 0 outside 64-bit mode. */
  get ipHi(): number {
    return this.code === 8 ? this.pcHi : 0;
  }
  /** Sets RIP; outside 64-bit mode `hi` is ignored and CS.base added. */
  setIp(lo: number, hi: number): void {
    if (this.code === 8) this.setPc(lo, hi);
    else this.setPc((lo + (this.segments[Seg.CS] as Segment).baseLo) | 0, 0);
  }
  /** Moves behind an instruction of `length` bytes; an IP of 16 bits wraps. */
  advance(length: number): void {
    const lo = this.pcLo;
    if (this.code === 8) {
      const next = (lo + length) | 0;
      this.setPc(next, next >>> 0 < lo >>> 0 ? (this.pcHi + 1) | 0 : this.pcHi);
    } else if (this.code === 2) this.setIp((this.ipLo + length) & 0xffff, 0);
    else this.setIp((this.ipLo + length) | 0, 0);
  }

  // ---- flags -----------------------------------------------------------------------------------------------------
  /** EFLAGS, all 32 bits. */
  get flags(): number {
    const i = this.i32;
    const arithmetic = packFlags(i[this.#fr] as number, i[this.#fr + 1] as number, i[this.#fa] as number);
    return arithmetic | FL.One | (this.other & OTHER);
  }
  /** Sets all of them. */
  set flags(v: number) {
    this.i32[this.#fr] = unpackResult(v);
    this.i32[this.#fr + 1] = 0;
    this.i32[this.#fa] = unpackCarries(v);
    this.other = v;
  }
  /** The bits of EFLAGS that are no arithmetic flags. */
  get other(): number {
    return this.i32[this.#fl] as number;
  }
  /** Sets them. */
  set other(v: number) {
    this.i32[this.#fl] = v & OTHER;
  }
  /** Whether all of the given non-arithmetic bits are set. */
  flag(bits: number): boolean {
    return (this.other & bits) === bits;
  }
  /** I/O privilege level. */
  get iopl(): number {
    return (this.other >>> 12) & 3;
  }

  // ---- system registers ------------------------------------------------------------------------------------------
  /** Low half of a system register. */
  sysLo(n: number): number {
    return this.sys[2 * n] as number;
  }
  /** High half. */
  sysHi(n: number): number {
    return this.sys[2 * n + 1] as number;
  }
  /** Writes a system register, without its effects. */
  setSys(n: number, lo: number, hi: number): void {
    this.sys[2 * n] = lo;
    this.sys[2 * n + 1] = hi;
  }
  /** CR0, low half. */
  get cr0(): number {
    return this.sys[2 * SR.CR0] as number;
  }
  /** CR4, low half. */
  get cr4(): number {
    return this.sys[2 * SR.CR4] as number;
  }
  /** EFER, low half. */
  get efer(): number {
    return this.sys[2 * SR.EFER] as number;
  }
  /** EFER.LMA. */
  get lma(): boolean {
    return (this.efer & EFER.LMA) !== 0;
  }
  /** Mode of operation. */
  get mode(): CpuMode {
    if (!(this.cr0 & CR0.PE)) return 'real';
    if (this.lma) return (this.segments[Seg.CS] as Segment).attr & Attr.L ? 'long' : 'compatibility';
    return this.other & FL.VM ? 'virtual-8086' : 'protected';
  }
  /** Code size in bytes: 2, 4, or 8 for 64-bit mode. */
  get code(): 2 | 4 | 8 {
    const { attr } = this.segments[Seg.CS] as Segment;
    if (this.lma && attr & Attr.L) return 8;
    return attr & Attr.DB ? 4 : 2;
  }
  /** Stack pointer size in bytes. */
  get stack(): 2 | 4 | 8 {
    if (this.code === 8) return 8;
    return (this.segments[Seg.SS] as Segment).attr & Attr.DB ? 4 : 2;
  }

  // ---- segments --------------------------------------------------------------------------------------------------
  /** A segment register. */
  segment(n: SegNumber): Segment {
    return this.segments[n] as Segment;
  }
  /**
   * Recomputes what generated code looks at (effective bases and limits, CS) after segments, CR0.PE, EFER.LMA or
   * EFLAGS.VM changed; returns the decode mode for `Cpu.setMode`.
   */
  segmentsChanged(): number {
    const code = this.code;
    const long = code === 8;
    let flat = code === 4;
    const i = this.i32;
    const put = (slot: number, lo: number, hi: number): void => this.set(slot, lo, hi);
    for (let n = Seg.ES as number; n <= Seg.GS; n++) {
      const s = this.segments[n] as Segment;
      const based = !long || n >= Seg.FS;
      put(SEG_BASE + n, based ? s.baseLo : 0, based && long ? s.baseHi : 0);
      const [first, read, write] = this.#range(s);
      put(SEG_FIRST + n, first, 0);
      put(SEG_LAST_READ + n, read ?? -1, read === undefined ? -1 : 0);
      put(SEG_LAST_WRITE + n, write ?? -1, write === undefined ? -1 : 0);
      if (n > Seg.DS) continue;
      if (s.baseLo !== 0 || first !== 0 || read !== -1) flat = false;
      if (n !== Seg.CS && write !== -1) flat = false;
    }
    const cs = this.segments[Seg.CS] as Segment;
    i[this.#csb] = long ? 0 : cs.baseLo;
    i[this.#csb + 1] = 0;
    i[this.#csl] = long ? -1 : cs.limit;
    i[this.#csl + 1] = long ? -1 : 0;
    const size = long ? Mode.Code64 : code === 4 ? Mode.Code32 : Mode.Code16;
    return size | (!long && this.stack === 4 ? Mode.Stack32 : 0) | (flat ? Mode.Flat : 0);
  }
  /** First offset, last readable, last writable (undefined: none). Offsets are 32 bits wide. */
  #range(s: Segment): readonly [first: number, read: number | undefined, write: number | undefined] {
    const { attr, limit } = s;
    if (!(this.cr0 & CR0.PE)) return [0, limit, limit];
    if (attr & Attr.Unusable || !(attr & Attr.P)) return [0, undefined, undefined];
    if (attr & Attr.Code) return [0, attr & Attr.Readable ? limit : undefined, undefined];
    const down = (attr & Attr.ExpandDown) !== 0;
    // an expand-down segment with limit 4 GiB - 1 has no offsets
    if (down && limit === -1) return [0, undefined, undefined];
    const last = !down ? limit : attr & Attr.DB ? -1 : 0xffff;
    return [down ? (limit + 1) | 0 : 0, last, attr & Attr.Writable ? last : undefined];
  }
}

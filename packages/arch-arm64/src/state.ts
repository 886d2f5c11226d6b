/**
 * Architectural state of one vCPU: general registers, pc and flags in the engine's block, everything else here.
 * 64-bit values are pairs of int32 halves; bigint appears in accessors for people only.
 */

import type { Cpu } from '@faultyard/engine';

/** Two halves of a 64-bit value; objects of this kind are reused. */
export interface Pair {
  lo: number;
  hi: number;
}

/** Where registers lie: indices into an Int32Array over the host's memory. */
export interface RegisterPlaces {
  readonly i32: Int32Array;
  /** Index of the low half of X0; X1 two further, …; slot 31 is the current stack pointer. */
  readonly x: number;
  readonly pc: number;
  /** Flag variables, see `isa/flags.ts`: fn, fz, fv are 64-bit, fc is 32-bit. */
  readonly fn: number;
  readonly fz: number;
  readonly fc: number;
  readonly fv: number;
  /** System registers that generated code accesses itself (`isa/system.ts`, SYSTEM_STATE). */
  readonly tpidrEl0: number;
  readonly tpidrroEl0: number;
  readonly tpidrEl1: number;
  /** SP_EL0 while PSTATE.SP is 1. */
  readonly spEl0: number;
  /** Slots behind {@link SR_COUNT} for registers that plugins add. */
  readonly added: number;
}

/** The places in an engine's block. `added`: system registers that plugins store. */
export function placesOf(
  cpu: Pick<Cpu, 'regAddr' | 'stateAddr' | 'pcAddr'>,
  i32: Int32Array,
  added: number,
): RegisterPlaces {
  const state = (name: string): number => cpu.stateAddr(name) >>> 2;
  return {
    i32,
    x: cpu.regAddr('x', 0) >>> 2,
    pc: cpu.pcAddr >>> 2,
    fn: state('fn'),
    fz: state('fz'),
    fc: state('fc'),
    fv: state('fv'),
    tpidrEl0: state('tpidr_el0'),
    tpidrroEl0: state('tpidrro_el0'),
    tpidrEl1: state('tpidr_el1'),
    spEl0: state('sp_el0'),
    added,
  };
}

/** Slots of {@link Arm64State.sys}: system registers that hold state. */
export const SR = {
  SP_EL0: 0,
  SP_EL1: 1,
  ELR_EL1: 2,
  SPSR_EL1: 3,
  SCTLR_EL1: 4,
  CPACR_EL1: 5,
  SCTLR2_EL1: 6,
  TTBR0_EL1: 7,
  TTBR1_EL1: 8,
  TCR_EL1: 9,
  ESR_EL1: 10,
  FAR_EL1: 11,
  PAR_EL1: 12,
  MAIR_EL1: 13,
  VBAR_EL1: 14,
  CONTEXTIDR_EL1: 15,
  TPIDR_EL1: 16,
  CNTKCTL_EL1: 17,
  CSSELR_EL1: 18,
  TPIDR_EL0: 19,
  TPIDRRO_EL0: 20,
  FPCR: 21,
  FPSR: 22,
  CNTP_CTL_EL0: 23,
  CNTP_CVAL_EL0: 24,
  CNTV_CTL_EL0: 25,
  CNTV_CVAL_EL0: 26,
  MDSCR_EL1: 27,
  MDCCINT_EL1: 28,
  OSLSR_EL1: 29,
  OSDLR_EL1: 30,
  DBGCLAIM: 31,
  DBGBVR0_EL1: 32,
  DBGBCR0_EL1: 33,
  DBGBVR1_EL1: 34,
  DBGBCR1_EL1: 35,
  DBGWVR0_EL1: 36,
  DBGWCR0_EL1: 37,
  DBGWVR1_EL1: 38,
  DBGWCR1_EL1: 39,
  /** VDISR_EL2: what the guest reads as DISR_EL1. */
  VDISR: 40,
  /** VSESR_EL2: syndrome of the pending virtual SError. */
  VSESR: 41,
  MPIDR_EL1: 42,
  MIDR_EL1: 43,
  OSECCR_EL1: 44,
  DBGPRCR_EL1: 45,
  OSDTRRX_EL1: 46,
  OSDTRTX_EL1: 47,
} as const;
/** Number of slots in {@link SR}. */
export const SR_COUNT = 48;

/** PSTATE fields as they lie in SPSR_EL1 (DDI 0487, C5.2.19). */
export const PS = {
  /** M[3:0] of the three states there are. */
  EL0t: 0,
  EL1t: 4,
  EL1h: 5,
  F: 0x40,
  I: 0x80,
  A: 0x100,
  D: 0x200,
  DAIF: 0x3c0,
  SSBS: 0x1000,
  IL: 0x10_0000,
  SS: 0x20_0000,
  PAN: 0x40_0000,
  UAO: 0x80_0000,
  DIT: 0x100_0000,
  /** Bits 31..28, as an int32. */
  NZCV: -0x1000_0000,
} as const;

/** State of one vCPU. */
export class Arm64State {
  readonly places: RegisterPlaces;
  readonly i32: Int32Array;
  /** System registers that are not in the block: low half at 2 * slot, high half behind it. */
  readonly sys: Int32Array;
  /** Index in {@link i32} of the slots that are in the block; 0 for the others. */
  readonly #block: Int32Array;
  /** PSTATE without NZCV, in SPSR layout. */
  ps: number = PS.EL1h | PS.DAIF;

  constructor(places: RegisterPlaces) {
    this.places = places;
    this.i32 = places.i32;
    this.sys = new Int32Array((SR_COUNT + places.added) * 2);
    this.#block = new Int32Array(SR_COUNT + places.added);
    this.#block[SR.TPIDR_EL0] = places.tpidrEl0;
    this.#block[SR.TPIDRRO_EL0] = places.tpidrroEl0;
    this.#block[SR.TPIDR_EL1] = places.tpidrEl1;
    this.#block[SR.SP_EL0] = places.spEl0;
  }

  /** Current exception level, 0 or 1. */
  get el(): 0 | 1 {
    return (this.ps & 0xc) === 0 ? 0 : 1;
  }
  /** Slot of the stack pointer in use. */
  get spSlot(): number {
    return this.ps & 1 ? SR.SP_EL1 : SR.SP_EL0;
  }

  // ---- pc ------------------------------------------------------------------------------------------------------
  /** Low half of the program counter. */
  get pcLo(): number {
    return this.i32[this.places.pc] as number;
  }
  /** High half of the program counter. */
  get pcHi(): number {
    return this.i32[this.places.pc + 1] as number;
  }
  /** Sets the program counter from its halves. */
  setPc(lo: number, hi: number): void {
    this.i32[this.places.pc] = lo;
    this.i32[this.places.pc + 1] = hi;
  }
  /** The instruction at PC is done: PC += 4, and software step with it (SSAdvance). */
  advance(): void {
    this.ps &= ~PS.SS;
    const p = this.places.pc;
    const lo = ((this.i32[p] as number) + 4) | 0;
    this.i32[p] = lo;
    if (lo >= 0 && lo < 4) this.i32[p + 1] = ((this.i32[p + 1] as number) + 1) | 0;
  }

  // ---- general registers, by engine slot -----------------------------------------------------------------------
  /** Low half of X register `slot`; 31 is the current stack pointer. */
  xLo(slot: number): number {
    return this.i32[this.places.x + slot * 2] as number;
  }
  /** High half of X register `slot`. */
  xHi(slot: number): number {
    return this.i32[this.places.x + slot * 2 + 1] as number;
  }
  /** Sets X register `slot` from halves. */
  setX(slot: number, lo: number, hi: number): void {
    this.i32[this.places.x + slot * 2] = lo;
    this.i32[this.places.x + slot * 2 + 1] = hi;
  }

  // ---- system registers ----------------------------------------------------------------------------------------
  /** Low half of system register `slot` (`SR`). */
  lo(slot: number): number {
    const b = this.#block[slot] as number;
    return (b ? this.i32[b] : this.sys[slot * 2]) as number;
  }
  /** High half of system register `slot`. */
  hi(slot: number): number {
    const b = this.#block[slot] as number;
    return (b ? this.i32[b + 1] : this.sys[slot * 2 + 1]) as number;
  }
  /** Sets system register `slot` from halves; its effects are the caller's business. */
  put(slot: number, lo: number, hi: number): void {
    const b = this.#block[slot] as number;
    if (b) {
      this.i32[b] = lo;
      this.i32[b + 1] = hi;
    } else {
      this.sys[slot * 2] = lo;
      this.sys[slot * 2 + 1] = hi;
    }
  }

  // ---- PSTATE --------------------------------------------------------------------------------------------------
  /** NZCV in bits 31..28 (int32). */
  get nzcv(): number {
    const { i32, places: p } = this;
    const n = (i32[p.fn + 1] as number) & 0x80000000;
    const z = ((i32[p.fz] as number) | (i32[p.fz + 1] as number)) === 0 ? 0x40000000 : 0;
    const c = (i32[p.fc] as number) !== 0 ? 0x20000000 : 0;
    const v = (i32[p.fv + 1] as number) < 0 ? 0x10000000 : 0;
    return n | z | c | v;
  }
  /** Takes bits 31:28; the others do not matter. */
  set nzcv(v: number) {
    const { i32, places: p } = this;
    i32[p.fn] = 0;
    i32[p.fn + 1] = v & 0x80000000;
    i32[p.fz] = v & 0x40000000 ? 0 : 1;
    i32[p.fz + 1] = 0;
    i32[p.fc] = v & 0x20000000 ? 1 : 0;
    i32[p.fv] = 0;
    i32[p.fv + 1] = v & 0x10000000 ? 0x80000000 | 0 : 0;
  }
  /** The whole PSTATE in SPSR layout (int32). */
  get pstate(): number {
    return this.ps | this.nzcv;
  }
  /** Replaces PSTATE (NZCV included) and moves the stack pointers as M changes. */
  setPstate(v: number): void {
    this.nzcv = v;
    this.setPs(v & ~PS.NZCV);
  }
  /** Replaces PSTATE without NZCV and moves the stack pointers. */
  setPs(ps: number): void {
    const from = this.spSlot;
    this.ps = ps;
    const to = this.spSlot;
    if (from === to) return;
    this.put(from, this.xLo(31), this.xHi(31));
    this.setX(31, this.lo(to), this.hi(to));
  }
  /** Writes the banked stack pointers back to {@link sys}, so that both slots hold what the guest would read. */
  settleSp(): void {
    this.put(this.spSlot, this.xLo(31), this.xHi(31));
  }
  /** Low half of SP_EL0 or SP_EL1, wherever it lives now. */
  spLo(slot: number): number {
    return this.spSlot === slot ? this.xLo(31) : this.lo(slot);
  }
  /** High half of stack pointer `slot`. */
  spHi(slot: number): number {
    return this.spSlot === slot ? this.xHi(31) : this.hi(slot);
  }
  /** Sets stack pointer `slot` from halves. */
  setSp(slot: number, lo: number, hi: number): void {
    if (this.spSlot === slot) this.setX(31, lo, hi);
    else this.put(slot, lo, hi);
  }
}

/** A bigint from two int32 halves, unsigned. */
export function join(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
/** Low int32 half. */
export function low(v: bigint): number {
  return Number(BigInt.asIntN(32, v));
}
/** High int32 half. */
export function high(v: bigint): number {
  return Number(BigInt.asIntN(64, v) >> 32n) | 0;
}
/** A number below 2^53 from two halves. */
export function wide(lo: number, hi: number): number {
  return (hi >>> 0) * 0x1_0000_0000 + (lo >>> 0);
}

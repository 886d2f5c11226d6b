/**
 * The arithmetic flags in two variables, computed only as far as every instruction must, and read back by whoever asks.
 *
 * `fr` (i64): the result, sign-extended from its operand size.
 * `fa` (i32): bit 31 = CF; bit 30 = carry into the most significant bit, so OF = bit 31 ^ bit 30; bit 3 = AF;
 * bit 0 = SF differs from the sign of `fr`; bit 1 = PF differs from the parity of `fr`'s low byte.
 *
 * ZF = (fr == 0); SF = (fr < 0) ^ fa[0]; PF = even parity of fr[7:0] ^ fa[1]. Bits 0 and 1 are 0 after arithmetic and
 * serve POPF, SAHF and whatever else sets flags that no result has.
 */
import type { Builder, I32 } from '@faultyard/engine';

/** Bits of EFLAGS (AMD64 APM volume 1, 3.1.4; volume 2, 3.1.6). */
export const FL = {
  CF: 0x1,
  One: 0x2,
  PF: 0x4,
  AF: 0x10,
  ZF: 0x40,
  SF: 0x80,
  TF: 0x100,
  IF: 0x200,
  DF: 0x400,
  OF: 0x800,
  IOPL: 0x3000,
  NT: 0x4000,
  RF: 0x1_0000,
  VM: 0x2_0000,
  AC: 0x4_0000,
  VIF: 0x8_0000,
  VIP: 0x10_0000,
  ID: 0x20_0000,
} as const;
/** CF PF AF ZF SF OF. */
export const ARITHMETIC = 0x8d5;
/** The bits kept in state variable `fl`. */
export const OTHER = 0x3f_7700;

/** Bits of `fa`. */
export const FA = {
  CF: -0x8000_0000 as number,
  CarryIn: 0x4000_0000,
  AF: 8,
  SignFlip: 1,
  ParityFlip: 2,
} as const;

/** CF as 0 or 1. */
export function carry(b: Builder): I32 {
  return b.shrU(b.read32('fa'), b.c32(31));
}

/** The arithmetic flags as EFLAGS bits, from numbers: for the vCPU outside generated code. */
export function packFlags(frLo: number, frHi: number, fa: number): number {
  let f = 0;
  if (fa < 0) f |= FL.CF;
  if ((frLo | frHi) === 0) f |= FL.ZF;
  if ((frHi >>> 31) ^ (fa & 1)) f |= FL.SF;
  if ((fa ^ (fa << 1)) < 0) f |= FL.OF;
  if (fa & FA.AF) f |= FL.AF;
  let p = frLo & 0xff;
  p ^= p >>> 4;
  p ^= p >>> 2;
  p ^= p >>> 1;
  if ((p & 1) ^ 1 ^ ((fa >>> 1) & 1)) f |= FL.PF;
  return f;
}
/** `fr` for given EFLAGS: 0 if ZF, else 1. The matching `fa` is {@link unpackCarries}. */
export function unpackResult(flags: number): 0 | 1 {
  return flags & FL.ZF ? 0 : 1;
}
/** `fa` for given EFLAGS beside {@link unpackResult}. */
export function unpackCarries(flags: number): number {
  const cf = flags & FL.CF ? 1 : 0;
  const of = flags & FL.OF ? 1 : 0;
  // parity of 0 is even, of 1 odd
  const parity = flags & FL.ZF ? 1 : 0;
  const pf = flags & FL.PF ? 1 : 0;
  return (
    (cf << 31) |
    ((cf ^ of) << 30) |
    (flags & FL.AF ? FA.AF : 0) |
    (flags & FL.SF ? FA.SignFlip : 0) |
    (pf !== parity ? FA.ParityFlip : 0)
  );
}

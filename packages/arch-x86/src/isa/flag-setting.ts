/**
 * How meanings set the arithmetic flags (`flags.ts` says how they are kept). Undefined flags are in
 * `undefined-flags.ts`.
 */
import type { Builder, Expr, I32, I64 } from '@faultyard/engine';
import { FA } from './flags.ts';
import type { Width } from './row.ts';
import { signed } from './values.ts';

/** Bits of `fa` that hold neither CF nor OF. */
const REST = 0x3fff_ffff;
const CARRIES = 0xc000_0000 | 0;

/** `fa` from carries: bit n of `carries` is the carry (or borrow) out of bit n. */
function carriesToFa(b: Builder, w: Width, carries: Expr): I32 {
  if (w === 8) {
    const c = carries as I64;
    const high = b.and(b.wrap(b.shrU(c, b.c32(32))), b.c32(CARRIES));
    return b.or(high, b.and(b.wrap(c), b.c32(FA.AF)));
  }
  const c = carries as I32;
  if (w === 4) return b.and(c, b.c32(CARRIES | FA.AF));
  return b.or(b.and(b.shl(c, b.c32(32 - 8 * w)), b.c32(CARRIES)), b.and(c, b.c32(FA.AF)));
}

/** Flags of `sum = x + y (+ carry)`, all of width `w` and bound. */
export function setAddFlags(b: Builder, w: Width, x: Expr, y: Expr, sum: Expr): void {
  const carries = b.or(b.and(x, y), b.and(b.or(x, y), b.not(sum)));
  b.put('fa', carriesToFa(b, w, b.let(carries)));
  b.put('fr', signed(b, w, sum));
}

/** Flags of `difference = x - y (- borrow)`. */
export function setSubFlags(b: Builder, w: Width, x: Expr, y: Expr, difference: Expr): void {
  const borrows = b.or(b.and(b.not(x), y), b.and(b.not(b.xor(x, y)), difference));
  b.put('fa', carriesToFa(b, w, b.let(borrows)));
  b.put('fr', signed(b, w, difference));
}

/** SF, ZF and PF by the result; CF and OF as given (0 or 1 each), the carry into the top bit being CF ^ OF; AF as given. */
export function setResultFlags(b: Builder, w: Width, result: Expr, cf: I32, carryIn: I32, af: 0 | 1): void {
  b.put('fr', signed(b, w, result));
  b.put('fa', b.or(carries(b, cf, carryIn), b.c32(af ? FA.AF : 0)));
}

/** SF and ZF by the result, CF as given; OF, AF and PF are 0 (BMI instructions). */
export function setBmiFlags(b: Builder, w: Width, result: Expr, cf: I32): void {
  const fr = b.let(signed(b, w, result));
  // PF: 1 where the parity is even, so even parity is flipped
  const even = b.xor(b.and(b.wrap(b.popcnt(b.and(fr, b.c64(0xff)))), b.c32(1)), b.c32(1));
  b.put('fa', b.or(carries(b, cf, cf), b.shl(even, b.c32(1))));
  b.put('fr', fr);
}

const carries = (b: Builder, cf: I32, carryIn: I32): I32 =>
  b.or(b.shl(cf, b.c32(31)), b.shl(carryIn, b.c32(30)));

/** CF and OF alone (0 or 1 each; `carryIn` is CF ^ OF). */
export function setCarryOverflow(b: Builder, cf: I32, carryIn: I32): void {
  b.put('fa', b.or(b.and(b.read32('fa'), b.c32(REST)), carries(b, cf, carryIn)));
}

/** CF alone: OF stays, so the carry into the top bit changes with it. */
export function setCarry(b: Builder, cf: I32): void {
  const fa = b.read32('fa');
  // both top bits change where CF does
  const change = b.let(b.xor(b.shrU(fa, b.c32(31)), cf));
  b.put('fa', b.xor(fa, carries(b, change, change)));
}

/** OF as 0 or 1. */
export function overflow(b: Builder): I32 {
  const fa = b.read32('fa');
  return b.shrU(b.xor(fa, b.shl(fa, b.c32(1))), b.c32(31));
}

/** OF alone. */
export function setOverflow(b: Builder, of: I32): void {
  b.put('fa', b.xor(b.read32('fa'), b.shl(b.xor(overflow(b), of), b.c32(30))));
}

/** ZF as given, the others 0 (POPCNT; with `cf`, VERR-like results of instructions that report by ZF use {@link setZero}). */
export function setZeroOnly(b: Builder, zf: I32): void {
  b.put('fr', b.extU(b.eqz(zf)));
  // the parity of 0 is even, that of 1 is odd
  b.put('fa', b.shl(zf, b.c32(1)));
}

/** ZF alone, and CF if given; the others stay. */
export function setZero(b: Builder, zf: I32, cf?: I32): void {
  const fr = b.read64('fr');
  const fa = b.read32('fa');
  const sf = b.let(b.and(b.xor(b.wrap(b.shrU(fr, b.c32(63))), fa), b.c32(1)));
  const odd = b.and(b.wrap(b.popcnt(b.and(fr, b.c64(0xff)))), b.c32(1));
  // what is now PF; of the new fr (0 with ZF, else 1) the parity gives ZF, so it is flipped where they differ
  const pf = b.xor(b.xor(odd, b.c32(1)), b.and(b.shrU(fa, b.c32(1)), b.c32(1)));
  const flips = b.let(b.or(sf, b.shl(b.xor(pf, zf), b.c32(1))));
  b.put('fa', b.or(b.and(fa, b.c32(~(FA.SignFlip | FA.ParityFlip))), flips));
  b.put('fr', b.extU(b.eqz(zf)));
  if (cf) setCarry(b, cf);
}

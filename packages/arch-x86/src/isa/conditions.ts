/** The sixteen conditions of Jcc, SETcc and CMOVcc (AMD64 APM volume 3, table 1-7), read from `fr` and `fa`. */
import type { Builder, I32 } from '@faultyard/engine';
import { FA } from './flags.ts';

const parity = (b: Builder): I32 => {
  const odd = b.popcnt(b.and(b.wrap(b.read64('fr')), b.c32(0xff)));
  return b.and(b.xor(odd, b.shrU(b.read32('fa'), b.c32(1))), b.c32(1));
};
const below = (b: Builder): I32 => b.ltS(b.read32('fa'), b.c32(0));
const zero = (b: Builder): I32 => b.eqz(b.read64('fr'));
/** Sign bit of the high half of `fr`, and what flips it, as bit 31. */
const sign = (b: Builder): I32 =>
  b.xor(b.wrap(b.shrU(b.read64('fr'), b.c32(32))), b.shl(b.read32('fa'), b.c32(31)));
const overflow = (b: Builder): I32 => b.xor(b.read32('fa'), b.shl(b.read32('fa'), b.c32(1)));
const less = (b: Builder): I32 => b.xor(sign(b), overflow(b));
const negative = (b: Builder, v: I32): I32 => b.ltS(v, b.c32(0));
const positive = (b: Builder, v: I32): I32 => b.geS(v, b.c32(0));

/** Names as iced-x86 writes them, in encoding order. */
export const CONDITIONS = [
  'o',
  'no',
  'b',
  'ae',
  'e',
  'ne',
  'be',
  'a',
  's',
  'ns',
  'p',
  'np',
  'l',
  'ge',
  'le',
  'g',
] as const;

const TESTS: { readonly [name: string]: (b: Builder) => I32 } = {
  o: (b) => negative(b, overflow(b)),
  no: (b) => positive(b, overflow(b)),
  b: below,
  ae: (b) => b.geS(b.read32('fa'), b.c32(0)),
  e: zero,
  ne: (b) => b.ne(b.read64('fr'), b.c64(0)),
  be: (b) => b.or(below(b), zero(b)),
  a: (b) => b.eqz(b.or(below(b), zero(b))),
  s: (b) => negative(b, sign(b)),
  ns: (b) => positive(b, sign(b)),
  p: (b) => b.eqz(parity(b)),
  np: parity,
  l: (b) => negative(b, less(b)),
  ge: (b) => positive(b, less(b)),
  le: (b) => b.or(negative(b, less(b)), zero(b)),
  g: (b) => b.eqz(b.or(negative(b, less(b)), zero(b))),
};

/** A condition by its name, as 0 or 1. */
export function condition(b: Builder, name: string): I32 {
  return TESTS[name]?.(b) ?? b.c32(0);
}

/** The arithmetic flags as EFLAGS bits; the expression is large. */
export function flagsOf(b: Builder): I32 {
  const fa = b.read32('fa');
  const at = (v: I32, n: number): I32 => b.shl(v, b.c32(n));
  const high = (v: I32): I32 => b.shrU(v, b.c32(31));
  const parts = [
    high(fa),
    at(b.eqz(parity(b)), 2),
    at(b.and(fa, b.c32(FA.AF)), 1),
    at(zero(b), 6),
    at(high(sign(b)), 7),
    at(high(overflow(b)), 11),
  ];
  return parts.reduce((x, y) => b.or(x, y));
}

/** Sets the arithmetic flags from EFLAGS bits; `flags` must be bound. The inverse of {@link flagsOf}. */
export function setFlags(b: Builder, flags: I32): void {
  const bit = (n: number): I32 => b.and(b.shrU(flags, b.c32(n)), b.c32(1));
  const zf = b.let(bit(6));
  const carryIn = b.xor(bit(0), bit(11));
  // the parity of 0 is even, that of 1 odd: flipped where PF differs from ZF
  const flips = b.or(bit(7), b.shl(b.xor(bit(2), zf), b.c32(1)));
  const carries = b.or(b.shl(flags, b.c32(31)), b.shl(carryIn, b.c32(30)));
  b.put('fa', b.or(b.or(carries, b.and(b.shrU(flags, b.c32(1)), b.c32(FA.AF))), flips));
  b.put('fr', b.extU(b.eqz(zf)));
}

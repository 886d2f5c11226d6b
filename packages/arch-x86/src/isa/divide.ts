/** Division of 128 by 64 bits in straight code: schoolbook division in digits of 32 bits. */
import type { Builder, I32, I64 } from '@faultyard/engine';

/** Quotient and remainder. */
export interface Division {
  readonly quotient: I64;
  readonly remainder: I64;
}

/**
 * Divides `hi:lo` by `d`, all bound, `hi < d` (so that `d` is not 0 and the quotient fits). Knuth's algorithm D with two
 * digits (The Art of Computer Programming, volume 2, 4.3.1): each digit is guessed from the divisor's upper digit, once
 * its top bit is set, and is then too large by 2 at most.
 */
export function divide128(b: Builder, hi: I64, lo: I64, d: I64): Division {
  const s = b.let(b.wrap(b.clz(d)));
  const v = b.let(b.shl(d, s));
  const v1 = b.let(b.shrU(v, b.c32(32)));
  const v0 = b.let(lower(b, v));
  // lo >> (64 - s), also for s = 0
  const moved = b.shrU(b.shrU(lo, b.c32(1)), b.sub(b.c32(63), s));
  const u32 = b.let(b.or(b.shl(hi, s), moved));
  const u10 = b.let(b.shl(lo, s));
  const first = digit(b, u32, b.let(b.shrU(u10, b.c32(32))), v, v1, v0);
  const second = digit(b, first.rest, b.let(lower(b, u10)), v, v1, v0);
  return {
    quotient: b.let(b.add(b.shl(first.q, b.c32(32)), second.q)),
    remainder: b.let(b.shrU(second.rest, s)),
  };
}

const lower = (b: Builder, x: I64): I64 => b.and(x, b.c64(-1, 0));

/** One digit of `u:next / v`, and what is left. */
function digit(b: Builder, u: I64, next: I64, v: I64, v1: I64, v0: I64): { q: I64; rest: I64 } {
  const q0 = b.let(b.divU(u, v1));
  const r0 = b.let(b.sub(u, b.mul(q0, v1)));
  const tooLarge = (q: I64, r: I64): I32 => {
    const wide = b.ne(b.shrU(q, b.c32(32)), b.c64(0));
    const more = b.ltU(b.or(b.shl(r, b.c32(32)), next), b.mul(q, v0));
    // with a rest of more than 32 bits the guess is right
    return b.and(b.eqz(b.shrU(r, b.c32(32))), b.or(wide, more));
  };
  const c0 = b.let(tooLarge(q0, r0));
  const q1 = b.let(b.sub(q0, b.extU(c0)));
  const r1 = b.let(b.add(r0, b.select(c0, v1, b.c64(0))));
  const c1 = b.and(c0, tooLarge(q1, r1));
  const q = b.let(b.sub(q1, b.extU(c1)));
  const rest = b.let(b.sub(b.or(b.shl(u, b.c32(32)), next), b.mul(q, v)));
  return { q, rest };
}

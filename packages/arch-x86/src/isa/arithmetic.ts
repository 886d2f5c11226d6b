/** Arithmetic flags of results: what `fr` and `fa` become (flags.ts), at the least cost for each width. */
import type { Builder, Expr, I32, I64 } from '@faultyard/engine';
import { FA } from './flags.ts';
import type { Width } from './row.ts';

/** A value of `w` bytes, sign-extended to 64 bits. */
export function signed(b: Builder, w: Width, v: Expr): I64 {
  if (w === 8) return v as I64;
  const x = v as I32;
  return b.extS(w === 4 ? x : b.sext(x, w === 2 ? 16 : 8));
}
/** A result of 1, 2 or 4 bytes as values are kept: zero-extended. */
export function truncated<T extends Expr>(b: Builder, w: Width, v: T): T {
  return (w >= 4 ? v : b.zext(v as Expr, w === 2 ? 16 : 8)) as T;
}
/** 0, 1 or another number as a value of `w` bytes. */
export function constant(b: Builder, w: Width, n: number): Expr {
  return w === 8 ? b.c64(n) : b.c32(n);
}

/** `fa` from the carries out of every bit of a value of `w` bytes. */
function carries(b: Builder, w: Width, all: Expr): I32 {
  if (w === 4) return b.and(all as I32, b.c32(FA.CF | FA.CarryIn | FA.AF));
  if (w === 8) {
    const c = b.let(all as I64);
    const high = b.and(b.wrap(b.shrU(c, b.c32(32))), b.c32(FA.CF | FA.CarryIn));
    return b.or(high, b.and(b.wrap(c), b.c32(FA.AF)));
  }
  const c = b.let(all as I32);
  const high = b.and(b.shl(c, b.c32(w === 2 ? 16 : 24)), b.c32(FA.CF | FA.CarryIn));
  return b.or(high, b.and(c, b.c32(FA.AF)));
}

/** Flags of `r = a + s` (+ carry): all bound values, `r` truncated. */
export function addFlags<T extends Expr>(b: Builder, w: Width, a: T, s: T, r: T): void {
  const [x, y, z] = [a as Expr, s as Expr, r as Expr];
  b.put('fa', carries(b, w, b.or(b.and(x, y), b.and(b.or(x, y), b.not(z)))));
  b.put('fr', signed(b, w, r));
}
/** Flags of `r = a - s` (- borrow). */
export function subFlags<T extends Expr>(b: Builder, w: Width, a: T, s: T, r: T): void {
  const [x, y, z] = [b.not(a as Expr), s as Expr, r as Expr];
  b.put('fa', carries(b, w, b.or(b.and(x, y), b.and(b.or(x, y), z))));
  b.put('fr', signed(b, w, r));
}
/** Flags of a logical result: CF = OF = 0; AF, which is undefined, becomes 0 as on AMD's and Intel's CPUs. */
export function logicFlags(b: Builder, w: Width, r: Expr): void {
  b.put('fa', b.c32(0));
  b.put('fr', signed(b, w, r));
}

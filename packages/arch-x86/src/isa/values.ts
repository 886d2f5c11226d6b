/**
 * Arithmetic on values of an operand size: I32 for 1, 2 and 4 bytes (the narrow ones zero-extended), I64 for 8. Meanings
 * that are the same for every size are written with these.
 */
import type { Builder, Expr, I32, I64, Ty } from '@faultyard/engine';
import type { Width } from './row.ts';

/** Bits of a width. */
export const bitsOf = (w: Width): 8 | 16 | 32 | 64 => (w * 8) as 8 | 16 | 32 | 64;

/** A constant, cut to the width; `n` is an int32 and sign-extended to 8 bytes. */
export function constant(b: Builder, w: Width, n: number): Expr {
  return w === 8 ? b.c64(n) : b.c32(w === 4 ? n : n & (2 ** bitsOf(w) - 1));
}

/** The low bytes of a value that has spilled over its width. */
export function low<T extends Ty>(b: Builder, w: Width, v: Expr<T>): Expr<T> {
  return w < 4 ? b.zext(v, w === 1 ? 8 : 16) : v;
}

/** Sign-extended to 64 bits: what `fr` wants. */
export function signed(b: Builder, w: Width, v: Expr): I64 {
  if (w === 8) return v as I64;
  return b.extS(w === 4 ? (v as I32) : b.sext(v as I32, w === 1 ? 8 : 16));
}

/** Sign-extended within its type. */
export function extended(b: Builder, w: Width, v: Expr): Expr {
  return w < 4 ? b.sext(v, w === 1 ? 8 : 16) : v;
}

/** Bit `n` of a value, 0 or 1; `n` may be an amount known only at run time (taken modulo the type's width). */
export function bitAt(b: Builder, v: Expr, n: number | I32): I32 {
  const moved = b.shrU(v, typeof n === 'number' ? b.c32(n) : n);
  return b.and(v.ty === 'i64' ? b.wrap(moved as I64) : (moved as I32), b.c32(1));
}

/** The most significant bit of a value of width `w`. */
export const top = (b: Builder, w: Width, v: Expr): I32 => bitAt(b, v, bitsOf(w) - 1);

/** The low half of a value as I32. */
export const as32 = (b: Builder, v: Expr): I32 => (v.ty === 'i64' ? b.wrap(v as I64) : (v as I32));

/** A value zero-extended to I64. */
export const as64 = (b: Builder, v: Expr): I64 => (v.ty === 'i64' ? (v as I64) : b.extU(v as I32));

/** Reads the low `w` bytes of a general register. */
export function readGpr(b: Builder, w: Width, slot: number): Expr {
  return w === 8 ? b.get(slot) : b.elem('r', slot, 0, w);
}

/** Writes a general register as an instruction of width `w` does: 4 bytes clear the upper half, 1 and 2 merge. */
export function writeGpr(b: Builder, w: Width, slot: number, v: Expr): void {
  if (w === 8) b.set(slot, v as I64);
  else if (w === 4) b.set(slot, b.extU(v as I32));
  else b.setElem('r', slot, 0, w, v);
}

/** The bytes of a value of 2, 4 or 8 bytes in reverse order. */
export function reversed(b: Builder, w: Width, v: Expr): Expr {
  if (w === 8) {
    const x = v as I64;
    const lo = reversed32(b, b.wrap(b.shrU(x, b.c32(32))));
    const hi = reversed32(b, b.wrap(x));
    return b.or(b.extU(lo), b.shl(b.extU(hi), b.c32(32)));
  }
  const x = v as I32;
  return w === 4 ? reversed32(b, x) : b.shrU(reversed32(b, x), b.c32(16));
}
function reversed32(b: Builder, v: I32): I32 {
  const x = b.let(v);
  const odd = b.and(b.rotr(x, b.c32(8)), b.c32(0xff00_ff00 | 0));
  return b.or(odd, b.and(b.rotr(x, b.c32(24)), b.c32(0x00ff_00ff)));
}

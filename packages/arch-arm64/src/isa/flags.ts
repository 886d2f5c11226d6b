/**
 * Condition flags, semi-lazily: N = sign of `fn`, Z = (`fz` == 0), C = `fc` (0 or 1), V = sign of `fv`.
 * 32-bit operations work on operands shifted to the top half, so that the same four rules hold for them.
 * Arm ARM (DDI 0487) C1.2.4, and AddWithCarry() and ConditionHolds() in J1.
 */
import type { Builder, I32, I64 } from '@faultyard/engine';

/** The two carry-producing operations. */
export type Sum = 'add' | 'sub';

/** Moves a value to where flags of its width are computed: 32-bit values to the top half. */
export function top(b: Builder, sf: number, v: I64): I64 {
  return sf ? v : b.shl(v, b.c32(32));
}

/** Undoes {@link top}: zero-extends a 32-bit result out of the top half. */
export function down(b: Builder, sf: number, v: I64): I64 {
  return sf ? v : b.shrU(v, b.c32(32));
}

/** Sets NZCV for `x + y` or `x - y` and returns the result; operands and result are {@link top} values. */
export function sumFlags(b: Builder, op: Sum, x: I64, y: I64): I64 {
  const p = b.let(x);
  const q = b.let(y);
  const r = b.let(op === 'add' ? b.add(p, q) : b.sub(p, q));
  b.put('fn', r);
  b.put('fz', r);
  b.put('fc', op === 'add' ? b.ltU(r, p) : b.geU(p, q));
  b.put('fv', b.and(b.xor(p, r), op === 'add' ? b.xor(q, r) : b.xor(p, q)));
  return r;
}

/** Sets N and Z from a {@link top} value and clears C and V (ANDS, BICS). */
export function logicFlags(b: Builder, x: I64): I64 {
  const r = b.let(x);
  b.put('fn', r);
  b.put('fz', r);
  b.put('fc', b.c32(0));
  b.put('fv', b.c64(0));
  return r;
}

/** Whether condition `cond` (0..15) holds; 14 and 15 always do. */
export function holds(b: Builder, cond: number): I32 {
  const carry = b.read32('fc');
  const zero = (): I32 => b.eqz(b.read64('fz'));
  const notZero = (): I32 => b.ne(b.read64('fz'), b.c64(0));
  const nv = (): I64 => b.xor(b.read64('fn'), b.read64('fv'));
  const k0 = b.c64(0);
  switch (cond) {
    case 0:
      return zero();
    case 1:
      return notZero();
    case 2:
      return carry;
    case 3:
      return b.eqz(carry);
    case 4:
      return b.ltS(b.read64('fn'), k0);
    case 5:
      return b.geS(b.read64('fn'), k0);
    case 6:
      return b.ltS(b.read64('fv'), k0);
    case 7:
      return b.geS(b.read64('fv'), k0);
    case 8:
      return b.and(carry, notZero());
    case 9:
      return b.or(b.eqz(carry), zero());
    case 10:
      return b.geS(nv(), k0);
    case 11:
      return b.ltS(nv(), k0);
    case 12:
      return b.and(b.geS(nv(), k0), notZero());
    case 13:
      return b.or(b.ltS(nv(), k0), zero());
    default:
      return b.c32(1);
  }
}

/** NZCV as bits 31..28 of a 64-bit value (the layout of PSTATE in SPSR and of the NZCV register). */
export function packFlags(b: Builder): I64 {
  const n = b.shl(b.shrU(b.read64('fn'), b.c32(63)), b.c32(31));
  const z = b.shl(b.extU(b.eqz(b.read64('fz'))), b.c32(30));
  const c = b.shl(b.extU(b.read32('fc')), b.c32(29));
  const v = b.shl(b.shrU(b.read64('fv'), b.c32(63)), b.c32(28));
  return b.or(b.or(n, z), b.or(c, v));
}

/** Sets NZCV from bits 31..28 of `v`. */
export function unpackFlags(b: Builder, v: I64): void {
  const bits = b.let(v);
  b.put('fn', b.shl(bits, b.c32(32)));
  b.put('fz', b.and(b.xor(bits, b.c64(0x40000000)), b.c64(0x40000000)));
  b.put('fc', b.and(b.wrap(b.shrU(bits, b.c32(29))), b.c32(1)));
  b.put('fv', b.shl(bits, b.c32(35)));
}

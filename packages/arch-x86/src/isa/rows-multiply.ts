/** Multiplication and division (AMD64 APM volume 3: MUL, IMUL, MULX, DIV, IDIV). */
import type { Builder, Expr, I32, I64 } from '@faultyard/engine';
import { divide128 } from './divide.ts';
import { setCarryOverflow } from './flag-setting.ts';
import { FA } from './flags.ts';
import { Guard } from './guards.ts';
import { R } from './layout.ts';
import type { Operands, Row, Width } from './row.ts';
import { Slow } from './slow.ts';
import { low, readGpr, signed, writeGpr } from './values.ts';

/** CF = OF = `c`; the others: `undefined-flags.ts`. */
const setProductFlags = (b: Builder, c: I32): void => setCarryOverflow(b, b.let(c), b.c32(0));

/** Product of two values that fits twice the width: halves of 8 bytes, or one I64. */
function product(b: Builder, w: Width, x: Expr, y: Expr, isSigned: boolean): { lo: Expr; hi: Expr } {
  if (w === 8) {
    const lo = b.let(b.mul(x, y) as I64);
    const hi = isSigned ? b.mulhS(x as I64, y as I64) : b.mulhU(x as I64, y as I64);
    return { lo, hi: b.let(hi) };
  }
  const wide = (v: Expr): I64 => (isSigned ? signed(b, w, v) : b.extU(v as I32));
  const p = b.let(b.mul(wide(x), wide(y)));
  return {
    lo: b.let(low(b, w, b.wrap(p))),
    hi: b.let(low(b, w, b.wrap(b.shrU(p, b.c32(8 * w))))),
  };
}

/** rDX:rAX (AX for bytes) of a product or a division: upper part, lower part. */
function setPair(b: Builder, w: Width, hi: Expr, lo: Expr): void {
  if (w === 1) {
    b.setElem('r', R.RAX, 0, 2, b.or(lo as I32, b.shl(hi as I32, b.c32(8))));
    return;
  }
  writeGpr(b, w, R.RAX, lo);
  writeGpr(b, w, R.RDX, hi);
}

function multiplyAccumulator(o: Operands, isSigned: boolean): void {
  const { b, width } = o;
  const y = b.let(o.read(0));
  const x = b.let(readGpr(b, width, R.RAX));
  const { lo, hi } = product(b, width, x, y, isSigned);
  const fits = isSigned ? signed(b, width, hi) : undefined;
  // the upper half is nothing but the sign of the lower
  const spilled = fits ? b.ne(fits, b.shrS(signed(b, width, lo), b.c32(63))) : b.eqz(b.eqz(hi));
  const c = b.let(spilled);
  setPair(b, width, hi, lo);
  setProductFlags(b, c);
}

function multiplyTruncated(o: Operands, x: Expr, y: Expr): void {
  const { b, width } = o;
  const { lo, hi } = product(b, width, x, y, true);
  const c = b.let(b.ne(signed(b, width, hi), b.shrS(signed(b, width, lo), b.c32(63))));
  o.write(0, lo);
  setProductFlags(b, c);
}

/** Flags after a division: `undefined-flags.ts`. */
function setDivisionFlags(b: Builder): void {
  b.put('fa', b.or(b.and(b.read32('fa'), b.c32(0xc000_0000 | 0)), b.c32(FA.AF)));
  b.put('fr', b.c64(1));
}

function divideUnsigned(o: Operands): void {
  const { b, width } = o;
  const d = b.let(o.read(0));
  if (width === 8) {
    const lo = b.let(b.get(R.RAX));
    const hi = b.let(b.get(R.RDX));
    b.when(b.geU(hi, d as I64), () => b.slow(Slow.DivideError));
    const { quotient, remainder } = divide128(b, hi, lo, d as I64);
    setPair(b, 8, remainder, quotient);
  } else {
    const n = b.let(dividend(b, width, false));
    const by = b.let(b.extU(d as I32));
    // also true of a divisor of 0
    b.when(b.geU(b.shrU(n, b.c32(8 * width)), by), () => b.slow(Slow.DivideError));
    const q = b.let(b.divU(n, by));
    const r = b.let(b.sub(n, b.mul(q, by)));
    setPair(b, width, b.wrap(r), b.wrap(q));
  }
  setDivisionFlags(b);
}

/** The dividend of 2, 4 and 8 bytes for divisors of 1, 2 and 4, as I64. */
function dividend(b: Builder, w: 1 | 2 | 4, isSigned: boolean): I64 {
  if (w === 1) {
    const ax = b.elem('r', R.RAX, 0, 2);
    return isSigned ? b.extS(b.sext(ax, 16)) : b.extU(ax);
  }
  if (w === 2) {
    const n = b.or(b.elem('r', R.RAX, 0, 2), b.shl(b.elem('r', R.RDX, 0, 2), b.c32(16)));
    return isSigned ? b.extS(n) : b.extU(n);
  }
  return b.or(b.extU(b.elem('r', R.RAX, 0, 4)), b.shl(b.extU(b.elem('r', R.RDX, 0, 4)), b.c32(32)));
}

function divideSigned(o: Operands): void {
  const { b, width } = o;
  const d = b.let(o.read(0));
  if (width === 8) divideSigned128(b, d as I64);
  else {
    const n = b.let(dividend(b, width, true));
    const by = b.let(signed(b, width, d));
    const least = b.and(b.eq(n, b.c64(0, 0x8000_0000 | 0)), b.eq(by, b.c64(-1)));
    b.when(b.or(b.eqz(by), least), () => b.slow(Slow.DivideError));
    const q = b.let(b.divS(n, by));
    b.when(b.ne(q, signed(b, width, low(b, width, b.wrap(q)))), () => b.slow(Slow.DivideError));
    const r = b.let(b.sub(n, b.mul(q, by)));
    setPair(b, width, low(b, width, b.wrap(r)), low(b, width, b.wrap(q)));
  }
  setDivisionFlags(b);
}

/** IDIV of RDX:RAX: magnitudes are divided, then signed; the remainder has the dividend's sign. */
function divideSigned128(b: Builder, d: I64): void {
  const sign = (v: I64): I64 => b.let(b.shrS(v, b.c32(63)));
  const lo = b.let(b.get(R.RAX));
  const hi = b.let(b.get(R.RDX));
  const sn = sign(hi);
  const sd = sign(d);
  // -x = ~x + 1: the carry into the upper half is that of a lower half of 0
  const nlo = b.let(b.sub(b.xor(lo, sn), sn));
  const carryUp = b.extU(b.and(b.wrap(sn), b.eqz(lo)));
  const nhi = b.let(b.add(b.xor(hi, sn), carryUp));
  const by = b.let(b.sub(b.xor(d, sd), sd));
  b.when(b.geU(nhi, by), () => b.slow(Slow.DivideError));
  const { quotient, remainder } = divide128(b, nhi, nlo, by);
  const sq = b.let(b.xor(sn, sd));
  const q = b.let(b.sub(b.xor(quotient, sq), sq));
  // a quotient of 0 has no sign
  const wrong = b.and(b.ne(b.shrS(q, b.c32(63)), sq), b.ne(q, b.c64(0)));
  b.when(wrong, () => b.slow(Slow.DivideError));
  const r = b.let(b.sub(b.xor(remainder, sn), sn));
  setPair(b, 8, r, q);
}

const sizes = (f: (bits: string) => string, from = 8): string[] =>
  ['8', '16', '32', '64'].filter((n) => Number(n) >= from).map(f);

/** The rows. */
export const MULTIPLY_ROWS: readonly Row[] = [
  {
    name: 'mul',
    codes: sizes((n) => `Mul_rm${n}`),
    sem: (o) => multiplyAccumulator(o, false),
  },
  {
    name: 'imul.1',
    codes: sizes((n) => `Imul_rm${n}`),
    sem: (o) => multiplyAccumulator(o, true),
  },
  {
    name: 'imul',
    codes: sizes((n) => `Imul_r${n}_rm${n}`, 16),
    sem(o) {
      const y = o.b.let(o.read(1));
      multiplyTruncated(o, o.b.let(o.read(0)), y);
    },
  },
  {
    name: 'imul.3',
    codes: [
      ...sizes((n) => `Imul_r${n}_rm${n}_imm8`, 16),
      'Imul_r16_rm16_imm16',
      'Imul_r32_rm32_imm32',
      'Imul_r64_rm64_imm32',
    ],
    sem: (o) => multiplyTruncated(o, o.b.let(o.read(1)), o.read(2)),
  },
  {
    name: 'mulx',
    feature: 'bmi2',
    notEmulated: true,
    codes: ['VEX_Mulx_r32_r32_rm32', 'VEX_Mulx_r64_r64_rm64'],
    sem(o) {
      const { b, width } = o;
      b.guard(Guard.Vex);
      const y = b.let(o.read(2));
      const { lo, hi } = product(b, width, b.let(readGpr(b, width, R.RDX)), y, false);
      // where both destinations are one register, the upper half stays in it
      o.write(1, lo);
      o.write(0, hi);
    },
  },
  { name: 'div', codes: sizes((n) => `Div_rm${n}`), sem: divideUnsigned },
  { name: 'idiv', codes: sizes((n) => `Idiv_rm${n}`), sem: divideSigned },
];

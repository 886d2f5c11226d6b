/**
 * Shifts and rotates (AMD64 APM volume 3: SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD). Counts are masked to 5 bits, to
 * 6 with 8-byte operands; a masked count of 0 leaves all flags, though the destination is written: memory must be
 * writable, and a 32-bit register loses its upper half.
 */
import type { Expr, I32, I64 } from '@faultyard/engine';
import { setCarryOverflow, setResultFlags } from './flag-setting.ts';
import { carry } from './flags.ts';
import type { Operands, Row } from './row.ts';
import { as32, bitAt, bitsOf, extended, low, top } from './values.ts';

/** What a shift makes of `v`: the result, CF, and CF ^ OF (`carryIn`). The count `n` is bound and masked. */
interface Shifted {
  readonly result: Expr;
  readonly cf: I32;
  readonly carryIn: I32;
}
type Shift = (o: Operands, v: Expr, n: I32) => Shifted;

/** OF of a shift to the right: whether the last step changed the top bit, seen in the result's two top bits. */
function topsDiffer(o: Operands, result: Expr): I32 {
  const { b, width } = o;
  return b.xor(top(b, width, result), bitAt(b, result, bitsOf(width) - 2));
}

const shl: Shift = (o, v, n) => {
  const { b, width } = o;
  const wide = b.let(b.shl(v, n));
  const result = b.let(low(b, width, wide));
  // narrow values are shifted within 32 bits: what left them lies just above
  const cf = width < 4 ? bitAt(b, wide, bitsOf(width)) : bitAt(b, v, b.sub(b.c32(bitsOf(width)), n));
  return { result, cf, carryIn: top(b, width, result) };
};

const shr: Shift = (o, v, n) => {
  const { b } = o;
  const result = b.let(b.shrU(v, n));
  const cf = b.let(bitAt(b, v, b.sub(n, b.c32(1))));
  return { result, cf, carryIn: b.xor(cf, topsDiffer(o, result)) };
};

const sar: Shift = (o, v, n) => {
  const { b, width } = o;
  const s = b.let(extended(b, width, v));
  const result = b.let(low(b, width, b.shrS(s, n)));
  const cf = b.let(b.and(as32(b, b.shrS(s, b.sub(n, b.c32(1)))), b.c32(1)));
  return { result, cf, carryIn: cf };
};

const rol: Shift = (o, v, n) => {
  const { b, width } = o;
  const bits = bitsOf(width);
  const m = b.let(b.and(n, b.c32(bits - 1)));
  const turned =
    width >= 4
      ? b.rotr(v, b.sub(b.c32(0), n))
      : low(b, width, b.or(b.shl(v, m), b.shrU(v, b.sub(b.c32(bits), m))));
  const result = b.let(turned);
  return { result, cf: b.and(as32(b, result), b.c32(1)), carryIn: top(b, width, result) };
};

const ror: Shift = (o, v, n) => {
  const { b, width } = o;
  const bits = bitsOf(width);
  const m = b.let(b.and(n, b.c32(bits - 1)));
  const turned =
    width >= 4 ? b.rotr(v, n) : low(b, width, b.or(b.shrU(v, m), b.shl(v, b.sub(b.c32(bits), m))));
  const result = b.let(turned);
  return { result, cf: top(b, width, result), carryIn: bitAt(b, result, bits - 2) };
};

/** The count of a rotate through CF, which turns one bit more than the operand has. */
function throughCount(o: Operands, n: I32): I32 {
  const { b, width } = o;
  if (width >= 4) return n;
  const turn = b.c32(bitsOf(width) + 1);
  return b.let(b.sub(n, b.mul(b.divU(n, turn), turn)));
}

/** CF and the operand as one value of up to 33 bits. */
function withCarry(o: Operands, v: Expr): I64 {
  const { b, width } = o;
  return b.let(b.or(b.extU(v as I32), b.shl(b.extU(carry(b)), b.c32(bitsOf(width)))));
}

const rcl: Shift = (o, v, n) => {
  const { b, width } = o;
  const bits = bitsOf(width);
  if (width === 8) {
    const x = v as I64;
    const in64 = b.extU(carry(b));
    const back = b.sub(b.c32(64), n);
    // bits that pass CF come in one place lower
    const wrapped = b.or(b.shl(in64, b.sub(n, b.c32(1))), b.shrU(b.shrU(x, b.c32(1)), back));
    const result = b.let(b.select(n, b.or(b.shl(x, n), wrapped), x));
    return { result, cf: bitAt(b, x, back), carryIn: top(b, 8, result) };
  }
  const m = throughCount(o, n);
  const c = withCarry(o, v);
  const turned = b.let(b.or(b.shl(c, m), b.shrU(c, b.sub(b.c32(bits + 1), m))));
  const result = b.let(low(b, width, b.wrap(turned)));
  return { result, cf: bitAt(b, turned, bits), carryIn: top(b, width, result) };
};

const rcr: Shift = (o, v, n) => {
  const { b, width } = o;
  const bits = bitsOf(width);
  if (width === 8) {
    const x = v as I64;
    const back = b.sub(b.c32(64), n);
    const wrapped = b.or(b.shl(b.extU(carry(b)), back), b.shl(b.shl(x, b.c32(1)), back));
    const result = b.let(b.select(n, b.or(b.shrU(x, n), wrapped), x));
    const cf = b.let(bitAt(b, x, b.sub(n, b.c32(1))));
    return { result, cf, carryIn: b.xor(cf, topsDiffer(o, result)) };
  }
  const m = throughCount(o, n);
  const c = withCarry(o, v);
  const turned = b.let(b.or(b.shrU(c, m), b.shl(c, b.sub(b.c32(bits + 1), m))));
  const result = b.let(low(b, width, b.wrap(turned)));
  const cf = b.let(bitAt(b, turned, bits));
  return { result, cf, carryIn: b.xor(cf, topsDiffer(o, result)) };
};

/** The masked count: a constant 1 where the opcode says so, else operand `i`. */
function countOf(o: Operands, i: number | 'one'): I32 {
  const { b } = o;
  if (i === 'one') return b.c32(1);
  return b.let(b.and(o.read(i) as I32, b.c32(o.width === 8 ? 63 : 31)));
}

/** Shifts set all arithmetic flags, rotates CF and OF; AF after a shift: `undefined-flags.ts`. */
function meaning(how: Shift, flags: 'all' | 'carry', count: 1 | 2 | 'one'): (o: Operands) => void {
  return (o) => {
    const { b, width } = o;
    const n = countOf(o, count);
    let s: Shifted | undefined;
    o.modify(0, (old) => {
      s = how(o, b.let(old), n);
      return s.result;
    });
    const { result, cf, carryIn } = s as unknown as Shifted;
    b.when(n, () => {
      if (flags === 'all') setResultFlags(b, width, result, b.let(cf), carryIn, 1);
      else setCarryOverflow(b, b.let(cf), carryIn);
    });
  };
}

/** Encodings `rm, <count>` of all sizes. */
const encodings = (name: string, count: string): string[] =>
  ['8', '16', '32', '64'].map((bits) => `${name}_rm${bits}_${count}`);

function rows(name: string, how: Shift, flags: 'all' | 'carry'): Row[] {
  const code = name[0]?.toUpperCase() + name.slice(1);
  // /6 is SHL once more (AMD64 APM volume 3, appendix A: opcode extensions of group 2)
  const also = (count: string): string[] => (name === 'shl' ? encodings('Sal', count) : []);
  return [
    {
      name: `${name}.1`,
      codes: [...encodings(code, '1'), ...also('1')],
      sem: meaning(how, flags, 'one'),
    },
    {
      name,
      codes: ['imm8', 'CL'].flatMap((c) => [...encodings(code, c), ...also(c)]),
      sem: meaning(how, flags, 1),
    },
  ];
}

/**
 * SHLD and SHRD. With 2-byte operands and counts above 16 (the result is undefined) AMD's processors go on with the
 * source's bits once more, and CF is the last bit that left the destination: 0.
 */
const shld: Shift = (o, v, n) => {
  const { b, width } = o;
  const bits = bitsOf(width);
  const source = b.let(o.read(1));
  if (width === 2) {
    const tail = b.or(b.shl(source as I32, b.c32(16)), source as I32);
    const whole = b.or(b.shl(b.extU(v as I32), b.c32(32)), b.extU(tail));
    const result = b.let(b.zext(b.wrap(b.shrU(b.shl(whole, n), b.c32(32))), 16));
    const cf = b.let(bitAt(b, b.shl(v as I32, n), 16));
    // from 16 on nothing of the destination is left to compare with
    const carryIn = b.select(b.ltU(n, b.c32(16)), top(b, 2, result), b.c32(0));
    return { result, cf, carryIn };
  }
  const back = b.sub(b.c32(bits), n);
  const result = b.let(b.select(n, b.or(b.shl(v, n), b.shrU(source, back)), v));
  return { result, cf: bitAt(b, v, back), carryIn: top(b, width, result) };
};

const shrd: Shift = (o, v, n) => {
  const { b, width } = o;
  const bits = bitsOf(width);
  const source = b.let(o.read(1));
  const cf = b.let(bitAt(b, v, b.sub(n, b.c32(1))));
  let result: Expr;
  if (width === 2) {
    const low32 = b.or(b.shl(source as I32, b.c32(16)), v as I32);
    const whole = b.or(b.shl(b.extU(source as I32), b.c32(32)), b.extU(low32));
    result = b.let(b.zext(b.wrap(b.shrU(whole, n)), 16));
  } else {
    const back = b.sub(b.c32(bits), n);
    result = b.let(b.select(n, b.or(b.shrU(v, n), b.shl(source, back)), v));
  }
  return { result, cf, carryIn: b.xor(cf, topsDiffer(o, result)) };
};

function double(name: 'Shld' | 'Shrd', how: Shift): Row {
  const codes = ['16', '32', '64'].flatMap((bits) =>
    ['imm8', 'CL'].map((count) => `${name}_rm${bits}_r${bits}_${count}`),
  );
  return { name: name.toLowerCase(), codes, sem: meaning(how, 'all', 2) };
}

/** The rows. */
export const SHIFT_ROWS: readonly Row[] = [
  ...rows('shl', shl, 'all'),
  ...rows('shr', shr, 'all'),
  ...rows('sar', sar, 'all'),
  ...rows('rol', rol, 'carry'),
  ...rows('ror', ror, 'carry'),
  ...rows('rcl', rcl, 'carry'),
  ...rows('rcr', rcr, 'carry'),
  double('Shld', shld),
  double('Shrd', shrd),
];

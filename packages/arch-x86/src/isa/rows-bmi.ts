/** BMI1 and BMI2 (AMD64 APM volume 3): 4- and 8-byte operands, three of them. Flags: `undefined-flags.ts`. */
import type { Builder, Expr, I32, I64 } from '@faultyard/engine';
import { setBmiFlags, setZeroOnly } from './flag-setting.ts';
import { Guard } from './guards.ts';
import type { Operands, Row } from './row.ts';
import { as32, bitsOf, constant } from './values.ts';

/** Codes of an instruction in both sizes: `Andn` with `r r rm` is `VEX_Andn_r32_r32_rm32` and so on. */
const encodings = (name: string, kinds: readonly string[]): string[] =>
  ['32', '64'].map((n) => `VEX_${name}_${kinds.map((k) => (k === 'imm8' ? k : k + n)).join('_')}`);

function row(
  feature: 'bmi1' | 'bmi2',
  name: string,
  kinds: readonly string[],
  sem: (o: Operands) => void,
): Row {
  return {
    name: name.toLowerCase(),
    feature,
    notEmulated: true,
    codes: encodings(name, kinds),
    sem(o) {
      o.b.guard(Guard.Vex);
      sem(o);
    },
  };
}

/** BLSI, BLSMSK, BLSR: of the source `v` and what its lowest set bit is. */
function lowestBit(name: 'Blsi' | 'Blsmsk' | 'Blsr', f: (o: Operands, v: Expr, minus1: Expr) => Expr): Row {
  return row('bmi1', name, ['r', 'rm'], (o) => {
    const { b, width } = o;
    const v = b.let(o.read(1));
    const minus1 = b.sub(v, constant(b, width, 1));
    const result = b.let(f(o, v, minus1));
    const none = b.eqz(v);
    const cf = b.let(name === 'Blsi' ? b.eqz(none) : none);
    o.write(0, result);
    setBmiFlags(b, width, result, cf);
  });
}

/** The low `n` bits as a mask, `n` below the operand's size. */
function maskOf(b: Builder, v: Expr, n: I32): Expr {
  const one = v.ty === 'i64' ? b.c64(1) : b.c32(1);
  return b.sub(b.shl(one, n), one) as Expr;
}

function bextr(o: Operands): void {
  const { b, width } = o;
  const bits = b.c32(bitsOf(width));
  const v = b.let(o.read(1));
  const control = b.let(as32(b, o.read(2)));
  const start = b.let(b.and(control, b.c32(0xff)));
  const length = b.let(b.and(b.shrU(control, b.c32(8)), b.c32(0xff)));
  const zero = constant(b, width, 0);
  const moved = b.let(b.select(b.ltU(start, bits), b.shrU(v, start), zero));
  const cut = b.and(moved, maskOf(b, v, length));
  const result = b.let(b.select(b.ltU(length, bits), cut, moved));
  o.write(0, result);
  setZeroOnly(b, b.let(b.eqz(result)));
}

function bzhi(o: Operands): void {
  const { b, width } = o;
  const v = b.let(o.read(1));
  const n = b.let(b.and(as32(b, o.read(2)), b.c32(0xff)));
  const all = b.let(b.geU(n, b.c32(bitsOf(width))));
  const result = b.let(b.select(all, v, b.and(v, maskOf(b, v, n))));
  o.write(0, result);
  setBmiFlags(b, width, result, all);
}

/** The masks of one round of bits that move by 2^i: {@link moves}. */
interface Moves {
  readonly mask: Expr;
  readonly rounds: readonly Expr[];
}

/**
 * Which bits move how far so that the bits under a mask come together: a bit moves by the number of zeros of the mask
 * below it, in rounds of 1, 2, 4 … places (Warren, Hacker's Delight, 7-4). Each round's mask says who moves.
 */
function moves(o: Operands, mask: Expr): Moves {
  const { b, width } = o;
  const by = (n: number): I32 => b.c32(n);
  const rounds: Expr[] = [];
  let m = mask;
  let zeros = b.let(b.shl(b.not(mask), by(1)));
  for (let i = 1; i < bitsOf(width); i *= 2) {
    // parity of the zeros below each bit
    let parity = zeros;
    for (let j = 1; j < bitsOf(width); j *= 2) parity = b.let(b.xor(parity, b.shl(parity, by(j))));
    const who = b.let(b.and(parity, m));
    rounds.push(who);
    m = b.let(b.or(b.xor(m, who), b.shrU(who, by(i))));
    zeros = b.let(b.and(zeros, b.not(parity)));
  }
  return { mask, rounds };
}

function pext(o: Operands): void {
  const { b } = o;
  const v = b.let(o.read(1));
  const { mask, rounds } = moves(o, b.let(o.read(2)));
  let x = b.let(b.and(v, mask));
  rounds.forEach((who, i) => {
    const t = b.let(b.and(x, who));
    x = b.let(b.or(b.xor(x, t), b.shrU(t, b.c32(2 ** i))));
  });
  o.write(0, x);
}

function pdep(o: Operands): void {
  const { b } = o;
  let x = b.let(o.read(1));
  const { mask, rounds } = moves(o, b.let(o.read(2)));
  for (let i = rounds.length - 1; i >= 0; i--) {
    const who = rounds[i] as Expr;
    x = b.let(b.or(b.and(x, b.not(who)), b.and(b.shl(x, b.c32(2 ** i)), who)));
  }
  o.write(0, b.and(x, mask));
}

/** SARX, SHLX, SHRX: the count is a register, masked to the operand size; no flags. */
function shift(name: 'Sarx' | 'Shlx' | 'Shrx', how: 'shrS' | 'shl' | 'shrU'): Row {
  return row('bmi2', name, ['r', 'rm', 'r'], (o) => {
    const { b } = o;
    const v = b.let(o.read(1));
    o.write(0, b[how](v as I64, as32(b, o.read(2))));
  });
}

/** The rows. */
export const BMI_ROWS: readonly Row[] = [
  row('bmi1', 'Andn', ['r', 'r', 'rm'], (o) => {
    const { b, width } = o;
    const v = b.let(o.read(2));
    const result = b.let(b.and(b.not(o.read(1)), v));
    o.write(0, result);
    setBmiFlags(b, width, result, b.c32(0));
  }),
  row('bmi1', 'Bextr', ['r', 'rm', 'r'], bextr),
  lowestBit('Blsi', ({ b, width }, v) => b.and(v, b.sub(constant(b, width, 0), v))),
  lowestBit('Blsmsk', ({ b }, v, minus1) => b.xor(v, minus1)),
  lowestBit('Blsr', ({ b }, v, minus1) => b.and(v, minus1)),
  row('bmi2', 'Bzhi', ['r', 'rm', 'r'], bzhi),
  row('bmi2', 'Pdep', ['r', 'r', 'rm'], pdep),
  row('bmi2', 'Pext', ['r', 'r', 'rm'], pext),
  row('bmi2', 'Rorx', ['r', 'rm', 'imm8'], (o) => {
    const { b } = o;
    o.write(0, b.rotr(b.let(o.read(1)), as32(b, o.read(2))));
  }),
  shift('Sarx', 'shrS'),
  shift('Shlx', 'shl'),
  shift('Shrx', 'shrU'),
];

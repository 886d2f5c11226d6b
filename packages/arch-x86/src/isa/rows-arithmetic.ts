/** Addition, subtraction and logic (AMD64 APM volume 3). LOCK changes nothing: vCPUs run one at a time. */
import type { Builder, Expr, I32 } from '@faultyard/engine';
import { setAddFlags, setSubFlags } from './flag-setting.ts';
import { carry, FA } from './flags.ts';
import type { Operands, Row, Width } from './row.ts';
import { constant, low, signed } from './values.ts';

type Operation = (b: Builder, old: Expr, source: Expr) => Expr;
/** All arguments are bound; `result` is cut to the width. */
type Flags = (b: Builder, w: Width, old: Expr, source: Expr, result: Expr) => void;

const setLogicFlags: Flags = (b, w, _old, _source, result) => {
  b.put('fa', b.c32(0));
  b.put('fr', signed(b, w, result));
};

/** Operand 0 becomes `f(operand 0, source)`. */
function change(o: Operands, source: Expr, f: Operation, flags: Flags): void {
  const { b, width } = o;
  let result: Expr = source;
  const old = o.modify(0, (x) => {
    result = b.let(low(b, width, f(b, x, source)));
    return result;
  });
  flags(b, width, old, source, result);
}

const binary =
  (f: Operation, flags: Flags) =>
  (o: Operands): void =>
    change(o, o.b.let(o.read(1)), f, flags);

/** As {@link binary}, with CF as a third operand. */
const withCarry =
  (f: Operation, flags: Flags) =>
  (o: Operands): void => {
    const { b, width } = o;
    const source = b.let(o.read(1));
    const cf = b.let(width === 8 ? b.extU(carry(b)) : carry(b));
    change(o, source, (_, x, y) => f(b, f(b, x, y), cf), flags);
  };

const compare =
  (f: Operation, flags: Flags) =>
  (o: Operands): void => {
    const { b, width } = o;
    const [x, y] = [b.let(o.read(0)), b.let(o.read(1))];
    flags(b, width, x, y, b.let(low(b, width, f(b, x, y))));
  };

const add: Operation = (b, x, y) => b.add(x, y);
const sub: Operation = (b, x, y) => b.sub(x, y);
const and: Operation = (b, x, y) => b.and(x, y);
const or: Operation = (b, x, y) => b.or(x, y);
const xor: Operation = (b, x, y) => b.xor(x, y);

/** INC and DEC leave CF; OF where the result is the given one. */
function step(o: Operands, f: Operation, overflown: (w: Width) => Expr, half: number): void {
  const { b } = o;
  change(o, constant(b, o.width, 1), f, (_, w, _old, _source, result) => {
    const cf = b.and(b.shrS(b.read32('fa'), b.c32(1)), b.c32(FA.CF | FA.CarryIn));
    const of = b.shl(b.eq(result, overflown(w)), b.c32(30));
    const nibble = b.and(w === 8 ? b.wrap(result as never) : (result as I32), b.c32(15));
    b.put('fa', b.or(b.xor(cf, of), b.shl(b.eq(nibble, b.c32(half)), b.c32(3))));
    b.put('fr', signed(b, w, result));
  });
}
/** The least and the greatest signed value of a width. */
function least(b: Builder, w: Width): Expr {
  return w === 8 ? b.c64(0, 0x8000_0000 | 0) : b.c32(2 ** (8 * w - 1));
}
function greatest(b: Builder, w: Width): Expr {
  return w === 8 ? b.c64(-1, 0x7fff_ffff) : b.c32(2 ** (8 * w - 1) - 1);
}

/** The 21 encodings of the eight classic operations; `name` as iced-x86 writes it. */
function classic(name: string): readonly string[] {
  const forms = [
    ...['rm8_r8', 'rm16_r16', 'rm32_r32', 'rm64_r64', 'r8_rm8', 'r16_rm16', 'r32_rm32', 'r64_rm64'],
    ...['AL_imm8', 'AX_imm16', 'EAX_imm32', 'RAX_imm32', 'rm8_imm8', 'rm8_imm8_82'],
    ...['rm16_imm16', 'rm32_imm32', 'rm64_imm32', 'rm16_imm8', 'rm32_imm8', 'rm64_imm8'],
  ];
  return forms.map((f) => `${name}_${f}`);
}
const unary = (name: string): readonly string[] => ['rm8', 'rm16', 'rm32', 'rm64'].map((f) => `${name}_${f}`);

/** Rows of this chapter. */
export const ARITHMETIC_ROWS: readonly Row[] = [
  { name: 'add', codes: classic('Add'), sem: binary(add, setAddFlags) },
  { name: 'adc', codes: classic('Adc'), sem: withCarry(add, setAddFlags) },
  { name: 'sub', codes: classic('Sub'), sem: binary(sub, setSubFlags) },
  { name: 'sbb', codes: classic('Sbb'), sem: withCarry(sub, setSubFlags) },
  { name: 'cmp', codes: classic('Cmp'), sem: compare(sub, setSubFlags) },
  { name: 'and', codes: classic('And'), sem: binary(and, setLogicFlags) },
  { name: 'or', codes: classic('Or'), sem: binary(or, setLogicFlags) },
  { name: 'xor', codes: classic('Xor'), sem: binary(xor, setLogicFlags) },
  {
    name: 'test',
    codes: [
      ...['Test_rm8_r8', 'Test_rm16_r16', 'Test_rm32_r32', 'Test_rm64_r64'],
      ...['Test_AL_imm8', 'Test_AX_imm16', 'Test_EAX_imm32', 'Test_RAX_imm32'],
      ...['Test_rm8_imm8', 'Test_rm16_imm16', 'Test_rm32_imm32', 'Test_rm64_imm32'],
      ...['Test_rm8_imm8_F6r1', 'Test_rm16_imm16_F7r1', 'Test_rm32_imm32_F7r1', 'Test_rm64_imm32_F7r1'],
    ],
    sem: compare(and, setLogicFlags),
  },
  {
    name: 'inc',
    codes: ['Inc_r16', 'Inc_r32', ...unary('Inc')],
    sem: (o) => step(o, add, (w) => least(o.b, w), 0),
  },
  {
    name: 'dec',
    codes: ['Dec_r16', 'Dec_r32', ...unary('Dec')],
    sem: (o) => step(o, sub, (w) => greatest(o.b, w), 15),
  },
  {
    name: 'neg',
    codes: unary('Neg'),
    sem(o) {
      const zero = constant(o.b, o.width, 0);
      const flags: Flags = (b, w, old, _, result) => setSubFlags(b, w, zero, old, result);
      change(o, zero, (b, x) => b.sub(zero, x), flags);
    },
  },
  {
    name: 'not',
    codes: unary('Not'),
    sem: (o) => void o.modify(0, (x) => o.b.not(x)),
  },
];

/**
 * FEAT_LSE: LDADD, LDCLR, LDEOR, LDSET, LDSMAX, LDSMIN, LDUMAX, LDUMIN and their ST aliases, SWP, CAS, CASP.
 *
 * Each is one read-modify-write with write permission checked first, so a failing CAS faults like a store and writes
 * back what it read. Acquire and release make no difference to one thread; alignment is demanded always.
 */
import type { AccessOptions, Builder, Expr, I64, Size, Ty } from '@faultyard/engine';
import { AccessClass } from '../memory/access-class.ts';
import { sixteen } from './exclusive.ts';
import type { AsmLine, Bits, Operand } from './form.ts';
import { base, baseIsSp, bytes, field, type MemoryForm, source, target, wide } from './memory-form.ts';

const CLS = AccessClass.NoIsv | AccessClass.Atomic | AccessClass.Ordered;

/** Mnemonic letters of acquire and release. */
const ORDER = ['', 'l', 'a', 'al'] as const;
/** Mnemonic letters of the size. */
const WIDTH = ['b', 'h', '', ''] as const;

/** Operations by field `opc` (with o3 = 0). */
const OPERATIONS = ['add', 'clr', 'eor', 'set', 'smax', 'smin', 'umax', 'umin'] as const;

const registers = (size: number): 'W' | 'X' => (size === 3 ? 'X' : 'W');

/** The new value, in the width memory is read with; sub-word operands are given zero-extended. */
function combine<T extends Ty>(
  b: Builder,
  opc: number,
  size: number,
  old: Expr<T>,
  operand: Expr<T>,
): Expr<T> {
  const narrow = (e: Expr<T>): Expr<T> => (size === 0 ? b.sext(e, 8) : size === 1 ? b.sext(e, 16) : e);
  switch (opc) {
    case 0:
      return b.add(old, operand);
    case 1:
      return b.and(old, b.not(operand));
    case 2:
      return b.xor(old, operand);
    case 3:
      return b.or(old, operand);
    case 4:
      return b.select(b.ltS(narrow(old), narrow(operand)), operand, old);
    case 5:
      return b.select(b.ltS(narrow(operand), narrow(old)), operand, old);
    case 6:
      return b.select(b.ltU(old, operand), operand, old);
    default:
      return b.select(b.ltU(operand, old), operand, old);
  }
}

/** One atomic update; `f` gets old value and operands in the same width. Returns the old value, zero-extended. */
function update(
  b: Builder,
  size: Size,
  address: I64,
  operands: readonly I64[],
  f: <T extends Ty>(old: Expr<T>, operands: readonly Expr<T>[]) => Expr<T>,
): I64 {
  const o: AccessOptions = { cls: CLS, align: size };
  if (size === 8) {
    const given = operands.map((x) => b.let(x));
    return b.rmw(8, address, (old) => f(old, given), o);
  }
  const given = operands.map((x) => b.let(size === 4 ? b.wrap(x) : b.zext(b.wrap(x), size === 1 ? 8 : 16)));
  return b.extU(b.rmw(size, address, (old) => f(old, given), o));
}

/** Syntax of the LD forms, then (preferred where it applies: no acquire, Rt = 31) of the ST alias. */
const operationLines: AsmLine[] = OPERATIONS.flatMap((name, opc) =>
  [0, 1, 2, 3].flatMap((size) => {
    const r = registers(size);
    const store = [0, 1].map((R) => ({
      text: `st${name}${ORDER[R]}${WIDTH[size]} <${r}s>, [<Xn|SP>]`,
      with: { size, opc, A: 0, R, Rt: 31 },
    }));
    const load = [0, 1, 2, 3].map((ar) => ({
      text: `ld${name}${ORDER[ar]}${WIDTH[size]} <${r}s>, <${r}t>, [<Xn|SP>]`,
      with: { size, opc, A: ar >> 1, R: ar & 1 },
    }));
    return [...store, ...load];
  }),
);

const align = (b: Bits): { align: number } => ({ align: 1 << field(b, 'size') });

const swapRecord = (b: Bits): { rd: number; rm: number; rn: number } => ({
  rd: target(field(b, 'Rt')),
  rm: source(field(b, 'Rs')),
  rn: field(b, 'Rn'),
});

/** Two consecutive registers of CASP, the first (field `name`) even. */
const consecutive = (name: 'Rs' | 'Rt'): Operand => ({
  expect: 'an even register and the one behind it, as x0, x1',
  print: (b) => {
    const letter = b.sz === 1 ? 'x' : 'w';
    const n = field(b, name);
    return `${letter}${n}, ${letter}${n === 30 ? 'zr' : n + 1}`;
  },
  parse: (c, b) => {
    const letter = b.sz === 1 ? 'x' : 'w';
    const first = c.word();
    if (first?.startsWith(letter) !== true) return undefined;
    const n = Number(first.slice(1));
    if (!(n >= 0 && n <= 30 && n % 2 === 0)) return `${first} is not an even register`;
    const second = c.take(',') ? c.word() : undefined;
    const wanted = n === 30 ? `${letter}zr` : `${letter}${n + 1}`;
    return second === wanted ? { [name]: n } : `the register behind ${first} is ${wanted}`;
  },
});

/** Rows of this chapter. */
export const atomicForms: readonly MemoryForm[] = [
  {
    name: 'LD<op>/ST<op>',
    bits: 'size:2 111 0 00 A:1 R:1 1 Rs:5 0 opc:3 00 Rn:5 Rt:5',
    ref: 'C6.2 LDADD … LDUMIN, STADD … STUMIN',
    feature: 'lse',
    spec: ['size', 'opc'],
    split: ['size', 'opc', 'A', 'R'],
    derive: baseIsSp,
    asm: operationLines,
    record: swapRecord,
    access: align,
    sem: (b, f, v) => {
      const size = field(v, 'size');
      const address = base(b, f, v);
      const old = update(b, bytes(size), address, [b.get(f.slot('rm'))], (was, [operand]) =>
        operand ? combine(b, field(v, 'opc'), size, was, operand) : was,
      );
      b.set(f.slot('rd'), old);
    },
  },
  {
    name: 'SWP',
    bits: 'size:2 111 0 00 A:1 R:1 1 Rs:5 1 000 00 Rn:5 Rt:5',
    ref: 'C6.2 SWP, SWPB, SWPH',
    feature: 'lse',
    spec: ['size'],
    split: ['size', 'A', 'R'],
    derive: baseIsSp,
    asm: [0, 1, 2, 3].flatMap((size) =>
      [0, 1, 2, 3].map((ar) => ({
        text: `swp${ORDER[ar]}${WIDTH[size]} <${registers(size)}s>, <${registers(size)}t>, [<Xn|SP>]`,
        with: { size, A: ar >> 1, R: ar & 1 },
      })),
    ),
    record: swapRecord,
    access: align,
    sem: (b, f, v) => {
      const address = base(b, f, v);
      const old = update(
        b,
        bytes(field(v, 'size')),
        address,
        [b.get(f.slot('rm'))],
        (was, [fresh]) => fresh ?? was,
      );
      b.set(f.slot('rd'), old);
    },
  },
  {
    name: 'CAS',
    bits: 'size:2 0010001 A:1 1 Rs:5 R:1 11111 Rn:5 Rt:5',
    ref: 'C6.2 CAS, CASB, CASH',
    feature: 'lse',
    spec: ['size'],
    split: ['size', 'A', 'R'],
    derive: baseIsSp,
    asm: [0, 1, 2, 3].flatMap((size) =>
      [0, 1, 2, 3].map((ar) => ({
        text: `cas${ORDER[ar]}${WIDTH[size]} <${registers(size)}s>, <${registers(size)}t>, [<Xn|SP>]`,
        with: { size, A: ar >> 1, R: ar & 1 },
      })),
    ),
    record: (b) => ({
      rd: target(field(b, 'Rs')),
      rm: source(field(b, 'Rs')),
      ra: source(field(b, 'Rt')),
      rn: field(b, 'Rn'),
    }),
    access: align,
    sem: (b, f, v) => {
      const address = base(b, f, v);
      const operands = [b.get(f.slot('rm')), b.get(f.slot('ra'))];
      const old = update(b, bytes(field(v, 'size')), address, operands, (was, [expected, fresh]) =>
        expected && fresh ? b.select(b.eq(was, expected), fresh, was) : was,
      );
      b.set(f.slot('rd'), old);
    },
  },
  {
    name: 'CASP',
    cold: true,
    bits: '0 sz:1 001000 0 A:1 1 Rs:5 R:1 11111 Rn:5 Rt:5',
    ref: 'C6.2 CASP',
    feature: 'lse',
    /* Both pairs start at an even register. */
    when: (b) => (field(b, 'Rs') & 1) === 0 && (field(b, 'Rt') & 1) === 0,
    spec: ['sz'],
    split: ['sz', 'A', 'R'],
    derive: baseIsSp,
    asm: [0, 1].flatMap((sz) =>
      [0, 1, 2, 3].map((ar) => ({
        text: `casp${ORDER[ar]} <pairs>, <pairt>, [<Xn|SP>]`,
        with: { sz, A: ar >> 1, R: ar & 1 },
      })),
    ),
    operands: { pairs: consecutive('Rs'), pairt: consecutive('Rt') },
    /* x: slot that Rs+1 is written to, y: slot that Rt+1 is read from. */
    record: (b) => ({
      rd: field(b, 'Rs'),
      rm: source(field(b, 'Rs') + 1),
      x: target(field(b, 'Rs') + 1),
      ra: field(b, 'Rt'),
      y: source(field(b, 'Rt') + 1),
      rn: field(b, 'Rn'),
    }),
    access: (b) => ({ align: b.sz === 1 ? 16 : 8 }),
    sem: (b, f, v) => {
      const address = base(b, f, v);
      const expected = { lo: b.get(f.slot('rd')), hi: b.get(f.slot('rm')) };
      const fresh = { lo: b.get(f.slot('ra')), hi: b.get(f.slot('y')) };
      if (v.sz === 1) {
        const { old } = sixteen(b, address, CLS, expected, fresh);
        b.set(f.slot('rd'), old.lo);
        b.set(f.slot('x'), old.hi);
        return;
      }
      const join = (p: { lo: I64; hi: I64 }): I64 => b.or(b.zext(p.lo, 32), b.shl(p.hi, b.c32(32)));
      const old = update(b, 8, address, [join(expected), join(fresh)], (was, [seen, next]) =>
        seen && next ? b.select(b.eq(was, seen), next, was) : was,
      );
      const both = b.let(wide(b, old));
      b.set(f.slot('rd'), b.zext(both, 32));
      b.set(f.slot('x'), b.shrU(both, b.c32(32)));
    },
  },
];

/** Three-source arithmetic, division and variable shifts (DDI 0487 C4.1.95). */
import type { Builder, I64 } from '@faultyard/engine';
import { narrow } from './data-immediate.ts';
import type { Bits, Derived, Form, Rec } from './form.ts';
import { field, source, target } from './memory-form.ts';

/** Handler constant: 1 if Ra is the zero register (MUL, SMULL, UMULL). */
const bare: Derived = { values: [0, 1], of: (b) => (b.Ra === 31 ? 1 : 0) };

const sources = (b: Bits): Rec => ({
  rd: target(field(b, 'Rd')),
  rn: source(field(b, 'Rn')),
  rm: source(field(b, 'Rm')),
  ra: source(field(b, 'Ra')),
});

/** Ra + product, or Ra - product. */
function accumulate(b: Builder, v: Bits, ra: I64, product: I64, subtract: boolean): I64 {
  if (v.bare === 1) return subtract ? b.sub(b.c64(0), product) : product;
  return subtract ? b.sub(ra, product) : b.add(ra, product);
}

const multiplyAdd = (
  [
    { name: 'MADD', alias: 'mul', subtract: false },
    { name: 'MSUB', alias: 'mneg', subtract: true },
  ] as const
).map(
  ({ name, alias, subtract }): Form => ({
    name,
    bits: `sf:1 00 11011 000 Rm:5 ${subtract ? 1 : 0} Ra:5 Rn:5 Rd:5`,
    ref: `C6.2 ${name}`,
    spec: ['sf'],
    derive: { bare },
    asm: [
      { text: `${alias} <Rd>, <Rn>, <Rm>`, with: { Ra: 31 } },
      { text: `${name.toLowerCase()} <Rd>, <Rn>, <Rm>, <Ra>` },
    ],
    record: sources,
    sem: (b, f, v) => {
      const product = b.mul(b.get(f.slot('rn')), b.get(f.slot('rm')));
      b.set(f.slot('rd'), narrow(b, v.sf, accumulate(b, v, b.get(f.slot('ra')), product, subtract)));
    },
  }),
);

const multiplyLong = (
  [
    { name: 'SMADDL', alias: 'smull', bits: '001', subtract: false, sign: true },
    { name: 'SMSUBL', alias: 'smnegl', bits: '001', subtract: true, sign: true },
    { name: 'UMADDL', alias: 'umull', bits: '101', subtract: false, sign: false },
    { name: 'UMSUBL', alias: 'umnegl', bits: '101', subtract: true, sign: false },
  ] as const
).map(
  ({ name, alias, bits, subtract, sign }): Form => ({
    name,
    bits: `1 00 11011 ${bits} Rm:5 ${subtract ? 1 : 0} Ra:5 Rn:5 Rd:5`,
    ref: `C6.2 ${name}`,
    derive: { bare },
    asm: [
      { text: `${alias} <Xd>, <Wn>, <Wm>`, with: { Ra: 31 } },
      { text: `${name.toLowerCase()} <Xd>, <Wn>, <Wm>, <Xa>` },
    ],
    record: sources,
    sem: (b, f, v) => {
      const part = (slot: 'rn' | 'rm'): I64 => {
        const x = b.get(f.slot(slot));
        return sign ? b.sext(x, 32) : b.zext(x, 32);
      };
      const product = b.mul(part('rn'), part('rm'));
      b.set(f.slot('rd'), accumulate(b, v, b.get(f.slot('ra')), product, subtract));
    },
  }),
);

/** Ra is "should be one" in the multiply-high encodings; hardware and QEMU ignore it. */
const multiplyHigh = (['SMULH', 'UMULH'] as const).map(
  (name): Form => ({
    name,
    bits: `1 00 11011 ${name === 'SMULH' ? '010' : '110'} Rm:5 0 Ra:5 Rn:5 Rd:5`,
    ref: `C6.2 ${name}`,
    asm: [{ text: `${name.toLowerCase()} <Xd>, <Xn>, <Xm>`, complete: () => ({ Ra: 31 }) }],
    record: sources,
    sem: (b, f) => {
      const x = b.get(f.slot('rn'));
      const y = b.get(f.slot('rm'));
      b.set(f.slot('rd'), name === 'SMULH' ? b.mulhS(x, y) : b.mulhU(x, y));
    },
  }),
);

const pairOf = (b: Bits): Rec => ({
  rd: target(field(b, 'Rd')),
  rn: source(field(b, 'Rn')),
  rm: source(field(b, 'Rm')),
});

const divide: Form[] = [
  {
    name: 'UDIV',
    bits: 'sf:1 0 0 11010110 Rm:5 00001 0 Rn:5 Rd:5',
    ref: 'C6.2 UDIV',
    spec: ['sf'],
    asm: [{ text: 'udiv <Rd>, <Rn>, <Rm>' }],
    record: pairOf,
    sem: (b, f, v) => {
      const x = narrow(b, v.sf, b.get(f.slot('rn')));
      const y = b.let(narrow(b, v.sf, b.get(f.slot('rm'))));
      const none = b.let(b.eqz(y));
      const quotient = b.divU(x, b.select(none, b.c64(1), y));
      b.set(f.slot('rd'), b.select(none, b.c64(0), quotient));
    },
  },
  {
    name: 'SDIV',
    bits: 'sf:1 0 0 11010110 Rm:5 00001 1 Rn:5 Rd:5',
    ref: 'C6.2 SDIV',
    spec: ['sf'],
    asm: [{ text: 'sdiv <Rd>, <Rn>, <Rm>' }],
    record: pairOf,
    sem: (b, f, v) => {
      const wide = (slot: 'rn' | 'rm'): I64 => {
        const x = b.get(f.slot(slot));
        return v.sf === 1 ? x : b.sext(x, 32);
      };
      const x = b.let(wide('rn'));
      const y = b.let(wide('rm'));
      // x / 0 = 0 and x / -1 = -x (also for the most negative x): both are x * y.
      const special = b.let(b.ltU(b.add(y, b.c64(1)), b.c64(2)));
      const quotient = b.divS(x, b.select(special, b.c64(1), y));
      b.set(f.slot('rd'), narrow(b, v.sf, b.select(special, b.mul(x, y), quotient)));
    },
  },
];

const variableShifts = (['LSL', 'LSR', 'ASR', 'ROR'] as const).map(
  (name, type): Form => ({
    name: `${name}V`,
    bits: `sf:1 0 0 11010110 Rm:5 0010 ${type.toString(2).padStart(2, '0')} Rn:5 Rd:5`,
    ref: `C6.2 ${name}V`,
    spec: ['sf'],
    asm: [
      { text: `${name.toLowerCase()} <Rd>, <Rn>, <Rm>` },
      { text: `${name.toLowerCase()}v <Rd>, <Rn>, <Rm>`, asmOnly: true },
    ],
    record: pairOf,
    sem: (b, f, v) => {
      const x = b.get(f.slot('rn'));
      const by = b.wrap(b.get(f.slot('rm')));
      const op = (['shl', 'shrU', 'shrS', 'rotr'] as const)[type] ?? 'shl';
      b.set(f.slot('rd'), v.sf === 1 ? b[op](x, by) : b.extU(b[op](b.wrap(x), by)));
    },
  }),
);

/** Rows of this chapter. */
export const dataMultiplyForms: readonly Form[] = [
  ...multiplyAdd,
  ...multiplyLong,
  ...multiplyHigh,
  ...divide,
  ...variableShifts,
];

/** Data processing, register (DDI 0487 C4.1.95): two sources, shifted, extended, carry, conditional, three sources. */
import type { Builder, Fields, I64 } from '@faultyard/engine';
import { discards, narrow } from './data-immediate.ts';
import { down, holds, logicFlags, sumFlags, top } from './flags.ts';
import type { AsmLine, Bits, Derived, Form, Rec } from './form.ts';
import { field, source, target } from './memory-form.ts';

/** Handler constant: 1 if the second operand is not shifted at all. */
const plain: Derived = { values: [0, 1], of: (b) => (b.shift === 0 && b.imm6 === 0 ? 1 : 0) };

/** 32-bit forms shift by less than 32. */
const amountExists = (b: Bits): boolean => b.sf === 1 || field(b, 'imm6') < 32;

const three = (b: Bits): Rec => ({
  rd: target(field(b, 'Rd')),
  rn: source(field(b, 'Rn')),
  rm: source(field(b, 'Rm')),
});

const shifted = (b: Bits): Rec => ({
  rd: target(field(b, 'Rd')),
  rn: source(field(b, 'Rn')),
  rm: source(field(b, 'Rm')),
  x: field(b, 'imm6'),
});

/** Rm shifted as the variant and field `x` say; only the low half counts if `sf` is 0. */
function shiftedRm(b: Builder, f: Fields, v: Bits): I64 {
  const x = b.get(f.slot('rm'));
  if (v.plain === 1) return x;
  const by = f.i32('x');
  if (v.shift === 0) return b.shl(x, by);
  if (v.sf === 1) return v.shift === 1 ? b.shrU(x, by) : v.shift === 2 ? b.shrS(x, by) : b.rotr(x, by);
  const w = b.wrap(x);
  return b.extU(v.shift === 1 ? b.shrU(w, by) : v.shift === 2 ? b.shrS(w, by) : b.rotr(w, by));
}

/** ADD, SUB and their flag-setting forms with operand `second`. */
function sum(b: Builder, f: Fields, v: Bits, op: 'add' | 'sub', flags: boolean, second: I64): void {
  const sf = field(v, 'sf');
  const first = b.get(f.slot('rn'));
  if (!flags) {
    b.set(f.slot('rd'), narrow(b, v.sf, op === 'add' ? b.add(first, second) : b.sub(first, second)));
    return;
  }
  const r = sumFlags(b, op, top(b, sf, first), top(b, sf, second));
  if (v.discards === 0) b.set(f.slot('rd'), down(b, sf, r));
}

/** Name, bits 30 and 29, operation, and the aliases of ADD, ADDS, SUB, SUBS with the fields that make them. */
const sums = [
  { name: 'ADD', bits: '0 0', op: 'add', flags: false },
  { name: 'ADDS', bits: '0 1', op: 'add', flags: true },
  { name: 'SUB', bits: '1 0', op: 'sub', flags: false },
  { name: 'SUBS', bits: '1 1', op: 'sub', flags: true },
] as const;

/** CMN, CMP: the flag-setting form without a result; NEG, NEGS: the subtraction from zero. */
function sumAliases(name: string, first: string, second: string, negates: boolean): AsmLine[] {
  const lines: AsmLine[] = [];
  if (name === 'ADDS') lines.push({ text: `cmn ${first}, ${second}`, with: { Rd: 31 } });
  if (name === 'SUBS') lines.push({ text: `cmp ${first}, ${second}`, with: { Rd: 31 } });
  if (negates && name === 'SUB') lines.push({ text: `neg <Rd>, ${second}`, with: { Rn: 31 } });
  if (negates && name === 'SUBS') lines.push({ text: `negs <Rd>, ${second}`, with: { Rn: 31 } });
  return lines;
}

const addSubShifted = sums.map(
  ({ name, bits, op, flags }): Form => ({
    name: `${name} (shifted register)`,
    bits: `sf:1 ${bits} 01011 shift:2 0 Rm:5 imm6:6 Rn:5 Rd:5`,
    ref: `C6.2 ${name} (shifted register)`,
    when: (b) => b.shift !== 3 && amountExists(b),
    spec: ['sf', 'shift'],
    derive: flags ? { plain, discards } : { plain },
    asm: [
      ...sumAliases(name, '<Rn>', '<Rm>{, <shift>}', true),
      { text: `${name.toLowerCase()} <Rd>, <Rn>, <Rm>{, <shift>}` },
    ],
    record: shifted,
    sem: (b, f, v) => sum(b, f, v, op, flags, shiftedRm(b, f, v)),
  }),
);

/** Rm extended as field `option` says (ExtendReg(), DDI 0487 J1). */
function extended(b: Builder, x: I64, option: number): I64 {
  switch (option) {
    case 0:
      return b.zext(x, 8);
    case 1:
      return b.zext(x, 16);
    case 2:
      return b.zext(x, 32);
    case 4:
      return b.sext(x, 8);
    case 5:
      return b.sext(x, 16);
    case 6:
      return b.sext(x, 32);
    default:
      return x;
  }
}

const addSubExtended = sums.map(
  ({ name, bits, op, flags }): Form => ({
    name: `${name} (extended register)`,
    bits: `sf:1 ${bits} 01011 00 1 Rm:5 option:3 imm3:3 Rn:5 Rd:5`,
    ref: `C6.2 ${name} (extended register)`,
    when: (b) => field(b, 'imm3') <= 4,
    spec: ['sf', 'option'],
    ...(flags ? { derive: { discards } } : {}),
    asm: [
      ...sumAliases(name, '<Rn|SP>', '<extendedflags>', false),
      { text: `${name.toLowerCase()} <Rd${flags ? '' : '|SP'}>, <Rn|SP>, <extended${flags ? 'flags' : ''}>` },
    ],
    record: (b) => ({
      rd: flags ? target(field(b, 'Rd')) : field(b, 'Rd'),
      rn: field(b, 'Rn'),
      rm: source(field(b, 'Rm')),
      x: field(b, 'imm3'),
    }),
    sem: (b, f, v) => {
      const second = b.shl(extended(b, b.get(f.slot('rm')), field(v, 'option')), f.i32('x'));
      sum(b, f, v, op, flags, second);
    },
  }),
);

const logicals = [
  { name: 'AND', opc: '00', n: 0, op: 'and' },
  { name: 'BIC', opc: '00', n: 1, op: 'and' },
  { name: 'ORR', opc: '01', n: 0, op: 'or' },
  { name: 'ORN', opc: '01', n: 1, op: 'or' },
  { name: 'EOR', opc: '10', n: 0, op: 'xor' },
  { name: 'EON', opc: '10', n: 1, op: 'xor' },
  { name: 'ANDS', opc: '11', n: 0, op: 'and' },
  { name: 'BICS', opc: '11', n: 1, op: 'and' },
] as const;

/** MOV (register) and MVN are ORR and ORN from the zero register; TST is ANDS without a result. */
const logicalAliases: Readonly<Record<string, AsmLine>> = {
  ORR: { text: 'mov <Rd>, <Rm>', with: { Rn: 31, shift: 0, imm6: 0 } },
  ORN: { text: 'mvn <Rd>, <Rm>{, <shift>}', with: { Rn: 31 } },
  ANDS: { text: 'tst <Rn>, <Rm>{, <shift>}', with: { Rd: 31 } },
};

/** Handler constant of ORR and ORN: 1 if Rn is the zero register (MOV, MVN). */
const moves: Derived = { values: [0, 1], of: (b) => (b.Rn === 31 ? 1 : 0) };

const logicalShifted = logicals.map(({ name, opc, n, op }): Form => {
  const flags = opc === '11';
  return {
    name: `${name} (shifted register)`,
    bits: `sf:1 ${opc} 01010 shift:2 ${n} Rm:5 imm6:6 Rn:5 Rd:5`,
    ref: `C6.2 ${name} (shifted register)`,
    when: amountExists,
    spec: ['sf', 'shift'],
    derive: flags ? { plain, discards } : op === 'or' ? { plain, moves } : { plain },
    asm: [
      ...(logicalAliases[name] ? [logicalAliases[name]] : []),
      { text: `${name.toLowerCase()} <Rd>, <Rn>, <Rm>{, <shift>}` },
    ],
    record: shifted,
    sem: (b, f, v) => {
      const second = n === 1 ? b.not(shiftedRm(b, f, v)) : shiftedRm(b, f, v);
      const r = v.moves === 1 ? second : b[op](b.get(f.slot('rn')), second);
      if (!flags) return b.set(f.slot('rd'), narrow(b, v.sf, r));
      const t = logicFlags(b, top(b, field(v, 'sf'), r));
      if (v.discards === 0) b.set(f.slot('rd'), down(b, field(v, 'sf'), t));
    },
  };
});

/** AddWithCarry(x, y, C), DDI 0487 J1; `second` is already inverted for SBC. */
function carrySum(b: Builder, f: Fields, v: Bits, flags: boolean, invert: boolean): void {
  const carry = b.extU(b.read32('fc'));
  const first = b.get(f.slot('rn'));
  const second = invert ? b.not(b.get(f.slot('rm'))) : b.get(f.slot('rm'));
  if (!flags) {
    b.set(f.slot('rd'), narrow(b, v.sf, b.add(b.add(first, second), carry)));
    return;
  }
  const sf = field(v, 'sf');
  const x = b.let(narrow(b, v.sf, first));
  const y = b.let(narrow(b, v.sf, second));
  const r = b.let(b.add(b.add(x, y), carry));
  const overflow = b.let(top(b, sf, b.and(b.xor(x, r), b.xor(y, r))));
  const shown = b.let(top(b, sf, r));
  // Carry out of bit 63: both operands have the bit, or one has it and the sum lost it. Of bit 31: bit 32 of the sum.
  const out = sf === 1 ? b.or(b.and(x, y), b.and(b.or(x, y), b.not(r))) : b.shl(r, b.c32(31));
  b.put('fc', b.wrap(b.shrU(out, b.c32(63))));
  b.put('fn', shown);
  b.put('fz', shown);
  b.put('fv', overflow);
  b.set(f.slot('rd'), narrow(b, v.sf, r));
}

const carryForms = (
  [
    { name: 'ADC', bits: '0 0', flags: false, invert: false },
    { name: 'ADCS', bits: '0 1', flags: true, invert: false },
    { name: 'SBC', bits: '1 0', flags: false, invert: true },
    { name: 'SBCS', bits: '1 1', flags: true, invert: true },
  ] as const
).map(
  ({ name, bits, flags, invert }): Form => ({
    name,
    bits: `sf:1 ${bits} 11010000 Rm:5 000000 Rn:5 Rd:5`,
    ref: `C6.2 ${name}`,
    spec: ['sf'],
    asm: [
      ...(invert ? [{ text: `${flags ? 'ngcs' : 'ngc'} <Rd>, <Rm>`, with: { Rn: 31 } }] : []),
      { text: `${name.toLowerCase()} <Rd>, <Rn>, <Rm>` },
    ],
    record: three,
    sem: (b, f, v) => carrySum(b, f, v, flags, invert),
  }),
);

/** CCMN, CCMP: compare if the condition holds, else take the flags from the instruction. */
const conditionalCompares = (['CCMN', 'CCMP'] as const).flatMap((name) =>
  ([false, true] as const).map(
    (immediate): Form => ({
      name: `${name} (${immediate ? 'immediate' : 'register'})`,
      bits: `sf:1 ${name === 'CCMP' ? 1 : 0} 1 11010010 ${immediate ? 'imm5' : 'Rm'}:5 cond:4 ${immediate ? 1 : 0} 0 Rn:5 0 nzcv:4`,
      ref: `C6.2 ${name} (${immediate ? 'immediate' : 'register'})`,
      spec: ['sf', 'cond'],
      asm: [{ text: `${name.toLowerCase()} <Rn>, ${immediate ? '#<imm5>' : '<Rm>'}, #<nzcv>, <cond>` }],
      record: (b) => ({
        rn: source(field(b, 'Rn')),
        ...(immediate
          ? { imm: b.sf === 1 ? ([field(b, 'imm5'), 0] as const) : ([0, field(b, 'imm5')] as const) }
          : { rm: source(field(b, 'Rm')) }),
        x: field(b, 'nzcv'),
      }),
      sem: (b, f, v) => {
        const sf = field(v, 'sf');
        const second = immediate ? f.i64('imm') : top(b, sf, b.get(f.slot('rm')));
        const compare = (): void => {
          sumFlags(b, name === 'CCMP' ? 'sub' : 'add', top(b, sf, b.get(f.slot('rn'))), second);
        };
        const bit = (n: number): I64 => b.shl(b.extU(f.i32('x')), b.c32(63 - n));
        b.when(holds(b, field(v, 'cond')), compare, () => {
          b.put('fn', bit(3));
          b.put('fz', b.and(b.not(b.extU(f.i32('x'))), b.c64(4)));
          b.put('fc', b.and(b.shrU(f.i32('x'), b.c32(1)), b.c32(1)));
          b.put('fv', bit(0));
        });
      },
    }),
  ),
);

/** What the conditional selects do to Rm if the condition fails. */
const selects = [
  { name: 'CSEL', bits: ['0', '00'], other: (_: Builder, x: I64): I64 => x },
  { name: 'CSINC', bits: ['0', '01'], other: (b: Builder, x: I64): I64 => b.add(x, b.c64(1)) },
  { name: 'CSINV', bits: ['1', '00'], other: (b: Builder, x: I64): I64 => b.not(x) },
  { name: 'CSNEG', bits: ['1', '01'], other: (b: Builder, x: I64): I64 => b.sub(b.c64(0), x) },
] as const;

/** CSET and relatives read the inverted condition, which AL and NV do not have. */
const invertible = (b: Bits): boolean => field(b, 'cond') < 14;
const same = (b: Bits): Bits => ({ Rm: field(b, 'Rn') });
const twice = (b: Bits): boolean => b.Rn === b.Rm && b.Rn !== 31 && invertible(b);
const selectAliases: Readonly<Record<string, readonly AsmLine[]>> = {
  CSINC: [
    { text: 'cset <Rd>, <invcond>', with: { Rn: 31, Rm: 31 }, if: invertible },
    { text: 'cinc <Rd>, <Rn>, <invcond>', if: twice, complete: same },
  ],
  CSINV: [
    { text: 'csetm <Rd>, <invcond>', with: { Rn: 31, Rm: 31 }, if: invertible },
    { text: 'cinv <Rd>, <Rn>, <invcond>', if: twice, complete: same },
  ],
  CSNEG: [
    {
      text: 'cneg <Rd>, <Rn>, <invcond>',
      if: (b) => b.Rn === b.Rm && invertible(b),
      complete: same,
    },
  ],
};

const conditionalSelects = selects.map(
  ({ name, bits, other }): Form => ({
    name,
    bits: `sf:1 ${bits[0]} 0 11010100 Rm:5 cond:4 ${bits[1]} Rn:5 Rd:5`,
    ref: `C6.2 ${name}`,
    spec: ['sf', 'cond'],
    asm: [...(selectAliases[name] ?? []), { text: `${name.toLowerCase()} <Rd>, <Rn>, <Rm>, <cond>` }],
    record: three,
    sem: (b, f, v) => {
      const chosen = b.select(holds(b, field(v, 'cond')), b.get(f.slot('rn')), other(b, b.get(f.slot('rm'))));
      b.set(f.slot('rd'), narrow(b, v.sf, chosen));
    },
  }),
);

/** Rows of this chapter (multiplication, division, bit operations: see data-multiply.ts and data-bits.ts). */
export const dataRegisterForms: readonly Form[] = [
  ...addSubShifted,
  ...addSubExtended,
  ...logicalShifted,
  ...carryForms,
  ...conditionalCompares,
  ...conditionalSelects,
];

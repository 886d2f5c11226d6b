/** Data processing, immediate (DDI 0487 C4.1.92): PC-relative, add/subtract, logical, wide moves, bitfields, extract. */
import type { Builder, I64 } from '@faultyard/engine';
import { decodeBitmask } from './bitmask.ts';
import { pair, signed } from './bits.ts';
import { down, logicFlags, sumFlags, top } from './flags.ts';
import type { Bits, Derived, Form, Rec } from './form.ts';
import { field, source, target } from './memory-form.ts';
import { bitfieldAliases, fromSf, isBitfieldMove, isWideMove } from './preferred.ts';

/** Handler constant: 1 if the result is thrown away (Rd = 31 of a flag-setting form: CMP, CMN, TST). */
export const discards: Derived = { values: [0, 1], of: (b) => (b.Rd === 31 ? 1 : 0) };

/** `v` cut to the width that `sf` says. */
export function narrow(b: Builder, sf: number | undefined, v: I64): I64 {
  return sf === 1 ? v : b.zext(v, 32);
}

/** A constant as a record's `imm`, shifted to the top half for 32-bit flag-setting forms. */
const flagImmediate = (b: Bits, lo: number): readonly [number, number] => (b.sf === 1 ? pair(lo) : [0, lo]);

const addImmediate = (b: Bits): number => field(b, 'imm12') * (b.sh === 1 ? 4096 : 1);

const addSub: Form[] = [
  {
    name: 'ADD (immediate)',
    bits: 'sf:1 0 0 100010 sh:1 imm12:12 Rn:5 Rd:5',
    ref: 'C6.2 ADD (immediate)',
    spec: ['sf'],
    asm: [
      {
        text: 'mov <Rd|SP>, <Rn|SP>',
        with: { sh: 0, imm12: 0 },
        if: (b) => b.Rd === 31 || b.Rn === 31,
        binding: true,
      },
      { text: 'add <Rd|SP>, <Rn|SP>, <addimm>{, <addshift>}' },
      { text: 'sub <Rd|SP>, <Rn|SP>, <negated>{, <addshift>}', asmOnly: true },
    ],
    record: (b) => ({ rd: field(b, 'Rd'), rn: field(b, 'Rn'), imm: pair(addImmediate(b)) }),
    sem: (b, f, v) => b.set(f.slot('rd'), narrow(b, v.sf, b.add(b.get(f.slot('rn')), f.i64('imm')))),
  },
  {
    name: 'SUB (immediate)',
    bits: 'sf:1 1 0 100010 sh:1 imm12:12 Rn:5 Rd:5',
    ref: 'C6.2 SUB (immediate)',
    spec: ['sf'],
    asm: [
      { text: 'sub <Rd|SP>, <Rn|SP>, <addimm>{, <addshift>}' },
      { text: 'add <Rd|SP>, <Rn|SP>, <negated>{, <addshift>}', asmOnly: true },
    ],
    record: (b) => ({ rd: field(b, 'Rd'), rn: field(b, 'Rn'), imm: pair(addImmediate(b)) }),
    sem: (b, f, v) => b.set(f.slot('rd'), narrow(b, v.sf, b.sub(b.get(f.slot('rn')), f.i64('imm')))),
  },
  ...(['add', 'sub'] as const).map(
    (op): Form => ({
      name: op === 'add' ? 'ADDS (immediate)' : 'SUBS (immediate)',
      bits: `sf:1 ${op === 'add' ? 0 : 1} 1 100010 sh:1 imm12:12 Rn:5 Rd:5`,
      ref: op === 'add' ? 'C6.2 ADDS (immediate)' : 'C6.2 SUBS (immediate)',
      spec: ['sf'],
      derive: { discards },
      asm: [
        { text: `${op === 'add' ? 'cmn' : 'cmp'} <Rn|SP>, <addimm>{, <addshift>}`, with: { Rd: 31 } },
        { text: `${op}s <Rd>, <Rn|SP>, <addimm>{, <addshift>}` },
        {
          text: `${op === 'add' ? 'cmp' : 'cmn'} <Rn|SP>, <negated>{, <addshift>}`,
          with: { Rd: 31 },
          asmOnly: true,
        },
        { text: `${op === 'add' ? 'subs' : 'adds'} <Rd>, <Rn|SP>, <negated>{, <addshift>}`, asmOnly: true },
      ],
      record: (b) => ({
        rd: target(field(b, 'Rd')),
        rn: field(b, 'Rn'),
        imm: flagImmediate(b, addImmediate(b)),
      }),
      sem: (b, f, v) => {
        const sf = field(v, 'sf');
        const r = sumFlags(b, op, top(b, sf, b.get(f.slot('rn'))), f.i64('imm'));
        if (v.discards === 0) b.set(f.slot('rd'), down(b, sf, r));
      },
    }),
  ),
];

/** Whether N, imms and immr (and sf) make a bitmask. */
const isBitmask = (b: Bits): boolean =>
  (b.sf === 1 || b.N === 0) &&
  decodeBitmask(field(b, 'N'), field(b, 'imms'), field(b, 'immr'), 1) !== undefined;

const bitmask = (b: Bits): readonly [number, number] =>
  decodeBitmask(field(b, 'N'), field(b, 'imms'), field(b, 'immr'), field(b, 'sf')) ?? [0, 0];

const logical = (name: string, opc: string, mnemonic: string, op: 'and' | 'or' | 'xor'): Form => ({
  name: `${name} (immediate)`,
  bits: `sf:1 ${opc} 100100 N:1 immr:6 imms:6 Rn:5 Rd:5`,
  ref: `C6.2 ${name} (immediate)`,
  when: isBitmask,
  // The mask is cut to 32 bits in the record, so AND needs no variants; the others cut the register.
  spec: op === 'and' ? [] : ['sf'],
  split: ['sf'],
  asm: [
    ...(name === 'ORR'
      ? [
          {
            text: 'mov <Rd|SP>, #<bitmask>',
            with: { Rn: 31 },
            if: (b: Bits) => !isWideMove(b),
          },
        ]
      : []),
    { text: `${mnemonic} <Rd|SP>, <Rn>, #<bitmask>` },
  ],
  record: (b) => ({ rd: field(b, 'Rd'), rn: source(field(b, 'Rn')), imm: bitmask(b) }),
  sem: (b, f, v) => {
    const r = b[op](b.get(f.slot('rn')), f.i64('imm'));
    b.set(f.slot('rd'), op === 'and' ? r : narrow(b, v.sf, r));
  },
});

const logicalForms: Form[] = [
  logical('AND', '00', 'and', 'and'),
  logical('ORR', '01', 'orr', 'or'),
  logical('EOR', '10', 'eor', 'xor'),
  {
    name: 'ANDS (immediate)',
    bits: 'sf:1 11 100100 N:1 immr:6 imms:6 Rn:5 Rd:5',
    ref: 'C6.2 ANDS (immediate)',
    when: isBitmask,
    spec: ['sf'],
    derive: { discards },
    asm: [{ text: 'tst <Rn>, #<bitmask>', with: { Rd: 31 } }, { text: 'ands <Rd>, <Rn>, #<bitmask>' }],
    record: (b) => ({ rd: target(field(b, 'Rd')), rn: source(field(b, 'Rn')), imm: bitmask(b) }),
    sem: (b, f, v) => {
      const sf = field(v, 'sf');
      const r = logicFlags(b, top(b, sf, b.and(b.get(f.slot('rn')), f.i64('imm'))));
      if (v.discards === 0) b.set(f.slot('rd'), down(b, sf, r));
    },
  },
];

/** imm16 at its position, as two halves; inverted for MOVN. */
function wide(b: Bits, invert: boolean): readonly [number, number] {
  const [lo, hi] = pair(0);
  const at = field(b, 'hw');
  const part = field(b, 'imm16') << ((at & 1) * 16);
  const value = at < 2 ? ([part, hi] as const) : ([lo, part] as const);
  if (!invert) return value;
  return [~value[0], b.sf === 1 ? ~value[1] : 0];
}

const halfExists = (b: Bits): boolean => b.sf === 1 || field(b, 'hw') < 2;

const wideForms: Form[] = [
  {
    name: 'MOVZ',
    bits: 'sf:1 10 100101 hw:2 imm16:16 Rd:5',
    ref: 'C6.2 MOVZ',
    when: halfExists,
    split: ['sf'],
    asm: [
      { text: 'mov <Rd>, #<movz>', if: (b) => !(b.imm16 === 0 && field(b, 'hw') !== 0) },
      { text: 'movz <Rd>, #<imm16>{, <hwshift>}' },
    ],
    record: (b) => ({ rd: target(field(b, 'Rd')), imm: wide(b, false) }),
    sem: (b, f) => b.set(f.slot('rd'), f.i64('imm')),
  },
  {
    name: 'MOVN',
    bits: 'sf:1 00 100101 hw:2 imm16:16 Rd:5',
    ref: 'C6.2 MOVN',
    when: halfExists,
    split: ['sf'],
    asm: [
      {
        text: 'mov <Rd>, #<movn>',
        if: (b) => !(b.imm16 === 0 && field(b, 'hw') !== 0) && !(b.sf === 0 && b.imm16 === 0xffff),
      },
      { text: 'movn <Rd>, #<imm16>{, <hwshift>}' },
    ],
    record: (b) => ({ rd: target(field(b, 'Rd')), imm: wide(b, true) }),
    sem: (b, f) => b.set(f.slot('rd'), f.i64('imm')),
  },
  {
    name: 'MOVK',
    bits: 'sf:1 11 100101 hw:2 imm16:16 Rd:5',
    ref: 'C6.2 MOVK',
    when: halfExists,
    spec: ['sf', 'hw'],
    split: ['sf'],
    asm: [{ text: 'movk <Rd>, #<imm16>{, <hwshift>}' }],
    record: (b) => ({ rd: target(field(b, 'Rd')), rn: source(field(b, 'Rd')), imm: wide(b, false) }),
    sem: (b, f, v) => {
      const half = 0xffff << ((field(v, 'hw') & 1) * 16);
      const high = field(v, 'hw') >= 2;
      const keep = b.c64(high ? -1 : ~half, v.sf === 0 ? 0 : high ? ~half : -1);
      b.set(f.slot('rd'), b.or(b.and(b.get(f.slot('rn')), keep), f.i64('imm')));
    },
  },
];

/** Shift amounts of a bitfield move that takes bits to the top of 64 and back down. */
function viaTop(b: Bits): { left: number; right: number } {
  const immr = field(b, 'immr');
  const imms = field(b, 'imms');
  const left = 63 - imms;
  return { left, right: imms >= immr ? left + immr : left + immr - (b.sf === 1 ? 64 : 32) };
}

const moved = (b: Bits): Rec => {
  const { left, right } = viaTop(b);
  return { rd: target(field(b, 'Rd')), rn: source(field(b, 'Rn')), x: left, y: right };
};

/** Handler constant of a bitfield move: 1 = only the left shift is needed, 2 = only the right one, 0 = both. */
const shifts: Derived = {
  values: [0, 1, 2],
  of: (b) => {
    const { left, right } = viaTop(b);
    return right === 0 ? 1 : left === 0 ? 2 : 0;
  },
};

/** BFM: the mask of the bits inserted in `imm`, how far Rn is rotated right in `x`. */
function insertion(b: Bits): Rec {
  const immr = field(b, 'immr');
  const imms = field(b, 'imms');
  const width = b.sf === 1 ? 64 : 32;
  const extracts = imms >= immr;
  const bits = extracts ? imms - immr + 1 : imms + 1;
  const at = extracts ? 0 : width - immr;
  return {
    rd: target(field(b, 'Rd')),
    ra: source(field(b, 'Rd')),
    rn: source(field(b, 'Rn')),
    x: extracts ? immr : 64 - at,
    imm: maskPair(at, bits),
  };
}

/** `bits` ones from bit `at` on, as two halves. */
function maskPair(at: number, bits: number): readonly [number, number] {
  const half = (from: number): number => {
    const lo = Math.max(at - from, 0);
    const hi = Math.min(at + bits - from, 32);
    if (lo >= hi) return 0;
    return hi - lo === 32 ? -1 : ((1 << (hi - lo)) - 1) << lo;
  };
  return [half(0), half(32)];
}

const bitfieldForms: Form[] = [
  {
    name: 'SBFM',
    bits: 'sf:1 00 100110 N:1 immr:6 imms:6 Rn:5 Rd:5',
    ref: 'C6.2 SBFM',
    when: isBitfieldMove,
    spec: ['sf'],
    derive: { shifts },
    asm: [...bitfieldAliases('signed'), { text: 'sbfm <Rd>, <Rn>, #<immr:d>, #<imms:d>', complete: fromSf }],
    record: moved,
    sem: (b, f, v) => {
      const x = b.get(f.slot('rn'));
      const raised = v.shifts === 2 ? x : b.shl(x, f.i32('x'));
      b.set(f.slot('rd'), narrow(b, v.sf, v.shifts === 1 ? raised : b.shrS(raised, f.i32('y'))));
    },
  },
  {
    name: 'UBFM',
    bits: 'sf:1 10 100110 N:1 immr:6 imms:6 Rn:5 Rd:5',
    ref: 'C6.2 UBFM',
    when: isBitfieldMove,
    split: ['sf'],
    derive: { shifts },
    asm: [
      ...bitfieldAliases('unsigned'),
      { text: 'ubfm <Rd>, <Rn>, #<immr:d>, #<imms:d>', complete: fromSf },
    ],
    record: moved,
    sem: (b, f, v) => {
      const x = b.get(f.slot('rn'));
      const raised = v.shifts === 2 ? x : b.shl(x, f.i32('x'));
      b.set(f.slot('rd'), v.shifts === 1 ? raised : b.shrU(raised, f.i32('y')));
    },
  },
  {
    name: 'BFM',
    bits: 'sf:1 01 100110 N:1 immr:6 imms:6 Rn:5 Rd:5',
    ref: 'C6.2 BFM',
    when: isBitfieldMove,
    spec: ['sf'],
    asm: [...bitfieldAliases('insert'), { text: 'bfm <Rd>, <Rn>, #<immr:d>, #<imms:d>', complete: fromSf }],
    record: insertion,
    sem: (b, f, v) => {
      const into = b.and(b.get(f.slot('ra')), b.not(f.i64('imm')));
      const bits = b.and(b.rotr(b.get(f.slot('rn')), f.i32('x')), f.i64('imm'));
      b.set(f.slot('rd'), narrow(b, v.sf, b.or(into, bits)));
    },
  },
  {
    name: 'EXTR',
    bits: 'sf:1 00 100111 N:1 0 Rm:5 imms:6 Rn:5 Rd:5',
    ref: 'C6.2 EXTR',
    when: (b) => b.N === b.sf && (b.sf === 1 || field(b, 'imms') < 32),
    spec: ['sf'],
    derive: { rotates: { values: [0, 1], of: (b) => (b.Rn === b.Rm ? 1 : 0) } },
    asm: [
      {
        text: 'ror <Rd>, <Rn>, #<extractbit>',
        if: (b) => b.Rn === b.Rm,
        complete: (b) => ({ N: field(b, 'sf'), Rm: field(b, 'Rn') }),
      },
      { text: 'extr <Rd>, <Rn>, <Rm>, #<extractbit>', complete: fromSf },
    ],
    record: (b) => ({
      rd: target(field(b, 'Rd')),
      rn: source(field(b, 'Rn')),
      rm: source(field(b, 'Rm')),
      x: field(b, 'imms'),
      y: 63 - field(b, 'imms'),
    }),
    sem: (b, f, v) => {
      const low = b.get(f.slot('rm'));
      const high = b.get(f.slot('rn'));
      const by = f.i32('x');
      if (v.sf === 0) {
        const r = v.rotates === 1 ? b.rotr(b.wrap(low), by) : undefined;
        const joined = b.or(b.zext(low, 32), b.shl(high, b.c32(32)));
        b.set(f.slot('rd'), r ? b.extU(r) : b.zext(b.shrU(joined, by), 32));
        return;
      }
      // A left shift by 64 - lsb must give 0 for lsb = 0: shift by one first, then by 63 - lsb.
      const left = b.shl(b.shl(high, b.c32(1)), f.i32('y'));
      b.set(f.slot('rd'), v.rotates === 1 ? b.rotr(low, by) : b.or(b.shrU(low, by), left));
    },
  },
];

const pcRelative: Form[] = [
  {
    name: 'ADR',
    bits: '0 immlo:2 10000 immhi:19 Rd:5',
    ref: 'C6.2 ADR',
    asm: [{ text: 'adr <Xd>, <address>' }],
    record: (b) => ({
      rd: target(field(b, 'Rd')),
      imm: pair(signed((field(b, 'immhi') << 2) | field(b, 'immlo'), 21)),
    }),
    sem: (b, f) => b.set(f.slot('rd'), b.add(b.pc(), f.i64('imm'))),
  },
  {
    name: 'ADRP',
    bits: '1 immlo:2 10000 immhi:19 Rd:5',
    ref: 'C6.2 ADRP',
    asm: [{ text: 'adrp <Xd>, <page>' }],
    record: (b) => ({
      rd: target(field(b, 'Rd')),
      imm: pair(signed((field(b, 'immhi') << 2) | field(b, 'immlo'), 21) * 4096),
    }),
    sem: (b, f) => b.set(f.slot('rd'), b.add(b.and(b.pc(), b.c64(-4096)), f.i64('imm'))),
  },
];

/** Rows of this chapter. */
export const dataImmediateForms: readonly Form[] = [
  ...pcRelative,
  ...addSub,
  // Before the logical forms: assembly prefers MOVZ and MOVN to ORR for `mov`.
  ...wideForms,
  ...logicalForms,
  ...bitfieldForms,
];

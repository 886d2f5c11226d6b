/**
 * Branches: immediate, conditional, compare, test, register; ERET and DRPS.
 *
 * Targets of register branches are taken as they are. A misaligned pc faults when it is fetched, and the top byte of a
 * tagged address is removed there, too (BranchAddr, DDI 0487 J1): neither costs anything in the branch.
 */
import { pair, signed } from './bits.ts';
import { holds } from './flags.ts';
import type { Bits, Form, Operand, Rec } from './form.ts';
import { field, source } from './memory-form.ts';
import { Slow } from './slow.ts';

/** Record of a branch with a displacement field of `width` bits, in instructions. */
const displacement =
  (name: string, width: number, rest: (b: Bits) => Rec = () => ({})) =>
  (b: Bits): Rec => ({ ...rest(b), imm: pair(signed(field(b, name), width) * 4) });

const tested = (b: Bits): Rec => ({ rn: source(field(b, 'Rt')) });

/** The register of TBZ and TBNZ: a W register for bits 0 to 31, an X register above. */
const testedRegister: Operand = {
  expect: 'a W or X register',
  print: (b) => {
    const n = field(b, 'Rt');
    return `${b.b5 === 1 ? 'x' : 'w'}${n === 31 ? 'zr' : n}`;
  },
  parse: (c) => {
    const m = /^([wx])(\d\d?|zr)$/.exec(c.word() ?? '');
    if (m === null) return undefined;
    const Rt = m[2] === 'zr' ? 31 : Number(m[2]);
    return Rt > 31 || m[2] === '31' ? 'no such register' : { Rt, narrow: m[1] === 'w' ? 1 : 0 };
  },
};

/** The bit number of TBZ and TBNZ, split over `b5` and `b40`. */
const testedBit: Operand = {
  expect: 'a bit number, 0 to 63 (to 31 with a W register)',
  print: (b) => `${(field(b, 'b5') << 5) | field(b, 'b40')}`,
  parse: (c, b) => {
    const n = c.number();
    if (n === undefined) return undefined;
    const limit = b.narrow === 1 ? 31n : 63n;
    if (n < 0n || n > limit) return `a bit number here is 0 to ${limit}`;
    return { b5: Number(n) >> 5, b40: Number(n) & 31 };
  },
};

/** Rows of this chapter. */
export const branchForms: readonly Form[] = [
  {
    name: 'B',
    bits: '0 00101 imm26:26',
    ref: 'C6.2 B',
    ends: true,
    asm: [{ text: 'b <label:imm26>' }],
    record: displacement('imm26', 26),
    sem: (b) => b.jump('imm'),
  },
  {
    name: 'BL',
    bits: '1 00101 imm26:26',
    ref: 'C6.2 BL',
    ends: true,
    asm: [{ text: 'bl <label:imm26>' }],
    record: displacement('imm26', 26),
    sem: (b) => {
      b.set(30, b.next());
      b.jump('imm');
    },
  },
  {
    name: 'B.cond',
    bits: '0101010 0 imm19:19 0 cond:4',
    ref: 'C6.2 B.cond',
    spec: ['cond'],
    split: ['cond'],
    asm: [{ text: 'b.<cond> <label:imm19>' }],
    record: displacement('imm19', 19),
    sem: (b, _f, v) => b.jumpIf(holds(b, field(v, 'cond')), 'imm'),
  },
  {
    name: 'CBZ/CBNZ',
    bits: 'sf:1 011010 op:1 imm19:19 Rt:5',
    ref: 'C6.2 CBZ, CBNZ',
    spec: ['sf', 'op'],
    split: ['sf', 'op'],
    asm: [
      { text: 'cbz <Rt>, <label:imm19>', with: { op: 0 } },
      { text: 'cbnz <Rt>, <label:imm19>', with: { op: 1 } },
    ],
    record: displacement('imm19', 19, tested),
    sem: (b, f, v) => {
      const x = b.get(f.slot('rn'));
      if (v.sf === 1) b.jumpIf(v.op === 1 ? b.ne(x, b.c64(0)) : b.eqz(x), 'imm');
      else b.jumpIf(v.op === 1 ? b.wrap(x) : b.eqz(b.wrap(x)), 'imm');
    },
  },
  {
    name: 'TBZ/TBNZ',
    bits: 'b5:1 011011 op:1 b40:5 imm14:14 Rt:5',
    ref: 'C6.2 TBZ, TBNZ',
    spec: ['op'],
    split: ['op', 'b5'],
    asm: [
      { text: 'tbz <bitreg>, #<bit>, <label:imm14>', with: { op: 0 } },
      { text: 'tbnz <bitreg>, #<bit>, <label:imm14>', with: { op: 1 } },
    ],
    operands: { bitreg: testedRegister, bit: testedBit },
    record: displacement('imm14', 14, (b) => ({
      ...tested(b),
      x: (field(b, 'b5') << 5) | field(b, 'b40'),
    })),
    sem: (b, f, v) => {
      const bit = b.and(b.wrap(b.shrU(b.get(f.slot('rn')), f.i32('x'))), b.c32(1));
      b.jumpIf(v.op === 1 ? bit : b.eqz(bit), 'imm');
    },
  },
  {
    name: 'BR',
    bits: '1101011 0000 11111 000000 Rn:5 00000',
    ref: 'C6.2 BR',
    ends: true,
    asm: [{ text: 'br <Xn>' }],
    record: (b) => ({ rn: source(field(b, 'Rn')) }),
    sem: (b, f) => b.jumpTo(b.get(f.slot('rn'))),
  },
  {
    name: 'BLR',
    bits: '1101011 0001 11111 000000 Rn:5 00000',
    ref: 'C6.2 BLR',
    ends: true,
    asm: [{ text: 'blr <Xn>' }],
    record: (b) => ({ rn: source(field(b, 'Rn')) }),
    sem: (b, f) => {
      const to = b.let(b.get(f.slot('rn')));
      b.set(30, b.next());
      b.jumpTo(to);
    },
  },
  {
    name: 'RET',
    bits: '1101011 0010 11111 000000 Rn:5 00000',
    ref: 'C6.2 RET',
    ends: true,
    asm: [{ text: 'ret', with: { Rn: 30 } }, { text: 'ret <Xn>' }],
    record: (b) => ({ rn: source(field(b, 'Rn')) }),
    sem: (b, f) => b.jumpTo(b.get(f.slot('rn'))),
  },
  {
    name: 'ERET',
    bits: '1101011 0100 11111 000000 11111 00000',
    ref: 'C6.2 ERET',
    ends: true,
    asm: [{ text: 'eret' }],
    record: () => ({}),
    sem: (b) => b.slow(Slow.Eret),
  },
  {
    name: 'DRPS',
    bits: '1101011 0101 11111 000000 11111 00000',
    ref: 'C6.2 DRPS',
    ends: true,
    asm: [{ text: 'drps' }],
    record: () => ({}),
    sem: (b) => b.slow(Slow.Drps),
  },
];

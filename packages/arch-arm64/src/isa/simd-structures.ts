/**
 * LD1 to LD4 and ST1 to ST4 of multiple structures, and of single structures (one lane, or replicated to all lanes).
 *
 * Each is one access, translated whole before a byte moves. The registers are consecutive modulo 32. The checks of
 * base = SP and the post-index amount come from the record: these forms are too long to be doubled for speed.
 */
import type { Builder, Expr, Fields, I32, I64 } from '@faultyard/engine';
import { type AsmLine, type Bits, type Rec, ZR } from './form.ts';
import { GUARD_FP, GUARD_SP } from './guards.ts';
import { field, type MemoryForm, wide } from './memory-form.ts';
import { laneIndex, registerList, structureIncrement } from './simd-operands.ts';
import { SIMD_ACCESS } from './simd-registers.ts';

/** Record fields that hold the slots of up to four registers. */
const SLOTS = ['rd', 'ra', 'x', 'y'] as const;

/** The slots of the registers, the base, the post-index amount, and the mask of the stack pointer check. */
function record(b: Bits, bytes: number): Rec {
  const t = field(b, 'Rt');
  const post = b.Rm !== undefined;
  return {
    rd: t,
    ra: (t + 1) & 31,
    x: (t + 2) & 31,
    y: (t + 3) & 31,
    rn: field(b, 'Rn'),
    rm: post && b.Rm !== 31 ? field(b, 'Rm') : ZR,
    imm: [post && b.Rm === 31 ? bytes : 0, b.Rn === 31 ? 15 : 0],
  };
}

/** FP trap, stack pointer check, address. */
function start(b: Builder, f: Fields): I64 {
  b.guard(GUARD_FP);
  const address = b.let(b.get(f.slot('rn')));
  b.when(b.and(b.wrap(address), f.hi32('imm')), () => b.guard(GUARD_SP));
  return address;
}

/** Post-index: the register, or the bytes transferred. */
function writeBack(b: Builder, f: Fields, address: I64): void {
  b.set(f.slot('rn'), b.add(address, b.add(b.get(f.slot('rm')), b.extU(f.i32('imm')))));
}

/** Registers and interleaving by field `opcode` of the multiple-structure forms. */
const MULTIPLE: Readonly<Record<number, { readonly registers: number; readonly interleave: number }>> = {
  0: { registers: 4, interleave: 4 },
  2: { registers: 4, interleave: 1 },
  4: { registers: 3, interleave: 3 },
  6: { registers: 3, interleave: 1 },
  7: { registers: 1, interleave: 1 },
  8: { registers: 2, interleave: 2 },
  10: { registers: 2, interleave: 1 },
};

const OPCODES = [0, 2, 4, 6, 7, 8, 10] as const;

/** Allocated: a known opcode, and no interleaving of single 64-bit lanes. */
function isMultiple(b: Bits): boolean {
  const shape = MULTIPLE[field(b, 'opcode')];
  return shape !== undefined && (shape.interleave === 1 || b.size !== 3 || b.Q === 1);
}

const multipleBytes = (b: Bits): number =>
  (MULTIPLE[field(b, 'opcode')]?.registers ?? 1) * (b.Q === 1 ? 16 : 8);

function multipleLines(tail: string, increment?: Bits): AsmLine[] {
  return [1, 0].flatMap((L) =>
    OPCODES.map((opcode) => {
      const shape = MULTIPLE[opcode];
      const verb = L === 1 ? 'ld' : 'st';
      return {
        text: `${verb}${shape?.interleave ?? 1} <list${shape?.registers ?? 1}>, [<Xn|SP>]${tail}`,
        with: { L, opcode, ...increment },
      };
    }),
  );
}

const listOperands = {
  list1: registerList(1),
  list2: registerList(2),
  list3: registerList(3),
  list4: registerList(4),
};

/** Transfers whole registers: element e of register r is at position (e * interleave + r mod interleave). */
function multiple(b: Builder, f: Fields, v: Bits, address: I64): void {
  const { registers, interleave } = MULTIPLE[field(v, 'opcode')] ?? { registers: 1, interleave: 1 };
  // Where nothing interleaves whole doublewords move.
  const size = ([1, 2, 4, 8] as const)[interleave === 1 ? 3 : field(v, 'size')] ?? 8;
  const length = v.Q === 1 ? 16 : 8;
  const perRegister = length / size;
  const place = (i: number): { slot: string; at: number } => {
    if (interleave > 1) return { slot: SLOTS[i % interleave] ?? 'rd', at: Math.floor(i / interleave) * size };
    return { slot: SLOTS[Math.floor(i / perRegister)] ?? 'rd', at: (i % perRegister) * size };
  };
  const n = registers * perRegister;
  if (v.L === 0) {
    const values = Array.from({ length: n }, (_, i): Expr => {
      const { slot, at } = place(i);
      return size === 8 ? b.elem('v', f.slot(slot), at, 8) : b.elem('v', f.slot(slot), at, size);
    });
    b.stores(size, address, values, SIMD_ACCESS);
    return;
  }
  for (const [i, value] of b.loads(size, n, address, SIMD_ACCESS).entries()) {
    const { slot, at } = place(i);
    b.setElem('v', f.slot(slot), at, size, value);
  }
  if (length === 16) return;
  for (const slot of SLOTS.slice(0, registers)) b.setElem('v', f.slot(slot), 8, 8, b.c64(0));
}

const multipleRow = {
  feature: 'fpsimd',
  cold: true,
  when: isMultiple,
  spec: ['Q', 'L', 'opcode', 'size'],
  split: ['Q', 'L', 'opcode', 'size'],
  record: (b: Bits): Rec => record(b, multipleBytes(b)),
  access: (b: Bits) => ({ align: 1 << field(b, 'size') }),
} satisfies Partial<MemoryForm>;

const MULTIPLES: readonly MemoryForm[] = [
  {
    ...multipleRow,
    name: 'LD1-4/ST1-4 (multiple structures)',
    bits: '0 Q:1 0011000 L:1 000000 opcode:4 size:2 Rn:5 Rt:5',
    ref: 'C7.2 LD1 … ST4 (multiple structures), no offset',
    asm: multipleLines(''),
    operands: listOperands,
    sem: (b, f, v) => multiple(b, f, v, start(b, f)),
  },
  {
    ...multipleRow,
    name: 'LD1-4/ST1-4 (multiple structures) post-index',
    bits: '0 Q:1 0011001 L:1 0 Rm:5 opcode:4 size:2 Rn:5 Rt:5',
    ref: 'C7.2 LD1 … ST4 (multiple structures), post-index',
    asm: [...multipleLines(', #<increment>', { Rm: 31 }), ...multipleLines(', <Xm>')],
    operands: { ...listOperands, increment: structureIncrement(multipleBytes) },
    sem: (b, f, v) => {
      const address = start(b, f);
      multiple(b, f, v, address);
      writeBack(b, f, address);
    },
  },
];

/** Registers of a single-structure form: 1 to 4. */
const singleRegisters = (b: Bits): number => ((field(b, 'opcode') & 1) << 1) + field(b, 'R') + 1;

/** Log2 of the lane size of a single-structure form. */
function laneLog2(b: Bits): number {
  const scale = field(b, 'opcode') >> 1;
  if (scale === 3) return field(b, 'size');
  return scale === 2 && (field(b, 'size') & 1) === 1 ? 3 : scale;
}

/** Allocated combinations of `opcode`, `S` and `size`; replication (scale 3) exists for loads only. */
function isSingle(b: Bits): boolean {
  const size = field(b, 'size');
  switch (field(b, 'opcode') >> 1) {
    case 0:
      return true;
    case 1:
      return (size & 1) === 0;
    case 2:
      return size === 0 || (size === 1 && b.S === 0);
    default:
      return b.L === 1 && b.S === 0;
  }
}

/** Lane number of a single-structure form. */
function lane(b: Bits): number {
  return ((field(b, 'Q') << 3) | (field(b, 'S') << 2) | field(b, 'size')) >> laneLog2(b);
}

const singleBytes = (b: Bits): number => singleRegisters(b) << laneLog2(b);

/** Whether the form replicates to all lanes. */
const replicates = (b: Bits): boolean => field(b, 'opcode') >> 1 === 3;

/** Handler constants of single structures; which lane comes from the record. */
const singleConstants = {
  log2: { values: [0, 1, 2, 3], of: laneLog2 },
};

/** Loads the structure's elements as 64-bit values. */
function loadStructure(b: Builder, v: Bits, address: I64): I64[] {
  const size = ([1, 2, 4, 8] as const)[field(v, 'log2')] ?? 8;
  return b.loads(size, singleRegisters(v), address, SIMD_ACCESS).map((e) => b.let(wide(b, e)));
}

/** One value in every lane of 64 bits. */
function replicate(b: Builder, value: I64, log2: number): I64 {
  if (log2 === 3) return value;
  const pattern = log2 === 0 ? 0x01010101 : log2 === 1 ? 0x00010001 : 1;
  return b.mul(value, b.c64(pattern, pattern));
}

/** The byte offset of the lane (record: `imm` bits 8 and up), as a shift in its half and which half. */
function lanePlace(b: Builder, f: Fields): { shift: I32; high: I32 } {
  const at = b.let(b.shrU(f.i32('imm'), b.c32(8)));
  return { shift: b.let(b.shl(b.and(at, b.c32(7)), b.c32(3))), high: b.let(b.and(at, b.c32(8))) };
}

/** Replicates, or inserts into or reads out of one lane. */
function singleStructure(b: Builder, f: Fields, v: Bits, address: I64): void {
  const log2 = field(v, 'log2');
  const slots = SLOTS.slice(0, singleRegisters(v));
  if (replicates(v)) {
    const values = loadStructure(b, v, address);
    for (const [i, slot] of slots.entries()) {
      const value = values[i];
      if (!value) continue;
      const all = b.let(replicate(b, value, log2));
      b.setElem('v', f.slot(slot), 0, 8, all);
      b.setElem('v', f.slot(slot), 8, 8, v.Q === 1 ? all : b.c64(0));
    }
    return;
  }
  const { shift, high } = lanePlace(b, f);
  const halves = (slot: string): { low: I64; top: I64 } => ({
    low: b.elem('v', f.slot(slot), 0, 8),
    top: b.elem('v', f.slot(slot), 8, 8),
  });
  if (v.L === 0) {
    const size = ([1, 2, 4, 8] as const)[log2] ?? 8;
    const values = slots.map((slot) => {
      const { low, top } = halves(slot);
      return b.shrU(b.select(high, top, low), shift);
    });
    b.stores(size, address, values, SIMD_ACCESS);
    return;
  }
  const mask = b.let(
    b.shl(log2 === 3 ? b.c64(-1) : b.c64(log2 === 2 ? -1 : (1 << (8 << log2)) - 1, 0), shift),
  );
  for (const [i, value] of loadStructure(b, v, address).entries()) {
    const slot = slots[i] ?? 'rd';
    const { low, top } = halves(slot);
    const merged = b.let(b.or(b.and(b.select(high, top, low), b.not(mask)), b.shl(value, shift)));
    const newLow = b.let(b.select(high, low, merged));
    b.setElem('v', f.slot(slot), 8, 8, b.select(high, merged, top));
    b.setElem('v', f.slot(slot), 0, 8, newLow);
  }
}

function singleRecord(b: Bits): Rec {
  const r = record(b, singleBytes(b));
  const at = replicates(b) ? 0 : lane(b) << laneLog2(b);
  const [amount, check] = r.imm ?? [0, 0];
  return { ...r, imm: [amount | (at << 8), check] };
}

function singleLines(tail: string, increment?: Bits): AsmLine[] {
  return [1, 2, 3, 4].flatMap((n) => {
    const fixed = { R: (n - 1) & 1, ...increment };
    const low = (n - 1) >> 1;
    const lanesOf = [0, 1, 2].flatMap((scale) =>
      [1, 0].map((L) => ({
        text: `${L === 1 ? 'ld' : 'st'}${n} <lanes${n}>, [<Xn|SP>]${tail}`,
        with: { L, opcode: (scale << 1) | low, ...fixed },
      })),
    );
    return [
      ...lanesOf,
      { text: `ld${n}r <list${n}>, [<Xn|SP>]${tail}`, with: { L: 1, opcode: 6 | low, ...fixed } },
    ];
  });
}

const laneOperands = {
  ...listOperands,
  lanes1: laneIndex(1),
  lanes2: laneIndex(2),
  lanes3: laneIndex(3),
  lanes4: laneIndex(4),
};

const singleRow = {
  feature: 'fpsimd',
  cold: true,
  when: isSingle,
  spec: ['Q', 'L', 'R', 'opcode'],
  split: ['L', 'R', 'opcode', 'size'],
  derive: singleConstants,
  record: singleRecord,
  access: (b: Bits) => ({ align: 1 << (b.log2 ?? laneLog2(b)) }),
} satisfies Partial<MemoryForm>;

const SINGLES: readonly MemoryForm[] = [
  {
    ...singleRow,
    name: 'LD1-4/ST1-4 (single structure)',
    bits: '0 Q:1 0011010 L:1 R:1 00000 opcode:3 S:1 size:2 Rn:5 Rt:5',
    ref: 'C7.2 LD1 … ST4 (single structure), LD1R … LD4R, no offset',
    asm: singleLines(''),
    operands: laneOperands,
    sem: (b, f, v) => singleStructure(b, f, v, start(b, f)),
  },
  {
    ...singleRow,
    name: 'LD1-4/ST1-4 (single structure) post-index',
    bits: '0 Q:1 0011011 L:1 R:1 Rm:5 opcode:3 S:1 size:2 Rn:5 Rt:5',
    ref: 'C7.2 LD1 … ST4 (single structure), LD1R … LD4R, post-index',
    asm: [...singleLines(', #<increment>', { Rm: 31 }), ...singleLines(', <Xm>')],
    operands: { ...laneOperands, increment: structureIncrement(singleBytes) },
    sem: (b, f, v) => {
      const address = start(b, f);
      singleStructure(b, f, v, address);
      b.set(
        f.slot('rn'),
        b.add(address, b.add(b.get(f.slot('rm')), b.extU(b.and(f.i32('imm'), b.c32(255))))),
      );
    },
  },
];

/** Rows of this chapter. */
export const simdStructureForms: readonly MemoryForm[] = [...MULTIPLES, ...SINGLES];

/**
 * Loads and stores of one SIMD&FP register or a pair of them: B, H, S, D, Q in all addressing modes, and literal.
 *
 * The FP trap comes before everything else; a load clears the register above what it wrote. A pair loaded into one
 * register (Rt = Rt2, CONSTRAINED UNPREDICTABLE) leaves the second element, as QEMU 7.2 does.
 */
import type { AccessOptions, Builder, Expr, Fields, I64 } from '@faultyard/engine';
import { AccessClass } from '../memory/access-class.ts';
import { type AsmLine, type Bits, type Rec, ZR } from './form.ts';
import { GUARD_FP } from './guards.ts';
import { isIndexOption, offsetConstants, registerOffset } from './loads-stores-register.ts';
import { base, baseIsSp, baseOffset, field, type MemoryForm, signedImmediate, wide } from './memory-form.ts';

/** Options of every access to SIMD&FP registers. */
export const SIMD_ACCESS: AccessOptions = { cls: AccessClass.NoIsv | AccessClass.Simd };

/** Register letters by log2 of their bytes. */
const LETTERS = ['B', 'H', 'S', 'D', 'Q'] as const;

/** Log2 of the bytes of a single-register form: `size`, and 4 with the high bit of `opc`. */
const log2Of = (b: Bits): number => ((field(b, 'opc') & 2) !== 0 ? 4 : field(b, 'size'));

/** Unallocated: `opc` 1x with a size other than 0. */
const allocated = (b: Bits): boolean => (field(b, 'opc') & 2) === 0 || b.size === 0;

/** Writes `parts` to a SIMD&FP register from byte 0 up and clears what lies above them. */
function setVector(b: Builder, f: Fields, slot: string, log2: number, low: I64, high?: I64): void {
  b.setElem('v', f.slot(slot), 0, 8, low);
  b.setElem('v', f.slot(slot), 8, 8, log2 === 4 && high ? high : b.c64(0));
}

/** One register's elements as they are stored: two halves for Q, else one element. */
function elements(b: Builder, f: Fields, slot: string, log2: number): Expr[] {
  const low = b.elem('v', f.slot(slot), 0, 8);
  return log2 === 4 ? [low, b.elem('v', f.slot(slot), 8, 8)] : [low];
}

/** Bytes of one access element of a register of 2^log2 bytes. */
const unit = (log2: number): 1 | 2 | 4 | 8 => (log2 === 0 ? 1 : log2 === 1 ? 2 : log2 === 2 ? 4 : 8);

/** Transfers registers `slots` of 2^log2 bytes each as one access; loaded registers are written by the result. */
function move(
  b: Builder,
  f: Fields,
  slots: readonly string[],
  log2: number,
  load: boolean,
  address: I64,
): () => void {
  const size = unit(log2);
  if (!load) {
    const values = slots.flatMap((slot) => elements(b, f, slot, log2));
    const [only] = values;
    if (values.length === 1 && only) b.store(size, address, only, SIMD_ACCESS);
    else b.stores(size, address, values, SIMD_ACCESS);
    return () => {};
  }
  const each = log2 === 4 ? 2 : 1;
  const n = slots.length * each;
  const values =
    n > 1
      ? b.loads(size, n, address, SIMD_ACCESS)
      : [size === 8 ? b.load(8, address, SIMD_ACCESS) : b.load(size, address, SIMD_ACCESS)];
  const words = values.map((e) => wide(b, e));
  return () => {
    for (const [i, slot] of slots.entries()) {
      const low = words[i * each];
      if (low) setVector(b, f, slot, log2, low, words[i * each + 1]);
    }
  };
}

/** Addressing modes as functions from the record to the address, and to the written-back base. */
type Address = (b: Builder, f: Fields, v: Bits) => { at: I64; back?: I64 };

const offset: Address = (b, f, v) => ({ at: baseOffset(b, f, v) });
const preIndex: Address = (b, f, v) => {
  const at = baseOffset(b, f, v);
  return { at, back: at };
};
const postIndex: Address = (b, f, v) => {
  const at = base(b, f, v);
  return { at, back: b.add(at, f.i64('imm')) };
};
const indexed: Address = (b, f, v) => ({ at: registerOffset(b, f, v) });

/** Meaning of a form: guard, address, transfer, writeback. `opc`'s low bit or `L` is the load bit. */
function semantics(slots: readonly string[], log2: (v: Bits) => number, address: Address): MemoryForm['sem'] {
  return (b, f, v) => {
    b.guard(GUARD_FP);
    const { at, back } = address(b, f, v);
    const load = (v.L ?? field(v, 'opc') & 1) === 1;
    const finish = move(b, f, slots, log2(v), load, at);
    finish();
    if (back) b.set(f.slot('rn'), back);
  };
}

/** Syntax of single registers: `letters` behind `ld`/`st`, `mode` behind the base register. */
function singleLines(
  letters: string,
  mode: (log2: number) => string,
  more?: Pick<AsmLine, 'asmOnly'>,
): AsmLine[] {
  return LETTERS.flatMap((letter, log2) =>
    [1, 0].map((L) => ({
      text: `${L === 1 ? 'ld' : 'st'}${letters} <${letter}t>, [<Xn|SP>${mode(log2)}`,
      with: { size: log2 & 3, opc: L | (log2 === 4 ? 2 : 0) },
      ...more,
    })),
  );
}

const nineBits = (b: Bits): Rec => ({
  rd: field(b, 'Rt'),
  rn: field(b, 'Rn'),
  imm: signedImmediate(field(b, 'imm9'), 9, 1),
});

const single = {
  feature: 'fpsimd',
  when: allocated,
  spec: ['size', 'opc'],
  derive: baseIsSp,
  access: (b: Bits) => ({ align: 1 << log2Of(b) }),
} satisfies Partial<MemoryForm>;

const ONE = ['rd'] as const;

const SINGLE: readonly MemoryForm[] = [
  {
    ...single,
    name: 'LDR/STR (immediate, SIMD&FP) unsigned offset',
    bits: 'size:2 111 1 01 opc:2 imm12:12 Rn:5 Rt:5',
    ref: 'C7.2 LDR, STR (immediate, SIMD&FP), unsigned offset',
    asm: singleLines('r', (log2) => `{, #<imm12${log2 === 0 ? '' : `*${1 << log2}`}>}]`),
    record: (b) => ({ rd: field(b, 'Rt'), rn: field(b, 'Rn'), imm: [field(b, 'imm12') << log2Of(b), 0] }),
    sem: semantics(ONE, log2Of, offset),
  },
  {
    ...single,
    name: 'LDUR/STUR (SIMD&FP)',
    bits: 'size:2 111 1 00 opc:2 0 imm9:9 00 Rn:5 Rt:5',
    ref: 'C7.2 LDUR, STUR (SIMD&FP)',
    asm: [
      ...singleLines('ur', () => '{, #<imm9:s>}]'),
      ...singleLines('r', () => '{, #<imm9:s>}]', { asmOnly: true }),
    ],
    record: nineBits,
    sem: semantics(ONE, log2Of, offset),
  },
  {
    ...single,
    name: 'LDR/STR (immediate, SIMD&FP) post-index',
    bits: 'size:2 111 1 00 opc:2 0 imm9:9 01 Rn:5 Rt:5',
    ref: 'C7.2 LDR, STR (immediate, SIMD&FP), post-index',
    asm: singleLines('r', () => '], #<imm9:s>'),
    record: nineBits,
    sem: semantics(ONE, log2Of, postIndex),
  },
  {
    ...single,
    name: 'LDR/STR (immediate, SIMD&FP) pre-index',
    bits: 'size:2 111 1 00 opc:2 0 imm9:9 11 Rn:5 Rt:5',
    ref: 'C7.2 LDR, STR (immediate, SIMD&FP), pre-index',
    asm: singleLines('r', () => ', #<imm9:s>]!'),
    record: nineBits,
    sem: semantics(ONE, log2Of, preIndex),
  },
  {
    ...single,
    name: 'LDR/STR (register, SIMD&FP)',
    bits: 'size:2 111 1 00 opc:2 1 Rm:5 option:3 S:1 10 Rn:5 Rt:5',
    ref: 'C7.2 LDR, STR (register, SIMD&FP)',
    when: (b) => allocated(b) && isIndexOption(b),
    spec: ['size', 'opc'],
    cold: true,
    split: ['size', 'opc', 'option', 'S'],
    derive: offsetConstants(log2Of),
    asm: singleLines('r', (log2) => `, <index*${log2}>]`),
    record: (b) => ({
      rd: field(b, 'Rt'),
      rn: field(b, 'Rn'),
      rm: b.Rm === 31 ? ZR : field(b, 'Rm'),
      x: log2Of(b),
    }),
    sem: semantics(ONE, log2Of, indexed),
  },
];

/** Log2 of the bytes of one register of a pair or literal form: S, D, Q. */
const pairLog2 = (b: Bits): number => field(b, 'opc') + 2;

function pairLines(suffix: '' | 'n', mode: (bytes: number) => string): AsmLine[] {
  return [0, 1, 2].flatMap((opc) =>
    [1, 0].map((L) => {
      const letter = LETTERS[opc + 2];
      const text = `${L === 1 ? 'ld' : 'st'}${suffix}p <${letter}t>, <${letter}t2>, [<Xn|SP>${mode(4 << opc)}`;
      return { text, with: { opc, L } };
    }),
  );
}

const pair = {
  feature: 'fpsimd',
  when: (b: Bits) => b.opc !== 3,
  spec: ['opc', 'L'],
  derive: baseIsSp,
  record: (b: Bits): Rec => ({
    rd: field(b, 'Rt'),
    ra: field(b, 'Rt2'),
    rn: field(b, 'Rn'),
    imm: signedImmediate(field(b, 'imm7'), 7, 4 << field(b, 'opc')),
  }),
  access: (b: Bits) => ({ align: 4 << field(b, 'opc') }),
} satisfies Partial<MemoryForm>;

const TWO = ['rd', 'ra'] as const;

const PAIRS: readonly MemoryForm[] = [
  {
    ...pair,
    cold: true,
    name: 'LDNP/STNP (SIMD&FP)',
    bits: 'opc:2 101 1 000 L:1 imm7:7 Rt2:5 Rn:5 Rt:5',
    ref: 'C7.2 LDNP, STNP (SIMD&FP)',
    asm: pairLines('n', (bytes) => `{, #<imm7:s*${bytes}>}]`),
    sem: semantics(TWO, pairLog2, offset),
  },
  {
    ...pair,
    name: 'LDP/STP (SIMD&FP) post-index',
    bits: 'opc:2 101 1 001 L:1 imm7:7 Rt2:5 Rn:5 Rt:5',
    ref: 'C7.2 LDP, STP (SIMD&FP), post-index',
    asm: pairLines('', (bytes) => `], #<imm7:s*${bytes}>`),
    sem: semantics(TWO, pairLog2, postIndex),
  },
  {
    ...pair,
    name: 'LDP/STP (SIMD&FP) signed offset',
    bits: 'opc:2 101 1 010 L:1 imm7:7 Rt2:5 Rn:5 Rt:5',
    ref: 'C7.2 LDP, STP (SIMD&FP), signed offset',
    asm: pairLines('', (bytes) => `{, #<imm7:s*${bytes}>}]`),
    sem: semantics(TWO, pairLog2, offset),
  },
  {
    ...pair,
    name: 'LDP/STP (SIMD&FP) pre-index',
    bits: 'opc:2 101 1 011 L:1 imm7:7 Rt2:5 Rn:5 Rt:5',
    ref: 'C7.2 LDP, STP (SIMD&FP), pre-index',
    asm: pairLines('', (bytes) => `, #<imm7:s*${bytes}>]!`),
    sem: semantics(TWO, pairLog2, preIndex),
  },
];

const LITERAL: MemoryForm = {
  name: 'LDR (literal, SIMD&FP)',
  bits: 'opc:2 011 1 00 imm19:19 Rt:5',
  ref: 'C7.2 LDR (literal, SIMD&FP)',
  feature: 'fpsimd',
  cold: true,
  when: (b) => b.opc !== 3,
  spec: ['opc'],
  asm: [0, 1, 2].map((opc) => ({ text: `ldr <${LETTERS[opc + 2]}t>, <label:imm19>`, with: { opc } })),
  record: (b) => ({ rd: field(b, 'Rt'), imm: signedImmediate(field(b, 'imm19'), 19, 4) }),
  access: (b) => ({ align: 4 << field(b, 'opc') }),
  sem: (b, f, v) => {
    b.guard(GUARD_FP);
    move(b, f, ONE, pairLog2(v), true, b.let(b.add(b.pc(), f.i64('imm'))))();
  },
};

/** Rows of this chapter. */
export const simdRegisterForms: readonly MemoryForm[] = [...SINGLE, ...PAIRS, LITERAL];

/**
 * Loads and stores of one general-purpose register: unsigned offset, unscaled, pre- and post-index, register offset,
 * and PRFM.
 *
 * - A load into its own base with writeback (Rt = Rn, CONSTRAINED UNPREDICTABLE) leaves the written-back base, a store
 *   of its own base stores the old value: what QEMU does.
 * - PRFM does nothing at all: it neither translates nor checks SP.
 */
import type { Builder, Fields, I64 } from '@faultyard/engine';
import { AccessClass } from '../memory/access-class.ts';
import type { AsmLine, Bits, Derived, Form, Rec } from './form.ts';
import {
  type AccessFacts,
  base,
  baseIsSp,
  baseOffset,
  bytes,
  field,
  loadElement,
  type MemoryForm,
  signedImmediate,
  source,
  target,
} from './memory-form.ts';
import { prefetchOperation } from './prefetch.ts';

/** One transfer between memory and a general-purpose register, by fields `size` and `opc`. */
interface Transfer {
  readonly size: number;
  readonly opc: number;
  /** `ld` or `st`. */
  readonly verb: 'ld' | 'st';
  /** What follows the addressing letters in the mnemonic: `b`, `sh`, nothing. */
  readonly suffix: string;
  readonly register: '<Wt>' | '<Xt>';
}

/** All transfers. Size 3 with opc 2 is PRFM, the remaining two encodings are unallocated. */
const TRANSFERS: readonly Transfer[] = [
  { size: 0, opc: 0, verb: 'st', suffix: 'b', register: '<Wt>' },
  { size: 0, opc: 1, verb: 'ld', suffix: 'b', register: '<Wt>' },
  { size: 0, opc: 2, verb: 'ld', suffix: 'sb', register: '<Xt>' },
  { size: 0, opc: 3, verb: 'ld', suffix: 'sb', register: '<Wt>' },
  { size: 1, opc: 0, verb: 'st', suffix: 'h', register: '<Wt>' },
  { size: 1, opc: 1, verb: 'ld', suffix: 'h', register: '<Wt>' },
  { size: 1, opc: 2, verb: 'ld', suffix: 'sh', register: '<Xt>' },
  { size: 1, opc: 3, verb: 'ld', suffix: 'sh', register: '<Wt>' },
  { size: 2, opc: 0, verb: 'st', suffix: '', register: '<Wt>' },
  { size: 2, opc: 1, verb: 'ld', suffix: '', register: '<Wt>' },
  { size: 2, opc: 2, verb: 'ld', suffix: 'sw', register: '<Xt>' },
  { size: 3, opc: 0, verb: 'st', suffix: '', register: '<Xt>' },
  { size: 3, opc: 1, verb: 'ld', suffix: '', register: '<Xt>' },
];

/** Whether the fields `size` and `opc` name one of the {@link TRANSFERS}. */
export function isTransfer(b: Bits): boolean {
  const opc = field(b, 'opc');
  return opc < 2 || (opc === 2 && field(b, 'size') < 3) || (opc === 3 && field(b, 'size') < 2);
}

/** Syntax of every transfer, with `address` by transfer size. */
export function transferLines(
  letters: string,
  address: (size: number) => string,
  more?: Pick<AsmLine, 'asmOnly'>,
): AsmLine[] {
  return TRANSFERS.map(({ size, opc, verb, suffix, register }) => ({
    text: `${verb}${letters}${suffix} ${register}, [<Xn|SP>${address(size)}`,
    with: { size, opc },
    ...more,
  }));
}

/** Slot of Rt: where a load writes or a store reads. */
function dataSlot(b: Bits): number {
  const rt = field(b, 'Rt');
  return b.opc === 0 ? source(rt) : target(rt);
}

/** Moves the data: returns a function that writes the loaded register, to be called after any writeback check. */
export function transfer(
  b: Builder,
  f: Fields,
  v: Bits,
  address: I64,
  cls: number,
  ctx?: number,
): () => void {
  const size = field(v, 'size');
  const opc = field(v, 'opc');
  const o = ctx === undefined ? { cls } : { cls, ctx };
  if (opc === 0) {
    b.store(bytes(size), address, b.get(f.slot('rd')), o);
    return () => {};
  }
  const value = loadElement(b, size, opc === 1 ? 'zero' : opc === 2 ? 'sign64' : 'sign32', address, o);
  return () => b.set(f.slot('rd'), value);
}

/** Facts of a transfer without writeback: ISV=1. */
export function transferFacts(b: Bits): AccessFacts {
  const size = field(b, 'size');
  const opc = field(b, 'opc');
  const sf = size === 3 || opc === 2;
  return { align: 1 << size, syndrome: { sas: size, sse: opc >= 2, srt: field(b, 'Rt'), sf, ar: false } };
}

/** Facts of a transfer with writeback: ISV=0. */
const writebackFacts = (b: Bits): AccessFacts => ({ align: 1 << field(b, 'size') });

/** Record of the forms with a signed nine-bit offset. */
const nineBits = (b: Bits): Rec => ({
  rd: dataSlot(b),
  rn: field(b, 'Rn'),
  imm: signedImmediate(field(b, 'imm9'), 9, 1),
});

const SPEC = ['size', 'opc'] as const;

/** LDR, LDRB, LDRH, LDRSB, LDRSH, LDRSW, STR, STRB, STRH in their immediate forms. */
const IMMEDIATE: readonly MemoryForm[] = [
  {
    name: 'LDR/STR (immediate) unsigned offset',
    bits: 'size:2 111 0 01 opc:2 imm12:12 Rn:5 Rt:5',
    ref: 'C6.2 LDR (immediate), unsigned offset',
    when: isTransfer,
    spec: SPEC,
    derive: baseIsSp,
    asm: transferLines('r', (size) => `{, #<imm12${size === 0 ? '' : `*${1 << size}`}>}]`),
    record: (b) => ({
      rd: dataSlot(b),
      rn: field(b, 'Rn'),
      imm: [field(b, 'imm12') << field(b, 'size'), 0],
    }),
    access: transferFacts,
    sem: (b, f, v) => transfer(b, f, v, baseOffset(b, f, v), 0)(),
  },
  {
    name: 'LDUR/STUR unscaled offset',
    bits: 'size:2 111 0 00 opc:2 0 imm9:9 00 Rn:5 Rt:5',
    ref: 'C6.2 LDUR',
    when: isTransfer,
    spec: SPEC,
    derive: baseIsSp,
    asm: [
      ...transferLines('ur', () => '{, #<imm9:s>}]'),
      ...transferLines('r', () => '{, #<imm9:s>}]', { asmOnly: true }),
    ],
    record: nineBits,
    access: transferFacts,
    sem: (b, f, v) => transfer(b, f, v, baseOffset(b, f, v), 0)(),
  },
  {
    name: 'LDR/STR (immediate) post-index',
    bits: 'size:2 111 0 00 opc:2 0 imm9:9 01 Rn:5 Rt:5',
    ref: 'C6.2 LDR (immediate), post-index',
    when: isTransfer,
    spec: SPEC,
    derive: baseIsSp,
    asm: transferLines('r', () => '], #<imm9:s>'),
    record: nineBits,
    access: writebackFacts,
    sem: (b, f, v) => {
      const address = base(b, f, v);
      const finish = transfer(b, f, v, address, AccessClass.NoIsv);
      finish();
      b.set(f.slot('rn'), b.add(address, f.i64('imm')));
    },
  },
  {
    name: 'LDR/STR (immediate) pre-index',
    bits: 'size:2 111 0 00 opc:2 0 imm9:9 11 Rn:5 Rt:5',
    ref: 'C6.2 LDR (immediate), pre-index',
    when: isTransfer,
    spec: SPEC,
    derive: baseIsSp,
    asm: transferLines('r', () => ', #<imm9:s>]!'),
    record: nineBits,
    access: writebackFacts,
    sem: (b, f, v) => {
      const address = baseOffset(b, f, v);
      const finish = transfer(b, f, v, address, AccessClass.NoIsv);
      finish();
      b.set(f.slot('rn'), address);
    },
  },
];

/** How a register offset is extended: LSL and SXTX are the same thing. */
const EXTEND = { uxtw: 0, lsl: 1, sxtw: 2 } as const;

/**
 * Handler constants of a register offset: `extend` by field `option` (whose bit 1 is always set), and whether the index
 * is shifted, which it never is where `log2` (the bytes accessed) is 0.
 */
export function offsetConstants(log2: (b: Bits) => number): Readonly<Record<string, Derived>> {
  return {
    ...baseIsSp,
    extend: {
      values: [EXTEND.uxtw, EXTEND.lsl, EXTEND.sxtw],
      of: (b) => (b.option === 2 ? EXTEND.uxtw : b.option === 6 ? EXTEND.sxtw : EXTEND.lsl),
    },
    shifted: { values: [0, 1], of: (b) => (b.S === 1 && log2(b) > 0 ? 1 : 0) },
  };
}

/** Address of a register-offset form; record field `x` is the shift amount, read if the form shifts. */
export function registerOffset(b: Builder, f: Fields, v: Bits): I64 {
  const start = base(b, f, v);
  const m = b.get(f.slot('rm'));
  const index =
    v.extend === EXTEND.lsl ? m : v.extend === EXTEND.uxtw ? b.extU(b.wrap(m)) : b.extS(b.wrap(m));
  return b.let(b.add(start, v.shifted === 1 ? b.shl(index, f.i32('x')) : index));
}

/** Register-offset form of the transfers. */
const REGISTER: MemoryForm = {
  name: 'LDR/STR (register)',
  bits: 'size:2 111 0 00 opc:2 1 Rm:5 option:3 S:1 10 Rn:5 Rt:5',
  ref: 'C6.2 LDR (register)',
  when: (b) => isTransfer(b) && isIndexOption(b),
  spec: ['size', 'opc'],
  split: ['size', 'opc', 'option', 'S'],
  derive: offsetConstants((b) => field(b, 'size')),
  asm: transferLines('r', (size) => `, <index*${size}>]`),
  record: (b) => ({
    rd: dataSlot(b),
    rn: field(b, 'Rn'),
    rm: source(field(b, 'Rm')),
    x: field(b, 'size'),
  }),
  access: transferFacts,
  sem: (b, f, v) => transfer(b, f, v, registerOffset(b, f, v), 0)(),
};

/** Field `option` of a register offset: sub-word extensions are unallocated. */
export function isIndexOption(b: Bits): boolean {
  return b.option === undefined || (b.option & 2) !== 0;
}

/** PRFM and PRFUM: hints, no access. */
const PREFETCH: readonly Form[] = [
  {
    name: 'PRFM (immediate)',
    bits: '11 111 0 01 10 imm12:12 Rn:5 prfop:5',
    ref: 'C6.2 PRFM (immediate)',
    asm: [{ text: 'prfm <prfop>, [<Xn|SP>{, #<imm12*8>}]' }],
    operands: { prfop: prefetchOperation },
    record: () => ({}),
    sem: () => {},
  },
  {
    name: 'PRFUM (unscaled offset)',
    bits: '11 111 0 00 10 0 imm9:9 00 Rn:5 prfop:5',
    ref: 'C6.2 PRFUM',
    asm: [
      { text: 'prfum <prfop>, [<Xn|SP>{, #<imm9:s>}]' },
      { text: 'prfm <prfop>, [<Xn|SP>{, #<imm9:s>}]', asmOnly: true },
    ],
    operands: { prfop: prefetchOperation },
    record: () => ({}),
    sem: () => {},
  },
  {
    name: 'PRFM (register)',
    bits: '11 111 0 00 10 1 Rm:5 option:3 S:1 10 Rn:5 prfop:5',
    ref: 'C6.2 PRFM (register)',
    when: isIndexOption,
    split: ['option', 'S'],
    asm: [{ text: 'prfm <prfop>, [<Xn|SP>, <index*3>]' }],
    operands: { prfop: prefetchOperation },
    record: () => ({}),
    sem: () => {},
  },
];

/** Rows of this chapter that access memory. */
export const registerAccesses: readonly MemoryForm[] = [...IMMEDIATE, REGISTER];
/** Rows of this chapter. */
export const registerForms: readonly Form[] = [...registerAccesses, ...PREFETCH];

/**
 * Loads and stores of pairs of general-purpose registers: LDP, STP, LDPSW in all modes, LDNP, STNP.
 *
 * A pair is one access: both elements are translated before either moves, so it restarts as a whole. CONSTRAINED
 * UNPREDICTABLE overlaps as in QEMU 7.2: with Rt = Rt2 a load leaves the first element; with writeback the base of a
 * load ends as the written-back address, and a store that names its own base stores the old value.
 */
import type { AccessOptions, Builder, Fields, I32, I64 } from '@faultyard/engine';
import { AccessClass } from '../memory/access-class.ts';
import type { AsmLine, Bits, Rec } from './form.ts';
import {
  base,
  baseIsSp,
  baseOffset,
  field,
  type MemoryForm,
  signedImmediate,
  source,
  target,
} from './memory-form.ts';

const CLS: AccessOptions = { cls: AccessClass.NoIsv };

/** Bytes of one element, by field `opc`: W, SW, X. */
const elementBytes = (b: Bits): 4 | 8 => (b.opc === 2 ? 8 : 4);

/** Syntax of all pairs of a mode; `mode` is the text behind the base register, by element size. */
function lines(suffix: '' | 'n', mode: (bytes: number) => string): AsmLine[] {
  const tail = (bytes: number): string => `[<Xn|SP>${mode(bytes)}`;
  const all: AsmLine[] = [
    { text: `st${suffix}p <Wt>, <Wt2>, ${tail(4)}`, with: { opc: 0, L: 0 } },
    { text: `ld${suffix}p <Wt>, <Wt2>, ${tail(4)}`, with: { opc: 0, L: 1 } },
    { text: `st${suffix}p <Xt>, <Xt2>, ${tail(8)}`, with: { opc: 2, L: 0 } },
    { text: `ld${suffix}p <Xt>, <Xt2>, ${tail(8)}`, with: { opc: 2, L: 1 } },
  ];
  if (suffix === '') all.push({ text: `ldpsw <Xt>, <Xt2>, ${tail(4)}`, with: { opc: 1, L: 1 } });
  return all;
}

const record = (b: Bits): Rec => {
  const slot = b.L === 0 ? source : target;
  return {
    rd: slot(field(b, 'Rt')),
    ra: slot(field(b, 'Rt2')),
    rn: field(b, 'Rn'),
    imm: signedImmediate(field(b, 'imm7'), 7, elementBytes(b)),
  };
};

/** Moves the pair; returns what writes loaded registers. */
function move(b: Builder, f: Fields, v: Bits, address: I64): () => void {
  const size = elementBytes(v);
  if (v.L === 0) {
    b.stores(size, address, [b.get(f.slot('rd')), b.get(f.slot('ra'))], CLS);
    return () => {};
  }
  const [first, second] = b.loads(size, 2, address, CLS).map((e): I64 => {
    if (size === 8) return e as I64;
    return v.opc === 1 ? b.extS(e as I32) : b.extU(e as I32);
  });
  return () => {
    if (second) b.set(f.slot('ra'), second);
    if (first) b.set(f.slot('rd'), first);
  };
}

const common = {
  spec: ['opc', 'L'],
  derive: baseIsSp,
  record,
  access: (b: Bits) => ({ align: elementBytes(b) }),
} satisfies Partial<MemoryForm>;

/** LDP, STP and LDPSW are 00, 10 and 01 with L=1; 01 with L=0 is STGP (FEAT_MTE). */
const allocated = (b: Bits): boolean => b.opc !== 3 && (b.opc !== 1 || b.L === 1);

/** Rows of this chapter. */
export const pairForms: readonly MemoryForm[] = [
  {
    ...common,
    cold: true,
    name: 'LDNP/STNP',
    bits: 'opc:2 101 0 000 L:1 imm7:7 Rt2:5 Rn:5 Rt:5',
    ref: 'C6.2 LDNP, STNP',
    when: (b) => b.opc === 0 || b.opc === 2,
    asm: lines('n', (bytes) => `{, #<imm7:s*${bytes}>}]`),
    sem: (b, f, v) => move(b, f, v, baseOffset(b, f, v))(),
  },
  {
    ...common,
    name: 'LDP/STP post-index',
    bits: 'opc:2 101 0 001 L:1 imm7:7 Rt2:5 Rn:5 Rt:5',
    ref: 'C6.2 LDP, LDPSW, STP, post-index',
    when: allocated,
    asm: lines('', (bytes) => `], #<imm7:s*${bytes}>`),
    sem: (b, f, v) => {
      const address = base(b, f, v);
      const finish = move(b, f, v, address);
      finish();
      b.set(f.slot('rn'), b.add(address, f.i64('imm')));
    },
  },
  {
    ...common,
    name: 'LDP/STP signed offset',
    bits: 'opc:2 101 0 010 L:1 imm7:7 Rt2:5 Rn:5 Rt:5',
    ref: 'C6.2 LDP, LDPSW, STP, signed offset',
    when: allocated,
    asm: lines('', (bytes) => `{, #<imm7:s*${bytes}>}]`),
    sem: (b, f, v) => move(b, f, v, baseOffset(b, f, v))(),
  },
  {
    ...common,
    name: 'LDP/STP pre-index',
    bits: 'opc:2 101 0 011 L:1 imm7:7 Rt2:5 Rn:5 Rt:5',
    ref: 'C6.2 LDP, LDPSW, STP, pre-index',
    when: allocated,
    asm: lines('', (bytes) => `, #<imm7:s*${bytes}>]!`),
    sem: (b, f, v) => {
      const address = baseOffset(b, f, v);
      const finish = move(b, f, v, address);
      finish();
      b.set(f.slot('rn'), address);
    },
  },
];

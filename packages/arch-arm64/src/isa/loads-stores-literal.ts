/** Loads from a pc-relative address: LDR and LDRSW (literal), and PRFM (literal), which does nothing. */
import type { Form } from './form.ts';
import { field, loadElement, type MemoryForm, signedImmediate, target } from './memory-form.ts';
import { prefetchOperation } from './prefetch.ts';

/** LDR Wt, LDR Xt, LDRSW Xt by field `opc`. */
const LITERAL: MemoryForm = {
  name: 'LDR (literal)',
  bits: 'opc:2 011 0 00 imm19:19 Rt:5',
  ref: 'C6.2 LDR (literal), LDRSW (literal)',
  when: (b) => b.opc !== 3,
  spec: ['opc'],
  asm: [
    { text: 'ldr <Wt>, <label:imm19>', with: { opc: 0 } },
    { text: 'ldr <Xt>, <label:imm19>', with: { opc: 1 } },
    { text: 'ldrsw <Xt>, <label:imm19>', with: { opc: 2 } },
  ],
  record: (b) => ({ rd: target(field(b, 'Rt')), imm: signedImmediate(field(b, 'imm19'), 19, 4) }),
  access: (b) => {
    const sas = b.opc === 1 ? 3 : 2;
    const syndrome = { sas, sse: b.opc === 2, srt: field(b, 'Rt'), sf: b.opc !== 0, ar: false };
    return { align: 1 << sas, syndrome };
  },
  sem: (b, f, v) => {
    const address = b.let(b.add(b.pc(), f.i64('imm')));
    const value = loadElement(b, v.opc === 1 ? 3 : 2, v.opc === 2 ? 'sign64' : 'zero', address, { cls: 0 });
    b.set(f.slot('rd'), value);
  },
};

const PREFETCH: Form = {
  name: 'PRFM (literal)',
  bits: '11 011 0 00 imm19:19 prfop:5',
  ref: 'C6.2 PRFM (literal)',
  asm: [{ text: 'prfm <prfop>, <label:imm19>' }],
  operands: { prfop: prefetchOperation },
  record: () => ({}),
  sem: () => {},
};

/** Rows of this chapter that access memory. */
export const literalAccesses: readonly MemoryForm[] = [LITERAL];
/** Rows of this chapter. */
export const literalForms: readonly Form[] = [LITERAL, PREFETCH];

/**
 * LDTR and STTR: loads and stores with the permissions of EL0. They have an access context of their own, so that PAN
 * (which does not apply to them) and UAO (which makes them ordinary) are the walk's business only.
 */
import { AccessClass } from '../memory/access-class.ts';
import { CONTEXT_UNPRIVILEGED } from './contexts.ts';
import { isTransfer, transfer, transferFacts, transferLines } from './loads-stores-register.ts';
import {
  baseIsSp,
  baseOffset,
  field,
  type MemoryForm,
  signedImmediate,
  source,
  target,
} from './memory-form.ts';

/** Rows of this chapter. */
export const unprivilegedForms: readonly MemoryForm[] = [
  {
    name: 'LDTR/STTR',
    bits: 'size:2 111 0 00 opc:2 0 imm9:9 10 Rn:5 Rt:5',
    ref: 'C6.2 LDTR, STTR',
    when: isTransfer,
    spec: ['size', 'opc'],
    derive: baseIsSp,
    asm: transferLines('tr', () => '{, #<imm9:s>}]'),
    record: (b) => ({
      rd: b.opc === 0 ? source(field(b, 'Rt')) : target(field(b, 'Rt')),
      rn: field(b, 'Rn'),
      imm: signedImmediate(field(b, 'imm9'), 9, 1),
    }),
    access: transferFacts,
    sem: (b, f, v) =>
      transfer(b, f, v, baseOffset(b, f, v), AccessClass.Unprivileged, CONTEXT_UNPRIVILEGED)(),
  },
];

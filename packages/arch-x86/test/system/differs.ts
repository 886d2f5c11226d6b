/** Where another implementation differs from the manuals, with the section that decides; ours does what that says. */
import type { Field } from '../support/bare-layout.ts';
import type { Other } from './suite.ts';

/** A difference that is the other's. Every condition that is given must hold. */
export interface Difference {
  readonly who: Other;
  readonly suite?: RegExp;
  readonly mode?: RegExp;
  readonly code?: RegExp;
  readonly paging?: RegExp;
  readonly cpl?: 0 | 3;
  /** Vectors of our last record, and of theirs. */
  readonly ours?: readonly number[];
  readonly theirs?: readonly number[];
  /** Fields of records that may differ. Default: the whole case. */
  readonly fields?: readonly Field[];
  /** Bits of them that may differ. Default all. */
  readonly bits?: number;
  /** The manual's section, and what the other does. */
  readonly why: string;
}

/** All of them. */
export const DIFFERENCES: readonly Difference[] = [
  {
    who: 'qemu',
    fields: ['rflags'],
    bits: 0x1_0000,
    why: 'APM volume 2, 8.2 and 3.1.6 (RF): faults push RF=1. QEMU pushes RF as it was.',
  },
  {
    who: 'qemu',
    mode: /long|compat/,
    ours: [13],
    theirs: [13],
    fields: ['error'],
    bits: 0x7ff8,
    why: 'APM volume 2, 8.4.1: an error code that names the IDT has the vector in bits 15:3. QEMU 7.2 has twice the vector in long mode.',
  },
];

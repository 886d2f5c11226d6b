/** Where another implementation differs from the manuals, with the section that decides; ours does what that says. */
import type { Field } from '../support/bare-layout.ts';
import { KVM_DIFFERS } from './differs-kvm.ts';
import { QEMU_DIFFERS } from './differs-qemu.ts';
import type { Other } from './suite.ts';

/** A difference that is the other's. Every condition that is given must hold. */
export interface Difference {
  readonly who: Other;
  /** ECX of the case: an MSR's index, first and last. */
  readonly msr?: readonly (readonly [first: number, last: number])[];
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
export const DIFFERENCES: readonly Difference[] = [...QEMU_DIFFERS, ...KVM_DIFFERS];

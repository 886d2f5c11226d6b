/** Which function performs which system instruction (Slow.System, Slow.Port). */
import type { Instruction, Mnemonic } from 'iced-x86';
import { RETURN_OPERATIONS } from '../events/return.ts';
import { SOFTWARE_OPERATIONS } from '../events/software.ts';
import type { Machine } from '../machine.ts';
import type { NextStep } from '../next.ts';
import { FAR_OPERATIONS } from '../segments/far.ts';
import { movSegment, SEGMENT_OPERATIONS } from '../segments/load.ts';
import { CONTROL_OPERATIONS, isControlRegister, movControl } from './control.ts';
import { HALT_OPERATIONS } from './halt.ts';
import { MMX_OPERATIONS } from './mmx.ts';
import { isSegmentRegister } from './operand.ts';
import type { Operation, Operations } from './operation.ts';
import { X87_OPERATIONS } from './x87.ts';
import { XSAVE_OPERATIONS } from './xsave.ts';

const CHAPTERS: readonly Operations[] = [
  SEGMENT_OPERATIONS,
  FAR_OPERATIONS,
  RETURN_OPERATIONS,
  SOFTWARE_OPERATIONS,
  HALT_OPERATIONS,
  X87_OPERATIONS,
  MMX_OPERATIONS,
  XSAVE_OPERATIONS,
];

const TABLE: ReadonlyMap<Mnemonic, Operation> = new Map(CHAPTERS.flatMap((c) => [...c]));

/** Mnemonics that {@link dispatch} knows: rows hand exactly these to Slow.System. */
export const SYSTEM_MNEMONICS: ReadonlySet<Mnemonic> = new Set(TABLE.keys());

/** Performs the instruction at pc; #UD for what nobody knows. */
export function dispatch(m: Machine, i: Instruction): NextStep {
  const f = TABLE.get(i.mnemonic);
  return f ? f(m, i) : m.raise(6);
}

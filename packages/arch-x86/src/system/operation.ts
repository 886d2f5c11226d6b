/** What a system instruction is to `dispatch.ts`. */
import type { Instruction, Mnemonic } from 'iced-x86';
import type { Machine } from '../machine.ts';
import type { NextStep } from '../next.ts';

/** Performs one instruction that generated code left, pc at it; says how the run loop goes on. */
export type Operation = (m: Machine, i: Instruction) => NextStep;

/** A chapter's instructions. */
export type Operations = ReadonlyMap<Mnemonic, Operation>;

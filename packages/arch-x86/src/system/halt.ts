/** HLT (AMD64 APM volume 3; arch/x86/kvm/x86.c, kvm_emulate_halt). */
import { type Instruction, Mnemonic } from 'iced-x86';
import type { Machine } from '../machine.ts';
import type { NextStep } from '../next.ts';
import type { Operations } from './operation.ts';

function hlt(m: Machine, i: Instruction): NextStep {
  if (m.state.cpl !== 0) return m.raise(13, 0);
  const step = m.intercepted('hlt');
  if (step !== undefined) return step;
  m.state.advance(i.length);
  // the shadow of an STI before it ends here: what is pending wakes the vCPU at once
  m.events.shadow = 0;
  return m.halt();
}

/** This chapter's instructions. */
export const HALT_OPERATIONS: Operations = new Map([[Mnemonic.Hlt, hlt]]);

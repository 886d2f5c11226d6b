/** Points of system registers: control registers, reset. `src/points.ts` exports them again. */
import { definePoint, listOf, type Point } from '@faultyard/core';
import type { Machine } from '../machine.ts';

/** Control registers whose writes have rules; EFER is an MSR (point `x86.msr`). */
export type ControlRegister = 0 | 3 | 4 | 8;

/** What a plugin says about control registers; contributions are joined. */
export interface ControlRegisterRules {
  /** Bits of CR4 that the plugin makes writable. */
  readonly cr4?: number;
  /**
   * The guest is about to write a value that the architecture allows. `'gp'`: the plugin forbids it.
   */
  check?(m: Machine, register: ControlRegister, lo: number, hi: number): 'gp' | undefined;
  /** A write was made, with all its effects. */
  written?(m: Machine, register: ControlRegister): void;
}

/** `Rules for writes to CR0, CR3, CR4 and CR8, in plugin order. */
export const controlRegisters: Point<void, readonly ControlRegisterRules[]> = listOf('x86.control-registers');

/** Question of {@link reset}. */
export interface ResetQuestion {
  readonly vcpu: Machine;
  /** `power-up` also for RESET. */
  readonly kind: 'power-up' | 'init';
}

/** RESET and INIT: the architecture puts its own state first, then each plugin its own, in plugin order. */
export const reset: Point<ResetQuestion, void> = definePoint('x86.reset', (fns) => (q) => {
  for (const f of fns) f(q);
});

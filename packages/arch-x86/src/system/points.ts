/** Points of system registers: control registers, reset. `src/points.ts` exports them again. */
import { definePoint, listOf, type Point } from '@faultyard/core';
import type { Machine } from '../machine.ts';

/** What a plugin says about control registers; contributions are joined. */
export interface ControlRegisterRules {
  /** Bits of CR4 that the plugin makes writable. */
  readonly cr4?: number;
  /** Bits of EFER that the plugin makes writable (12: SVME). */
  readonly efer?: number;
  /**
   * A new value is about to be written by the guest, its own checks passed. `'gp'`: the plugin forbids it. `register`:
   * 0, 3, 4, 8, or `'efer'`.
   */
  check?(m: Machine, register: 0 | 3 | 4 | 8 | 'efer', lo: number, hi: number): 'gp' | undefined;
  /** A write was made, with all its effects. */
  written?(m: Machine, register: 0 | 3 | 4 | 8 | 'efer'): void;
}

/** `x86.control-registers`: rules for writes to CR0, CR3, CR4, CR8 and EFER, in plugin order. */
export const controlRegisters: Point<void, readonly ControlRegisterRules[]> = listOf('x86.control-registers');

/** Question of {@link reset}. */
export interface ResetQuestion {
  readonly vcpu: Machine;
  /** `power-up` also for RESET. */
  readonly kind: 'power-up' | 'init';
}

/** `x86.reset`: plugins' own state after the architecture's was reset. */
export const reset: Point<ResetQuestion, void> = definePoint('x86.reset', (fns) => (q) => {
  for (const f of fns) f(q);
});

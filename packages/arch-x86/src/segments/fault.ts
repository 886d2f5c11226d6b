/** What checks find: an exception to raise, or a memory access that failed. */
import type { Machine } from '../machine.ts';
import type { NextStep } from '../next.ts';

/** Why an operation did not happen. */
export interface Fault {
  /** Exception vector; negative: {@link MEMORY_FAULT}, {@link TASK_TRAP}. */
  readonly vector: number;
  /** Error code, for vectors that push one. */
  readonly errorCode?: number;
}

/** A transaction failed: `Machine.faulted` says what it was. */
export const MEMORY_FAULT: Fault = { vector: -1 };
/** A task was switched to whose TSS has T set: #DB before its first instruction. Raised where other faults are. */
export const TASK_TRAP: Fault = { vector: -2 };
/** #UD. */
export const UNDEFINED: Fault = { vector: 6 };
/** #NM. */
export const NO_DEVICE: Fault = { vector: 7 };

/** The error code that names a selector: its RPL is no part of it (AMD64 APM volume 2, 8.4.1). */
export const selectorCode = (selector: number): number => selector & 0xfffc;
/** #TS. */
export const ts = (errorCode: number): Fault => ({ vector: 10, errorCode });
/** #NP. */
export const np = (errorCode: number): Fault => ({ vector: 11, errorCode });
/** #SS. */
export const ss = (errorCode = 0): Fault => ({ vector: 12, errorCode });
/** #GP. */
export const gp = (errorCode = 0): Fault => ({ vector: 13, errorCode });

/** Whether a check's answer is a fault. */
export function isFault<T extends object>(x: T | Fault): x is Fault {
  return 'vector' in x;
}

/** Raises it. */
export function raiseFault(m: Machine, f: Fault): NextStep {
  if (f === MEMORY_FAULT) return m.faulted();
  if (f === TASK_TRAP) return m.events.debug.taskTrap();
  return m.raise(f.vector, f.errorCode);
}

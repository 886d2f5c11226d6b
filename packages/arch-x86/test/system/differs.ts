/** Where another implementation differs from the manuals, with the section that decides; ours does what that says. */
import type { Field } from '../support/bare-layout.ts';
import type { Other } from './suite.ts';

/** A difference that is the other's. Every condition that is given must hold. */
export interface Difference {
  readonly who: Other;
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
export const DIFFERENCES: readonly Difference[] = [
  {
    who: 'qemu',
    fields: ['rflags'],
    bits: 0x1_0000,
    why: 'APM volume 2, 8.2 and 3.1.6 (RF): faults push RF=1. QEMU pushes RF as it was.',
  },
  {
    who: 'kvm',
    fields: ['rflags'],
    bits: 0x1_3000,
    why: 'APM volume 2, 3.1.6 (RF, IOPL): faults push RF=1. KVM pushes RF as it was where its emulator found the fault; its backend runs CPL 3 with IOPL 0.',
  },
  {
    who: 'kvm',
    code: /^fxsave/,
    ours: [13],
    theirs: [6],
    why: "APM volume 5, FXSAVE: #GP for an operand that is not aligned to 16 bytes. KVM's emulator does not look.",
  },
  {
    who: 'kvm',
    code: /^sysret$/,
    ours: [6],
    why: 'APM volume 3, SYSRET: #UD without EFER.SCE. The recorded KVM returns.',
  },
  {
    who: 'kvm',
    mode: /pm32|compat32/,
    code: /^swapgs$/,
    fields: ['rip'],
    why: 'APM volume 3, SWAPGS: #UD outside of 64-bit mode. The recorded KVM carries it out.',
  },
  {
    who: 'kvm',
    code: /^rdfsbase$/,
    fields: ['rip'],
    why: 'APM volume 3, RDFSBASE: #UD without CR4.FSGSBASE. The recorded KVM carries it out.',
  },
  {
    who: 'qemu',
    mode: /long|compat/,
    ours: [11, 13],
    fields: ['error'],
    bits: 0x7ff8,
    why: 'APM volume 2, 8.4.1: an error code that names the IDT has the vector in bits 15:3. QEMU 7.2 has twice the vector in long mode.',
  },
  {
    who: 'qemu',
    suite: /gates/,
    mode: /pm32|v86/,
    ours: [13],
    theirs: [10],
    fields: ['vector'],
    why: 'SDM volume 2A, INT n (TASK-GATE): #GP(selector) for a task gate whose selector is of the LDT. QEMU has #TS.',
  },
  {
    who: 'qemu',
    suite: /gates/,
    mode: /long|compat/,
    cpl: 0,
    fields: ['ss', 'inner ss'],
    why: 'SDM volume 3A, 6.14.4: SS becomes null when CPL changes. QEMU 7.2 does that wherever an IST is used.',
  },
  {
    who: 'qemu',
    suite: /gates/,
    mode: /long|compat/,
    ours: [13],
    theirs: [11],
    fields: ['vector'],
    why: 'SDM volume 2A, INT n (64-bit gates): #GP(selector) for code without L before #NP. QEMU looks at P first.',
  },
  {
    who: 'qemu',
    suite: /gates/,
    mode: /long|compat/,
    ours: [8],
    theirs: [13],
    why: 'APM volume 3, INT (INT_N_LONG): #GP while an exception is delivered to an address that is not canonical, so #DF. QEMU goes there.',
  },
  {
    who: 'qemu',
    suite: /alignment/,
    ours: [17],
    theirs: [6],
    why: 'APM volume 2, 8.2.18: #AC at CPL 3 with CR0.AM and EFLAGS.AC. QEMU 7.2 never checks.',
  },
  {
    who: 'qemu',
    code: /^shld$/,
    fields: ['rflags'],
    bits: 0x1_0010,
    why: 'APM volume 3, SHLD: AF is undefined.',
  },
  {
    who: 'kvm',
    suite: /alignment/,
    cpl: 3,
    ours: [6, 13],
    theirs: [17],
    why: 'APM volume 2, 8.2.18: no #AC without CR0.AM. At CPL 3 the recorded KVM has the AM bit of its host.',
  },
  {
    who: 'kvm',
    suite: /alignment/,
    code: /^far$/,
    fields: ['fs:gs'],
    why: 'APM volume 3, LGS: a null selector may be loaded. The recorded KVM does not see what CPL 3 loads into GS.',
  },
  {
    who: 'kvm',
    suite: /alignment/,
    code: /^(lgdt|movups)$/,
    cpl: 3,
    ours: [17],
    theirs: [6],
    why: 'APM volume 4, MOVUPS, and SDM volume 3A, 3.5.1 (SGDT): #AC. Intel leaves it open for MOVUPS, and its processor has none; SGDT is emulated there.',
  },
  {
    who: 'kvm',
    code: /^shld$/,
    fields: ['rflags'],
    bits: 0x1_0010,
    why: 'APM volume 3, SHLD: AF is undefined.',
  },
  {
    who: 'qemu',
    code: /^emms$/,
    fields: ['vector', 'rip'],
    why: 'APM volume 5, EMMS: #UD with CR0.EM, #NM with CR0.TS. QEMU 7.2 looks at neither.',
  },
  {
    who: 'qemu',
    code: /^ldmxcsr$/,
    ours: [13],
    theirs: [6],
    why: 'APM volume 4, LDMXCSR: #GP for reserved bits. QEMU does not look.',
  },
  {
    who: 'qemu',
    code: /^(movaps|movaps_odd|ldmxcsr)$/,
    ours: [6],
    theirs: [7],
    fields: ['vector'],
    why: 'APM volume 2, table 8-9: #UD (CR0.EM) before #NM (CR0.TS). QEMU has it the other way round.',
  },
  {
    who: 'qemu',
    code: /^xsetbv$/,
    cpl: 3,
    ours: [6],
    theirs: [13],
    fields: ['vector'],
    why: 'APM volume 4, XSETBV and volume 2, table 8-9: #UD without CR4.OSXSAVE before #GP at CPL 3. QEMU looks at CPL first.',
  },
  {
    who: 'qemu',
    code: /^int1$/,
    ours: [1],
    theirs: [6],
    why: 'APM volume 3, INT1 (ICEBP): #DB. QEMU 7.2 without a debugger takes #UD.',
  },
  {
    who: 'qemu',
    code: /^group11$/,
    ours: [6],
    fields: ['rip'],
    why: 'APM volume 3, table A-6: C6 /1 to /7 are invalid. QEMU 7.2 does MOV.',
  },
  {
    who: 'qemu',
    mode: /compat/,
    code: /^sys(enter|exit)$/,
    ours: [6],
    theirs: [13],
    fields: ['vector'],
    why: 'APM volume 3, SYSENTER and SYSEXIT: #UD in long mode, compatibility mode too. QEMU looks at 64-bit mode only.',
  },
  {
    who: 'qemu',
    code: /^mov_from_cr[15]$/,
    cpl: 3,
    ours: [6],
    theirs: [13],
    fields: ['vector'],
    why: 'APM volume 2, table 8-9: #UD (no such register) before #GP (CPL). QEMU looks at CPL first.',
  },
  {
    who: 'qemu',
    code: /^group3_1$/,
    fields: ['rip', 'rflags'],
    why: 'APM volume 3, table A-6: F6 /1 is TEST. QEMU has #UD.',
  },
  {
    who: 'qemu',
    code: /^vmcall$/,
    why: "Linux, Documentation/virt/kvm/x86/hypercalls.rst: VMCALL calls KVM. QEMU's translator has none.",
  },
  {
    who: 'qemu',
    mode: /16/,
    code: /^vex$/,
    why: 'APM volume 3, ANDN: #UD in real and virtual-8086 mode only. QEMU 7.2 has it in 16-bit protected mode.',
  },
  {
    who: 'qemu',
    code: /^vex$/,
    fields: ['rflags'],
    bits: 0x1_0014,
    why: 'APM volume 3, ANDN: AF and PF are undefined.',
  },
  {
    who: 'qemu',
    code: /^rdpmc$/,
    ours: [13],
    theirs: [6],
    fields: ['vector'],
    why: 'APM volume 3, RDPMC: #GP for a counter that does not exist. QEMU 7.2 has no RDPMC.',
  },
  {
    who: 'qemu',
    code: /^wrmsr/,
    ours: [13],
    theirs: [6],
    why: 'APM volume 3, WRMSR: #GP for an MSR that does not exist. QEMU ignores the write.',
  },
  {
    who: 'qemu',
    mode: /real/,
    code: /^sysret$/,
    ours: [6],
    theirs: [13],
    fields: ['vector'],
    why: 'APM volume 3, SYSRET and volume 2, table 8-9: #UD without EFER.SCE before #GP outside of protected mode.',
  },
  {
    who: 'qemu',
    suite: /paging/,
    code: /rmw|cmpxchg/,
    ours: [14],
    fields: ['error', 'cr2', 'cr2.hi', 'watch0', 'watch1', 'watch2', 'watch3'],
    why: 'SDM volume 3A, 4.7 and 8.1.2.1: an instruction that reads and writes faults as a write, before A is set. QEMU reads first.',
  },
  {
    who: 'qemu',
    suite: /paging/,
    ours: [14],
    theirs: [14],
    fields: ['error'],
    bits: 1,
    why: 'SDM volume 3A, 4.7: RSVD is set only together with P. QEMU 7.2 sets RSVD alone.',
  },
  {
    who: 'qemu',
    paging: /pae/,
    fields: ['watch0'],
    bits: 0x20,
    why: 'APM volume 2, 5.2.3: a PDPTE of PAE paging has no A bit. QEMU 7.2 sets it.',
  },
  {
    who: 'qemu',
    suite: /paging-.*-levels/,
    ours: [14],
    fields: ['watch0', 'watch1', 'watch2', 'watch3'],
    bits: 0x20,
    why: 'SDM volume 3A, 4.8: A is set where an entry is used; one with reserved bits set is not. QEMU 7.2 looks at large pages late.',
  },
  {
    who: 'kvm',
    suite: /paging/,
    ours: [14],
    fields: ['watch0', 'watch1', 'watch2', 'watch3'],
    bits: 0x20,
    why: "SDM volume 3A, 4.8: A is set in every entry used. KVM's walker sets it only when the whole walk succeeds.",
  },
  {
    who: 'kvm',
    suite: /paging/,
    code: /rmw|cmpxchg/,
    cpl: 0,
    ours: [14],
    fields: ['error', 'cr2'],
    why: "APM volume 2, 8.2.15: W tells of the first page that fails. KVM's emulator reads all of an operand before it looks whether it may be written.",
  },
  {
    who: 'qemu',
    suite: /paging-[45]-levels/,
    ours: [14],
    theirs: [6],
    why: 'APM volume 2, 5.3.3: bit 8 of PML4E, PML5E and non-leaf PDPE must be zero. QEMU does not look (as Intel).',
  },
];

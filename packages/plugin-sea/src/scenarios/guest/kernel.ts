/** Chapter "kernel": the policy. A process that meets an abort dies; the kernel survives only at a fixup. */
import { NOTE } from './record.ts';
import type { GuestSetup } from './setup.ts';

const kind = (n: number): string => `  movz  x0, #${n}, lsl #16\n  bl    note`;

/** Aborts and system calls of processes; aborts of the kernel; SErrors. x2 is ESR_EL1. */
export function handlers(s: GuestSetup): string {
  return `
from_process:
  lsr   x4, x2, #26
  cmp   x4, #0x15                 // SVC
  b.eq  service
  mrs   x4, tpidr_el1             // anything else kills it; ELR is never returned to
  ldr   x3, [x4, #AREA_CURRENT]
  str   xzr, [x3, #PROCESS_ALIVE]
  ldr   x6, [x3, #PROCESS_DEATHS]
  add   x6, x6, #1
  str   x6, [x3, #PROCESS_DEATHS]
${kind(NOTE.death)}
  b     next_process

from_kernel:
  lsr   x4, x2, #26
  orr   x4, x4, #4
  cmp   x4, #0x25                 // instruction or data abort
  b.ne  dead
  mrs   x4, tpidr_el1
  ldr   x8, [x4, #AREA_FIXUP]
  cbz   x8, dead
  str   xzr, [x4, #AREA_FIXUP]
${kind(NOTE.fixup)}
  msr   elr_el1, x8
  b     resume
dead:
${kind(NOTE.dead)}
  mov   x0, #SAYS_DEAD
  bl    say
park:
  wfi
  b     park

from_error:
  mov   x0, #SAYS_SERROR
  bl    say
  b     ${s.serrorContinues ? 'resume' : 'park'}
`;
}

/** What processes ask for: 0 exit, 1 ready, 2 read my pointer, 3 the touch completed. */
export function services(s: GuestSetup): string {
  return `
service:
  and   x1, x2, #0xffff
  cbz   x1, exit
  ldr   x9, [sp]                  // the process's x0: its victim
  cmp   x1, #1
  b.eq  1f
  cmp   x1, #2
  b.eq  read_pointer
${kind(NOTE.past)}
  b     resume
1:
  bl    prepare
  b     resume
exit:
  mrs   x4, tpidr_el1
  ldr   x3, [x4, #AREA_CURRENT]
  str   xzr, [x3, #PROCESS_ALIVE]
  b     next_process

read_pointer:                     // as copy_from_user: no fixup is consulted, SErrors are open
  msr   daifclr, #4
  mov   x0, x9
${s.syscall ? `stimulus:\n  ${s.stimulus.text}` : ''}
${kind(NOTE.past)}
  b     resume

// Everything is in place for the touch of x9: the lab may poison.
prepare:
  mov   x20, x30
${
  s.tlbi
    ? `
  lsr   x10, x9, #12
  tlbi  vae1, x10
  dsb   ish
  isb`
    : ''
}
${
  s.stale
    ? `
  ldr   x10, =shared
  mov   x11, #1
  str   x11, [x10, #SHARED_UNMAP]
1:
  ldr   x11, [x10, #SHARED_UNMAPPED]
  cbz   x11, 1b`
    : ''
}
  mov   x0, #SAYS_READY
  bl    say
${s.stale ? startTimer : ''}
${
  s.cpus === 2 && !s.stale
    ? `
  mrs   x4, tpidr_el1
  ldr   x5, [x4, #AREA_CPU]
  ldr   x10, =shared
  add   x10, x10, x5, lsl #3
1:
  ldr   x11, [x10, #SHARED_GO]
  cbz   x11, 1b`
    : ''
}
  ret   x20
`;
}

const startTimer = `
  mov   x10, #1000
  msr   cntv_tval_el0, x10
  mov   x10, #1
  msr   cntv_ctl_el0, x10
`;

/** Timer interrupts while a process does not move: after the third, the TLB is told what everybody else knows. */
export const timer: string = `
from_timer:
  mrs   x4, tpidr_el1
  ldr   x5, [x4, #AREA_TICKS]
  add   x5, x5, #1
  str   x5, [x4, #AREA_TICKS]
  cmp   x5, #3
  b.hs  1f
${startTimer}
  b     resume
1:
  msr   cntv_ctl_el0, xzr
  mov   x0, #SAYS_STUCK
  bl    say
  tlbi  vmalle1
  dsb   ish
  isb
  b     resume
`;

/** The second CPU. */
export function second(s: GuestSetup): string {
  return `
second_cpu:
  ldr   x1, =shared
  mov   x2, #1
  str   x2, [x1, #SHARED_UP]
${
  s.stale
    ? `
1:
  ldr   x2, [x1, #SHARED_UNMAP]   // D's descriptor goes, and no TLB is told
  cbz   x2, 1b
  ldr   x3, =data_descriptor
  str   xzr, [x3]
  dsb   ish
  mov   x2, #1
  str   x2, [x1, #SHARED_UNMAPPED]
  b     park`
    : '  b     next_process'
}
`;
}

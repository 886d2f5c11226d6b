/** Chapter "processes": starting them, the kernel's own touch, the end, and what they execute. */
import { NOTE } from './record.ts';
import type { GuestSetup } from './setup.ts';

const kind = (n: number): string => `  movz  x0, #${n}, lsl #16\n  bl    note`;

/** Picks the next living process, and goes to the end when there is none. */
export const scheduling: string = `
next_process:
  mrs   x4, tpidr_el1
  add   x5, x4, #AREA_PROCESSES
  mov   x6, #4
1:
  ldr   x7, [x5, #PROCESS_ALIVE]
  cbnz  x7, 2f
  add   x5, x5, #PROCESS_SIZE
  subs  x6, x6, #1
  b.ne  1b
  b     finish
2:
  str   x5, [x4, #AREA_CURRENT]
  ldr   x6, [x4, #AREA_CPU]
  ldr   x7, =stacks
  add   x6, x6, #1
  add   x7, x7, x6, lsl #12
  mov   sp, x7
  ldp   x6, x7, [x5]
  msr   elr_el1, x6
  msr   sp_el0, x7
  ldp   x6, x0, [x5, #PROCESS_PSTATE]
  msr   spsr_el1, x6
${Array.from({ length: 30 }, (_, i) => `  mov   x${i + 1}, #0`).join('\n')}
  eret

// The end: 100 heartbeats, and a checksum over memory nobody touched.
finish:
  mov   x3, #0
1:
  add   x3, x3, #1
  cmp   x3, #100
  b.ne  1b
  mov   x2, #0
  ldr   x8, =untouched
  mov   x9, #512
1:
  ldr   x10, [x8], #8
  ror   x2, x2, #1
  add   x2, x2, x10
  subs  x9, x9, #1
  b.ne  1b
${kind(NOTE.finished)}
  mov   x0, #SAYS_REPORT
  bl    say
  b     park
`;

/** First thing after boot on CPU 0: the processes, or the kernel's own touch. */
export function main(s: GuestSetup): string {
  if (s.el === 0 || s.syscall) return 'main:\n  b     next_process\n';
  return `
main:
  ldr   x9, =first_victim
${
  s.fixup
    ? `
  ldr   x1, =finish
  mrs   x4, tpidr_el1
  str   x1, [x4, #AREA_FIXUP]`
    : ''
}
${s.masked ? '  msr   daifset, #4' : ''}
  bl    prepare
  ldr   x0, =first_victim
${(s.stimulus.before ?? []).map((l) => `  ${l}`).join('\n')}
stimulus:
  ${s.stimulus.text}
${
  s.masked
    ? `
  mrs   x2, isr_el1
  mov   x3, #0
${kind(NOTE.isr)}`
    : ''
}
${s.masked?.after === 'unmask' ? '  msr   daifclr, #4\n  isb' : ''}
${
  s.masked?.after === 'esb'
    ? `
  esb
  mrs   x2, disr_el1
${kind(NOTE.disr)}`
    : ''
}
${s.masked ? '' : `  mov   x2, #0\n${kind(NOTE.past)}`}
  b     finish
`;
}

/** Text of the processes; x0 is the victim's address. */
export function processes(s: GuestSetup): string {
  const atEl0 = s.el === 0 && !s.syscall;
  return `
touching:
${s.pretouch ? '  ldr   x1, [x0]' : ''}
  svc   #1
${
  atEl0
    ? `${(s.stimulus.before ?? []).map((l) => `  ${l}`).join('\n')}
stimulus:
  ${s.stimulus.text}`
    : '  svc   #2'
}
  svc   #3
  svc   #0
idle:
  mov   x1, #1
  svc   #0
`;
}

/** First words of page F. */
export const victimCode = `
  svc   #3
  svc   #0
`;

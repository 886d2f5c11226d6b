/** Chapter "boot": from the first instruction, MMU off, to the kernel in the upper half. */
import type { GuestSetup } from './setup.ts';

/** SCTLR_EL1: M, C, I, SPAN and the bits that are one. */
const SCTLR = 0x30d0_1805;
/** TCR_EL1: both halves 48 bits, 4K, write-back, inner shareable; IPS is added from PARange. */
const TCR = 0xb510_3510;

/** Runs with the MMU off at the bottom of main memory; x0 is the CPU's number. */
export function boot(s: GuestSetup): string {
  return `
boot:
  mov   x19, x0
  mov   x1, #0xff                 // attribute 0: Normal write-back, 1: Device
  msr   mair_el1, x1
  mrs   x2, id_aa64mmfr0_el1
  and   x2, x2, #7
  ldr   x1, =${TCR}
  orr   x1, x1, x2, lsl #32
  msr   tcr_el1, x1
  ldr   x1, =identity_root
  msr   ttbr0_el1, x1
  ldr   x1, =upper_root
  msr   ttbr1_el1, x1
  mov   x1, #(3 << 20)            // SIMD registers for everybody
  msr   cpacr_el1, x1
  dsb   ish
  tlbi  vmalle1
  dsb   ish
  isb
  ldr   x1, =${SCTLR | (s.sctlr ?? 0)}
  msr   sctlr_el1, x1
  isb
  ldr   x1, =start
  br    x1
  .ltorg
`;
}

/** In the upper half: vectors, the victims' tables, this CPU's area and stack. */
export function start(s: GuestSetup): string {
  return `
start:
  ldr   x1, =vectors
  msr   vbar_el1, x1
  ldr   x1, =victim_root
  msr   ttbr0_el1, x1
  isb
  tlbi  vmalle1
  dsb   ish
  isb
  ldr   x1, =areas
  mov   x2, #AREA_SIZE
  madd  x1, x19, x2, x1
  msr   tpidr_el1, x1
  str   x19, [x1, #AREA_CPU]
  ldr   x2, =stacks
  add   x3, x19, #1
  add   x2, x2, x3, lsl #12
  mov   sp, x2
  ldr   x1, =KEPT_FAR             // what FAR_EL1 holds until somebody writes it
  msr   far_el1, x1
${
  s.ease
    ? `
  mrs   x1, s3_0_c1_c0_3          // SCTLR2_EL1
  orr   x1, x1, #0x20             // EASE
  msr   s3_0_c1_c0_3, x1
  isb`
    : ''
}
  msr   daifclr, #4               // SErrors are open, as in Linux
  cbnz  x19, second_cpu
${s.cpus === 2 ? callSecond : ''}
  b     main
`;
}

/** PSCI CPU_ON (0xC4000003) for CPU 1, and waiting until it says that it is up. */
const callSecond = `
  ldr   x0, =0xc4000003
  mov   x1, #1
  ldr   x2, =boot_gpa
  mov   x3, #1
  hvc   #0
  ldr   x1, =shared
1:
  ldr   x2, [x1, #SHARED_UP]
  cbz   x2, 1b
`;

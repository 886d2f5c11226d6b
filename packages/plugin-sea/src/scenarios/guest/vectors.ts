/** Chapter "vectors": sixteen slots, each of which writes a record before anything is decided. */
import type { GuestSetup } from './setup.ts';

const pairs = (op: string): string =>
  Array.from({ length: 14 }, (_, i) => `  ${op}   x${2 * i + 2}, x${2 * i + 3}, [sp, #${16 * (i + 1)}]`).join(
    '\n',
  );

/** VBAR_EL1: the slot saves two registers and its own offset. */
export function vectors(): string {
  const slots = Array.from({ length: 16 }, (_, i) => i * 0x80);
  return slots
    .map(
      (slot) => `
  .org  vectors + ${slot}
  sub   sp, sp, #0x100
  stp   x0, x1, [sp]
  mov   x0, #${slot}
  b     entry`,
    )
    .join('\n');
}

/** Behind every slot: save the rest, write the record, decide by slot. */
export function entry(s: GuestSetup): string {
  return `
entry:
${pairs('stp')}
  str   x30, [sp, #0xf0]
  mrs   x2, esr_el1
  mrs   x3, far_el1
  bl    note
  cmp   x0, #0x400
  b.eq  from_process
  cmp   x0, #0x200
  b.eq  from_kernel
  and   x1, x0, #0x180
  cmp   x1, #0x180
  b.eq  from_error
  cmp   x1, #0x080
  b.eq  from_timer
  b     dead

resume:
${pairs('ldp')}
  ldr   x30, [sp, #0xf0]
  ldp   x0, x1, [sp]
  add   sp, sp, #0x100
  eret

// One record: x0 kind and slot, x2 syndrome or value, x3 address. Uses x4 to x7.
note:
  mrs   x4, tpidr_el1
  ldr   x5, [x4, #AREA_COUNT]
  cmp   x5, #RING
  b.hs  1f
  add   x6, x4, #AREA_RING
  add   x6, x6, x5, lsl #6
  stp   x0, x2, [x6]
  mrs   x7, elr_el1
  stp   x3, x7, [x6, #0x10]
  mrs   x7, spsr_el1
  str   x7, [x6, #0x20]
  ${s.ras ? 'mrs   x7, disr_el1' : 'mov   x7, #0'}
  stp   x7, x5, [x6, #0x28]
  add   x5, x5, #1
  str   x5, [x4, #AREA_COUNT]
1:
  ret

// Tells the lab: x0 what. Uses x4, x5.
say:
  mrs   x4, tpidr_el1
  ldr   x5, [x4, #AREA_CPU]
  orr   x0, x0, x5, lsl #8
  ldr   x4, =port
  str   w0, [x4]
  ret
`;
}

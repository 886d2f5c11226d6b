/**
 * Every encoding of MRS and of SYS, one after the other: the image writes the instruction, runs it, and prints a bitmap
 * of those that were not UNDEFINED (64 encodings a line, in the order of op1:CRn:CRm:op2).
 */
import type { CpuName } from '../support/bare-metal.ts';

/** One sweep. */
export interface Sweep {
  /** Name of its recording. */
  readonly name: string;
  readonly cpu: CpuName;
  /** The instruction with op1 to op2 zero. */
  readonly base: number;
  /** op0 of the encodings, for messages. */
  readonly op0: 1 | 2 | 3;
  /** Runs at EL0, with everything open to it that SCTLR_EL1 and CNTKCTL_EL1 can open. */
  readonly el0: boolean;
}

const MRS3 = 0xd538_0000;
const MRS2 = 0xd530_0000;
/** SYS with XZR. */
const SYS = 0xd508_001f;

/** All sweeps. */
export const SWEEPS: readonly Sweep[] = [
  { name: 'mrs-op3-a57', cpu: 'cortex-a57', base: MRS3, op0: 3, el0: false },
  { name: 'mrs-op2-a57', cpu: 'cortex-a57', base: MRS2, op0: 2, el0: false },
  { name: 'sys-a57', cpu: 'cortex-a57', base: SYS, op0: 1, el0: false },
  { name: 'mrs-op3-n1', cpu: 'neoverse-n1', base: MRS3, op0: 3, el0: false },
  { name: 'mrs-op3-el0-a57', cpu: 'cortex-a57', base: MRS3, op0: 3, el0: true },
  { name: 'sys-el0-a57', cpu: 'cortex-a57', base: SYS, op0: 1, el0: true },
];

const toEl0 = `
  mrs x0, sctlr_el1
  ldr x1, =(1 << 26) | (1 << 15) | (1 << 14) | (1 << 9)
  orr x0, x0, x1
  msr sctlr_el1, x0
  mov x0, #0x303
  msr cntkctl_el1, x0
  mov x0, #0x300000
  msr cpacr_el1, x0
  isb
  mov x0, sp
  msr sp_el0, x0
  adr x0, start
  msr elr_el1, x0
  mov x0, #0x3c0
  msr spsr_el1, x0
  eret
`;

/** Assembly of a sweep. DC ZVA (op1 3, C7, C4, 1) is left out: it would write. */
export function sweepBody(s: Sweep): string {
  return `
  ldr x0, =sweep_vectors
  msr vbar_el1, x0
  isb
  ${s.el0 ? toEl0 : ''}
start:
  mov x20, #0
1: mov x21, #0
  mov x22, #0
2: ldr w0, =${s.base}
  orr w0, w0, w20, lsl #5
  ldr w1, =0xd50b7420
  orr w2, w0, #31
  orr w1, w1, #31
  cmp w1, w2
  b.eq 3f
  adr x1, slot
  str w0, [x1]
  dc cvau, x1
  dsb sy
  ic ivau, x1
  dsb sy
  isb
  mov x24, #0
slot: nop
  cbnz x24, 3f
  mov x0, #1
  lsl x0, x0, x22
  orr x21, x21, x0
3: add x20, x20, #1
  add x22, x22, #1
  cmp x22, #64
  b.ne 2b
  mov x0, x21
  bl value
  lsr x0, x20, #14
  cbz x0, 1b
  svc #0
.ltorg
.balign 2048
sweep_vectors:
  .space 0x200
  b sweep_trap
  .space 0x1fc
sweep_trap:
  mrs x24, esr_el1
  lsr x24, x24, #26
  cmp x24, #0x15
  b.eq finish
  mov x24, #1
  mrs x25, elr_el1
  add x25, x25, #4
  msr elr_el1, x25
  eret
`;
}

/** Encodings that are not UNDEFINED, as `S3_0_C1_C0_0`. */
export function defined(s: Sweep, text: string): ReadonlySet<string> {
  const out = new Set<string>();
  text
    .trim()
    .split('\n')
    .forEach((line, row) => {
      const bits = BigInt(`0x${line.slice(2)}`);
      for (let k = 0; k < 64; k++) {
        if (((bits >> BigInt(k)) & 1n) === 0n) continue;
        const e = row * 64 + k;
        out.add(`S${s.op0}_${(e >> 11) & 7}_C${(e >> 7) & 15}_C${(e >> 3) & 15}_${e & 7}`);
      }
    });
  return out;
}

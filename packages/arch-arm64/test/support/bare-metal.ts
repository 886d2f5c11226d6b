/**
 * Bare-metal images that run here and under qemu-system-aarch64 and report every exception they take as one line on
 * the serial port: `T <vector> <esr> <far> <elr> <spsr>`, in hexadecimal. Values under test are lines `V <value>`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createVm } from '@faultyard/core';
import { runQemuSystem, tool } from '@faultyard/testkit/oracle';
import { type Arm64PluginOptions, arm64, assemble } from '../../src/index.ts';

/** Load address of a raw image on QEMU's `virt`. */
const ORIGIN = 0x4008_0000n;
const UART = 0x0900_0000n;

/** The `-cpu` an image is meant for, and our options for the same features. */
export const CPUS: Readonly<Record<string, Arm64PluginOptions>> = {
  'cortex-a57': { model: 'generic-v8.0', paBits: 44 },
  'neoverse-n1': { model: 'generic-v8.0+ras', uao: true, paBits: 48 },
};
/** Name of a CPU of both. */
export type CpuName = keyof typeof CPUS & string;

/** Vector table and the routines the bodies use. x19..x28 survive traps; x27 is where a trap continues. */
const PRELUDE = `
.equ UART, 0x09000000
_start:
  ldr x0, =stack_top
  mov sp, x0
  ldr x0, =vectors
  msr vbar_el1, x0
  isb
  mov x27, #0
  msr nzcv, xzr
  b main
// prints x0 as 16 digits after the letter in w1; keeps all but x0..x4
line:
  ldr x4, =UART
  strb w1, [x4]
number:
  mov w3, #32
  ldr x4, =UART
  strb w3, [x4]
  mov w2, #60
1: lsr x3, x0, x2
  and w3, w3, #15
  cmp w3, #10
  add w1, w3, #48
  add w3, w3, #87
  csel w3, w3, w1, hs
  strb w3, [x4]
  subs w2, w2, #4
  b.pl 1b
  ret
newline:
  ldr x4, =UART
  mov w3, #10
  strb w3, [x4]
  ret
// V <x0>
value:
  stp x29, x30, [sp, #-16]!
  mov w1, #'V'
  bl line
  bl newline
  ldp x29, x30, [sp], #16
  ret
finish:
  ldr x0, =0x84000008
  hvc #0
2: b 2b
.ltorg
trap:
  // x0 = vector offset; x0..x4, x30 are on the stack
  mov w1, #'T'
  bl line
  mrs x0, esr_el1
  bl number
  mrs x0, far_el1
  bl number
  mrs x0, elr_el1
  bl number
  mrs x0, spsr_el1
  bl number
  bl newline
  // on at x27, at EL1h with everything masked
  msr elr_el1, x27
  mov x0, #0x3c5
  msr spsr_el1, x0
  ldp x0, x1, [sp], #16
  ldp x2, x3, [sp], #16
  ldp x4, x30, [sp], #16
  eret
.ltorg
.balign 2048
vectors:
${Array.from(
  { length: 16 },
  (_, n) => `.balign 128
  stp x4, x30, [sp, #-16]!
  stp x2, x3, [sp, #-16]!
  stp x0, x1, [sp, #-16]!
  mov x0, #${n * 128}
  b trap`,
).join('\n')}
.balign 4096
stack:
.space 4096
stack_top:
`;

let labels = 0;
/** Assembly that runs `code` and goes on behind it after the trap it takes (or without one). */
export function expectTrap(code: string): string {
  const after = `after_${labels++}`;
  return `  adr x27, ${after}\n${code}\n${after}:\n`;
}
/** Assembly that reports the value of a register. */
export function report(register: string): string {
  return `  mov x0, ${register}\n  bl value\n`;
}
/** Assembly that goes to EL0 at the code, with SP_EL0 as it is; the code must end in a trap. */
export function atEl0(code: string, spsr = '0'): string {
  const user = `user_${labels++}`;
  return expectTrap(`  adr x0, ${user}
  msr elr_el1, x0
  mov x0, #${spsr}
  msr spsr_el1, x0
  eret
${user}:
${code}
  svc #0x77`);
}

/** Assembles prelude and body; `main` begins with the body. */
export function image(body: string): Uint8Array {
  labels = 0;
  return assemble(`${PRELUDE}\nmain:\n${body}\n  b finish\n.ltorg\n`, { origin: ORIGIN }).bytes;
}

/** Runs an image here; what it printed, and how it ended. */
export function runHere(bytes: Uint8Array, cpu: CpuName, vcpus = 1, budget = 20_000_000): string {
  const vm = createVm({
    arch: arm64({ ...CPUS[cpu] }),
    vcpus,
    memslots: [{ gpa: 0x4000_0000n, size: 64n << 20n }],
  });
  try {
    vm.memory.write(ORIGIN, bytes);
    const first = vm.vcpus[0];
    if (first) first.pc = ORIGIN;
    let text = '';
    for (;;) {
      const e = vm.run(budget);
      if (e.kind === 'mmio' && e.write && e.gpa === UART)
        text += String.fromCharCode(Number(e.value & 0xffn));
      else if (e.kind === 'mmio') vm.vcpus[e.vcpu]?.answer(e, 0);
      else if (e.kind === 'system-event') return text;
      else return `${text}ended in ${e.kind}\n`;
    }
  } finally {
    vm.dispose();
  }
}

/** Path of qemu-system-aarch64, if it is installed. */
export const QEMU: string | undefined = tool('qemu-system-aarch64');

/** Runs an image under QEMU; what it printed. */
export function runQemu(bytes: Uint8Array, cpu: CpuName, vcpus = 1): string {
  const r = runQemuSystem({
    program: QEMU ?? 'qemu-system-aarch64',
    kernel: bytes,
    machine: 'virt,gic-version=3',
    cpu,
    smp: vcpus,
    timeout: 30_000,
  });
  const text = Buffer.from(r.stdout).toString('latin1');
  return r.status === 0 ? text : `${text}ended in ${r.signal ?? r.stderr}\n`;
}

const file = (name: string): URL => new URL(`../data/system/${name}.txt`, import.meta.url);

/** What QEMU printed when it was recorded. */
export function recorded(name: string): string {
  return readFileSync(file(name), 'latin1');
}
/** Records what QEMU prints. */
export function record(name: string, text: string): void {
  writeFileSync(file(name), text, 'latin1');
}

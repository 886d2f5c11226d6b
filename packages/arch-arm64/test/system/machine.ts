/** PSCI, timers and single step. */
import { atEl0, expectTrap, report } from '../support/bare-metal.ts';
import type { SystemImage } from './images.ts';

const hvc = (fn: string, x1 = '0', x2 = '0', x3 = '0'): string => `
  ldr x0, =${fn}
  ldr x1, =${x1}
  ldr x2, =${x2}
  ldr x3, =${x3}
  hvc #0
  mov x25, x0
${report('x25')}  b 7f
  .ltorg
7:
`;

/** Two vCPUs: the second is started, reports through memory, and powers itself off. */
const psci = (): string => `
  ${hvc('0x84000000', '0').replace(report('x25'), '')}
  ${hvc('0x8400ff00')}
  ${hvc('0xc4000004', '0')}
  ${hvc('0xc4000004', '1')}
  ${hvc('0x84000004', '1')}
  ${hvc('0xc4000004', '0x700')}
  ${hvc('0xc4000003', '0x700', 'second', '0x1234')}
  ${hvc('0xc4000003', '0', 'second', '0x1234')}
  ${hvc('0xc4000003', '1', 'second', '0x123456789')}
  ldr x1, =mailbox
1: ldr x0, [x1]
  cbz x0, 1b
  mov x25, x0
${report('x25')}  ldr x1, =mailbox
  ldr x25, [x1, #8]
${report('x25')}  ldr x1, =mailbox
  ldr x25, [x1, #16]
${report('x25')}  ldr x1, =mailbox
  ldr x25, [x1, #24]
${report('x25')}
2: ldr x0, =0xc4000004
  mov x1, #1
  mov x2, #0
  hvc #0
  cmp x0, #1
  b.ne 2b
  ${hvc('0xc4000004', '1')}
  b finish
.ltorg
second:
  ldr x1, =mailbox
  mrs x2, sctlr_el1
  and x2, x2, #1
  str x2, [x1, #8]
  mrs x2, currentel
  mrs x3, daif
  orr x2, x2, x3
  str x2, [x1, #16]
  mrs x2, mpidr_el1
  and x2, x2, #0xffffff
  str x2, [x1, #24]
  str x0, [x1]
  ldr x0, =0x84000002
  hvc #0
3: b 3b
.ltorg
.balign 8
mailbox:
  .quad 0
  .quad 0
  .quad 0
  .quad 0
`;

const timer = (v: string): string => `
  msr cnt${v}_ctl_el0, xzr
  mrs x25, cnt${v}_ctl_el0
${report('x25')}  msr cnt${v}_cval_el0, xzr
  mrs x25, cnt${v}_ctl_el0
${report('x25')}  mov x0, #3
  msr cnt${v}_ctl_el0, x0
  isb
  mrs x25, cnt${v}_ctl_el0
${report('x25')}  mov x0, #-1
  msr cnt${v}_cval_el0, x0
  isb
  mrs x25, cnt${v}_ctl_el0
${report('x25')}  ldr x0, =0x7fffffff
  msr cnt${v}_tval_el0, x0
  mrs x25, cnt${v}_ctl_el0
${report('x25')}  mrs x25, cnt${v}_tval_el0
  lsr x25, x25, #28
${report('x25')}  mov x0, #-5
  msr cnt${v}_tval_el0, x0
  isb
  mrs x25, cnt${v}_ctl_el0
${report('x25')}  mrs x25, cnt${v}_tval_el0
  lsr x25, x25, #31
${report('x25')}  mrs x0, cntvct_el0
  mrs x1, cnt${v}_cval_el0
  cmp x0, x1
  cset x25, hs
${report('x25')}  mov x0, #500
  msr cnt${v}_tval_el0, x0
  isb
  mrs x25, cnt${v}_ctl_el0
1: mrs x26, cnt${v}_ctl_el0
  tbz x26, #2, 1b
${report('x26')}  msr cnt${v}_ctl_el0, xzr
  mrs x25, cnt${v}_ctl_el0
${report('x25')}  b 7f
  .ltorg
7:
`;

/** Software step of EL0 code, and of EL1 with KDE. */
const step = (): string => `
  msr oslar_el1, xzr
  mov x0, #1
  msr mdscr_el1, x0
  isb
  ${atEl0('  mov x1, #1\n  mov x1, #2', '0x200000')}
  ${atEl0('  mov x1, #1\n  mov x1, #2', '0')}
  ${atEl0('  svc #3', '0x200000')}
  ${atEl0('  b 1f\n  nop\n1: nop', '0x200000')}
  msr mdscr_el1, xzr
  isb
  ${atEl0('  mov x1, #1', '0x200000')}
  ${expectTrap('  mov x1, #0x2001\n  msr mdscr_el1, x1\n  isb\n  adr x0, 1f\n  msr elr_el1, x0\n  ldr x0, =0x2001c5\n  msr spsr_el1, x0\n  eret\n1: nop\n  nop')}
  msr mdscr_el1, xzr
  isb
${stepStarts()}`;

/** Step that is not done because the instruction did not finish, and step that begins without ERET. */
const stepStarts = (): string => `
  mov x0, #1
  msr mdscr_el1, x0
  isb
  mov x20, #0x40000000
  add x20, x20, #1
  ${['brk #5', '.inst 0', 'hvc #0', 'mrs x1, ttbr0_el1', 'br x20']
    .map((code) => atEl0(`  ${code}\n  nop`, '0x200000'))
    .join('\n  ')}
  ${expectTrap('  mov x1, #0x2001\n  msr mdscr_el1, x1\n  isb\n  msr daifclr, #8\n  nop\n  nop')}
  msr mdscr_el1, xzr
  isb
  ${expectTrap('  msr daifclr, #8\n  mov x1, #0x2001\n  msr mdscr_el1, x1\n  isb\n  nop')}
  msr mdscr_el1, xzr
  isb
`;

/** Images of this chapter. */
export const machineImages: readonly SystemImage[] = [
  {
    name: 'psci',
    cpu: 'cortex-a57',
    what: 'CPU_ON, CPU_OFF, AFFINITY_INFO, unknown calls -> results and state',
    body: psci,
    vcpus: 2,
  },
  {
    name: 'timers',
    cpu: 'cortex-a57',
    what: 'CTL, CVAL, TVAL of both timers -> ISTATUS and what reads back',
    body: () => timer('v') + timer('p'),
  },
  {
    name: 'step',
    cpu: 'cortex-a57',
    what: 'MDSCR_EL1.SS with SPSR.SS -> EL1: EC 32, 33 after one instruction',
    body: step,
  },
];

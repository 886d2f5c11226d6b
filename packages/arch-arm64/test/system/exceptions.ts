/**
 * Exceptions: which vector, syndrome, addresses and saved state, from EL1t, EL1h and EL0. Left out because QEMU 7.2
 * differs from the architecture: the SP alignment check, DC ZVA on Device memory, the ISS of a trapped MSR DAIFSet.
 */
import { atEl0, expectTrap, report } from '../support/bare-metal.ts';
import type { SystemImage } from './images.ts';

const both = (name: string, what: string, body: () => string): SystemImage[] => [
  { name: `${name}-a57`, cpu: 'cortex-a57', what, body },
  { name: `${name}-n1`, cpu: 'neoverse-n1', what, body },
];

/** Sets and clears bits of SCTLR_EL1. */
const sctlr = (set: number, clear = 0): string => `
  mrs x0, sctlr_el1
  ldr x1, =${set}
  orr x0, x0, x1
  ldr x1, =${clear}
  bic x0, x0, x1
  msr sctlr_el1, x0
  isb
`;

const calls = (): string => `
  ${expectTrap('  svc #0x1234')}
  ${expectTrap('  brk #0xbeef')}
  ${expectTrap('  udf #7')}
  ${expectTrap('  hlt #1')}
  ${expectTrap('  dcps1 #1')}
  ${expectTrap('  .inst 0xd6bf03e0 // drps')}
  ${expectTrap('  cmp xzr, xzr\n  svc #1')}
  ${expectTrap('  mov x1, #-1\n  cmn x1, #2\n  svc #2')}
  msr spsel, #0
  ${expectTrap('  svc #3')}
  ${atEl0('  svc #4')}
  ${atEl0('  brk #5')}
  ${atEl0('  udf #6')}
  ${atEl0('  hvc #7')}
  ${atEl0('  smc #8')}
  ${atEl0('  eret')}
  ${atEl0('  hlt #9')}
  ${atEl0('  .inst 0x00000000')}
  ${atEl0('  svc #10', '0xf0000000')}
  msr daifclr, #15
  ${expectTrap('  svc #11')}
  msr daifset, #5
  ${expectTrap('  svc #12')}
`;

/** Return to states that do not exist, one per reason, and what PSTATE.IL makes of the next instruction. */
const illegal = (): string =>
  [
    '0x1',
    '0x2',
    '0x3',
    '0x6',
    '0x8',
    '0x9',
    '0xc',
    '0xd',
    '0xf',
    '0x13',
    '0x1f',
    '0xf00003c1',
    '0x3c7',
    '0x100005',
  ]
    .map((spsr) =>
      expectTrap(`  adr x0, 1f
  msr elr_el1, x0
  ldr x0, =${spsr}
  msr spsr_el1, x0
  eret
1: nop
  nop`),
    )
    .join('');

const alignment = (): string => `
  // a misaligned pc, by branch and by return
  ${expectTrap('  adr x0, 1f\n  add x0, x0, #2\n  br x0\n1: nop')}
  ${expectTrap('  adr x0, 1f\n  add x0, x0, #1\n  msr elr_el1, x0\n  mov x0, #0x3c5\n  msr spsr_el1, x0\n  eret\n1: nop')}
  // exclusives and acquire/release demand alignment
  ldr x1, =0x40800001
  ${expectTrap('  ldxr x2, [x1]')}
  ${expectTrap('  ldar w2, [x1]')}
  ${expectTrap('  stlr w2, [x1]')}
  ${expectTrap('  ldaxp x2, x3, [x1]')}
  add x1, x1, #7
  ${expectTrap('  ldxp x2, x3, [x1]')}
  ${expectTrap('  ldxr x2, [x1]\n  svc #1')}
`;

/** SCTLR_EL1.A: every size, by element. */
const strict = (): string => `
  ${sctlr(2)}
  ldr x1, =0x40800001
  ${[
    'ldrh w2, [x1]',
    'ldr w2, [x1]',
    'ldr x2, [x1]',
    'strh w2, [x1]',
    'str w2, [x1]',
    'str x2, [x1]',
    'ldrb w2, [x1]',
  ]
    .map((i) => expectTrap(`  ${i}\n  svc #1`))
    .join('')}
  add x1, x1, #3
  ${['ldp w2, w3, [x1]', 'ldp x2, x3, [x1]', 'stp w2, w3, [x1]', 'stp x2, x3, [x1]', 'ldr x2, [x1, #4]!']
    .map((i) => expectTrap(`  ${i}\n  svc #1`))
    .join('')}
  ${report('x1')}
`;

/** What EL0 may do with system registers and instructions, with SCTLR_EL1 and CNTKCTL_EL1 open and closed. */
const fromEl0 = (): string => {
  const probes = [
    'mrs x1, ctr_el0',
    'mrs x1, dczid_el0',
    'mrs x1, daif',
    'msr daif, x1',
    'mrs x1, nzcv',
    'mrs x1, tpidr_el0',
    'msr tpidrro_el0, x1',
    'mrs x1, tpidr_el1',
    'mrs x1, sctlr_el1',
    'mrs x1, currentel',
    'msr spsel, #0',
    'mrs x1, cntfrq_el0',
    'mrs x1, cntvct_el0',
    'mrs x1, cntpct_el0',
    'mrs x1, cntv_ctl_el0',
    'msr cntv_cval_el0, x1',
    'mrs x1, cntp_tval_el0',
    'mrs x1, fpcr',
    'wfi',
    'dc cvau, x2',
    'dc civac, x2',
    'dc ivac, x2',
    'dc zva, x2',
    'dc isw, x2',
    'ic ivau, x2',
    'ic iallu',
    'tlbi vmalle1',
    'at s1e0r, x2',
    'ldr q0, [x2]',
  ];
  const all = (zva: boolean): string =>
    probes
      .filter((p) => zva || !p.startsWith('dc zva'))
      .map((p) => atEl0(`  ldr x2, =0x40800000\n  ${p}`))
      .join('');
  return `
  mov x0, #0x300000
  msr cpacr_el1, x0
  msr cntkctl_el1, xzr
  ${sctlr(0, (1 << 26) | (1 << 18) | (1 << 16) | (1 << 15) | (1 << 14) | (1 << 9))}
  ${all(true)}
  b 9f
  .ltorg
9:
  mov x0, #0x303
  msr cntkctl_el1, x0
  msr cpacr_el1, xzr
  isb
  ${sctlr((1 << 26) | (1 << 15) | (1 << 14) | (1 << 9))}
  ${all(false)}
  mov x0, #0x100000
  msr cpacr_el1, x0
  isb
  ${expectTrap('  ldr x2, =0x40800000\n  ldr q0, [x2]\n  svc #1')}
  ${atEl0('  ldr x2, =0x40800000\n  ldr q0, [x2]')}
  `;
};

/** PAN and UAO at entry and return (they exist on the n1 only). */
const pan = (): string => `
  ${sctlr(0, 1 << 23)}
  msr pan, #0
  ${expectTrap('  svc #1')}
  msr pan, #1
  ${expectTrap('  svc #2')}
  mrs x0, pan
  bl value
  ${sctlr(1 << 23)}
  msr pan, #0
  ${expectTrap('  svc #3')}
  mrs x0, pan
  bl value
  msr pan, #1
  .inst 0xd500417f // msr uao, #1
  ${expectTrap('  svc #4')}
  mrs x0, pan
  bl value
  mrs x0, uao
  bl value
  ${atEl0('  svc #5', '0xc00000')}
`;

/** Images of this chapter. */
export const exceptionImages: readonly SystemImage[] = [
  ...both('calls', 'SVC, BRK, UNDEFINED from every state -> EL1: vector, ESR, ELR, SPSR', calls),
  ...both('illegal', 'ERET to a state that does not exist -> EL1: illegal state at the target', illegal),
  ...both('alignment', 'misaligned pc, sp and exclusives -> EL1: EC 22, 26, FSC 21', alignment),
  ...both('strict', 'SCTLR_EL1.A and unaligned accesses of every size -> EL1: FSC 21 with FAR', strict),
  ...both(
    'from-el0',
    'system registers and instructions at EL0 -> EL1: allowed, trapped or UNDEFINED',
    fromEl0,
  ),
  { name: 'pan-n1', cpu: 'neoverse-n1', what: 'PAN, UAO and SPAN at entry -> EL1: PSTATE', body: pan },
];

/** System registers: what sticks of ones, zeros and patterns, where QEMU masks as the architecture does. */
import { expectTrap, report } from '../support/bare-metal.ts';
import type { SystemImage } from './images.ts';

const PATTERNS = ['0', '-1', '0xaaaaaaaaaaaaaaaa', '0x5555555555555555'];

const writeRead = (registers: readonly string[]): string =>
  registers
    .map(
      (r) =>
        `  mrs x26, ${r}\n${PATTERNS.map((p) => `  ldr x0, =${p}\n  msr ${r}, x0\n  isb\n  mrs x25, ${r}\n  msr ${r}, x26\n${report('x25')}`).join('')}  b 8f\n.ltorg\n8:\n`,
    )
    .join('');

const common = [
  'elr_el1',
  'sp_el0',
  'tpidr_el0',
  'tpidrro_el0',
  'tpidr_el1',
  'far_el1',
  'mair_el1',
  'cntv_cval_el0',
  'cntp_cval_el0',
  'nzcv',
];

/** Encodings nobody has: every one is UNDEFINED at EL1. */
const unallocated = (): string =>
  [
    's3_0_c4_c3_0',
    's3_0_c2_c0_3',
    's3_4_c1_c1_0',
    's3_6_c1_c0_0',
    's3_5_c1_c0_0',
    's3_3_c5_c0_0',
    's3_7_c15_c0_0',
  ]
    .map((r) => expectTrap(`  mrs x0, ${r}`) + expectTrap(`  msr ${r}, x0`))
    .join('') +
  ['midr_el1', 'mpidr_el1', 'id_aa64mmfr0_el1', 'currentel', 'isr_el1', 'ctr_el0', 'cntvct_el0', 'clidr_el1']
    .map((r) => expectTrap(`  msr ${r}, x0`))
    .join('') +
  expectTrap('  mrs x0, oslar_el1');

const modes = (): string => `
  mrs x0, currentel
  bl value
  mrs x0, spsel
  bl value
  mrs x0, daif
  bl value
  msr daifclr, #2
  mrs x0, daif
  bl value
  msr daifset, #2
  mov x1, #0x40
  msr daif, x1
  mrs x0, daif
  bl value
  msr daifset, #15
  ldr x1, =0xdeadbee0
  msr sp_el0, x1
  mov x22, sp
  msr spsel, #0
  mov x0, sp
  mov sp, x22
  bl value
  mov x1, #0x1230
  mov sp, x1
  msr spsel, #1
  mov x0, sp
  sub x0, x0, x22
  bl value
  mrs x0, sp_el0
  bl value
  msr spsel, #0
  mov sp, x22
  ${expectTrap('  mrs x0, sp_el0')}
  ${expectTrap('  mrs x0, spsel\n  bl value\n  svc #0')}
`;

/** Images of this chapter. */
export const registerImages: readonly SystemImage[] = [
  {
    name: 'sysregs-a57',
    cpu: 'cortex-a57',
    what: 'patterns written to system registers -> what reads back',
    body: () => writeRead(common),
  },
  {
    name: 'sysregs-n1',
    cpu: 'neoverse-n1',
    what: 'patterns written to system registers -> what reads back',
    body: () => writeRead(common),
  },
  {
    name: 'unallocated-a57',
    cpu: 'cortex-a57',
    what: 'encodings nobody has, writes to read-only registers -> EC 0',
    body: unallocated,
  },
  {
    name: 'modes-a57',
    cpu: 'cortex-a57',
    what: 'CurrentEL, SPSel, DAIF and the stack pointers -> values',
    body: modes,
  },
];

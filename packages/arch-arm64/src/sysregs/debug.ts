/**
 * Self-hosted debug registers (DDI 0487, D19.3). They hold state; breakpoints and watchpoints do not fire (a gap the
 * README lists). OS lock and claim tags work.
 */
import { SR } from '../state.ts';
import type { SysregDef } from './def.ts';

const pair = (kind: string, n: number, op2: number, slot: number): readonly SysregDef[] => [
  {
    name: `DBG${kind}VR${n}_EL1`,
    enc: [2, 0, 0, n, op2],
    doc: `${kind === 'B' ? 'Breakpoint' : 'Watchpoint'} ${n}: value`,
    el1: 'rw',
    slot,
    value: 0n,
    mask: 0xffff_ffff_ffff_fffcn,
  },
  {
    name: `DBG${kind}CR${n}_EL1`,
    enc: [2, 0, 0, n, op2 + 1],
    doc: `${kind === 'B' ? 'Breakpoint' : 'Watchpoint'} ${n}: control`,
    el1: 'rw',
    slot: slot + 1,
    value: 0n,
    mask: kind === 'B' ? 0x00ff_e1e7n : 0x1fff_ffffn,
  },
];
const plain = (name: string, crm: number, op2: number, doc: string, slot: number): SysregDef => ({
  name,
  enc: [2, 0, 0, crm, op2],
  doc,
  el1: 'rw',
  slot,
  value: 0n,
  mask: 0xffff_ffffn,
});
const dccTrap: NonNullable<SysregDef['trapEl0']> = (c) => (c.state.lo(SR.MDSCR_EL1) & (1 << 12)) !== 0;

/** Rows. */
export const debugRegisters: readonly SysregDef[] = [
  plain('OSDTRRX_EL1', 0, 2, 'OS lock data transfer, receive', SR.OSDTRRX_EL1),
  { ...plain('MDCCINT_EL1', 2, 0, 'Debug channel interrupt enable', SR.MDCCINT_EL1), mask: 0x6000_0000n },
  {
    ...plain('MDSCR_EL1', 2, 2, 'Monitor debug control: SS single step, TDCC, KDE, MDE', SR.MDSCR_EL1),
    mask: 0xb001n,
    changed: (c) => c.stepChanged(),
    fields: [
      ['MDE', 15, 15],
      ['KDE', 13, 13],
      ['TDCC', 12, 12],
      ['SS', 0, 0],
    ],
  },
  plain('OSDTRTX_EL1', 3, 2, 'OS lock data transfer, transmit', SR.OSDTRTX_EL1),
  plain('OSECCR_EL1', 6, 2, 'OS lock exception catch', SR.OSECCR_EL1),
  ...pair('B', 0, 4, SR.DBGBVR0_EL1),
  ...pair('B', 1, 4, SR.DBGBVR1_EL1),
  ...pair('W', 0, 6, SR.DBGWVR0_EL1),
  ...pair('W', 1, 6, SR.DBGWVR1_EL1),
  { name: 'MDRAR_EL1', enc: [2, 0, 1, 0, 0], doc: 'Debug ROM address: none', el1: 'ro', value: 0n },
  {
    name: 'OSLAR_EL1',
    enc: [2, 0, 1, 0, 4],
    doc: 'OS lock: write 1 to lock',
    el1: 'wo',
    mirror: true,
    write: (c, lo) => {
      c.state.put(SR.OSLSR_EL1, 8 | ((lo & 1) << 1), 0);
      c.stepChanged();
    },
  },
  {
    name: 'OSLSR_EL1',
    enc: [2, 0, 1, 1, 4],
    doc: 'OS lock status: OSLM 10, OSLK bit 1',
    el1: 'ro',
    slot: SR.OSLSR_EL1,
    value: 0xan,
  },
  { ...plain('OSDLR_EL1', 3, 4, 'OS double lock', SR.OSDLR_EL1), enc: [2, 0, 1, 3, 4], mask: 1n },
  { ...plain('DBGPRCR_EL1', 4, 4, 'Debug power control', SR.DBGPRCR_EL1), enc: [2, 0, 1, 4, 4], mask: 1n },
  {
    name: 'DBGCLAIMSET_EL1',
    enc: [2, 0, 7, 8, 6],
    doc: 'Claim tags: write 1 to set, reads ones',
    el1: 'rw',
    slot: SR.DBGCLAIM,
    value: 0n,
    read: (_, out) => {
      out.lo = 0xff;
      out.hi = 0;
    },
    write: (c, lo) => c.state.put(SR.DBGCLAIM, c.state.lo(SR.DBGCLAIM) | (lo & 0xff), 0),
  },
  {
    name: 'DBGCLAIMCLR_EL1',
    enc: [2, 0, 7, 9, 6],
    doc: 'Claim tags: write 1 to clear, reads the tags',
    el1: 'rw',
    mirror: true,
    read: (c, out) => {
      out.lo = c.state.lo(SR.DBGCLAIM);
      out.hi = 0;
    },
    write: (c, lo) => c.state.put(SR.DBGCLAIM, c.state.lo(SR.DBGCLAIM) & ~lo & 0xff, 0),
  },
  {
    name: 'DBGAUTHSTATUS_EL1',
    enc: [2, 0, 7, 14, 6],
    doc: 'Debug authentication: nothing implemented',
    el1: 'ro',
    value: 0n,
  },
  {
    name: 'MDCCSR_EL0',
    enc: [2, 3, 0, 1, 0],
    doc: 'Debug channel status: empty',
    el1: 'ro',
    el0: 'ro',
    trapEl0: dccTrap,
    value: 0n,
  },
  {
    name: 'DBGDTR_EL0',
    enc: [2, 3, 0, 4, 0],
    doc: 'Debug channel, 64 bits: nobody listens',
    el1: 'rw',
    el0: 'rw',
    trapEl0: dccTrap,
    value: 0n,
    mask: 0n,
  },
  {
    name: 'DBGDTRRX_EL0',
    enc: [2, 3, 0, 5, 0],
    doc: 'Debug channel, receive (write: transmit): nobody listens',
    el1: 'rw',
    el0: 'rw',
    trapEl0: dccTrap,
    value: 0n,
    mask: 0n,
  },
];

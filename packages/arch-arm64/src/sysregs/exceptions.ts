/** Exception handling and PSTATE as registers (DDI 0487, C5.2 and D19.2: VBAR, ESR, FAR, ELR, SPSR, DAIF …). */
import { type Pair, PS, SR } from '../state.ts';
import type { FieldDef, SysregContext, SysregDef } from './def.ts';

/** SPSR_EL1 bits this CPU has: NZCV, UAO, PAN, SS, IL, DAIF, M[4:0]. */
const SPSR_WRITABLE = 0xf0f0_03dfn;

const pstateBits =
  (bits: number) =>
  (c: SysregContext, out: Pair): void => {
    out.lo = c.state.ps & bits;
    out.hi = 0;
  };
/** Selects PSTATE bits by writing a register that holds them. */
export function writePs(c: SysregContext, bits: number, value: number): void {
  const before = c.state.ps;
  c.state.setPs((before & ~bits) | (value & bits));
  const changed = before ^ c.state.ps;
  if (changed & (PS.PAN | PS.UAO)) c.privilegeChanged();
  if (changed & 1) c.guardsChanged();
  if (changed & (PS.A | PS.I | PS.F)) c.interruptsChanged();
  if (changed & PS.D) c.stepChanged();
}
const sp = (slot: number): Pick<SysregDef, 'read' | 'write'> => ({
  read: (c, out) => {
    out.lo = c.state.spLo(slot);
    out.hi = c.state.spHi(slot);
  },
  write: (c, lo, hi) => c.state.setSp(slot, lo, hi),
});

/** Fields of PSTATE where a register holds it: SPSR_EL1, and `pstate` as a session shows it. */
export const PSTATE_FIELDS: readonly FieldDef[] = [
  ['N', 31, 31],
  ['Z', 30, 30],
  ['C', 29, 29],
  ['V', 28, 28],
  ['UAO', 23, 23],
  ['PAN', 22, 22],
  ['SS', 21, 21],
  ['IL', 20, 20],
  ['D', 9, 9],
  ['A', 8, 8],
  ['I', 7, 7],
  ['F', 6, 6],
  ['M', 4, 0],
];

/** Rows. */
export const exceptionRegisters: readonly SysregDef[] = [
  {
    name: 'SPSR_EL1',
    enc: [3, 0, 4, 0, 0],
    doc: 'Saved PSTATE',
    el1: 'rw',
    slot: SR.SPSR_EL1,
    value: 0n,
    mask: (m) => SPSR_WRITABLE & ~(m.pan ? 0n : 1n << 22n) & ~(m.uao ? 0n : 1n << 23n),
    fields: PSTATE_FIELDS,
  },
  {
    name: 'ELR_EL1',
    enc: [3, 0, 4, 0, 1],
    doc: 'Exception return address',
    el1: 'rw',
    slot: SR.ELR_EL1,
    value: 0n,
  },
  {
    name: 'SP_EL0',
    enc: [3, 0, 4, 1, 0],
    doc: 'Stack pointer of EL0',
    el1: 'rw',
    slot: SR.SP_EL0,
    value: 0n,
    ...sp(SR.SP_EL0),
  },
  {
    name: 'SPSel',
    enc: [3, 0, 4, 2, 0],
    doc: 'Whether EL1 uses SP_EL1',
    el1: 'rw',
    mirror: true,
    read: pstateBits(1),
    write: (c, lo) => writePs(c, 1, lo),
  },
  {
    name: 'CurrentEL',
    enc: [3, 0, 4, 2, 2],
    doc: 'Current exception level in bits 3:2',
    el1: 'ro',
    mirror: true,
    read: pstateBits(0xc),
  },
  {
    name: 'PAN',
    enc: [3, 0, 4, 2, 3],
    doc: 'Privileged access never, bit 22',
    el1: 'rw',
    exists: (m) => m.pan,
    mirror: true,
    read: pstateBits(PS.PAN),
    write: (c, lo) => writePs(c, PS.PAN, lo),
  },
  {
    name: 'UAO',
    enc: [3, 0, 4, 2, 4],
    doc: 'User access override, bit 23',
    el1: 'rw',
    exists: (m) => m.uao,
    mirror: true,
    read: pstateBits(PS.UAO),
    write: (c, lo) => writePs(c, PS.UAO, lo),
  },
  {
    name: 'AFSR0_EL1',
    enc: [3, 0, 5, 1, 0],
    doc: 'Auxiliary fault status: none',
    el1: 'rw',
    value: 0n,
    mask: 0n,
  },
  {
    name: 'AFSR1_EL1',
    enc: [3, 0, 5, 1, 1],
    doc: 'Auxiliary fault status: none',
    el1: 'rw',
    value: 0n,
    mask: 0n,
  },
  {
    name: 'ESR_EL1',
    enc: [3, 0, 5, 2, 0],
    doc: 'Exception syndrome',
    el1: 'rw',
    slot: SR.ESR_EL1,
    value: 0n,
    mask: 0xffff_ffffn,
    fields: [
      ['EC', 31, 26],
      ['IL', 25, 25],
      ['ISS', 24, 0],
    ],
  },
  { name: 'FAR_EL1', enc: [3, 0, 6, 0, 0], doc: 'Fault address', el1: 'rw', slot: SR.FAR_EL1, value: 0n },
  {
    name: 'PAR_EL1',
    enc: [3, 0, 7, 4, 0],
    doc: 'Result of an address translation instruction',
    el1: 'rw',
    slot: SR.PAR_EL1,
    value: 0n,
  },
  {
    name: 'VBAR_EL1',
    enc: [3, 0, 12, 0, 0],
    doc: 'Base of the exception vectors',
    el1: 'rw',
    slot: SR.VBAR_EL1,
    value: 0n,
    mask: 0xffff_ffff_ffff_f800n,
  },
  {
    name: 'ISR_EL1',
    enc: [3, 0, 12, 1, 0],
    doc: 'Pending SError (A), IRQ (I) and FIQ (F)',
    el1: 'ro',
    mirror: true,
    read: (c, out) => {
      out.lo = c.isr();
      out.hi = 0;
    },
    fields: [
      ['A', 8, 8],
      ['I', 7, 7],
      ['F', 6, 6],
    ],
  },
  {
    name: 'NZCV',
    enc: [3, 3, 4, 2, 0],
    doc: 'Condition flags in bits 31:28',
    el1: 'rw',
    el0: 'rw',
    mirror: true,
    read: (c, out) => {
      out.lo = c.state.nzcv;
      out.hi = 0;
    },
    write: (c, lo) => {
      c.state.nzcv = lo;
    },
  },
  {
    name: 'DAIF',
    enc: [3, 3, 4, 2, 1],
    doc: 'Exception masks in bits 9:6',
    el1: 'rw',
    el0: 'rw',
    mirror: true,
    trapEl0: (c) => (c.state.lo(SR.SCTLR_EL1) & (1 << 9)) === 0,
    read: pstateBits(PS.DAIF),
    write: (c, lo) => writePs(c, PS.DAIF, lo),
  },
  {
    name: 'FPCR',
    enc: [3, 3, 4, 4, 0],
    doc: 'Floating-point control',
    el1: 'rw',
    el0: 'rw',
    fp: true,
    slot: SR.FPCR,
    value: 0n,
    mask: 0x07c0_0000n,
  },
  {
    name: 'FPSR',
    enc: [3, 3, 4, 4, 1],
    doc: 'Floating-point status',
    el1: 'rw',
    el0: 'rw',
    fp: true,
    slot: SR.FPSR,
    value: 0n,
    mask: 0x0800_009fn,
  },
];

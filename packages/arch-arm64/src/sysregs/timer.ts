/** Generic timer registers (DDI 0487, D12 and D19.12). */
import { type Pair, SR } from '../state.ts';
import type { SysregContext, SysregDef } from './def.ts';

/** Whether CNTKCTL_EL1 keeps EL0 from a register whose enable is one of `bits`. */
const closed =
  (bits: number) =>
  (c: SysregContext): boolean =>
    (c.state.lo(SR.CNTKCTL_EL1) & bits) === 0;
const EL0PCTEN = 1;
const EL0VCTEN = 2;
const EL0VTEN = 1 << 8;
const EL0PTEN = 1 << 9;

const scratch: Pair = { lo: 0, hi: 0 };

function timer(virtual: boolean): readonly SysregDef[] {
  const v = virtual ? 'V' : 'P';
  const crm = virtual ? 3 : 2;
  const ctl = virtual ? SR.CNTV_CTL_EL0 : SR.CNTP_CTL_EL0;
  const cval = virtual ? SR.CNTV_CVAL_EL0 : SR.CNTP_CVAL_EL0;
  const trapEl0 = closed(virtual ? EL0VTEN : EL0PTEN);
  const what = virtual ? 'Virtual' : 'Physical';
  return [
    {
      name: `CNT${v}_TVAL_EL0`,
      enc: [3, 3, 14, crm, 0],
      doc: `${what} timer: compare value minus count, 32 bits signed`,
      el1: 'rw',
      el0: 'rw',
      trapEl0,
      mirror: true,
      read: (c, out) => {
        c.timer.count(virtual, scratch);
        out.lo = (c.state.lo(cval) - scratch.lo) | 0;
        out.hi = 0;
      },
      write: (c, lo) => {
        c.timer.count(virtual, scratch);
        const sum = (scratch.lo >>> 0) + lo;
        c.state.put(cval, sum | 0, (scratch.hi + Math.floor(sum / 0x1_0000_0000)) | 0);
        c.timer.changed();
      },
    },
    {
      name: `CNT${v}_CTL_EL0`,
      enc: [3, 3, 14, crm, 1],
      doc: `${what} timer control`,
      el1: 'rw',
      el0: 'rw',
      trapEl0,
      slot: ctl,
      value: 0n,
      mask: 3n,
      read: (c, out) => {
        const own = c.state.lo(ctl) & 3;
        out.lo = own | (own & 1 && c.timer.condition(virtual) ? 4 : 0);
        out.hi = 0;
      },
      changed: (c) => c.timer.changed(),
      fields: [
        ['ISTATUS', 2, 2],
        ['IMASK', 1, 1],
        ['ENABLE', 0, 0],
      ],
    },
    {
      name: `CNT${v}_CVAL_EL0`,
      enc: [3, 3, 14, crm, 2],
      doc: `${what} timer compare value`,
      el1: 'rw',
      el0: 'rw',
      trapEl0,
      slot: cval,
      value: 0n,
      changed: (c) => c.timer.changed(),
    },
  ];
}

const count = (name: string, op2: number, virtual: boolean, bit: number): SysregDef => ({
  name,
  enc: [3, 3, 14, 0, op2],
  doc: `${virtual ? 'Virtual' : 'Physical'} count`,
  el1: 'ro',
  el0: 'ro',
  trapEl0: closed(bit),
  mirror: true,
  read: (c, out) => c.timer.count(virtual, out),
});

/** Rows. */
export const timerRegisters: readonly SysregDef[] = [
  {
    name: 'CNTFRQ_EL0',
    enc: [3, 3, 14, 0, 0],
    doc: 'Frequency of the generic timer in Hz',
    el1: 'ro',
    el0: 'ro',
    trapEl0: closed(EL0PCTEN | EL0VCTEN),
    value: (m) => BigInt(m.frequency),
  },
  count('CNTPCT_EL0', 1, false, EL0PCTEN),
  count('CNTVCT_EL0', 2, true, EL0VCTEN),
  ...timer(false),
  ...timer(true),
  {
    name: 'CNTKCTL_EL1',
    enc: [3, 0, 14, 1, 0],
    doc: 'What EL0 may do with the timers',
    el1: 'rw',
    slot: SR.CNTKCTL_EL1,
    value: 0n,
    mask: 0x3ffn,
    fields: [
      ['EL0PTEN', 9, 9],
      ['EL0VTEN', 8, 8],
      ['EL0VCTEN', 1, 1],
      ['EL0PCTEN', 0, 0],
    ],
  },
];

/**
 * RAS registers as a KVM guest finds them (DDI 0487, D19.8; arch/arm64/kvm/sys_regs.c). HCR_EL2.TERR traps the error
 * record registers: a VM with RAS reads zero and its writes are ignored (ERRIDR_EL1.NUM = 0: no records); without RAS
 * they are UNDEFINED. DISR_EL1 is VDISR_EL2.
 */
import type { Model } from '../model.ts';
import { SR } from '../state.ts';
import type { SysregDef } from './def.ts';

const ras = (m: Model): boolean => m.ras > 0;
/** Whether accesses read zero rather than being UNDEFINED. */
const records = (m: Model): boolean => m.ras > 0 || m.rasRegisters === 'RAZ';
const rasV1p1 = (m: Model): boolean => m.ras > 1;
const zero = (
  name: string,
  crm: number,
  op2: number,
  doc: string,
  el1: 'rw' | 'ro' = 'rw',
  exists: (m: Model) => boolean = records,
): SysregDef => ({ name, enc: [3, 0, 5, crm, op2], doc, el1, value: 0n, mask: 0n, exists });

/** Rows. */
export const rasRegisters: readonly SysregDef[] = [
  zero('ERRIDR_EL1', 3, 0, 'Number of error records: none', 'ro'),
  zero('ERRSELR_EL1', 3, 1, 'Error record select'),
  zero('ERXFR_EL1', 4, 0, 'Selected record: features', 'ro'),
  zero('ERXCTLR_EL1', 4, 1, 'Selected record: control'),
  zero('ERXSTATUS_EL1', 4, 2, 'Selected record: status'),
  zero('ERXADDR_EL1', 4, 3, 'Selected record: address'),
  zero('ERXPFGF_EL1', 4, 4, 'Selected record: fault generation features', 'ro', rasV1p1),
  zero('ERXPFGCTL_EL1', 4, 5, 'Selected record: fault generation control', 'rw', rasV1p1),
  zero('ERXPFGCDN_EL1', 4, 6, 'Selected record: fault generation countdown', 'rw', rasV1p1),
  zero('ERXMISC0_EL1', 5, 0, 'Selected record: miscellaneous 0'),
  zero('ERXMISC1_EL1', 5, 1, 'Selected record: miscellaneous 1'),
  zero('ERXMISC2_EL1', 5, 2, 'Selected record: miscellaneous 2', 'rw', rasV1p1),
  zero('ERXMISC3_EL1', 5, 3, 'Selected record: miscellaneous 3', 'rw', rasV1p1),
  {
    name: 'DISR_EL1',
    enc: [3, 0, 12, 1, 1],
    doc: 'SError that an ESB deferred',
    el1: 'rw',
    exists: ras,
    slot: SR.VDISR,
    value: 0n,
    mask: 0x81ff_ffffn,
    fields: [
      ['A', 31, 31],
      ['IDS', 24, 24],
      ['AET', 12, 10],
      ['EA', 9, 9],
      ['DFSC', 5, 0],
    ],
  },
];

/** Control of the exception level and of translation (DDI 0487, D19.2: SCTLR, TCR, TTBRn, MAIR, CPACR …). */
import { SR } from '../state.ts';
import type { SysregContext, SysregDef } from './def.ts';

const translation = (c: SysregContext): void => c.translationChanged();

/** Bits of SCTLR_EL1 that Armv8.0 without AArch32 lets software write: M A C SA SA0 CP15BEN ITD SED UMA I … UCI. */
const SCTLR_WRITABLE = 0x040d_d3bfn;
/** EOS (11), TSCXT (20), EIS (22), nTLSMD (28), LSMAOE (29) read as one. */
const SCTLR_RES1 = 0x3050_0800n;
const SPAN = 1n << 23n;
const IESB = 1n << 21n;

/** Rows. */
export const control: readonly SysregDef[] = [
  {
    name: 'SCTLR_EL1',
    enc: [3, 0, 1, 0, 0],
    doc: 'System control',
    el1: 'rw',
    slot: SR.SCTLR_EL1,
    // value that KVM gives a vCPU (arch/arm64/kvm/sys_regs.c), with the ones that cannot be cleared and without bit 6
    value: 0x00c5_0038n | SCTLR_RES1,
    mask: (m) => SCTLR_WRITABLE | (m.pan ? SPAN : 0n) | (m.ras > 0 ? IESB : 0n),
    res1: (m) => SCTLR_RES1 | (m.pan ? 0n : SPAN),
    changed: (c) => {
      c.translationChanged();
      c.guardsChanged();
    },
    fields: [
      ['UCI', 26, 26],
      ['SPAN', 23, 23],
      ['IESB', 21, 21],
      ['WXN', 19, 19],
      ['nTWE', 18, 18],
      ['nTWI', 16, 16],
      ['UCT', 15, 15],
      ['DZE', 14, 14],
      ['I', 12, 12],
      ['UMA', 9, 9],
      ['SED', 8, 8],
      ['ITD', 7, 7],
      ['SA0', 4, 4],
      ['SA', 3, 3],
      ['C', 2, 2],
      ['A', 1, 1],
      ['M', 0, 0],
    ],
  },
  { name: 'ACTLR_EL1', enc: [3, 0, 1, 0, 1], doc: 'Auxiliary control: none here', el1: 'rw', value: 0n, mask: 0n },
  {
    name: 'CPACR_EL1',
    enc: [3, 0, 1, 0, 2],
    doc: 'Traps of SIMD and floating point (FPEN)',
    el1: 'rw',
    slot: SR.CPACR_EL1,
    value: 0n,
    mask: 0x0030_0000n,
    changed: (c) => c.guardsChanged(),
    fields: [['FPEN', 21, 20]],
  },
  {
    name: 'SCTLR2_EL1',
    enc: [3, 0, 1, 0, 3],
    doc: 'System control 2: EASE sends external aborts to the SError vector, NMEA unmasks SErrors',
    el1: 'rw',
    exists: (m) => m.df2,
    slot: SR.SCTLR2_EL1,
    value: 0n,
    mask: 0x3cn,
    changed: (c) => c.interruptsChanged(),
    fields: [
      ['EASE', 5, 5],
      ['EnANERR', 4, 4],
      ['EnADERR', 3, 3],
      ['NMEA', 2, 2],
    ],
  },
  {
    name: 'TTBR0_EL1',
    enc: [3, 0, 2, 0, 0],
    doc: 'Translation table base, lower range',
    el1: 'rw',
    slot: SR.TTBR0_EL1,
    value: 0n,
    mask: 0xffff_ffff_ffff_fffen,
    changed: translation,
    fields: [
      ['ASID', 63, 48],
      ['BADDR', 47, 1],
    ],
  },
  {
    name: 'TTBR1_EL1',
    enc: [3, 0, 2, 0, 1],
    doc: 'Translation table base, upper range',
    el1: 'rw',
    slot: SR.TTBR1_EL1,
    value: 0n,
    mask: 0xffff_ffff_ffff_fffen,
    changed: translation,
    fields: [
      ['ASID', 63, 48],
      ['BADDR', 47, 1],
    ],
  },
  {
    name: 'TCR_EL1',
    enc: [3, 0, 2, 0, 2],
    doc: 'Translation control',
    el1: 'rw',
    slot: SR.TCR_EL1,
    value: 0n,
    mask: 0x77_ffff_ffbfn,
    changed: translation,
    fields: [
      ['TBI1', 38, 38],
      ['TBI0', 37, 37],
      ['AS', 36, 36],
      ['IPS', 34, 32],
      ['TG1', 31, 30],
      ['SH1', 29, 28],
      ['ORGN1', 27, 26],
      ['IRGN1', 25, 24],
      ['EPD1', 23, 23],
      ['A1', 22, 22],
      ['T1SZ', 21, 16],
      ['TG0', 15, 14],
      ['SH0', 13, 12],
      ['ORGN0', 11, 10],
      ['IRGN0', 9, 8],
      ['EPD0', 7, 7],
      ['T0SZ', 5, 0],
    ],
  },
  {
    name: 'MAIR_EL1',
    enc: [3, 0, 10, 2, 0],
    doc: 'Memory attributes by index',
    el1: 'rw',
    slot: SR.MAIR_EL1,
    value: 0n,
    changed: translation,
  },
  { name: 'AMAIR_EL1', enc: [3, 0, 10, 3, 0], doc: 'Auxiliary memory attributes: none', el1: 'rw', value: 0n, mask: 0n },
  {
    name: 'CONTEXTIDR_EL1',
    enc: [3, 0, 13, 0, 1],
    doc: 'Context ID',
    el1: 'rw',
    slot: SR.CONTEXTIDR_EL1,
    value: 0n,
    mask: 0xffff_ffffn,
  },
  { name: 'TPIDR_EL1', enc: [3, 0, 13, 0, 4], doc: 'Software thread ID of EL1', el1: 'rw', slot: SR.TPIDR_EL1, value: 0n },
  {
    name: 'TPIDR_EL0',
    enc: [3, 3, 13, 0, 2],
    doc: 'Software thread ID of EL0',
    el1: 'rw',
    el0: 'rw',
    slot: SR.TPIDR_EL0,
    value: 0n,
  },
  {
    name: 'TPIDRRO_EL0',
    enc: [3, 3, 13, 0, 3],
    doc: 'Software thread ID that EL0 only reads',
    el1: 'rw',
    el0: 'ro',
    slot: SR.TPIDRRO_EL0,
    value: 0n,
  },
];

/** Identification registers (DDI 0487, D19.2: ID_*, MIDR, MPIDR, CTR, CLIDR, CCSIDR, DCZID). */
import { type Model, PA_RANGES } from '../model.ts';
import { SR } from '../state.ts';
import type { SysregDef } from './def.ts';

const n = (v: boolean | number): bigint => BigInt(Number(v));

/** ID_AA64PFR0_EL1: EL0 and EL1 in AArch64 only, FP and Advanced SIMD registers, RAS; no GIC system registers. */
function pfr0(m: Model): bigint {
  return 0x11n | (n(m.ras) << 28n);
}
/** ID_AA64PFR1_EL1: DF2 in 59:56. */
function pfr1(m: Model): bigint {
  return n(m.df2) << 56n;
}
/** ID_AA64ISAR0_EL1: CRC32 in 19:16, Atomic in 23:20. */
function isar0(m: Model): bigint {
  return (n(m.crc32) << 16n) | (m.lse ? 2n << 20n : 0n);
}
/** ID_AA64MMFR0_EL1: PARange, 16-bit ASIDs, all three granules. */
function mmfr0(m: Model): bigint {
  return n(Math.max(0, PA_RANGES.indexOf(m.paBits))) | (2n << 4n) | (1n << 20n);
}

const id = (name: string, crm: number, op2: number, doc: string, value: SysregDef['value']): SysregDef => ({
  name,
  enc: [3, 0, 0, crm, op2],
  doc,
  el1: 'ro',
  ...(value === undefined ? {} : { value }),
});

const named: readonly SysregDef[] = [
  { ...id('MIDR_EL1', 0, 0, 'Main ID', undefined), slot: SR.MIDR_EL1, value: 0x000f_0000n },
  { ...id('MPIDR_EL1', 0, 5, 'Multiprocessor affinity', undefined), slot: SR.MPIDR_EL1, value: 0x8000_0000n },
  id('REVIDR_EL1', 0, 6, 'Revision ID', 0n),
  id('ID_AA64PFR0_EL1', 4, 0, 'Processor features 0', pfr0),
  id('ID_AA64PFR1_EL1', 4, 1, 'Processor features 1', pfr1),
  id(
    'ID_AA64DFR0_EL1',
    5,
    0,
    'Debug features 0: v8 debug, 2 breakpoints, 2 watchpoints, no PMU',
    0x0010_1006n,
  ),
  id('ID_AA64ISAR0_EL1', 6, 0, 'Instruction set attributes 0', isar0),
  id('ID_AA64MMFR0_EL1', 7, 0, 'Memory model features 0', mmfr0),
  id('ID_AA64MMFR1_EL1', 7, 1, 'Memory model features 1: PAN in 23:20', (m) => n(m.pan) << 20n),
  id('ID_AA64MMFR2_EL1', 7, 2, 'Memory model features 2: UAO in 7:4', (m) => n(m.uao) << 4n),
  id('ID_AA64MMFR3_EL1', 7, 3, 'Memory model features 3: SCTLRX in 7:4', (m) => n(m.df2) << 4n),
];

const names: Readonly<Record<string, string>> = {
  '1.0': 'ID_PFR0_EL1',
  '1.1': 'ID_PFR1_EL1',
  '1.2': 'ID_DFR0_EL1',
  '1.3': 'ID_AFR0_EL1',
  '1.4': 'ID_MMFR0_EL1',
  '1.5': 'ID_MMFR1_EL1',
  '1.6': 'ID_MMFR2_EL1',
  '1.7': 'ID_MMFR3_EL1',
  '2.0': 'ID_ISAR0_EL1',
  '2.1': 'ID_ISAR1_EL1',
  '2.2': 'ID_ISAR2_EL1',
  '2.3': 'ID_ISAR3_EL1',
  '2.4': 'ID_ISAR4_EL1',
  '2.5': 'ID_ISAR5_EL1',
  '2.6': 'ID_MMFR4_EL1',
  '3.0': 'MVFR0_EL1',
  '3.1': 'MVFR1_EL1',
  '3.2': 'MVFR2_EL1',
  '5.1': 'ID_AA64DFR1_EL1',
  '5.4': 'ID_AA64AFR0_EL1',
  '5.5': 'ID_AA64AFR1_EL1',
  '6.1': 'ID_AA64ISAR1_EL1',
};

/** The rest of the ID space (op0 3, op1 0, CRn 0, CRm 1..7) reads as zero, named or reserved. */
function zeros(): readonly SysregDef[] {
  const taken = new Set(named.map((r) => `${r.enc[3]}.${r.enc[4]}`));
  const out: SysregDef[] = [];
  for (let crm = 1; crm <= 7; crm++)
    for (let op2 = 0; op2 < 8; op2++) {
      const at = `${crm}.${op2}`;
      if (taken.has(at)) continue;
      const name = names[at] ?? `S3_0_C0_C${crm}_${op2}`;
      const doc = crm <= 3 ? 'AArch32 feature ID, zero: no AArch32 state' : 'Reserved ID register, zero';
      out.push({ ...id(name, crm, op2, doc, 0n), mirror: !(at in names) });
    }
  return out;
}

/** Rows. */
export const identification: readonly SysregDef[] = [
  ...named,
  ...zeros(),
  {
    name: 'CCSIDR_EL1',
    enc: [3, 1, 0, 0, 0],
    doc: 'Size of the cache that CSSELR_EL1 selects: 32 KiB, 64-byte lines, 2 ways; level 2: 512 KiB, 16 ways',
    el1: 'ro',
    read: (c, out) => {
      const level = c.state.lo(SR.CSSELR_EL1) >> 1;
      out.lo = level === 1 ? 0x003f_e07a : 0x001f_e00a;
      out.hi = 0;
    },
  },
  {
    name: 'CLIDR_EL1',
    enc: [3, 1, 0, 0, 1],
    doc: 'Cache levels: L1 instruction and data, L2 unified',
    el1: 'ro',
    value: 0x0a20_0023n,
  },
  { name: 'AIDR_EL1', enc: [3, 1, 0, 0, 7], doc: 'Auxiliary ID', el1: 'ro', value: 0n },
  {
    name: 'CSSELR_EL1',
    enc: [3, 2, 0, 0, 0],
    doc: 'Cache that CCSIDR_EL1 describes',
    el1: 'rw',
    slot: SR.CSSELR_EL1,
    value: 0n,
    mask: 0xfn,
    fields: [
      ['Level', 3, 1],
      ['InD', 0, 0],
    ],
  },
  {
    name: 'CTR_EL0',
    enc: [3, 3, 0, 0, 1],
    doc: 'Cache type: 64-byte lines, PIPT',
    el1: 'ro',
    el0: 'ro',
    trapEl0: (c) => (c.state.lo(SR.SCTLR_EL1) & (1 << 15)) === 0,
    value: 0x8444_c004n,
  },
  {
    name: 'DCZID_EL0',
    enc: [3, 3, 0, 0, 7],
    doc: 'DC ZVA block of 64 bytes; DZP when it would trap',
    el1: 'ro',
    el0: 'ro',
    read: (c, out) => {
      const prohibited = c.state.el === 0 && (c.state.lo(SR.SCTLR_EL1) & (1 << 14)) === 0;
      out.lo = prohibited ? 0x14 : 4;
      out.hi = 0;
    },
  },
];

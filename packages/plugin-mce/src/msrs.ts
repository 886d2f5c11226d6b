/**
 * Rules for the MSRs of the machine check (arch/x86/kvm/x86.c, set_msr_mce and get_msr_mce; the same from 6.1 on). Refused
 * values and banks that are not there are #GP whatever `ignore_msrs` says; unsupported registers are not KVM's at all.
 */
import {
  type FieldDef,
  type MsrAccess,
  type MsrDef,
  MsrResult,
  type MsrResultCode,
  type X86Vcpu,
} from '@faultyard/arch-x86';
import { CMCI_EN, FeatCtl, Hwcr, MAX_BANKS, McaMsr, McgCap } from './bits.ts';
import type { MceKnobs } from './knobs.ts';
import { CTL, type McaState, STATUS } from './state.ts';

/** What rules need beside the access: the vCPU's state, the choices, the backend. */
export interface MsrGround {
  readonly of: (v: X86Vcpu) => McaState;
  readonly knobs: MceKnobs;
  readonly backend: 'AMD' | 'Intel';
  /** Vendor of the host's CPU. */
  readonly cpu: 'AMD' | 'Intel';
}

const ALL_ONES = 0xffff_ffff_ffff_ffffn;

/** The value of a write. */
export function written(a: MsrAccess): bigint {
  return (BigInt(a.hi >>> 0) << 32n) | BigInt(a.lo >>> 0);
}
/** Answers a read. */
export function answer(a: MsrAccess, value: bigint): MsrResultCode {
  a.lo = Number(BigInt.asIntN(32, value));
  a.hi = Number(BigInt.asIntN(32, value >> 32n));
  return MsrResult.Ok;
}
const okIf = (good: boolean): MsrResultCode => (good ? MsrResult.Ok : MsrResult.Refused);
const unsupported = (): MsrResultCode => MsrResult.Unsupported;

/** Whether the guest may write a status register to what is not 0 (x86.c, can_set_mci_status). */
export function statusWritable(v: X86Vcpu, s: McaState): boolean {
  return (s.globals.hwcr & Hwcr.McStatusWrEn) !== 0n && v.cpuid.vendor === 'AMD';
}

/** MCi_CTL, STATUS, ADDR, MISC by their offset from MC0_CTL. */
export function readBank(g: MsrGround, a: MsrAccess, offset: number): MsrResultCode {
  const s = g.of(a.vcpu);
  return offset < 4 * s.count ? answer(a, s.banks[offset] ?? 0n) : MsrResult.Refused;
}
/** Writes one. CTL takes all bits, none, or all but bits 0 and 10, which guests are known to clear. */
export function writeBank(g: MsrGround, a: MsrAccess, offset: number): MsrResultCode {
  const s = g.of(a.vcpu);
  const value = written(a);
  if (offset >= 4 * s.count) return MsrResult.Refused;
  const register = offset & 3;
  if (register === CTL && value !== 0n && (value | 0x401n) !== ALL_ONES) return MsrResult.Refused;
  if (register === STATUS && !a.host && value !== 0n && !statusWritable(a.vcpu, s)) return MsrResult.Refused;
  s.banks[offset] = value;
  return MsrResult.Ok;
}

const REGISTERS = ['CTL', 'STATUS', 'ADDR', 'MISC'] as const;
const DOCS = ['Which errors it reports', 'The error it holds', 'Its address', 'More about it'] as const;
const STATUS_FIELDS: readonly FieldDef[] = [
  ['VAL', 63, 63],
  ['OVER', 62, 62],
  ['UC', 61, 61],
  ['EN', 60, 60],
  ['MISCV', 59, 59],
  ['ADDRV', 58, 58],
  ['PCC', 57, 57],
  ['MCACOD', 15, 0],
];

function banks(g: MsrGround): readonly MsrDef[] {
  return Array.from({ length: 4 * MAX_BANKS }, (_, offset): MsrDef => {
    const register = offset & 3;
    const bank = offset >>> 2;
    return {
      index: McaMsr.MC0_CTL + offset,
      name: `MC${bank}_${REGISTERS[register]}`,
      doc: `Machine-check bank ${bank}: ${DOCS[register]}`,
      ...(register === STATUS ? { fields: STATUS_FIELDS } : {}),
      read: (a) => readBank(g, a, offset),
      write: (a) => writeBank(g, a, offset),
    };
  });
}

/** MCi_CTL2: with CMCI_P, a threshold and whether to interrupt. Without it the host may still read, and write 0. */
function thresholds(g: MsrGround): readonly MsrDef[] {
  return Array.from({ length: MAX_BANKS }, (_, bank): MsrDef => {
    const missing = (a: MsrAccess, s: McaState): boolean =>
      bank >= s.count || (!(s.globals.mcgCap & McgCap.CMCI_P) && !a.host);
    return {
      index: McaMsr.MC0_CTL2 + bank,
      name: `MC${bank}_CTL2`,
      doc: `Machine-check bank ${bank}: interrupt on corrected errors`,
      fields: [
        ['CMCI_EN', 30, 30],
        ['THRESHOLD', 14, 0],
      ],
      read: (a) => {
        const s = g.of(a.vcpu);
        return missing(a, s) ? MsrResult.Refused : answer(a, s.ctl2[bank] ?? 0n);
      },
      write: (a) => {
        const s = g.of(a.vcpu);
        const value = written(a);
        if (missing(a, s) || value & ~(CMCI_EN | 0x7fffn)) return MsrResult.Refused;
        if (value !== 0n && !(s.globals.mcgCap & McgCap.CMCI_P)) return MsrResult.Refused;
        s.ctl2[bank] = value;
        return MsrResult.Ok;
      },
    };
  });
}

/** What a write of HWCR stores; `undefined`: refused (x86.c, MSR_K7_HWCR). Bits 3, 6 and 8 are dropped. */
function hwcrValue(g: MsrGround, a: MsrAccess, old: bigint): bigint | undefined {
  const value = written(a) & ~0x148n;
  if (g.knobs.hwcrRule === '6.1') return value === 0n ? old : value === Hwcr.McStatusWrEn ? value : undefined;
  let allowed: bigint = Hwcr.McStatusWrEn | Hwcr.TscFreqSel;
  if (g.knobs.hwcrRule === 'new' && hasCpuidUserDis(a.vcpu)) allowed |= Hwcr.CpuidUserDis;
  return value & ~allowed ? undefined : value;
}
/** CPUID 80000021h EAX bit 17 (AMD64 APM volume 3, appendix E). */
function hasCpuidUserDis(v: X86Vcpu): boolean {
  v.cpuid.query(0x8000_0021 | 0, 0);
  return ((v.cpuid.regs[0] ?? 0) & 0x2_0000) !== 0;
}

function globals(g: MsrGround): readonly MsrDef[] {
  const of = (a: MsrAccess): McaState['globals'] => g.of(a.vcpu).globals;
  return [
    {
      index: McaMsr.MCG_CAP,
      name: 'MCG_CAP',
      doc: 'Machine-check banks and features',
      fields: [
        ['LMCE_P', 27, 27],
        ['SER_P', 24, 24],
        ['CMCI_P', 10, 10],
        ['CTL_P', 8, 8],
        ['COUNT', 7, 0],
      ],
      read: (a) => answer(a, of(a).mcgCap),
      write: unsupported,
    },
    {
      index: McaMsr.MCG_STATUS,
      name: 'MCG_STATUS',
      doc: 'Machine check under way',
      fields: [
        ['LMCE_S', 3, 3],
        ['MCIP', 2, 2],
        ['EIPV', 1, 1],
        ['RIPV', 0, 0],
      ],
      listed: true,
      read: (a) => answer(a, of(a).mcgStatus),
      write: (a) => {
        of(a).mcgStatus = written(a);
        return MsrResult.Ok;
      },
    },
    {
      index: McaMsr.MCG_CTL,
      name: 'MCG_CTL',
      doc: 'Reporting of machine checks: all bits, or none',
      listed: true,
      read: (a) => (of(a).mcgCap & McgCap.CTL_P || a.host ? answer(a, of(a).mcgCtl) : MsrResult.Refused),
      write: (a) => {
        const value = written(a);
        if (!(of(a).mcgCap & McgCap.CTL_P) && (value !== 0n || !a.host)) return MsrResult.Refused;
        if (value !== 0n && value !== ALL_ONES) return MsrResult.Refused;
        of(a).mcgCtl = value;
        return MsrResult.Ok;
      },
    },
    {
      index: McaMsr.HWCR,
      name: 'HWCR',
      doc: 'Hardware configuration',
      fields: [
        ['CpuidUserDis', 35, 35],
        ['TscFreqSel', 24, 24],
        ['McStatusWrEn', 18, 18],
      ],
      listed: true,
      read: (a) => answer(a, of(a).hwcr),
      write: (a) => {
        const value = hwcrValue(g, a, of(a).hwcr);
        if (value === undefined) return MsrResult.Refused;
        of(a).hwcr = value;
        a.vcpu.intercepts.set('mce', value & Hwcr.CpuidUserDis ? ['cpuid'] : []);
        return MsrResult.Ok;
      },
    },
  ];
}

/** Bits of FEAT_CTL that the host may set: LOCKED, VMX, SGX, LMCE (vmx.c, KVM_SUPPORTED_FEATURE_CONTROL). */
const FEAT_CTL_SUPPORTED = 0x16_0007n;

/** FEAT_CTL and MCG_EXT_CTL: VMX alone has them (vmx.c, vmx_get_msr and vmx_set_msr). */
function intel(g: MsrGround): readonly MsrDef[] {
  const here = g.backend === 'Intel';
  const of = (a: MsrAccess): McaState['globals'] => g.of(a.vcpu).globals;
  const enabled = (a: MsrAccess): boolean => a.host || (of(a).featCtl & FeatCtl.LMCE_ENABLED) !== 0n;
  return [
    {
      index: McaMsr.FEAT_CTL,
      name: 'FEAT_CTL',
      doc: 'Feature control: what firmware enabled and locked',
      fields: [
        ['LMCE_ENABLED', 20, 20],
        ['LOCKED', 0, 0],
      ],
      // advertised where the host's CPU has it
      listed: here || g.cpu === 'Intel',
      exists: () => here,
      read: (a) => answer(a, of(a).featCtl),
      write: (a) => {
        const f = of(a);
        const value = written(a);
        if (!a.host && f.featCtl & FeatCtl.LOCKED) return MsrResult.Refused;
        if (value & ~(a.host ? FEAT_CTL_SUPPORTED : f.featCtlValid)) return MsrResult.Refused;
        f.featCtl = value;
        return MsrResult.Ok;
      },
    },
    {
      index: McaMsr.MCG_EXT_CTL,
      name: 'MCG_EXT_CTL',
      doc: 'Machine checks for one logical CPU alone',
      fields: [['LMCE_EN', 0, 0]],
      listed: here,
      exists: () => here,
      read: (a) => (enabled(a) ? answer(a, of(a).mcgExtCtl) : MsrResult.Refused),
      write: (a) => {
        const value = written(a);
        if (enabled(a) && !(value & ~1n)) of(a).mcgExtCtl = value;
        return okIf(enabled(a) && !(value & ~1n));
      },
    },
  ];
}

/** All rows but those of the SMCA window. */
export function mceMsrs(g: MsrGround): readonly MsrDef[] {
  return [...globals(g), ...intel(g), ...banks(g), ...thresholds(g)];
}

/** System-call, segment-base and control MSRs of both vendors. */
import { EFER_FIELDS } from '../register-fields.ts';
import { CR0, EFER, SR } from '../state.ts';
import { type MsrAccess, type MsrDef, MsrResult, type MsrResultCode } from './def.ts';
import { beyondPhysical, canonicalHigh, canonicalOnly, constant, refused, unsupported } from './rules.ts';

/** Bits of EFER by the feature that brings them; SCE needs none (x86.c, efer_reserved_bits and __kvm_valid_efer). */
const EFER_FEATURES: readonly (readonly [bits: number, feature: string])[] = [
  [EFER.LME | EFER.LMA, 'lm'],
  [EFER.NXE, 'nx'],
  [EFER.FFXSR, 'fxsr_opt'],
  [EFER.SVME, 'svm'],
];

/** Bits that may be written: the guest's CPUID decides for the guest, what KVM supports for the host. */
function eferBits({ vcpu: { cpuid }, host }: MsrAccess): number {
  let bits: number = EFER.SCE;
  for (const [b, f] of EFER_FEATURES) if (host ? cpuid.supports(f) : cpuid.has(f)) bits |= b;
  return bits;
}

function writeEfer(a: MsrAccess): MsrResultCode {
  const s = a.vcpu.state;
  const old = s.efer;
  if (a.hi !== 0 || a.lo & ~eferBits(a)) return MsrResult.Refused;
  if (!a.host && s.cr0 & CR0.PG && (old ^ a.lo) & EFER.LME) return MsrResult.Refused;
  // LMA follows CR0.PG, not WRMSR
  const value = (a.lo & ~EFER.LMA) | (old & EFER.LMA);
  s.setSys(SR.EFER, value, 0);
  if ((old ^ value) & EFER.NXE) a.vcpu.translationChanged();
  a.vcpu.modeChanged();
  return MsrResult.Ok;
}

/** FS.base, GS.base: in the hidden part of the segment. */
function base(index: number, name: string, seg: 4 | 5): MsrDef {
  return {
    index,
    name,
    doc: `Base of ${seg === 4 ? 'FS' : 'GS'}`,
    read: (a) => {
      const s = a.vcpu.state.segment(seg);
      a.lo = s.baseLo;
      a.hi = s.baseHi;
      return MsrResult.Ok;
    },
    write: (a) => {
      if (canonicalOnly(a) !== MsrResult.Ok) return MsrResult.Refused;
      const s = a.vcpu.state.segment(seg);
      s.baseLo = a.lo;
      s.baseHi = a.hi;
      a.vcpu.modeChanged();
      return MsrResult.Ok;
    },
  };
}

/** APIC_BASE: the guest may move and disable an APIC that its CPUID has (lapic.c, kvm_apic_set_base). */
function writeApicBase(a: MsrAccess): MsrResultCode {
  const x2 = a.vcpu.cpuid.has('x2apic');
  if (beyondPhysical(a) || a.lo & (x2 ? 0x2ff : 0x6ff)) return MsrResult.Refused;
  const mode = (v: number): number => (v >>> 10) & 3;
  const old = a.vcpu.apicBase;
  const from = mode(old);
  const to = mode(a.lo);
  // invalid: x2APIC without enable; x2APIC -> xAPIC, disabled -> x2APIC
  if (to === 1) return MsrResult.Refused;
  if (!a.host && ((from === 3 && to === 2) || (from === 0 && to === 3))) return MsrResult.Refused;
  a.vcpu.state.setSys(SR.APIC_BASE, a.lo, a.hi);
  a.vcpu.apic?.baseChanged(old);
  return MsrResult.Ok;
}

/**
 * SYSENTER's addresses have 32 bits on AMD. On Intel the guest's WRMSR refuses what is not canonical; the host's becomes
 * canonical (x86.c, __kvm_set_msr).
 */
function checkSysenter(a: MsrAccess): MsrResultCode {
  if (a.vcpu.model.vendor === 'AMD') {
    a.hi = 0;
    return MsrResult.Ok;
  }
  if (!a.host) return canonicalOnly(a);
  a.hi = canonicalHigh(a);
  return MsrResult.Ok;
}

/** DEBUGCTL: AMD keeps LBR (BTF and 5:2 read back 0, svm.c); Intel LBR and BTF. */
function checkDebugctl(a: MsrAccess): MsrResultCode {
  if (a.vcpu.model.vendor === 'AMD') a.lo &= ~0x3e;
  const allowed = a.vcpu.model.vendor === 'AMD' ? 1 : 3;
  return a.hi !== 0 || a.lo & ~allowed ? MsrResult.Refused : MsrResult.Ok;
}

const CANONICAL_ROWS = [
  [0xc000_0082, 'LSTAR', SR.LSTAR, 'RIP of SYSCALL from 64-bit mode'],
  [0xc000_0083, 'CSTAR', SR.CSTAR, 'RIP of SYSCALL from compatibility mode'],
  [0xc000_0102, 'KERNEL_GS_BASE', SR.KERNEL_GS_BASE, 'What SWAPGS exchanges with the base of GS'],
] as const;

/** Rows. */
export const SYSTEM_MSRS: readonly MsrDef[] = [
  {
    index: 0xc000_0080,
    name: 'EFER',
    doc: 'Extended features: SYSCALL, long mode, no-execute',
    fields: EFER_FIELDS,
    read: (a) => {
      a.lo = a.vcpu.state.sysLo(SR.EFER);
      a.hi = 0;
      return MsrResult.Ok;
    },
    write: writeEfer,
  },
  {
    index: 0xc000_0081,
    name: 'STAR',
    doc: 'Selectors of SYSCALL and SYSRET, EIP of legacy SYSCALL',
    slot: SR.STAR,
    listed: true,
    keepsOnInit: true,
  },
  ...CANONICAL_ROWS.map(
    ([index, name, slot, doc]): MsrDef => ({
      index,
      name,
      doc,
      slot,
      listed: true,
      keepsOnInit: true,
      check: canonicalOnly,
    }),
  ),
  {
    index: 0xc000_0084,
    name: 'SFMASK',
    doc: 'RFLAGS bits that SYSCALL clears',
    slot: SR.SFMASK,
    listed: true,
    keepsOnInit: true,
  },
  base(0xc000_0100, 'FS_BASE', 4),
  base(0xc000_0101, 'GS_BASE', 5),
  {
    index: 0x174,
    name: 'SYSENTER_CS',
    doc: 'Selectors of SYSENTER and SYSEXIT',
    slot: SR.SYSENTER_CS,
    listed: true,
    keepsOnInit: true,
  },
  ...(
    [
      [0x175, 'SYSENTER_ESP', SR.SYSENTER_ESP, 'Stack pointer of SYSENTER'],
      [0x176, 'SYSENTER_EIP', SR.SYSENTER_EIP, 'RIP of SYSENTER'],
    ] as const
  ).map(
    ([index, name, slot, doc]): MsrDef => ({
      index,
      name,
      doc,
      slot,
      listed: true,
      keepsOnInit: true,
      check: checkSysenter,
    }),
  ),
  {
    index: 0x1b,
    name: 'APIC_BASE',
    doc: 'Address and mode of the local APIC; whether this is the bootstrap processor',
    fields: [
      ['BASE', 51, 12],
      ['EN', 11, 11],
      ['EXTD', 10, 10],
      ['BSP', 8, 8],
    ],
    read: (a) => {
      a.lo = a.vcpu.state.sysLo(SR.APIC_BASE);
      a.hi = a.vcpu.state.sysHi(SR.APIC_BASE);
      return MsrResult.Ok;
    },
    write: writeApicBase,
  },
  {
    index: 0x1a0,
    name: 'MISC_ENABLE',
    doc: 'Miscellaneous features: no performance monitoring by PEBS or BTS',
    fields: [
      ['PEBS_UNAVAIL', 12, 12],
      ['BTS_UNAVAIL', 11, 11],
      ['FAST_STRING', 0, 0],
    ],
    slot: SR.MISC_ENABLE,
    reset: 0x1800n,
    listed: true,
    keepsOnInit: true,
    // the guest cannot change what the PMU is (x86.c, MSR_IA32_MISC_ENABLE)
    check: (a) =>
      !a.host && (a.lo ^ a.vcpu.state.sysLo(SR.MISC_ENABLE)) & 0x1880 ? MsrResult.Refused : MsrResult.Ok,
  },
  {
    index: 0x1d9,
    name: 'DEBUGCTL',
    doc: 'Branch recording and single-stepping on branches',
    slot: SR.DEBUGCTL,
    listed: true,
    check: checkDebugctl,
  },
  {
    index: 0x9e,
    name: 'SMBASE',
    doc: 'Where SMM keeps its state; for the host only',
    listed: true,
    read: (a) => {
      if (!a.host) return MsrResult.Refused;
      a.lo = a.vcpu.state.sysLo(SR.SMBASE);
      return MsrResult.Ok;
    },
    write: (a) => {
      if (!a.host) return MsrResult.Refused;
      a.vcpu.state.setSys(SR.SMBASE, a.lo, 0);
      return MsrResult.Ok;
    },
  },
  // the machine check's own registers are plugin-mce's; alone the CPU has no bank
  { index: 0, name: 'P5_MC_ADDR', doc: 'Reads 0', read: constant(0), write: unsupported },
  { index: 1, name: 'P5_MC_TYPE', doc: 'Reads 0', read: constant(0), write: unsupported },
  {
    index: 0x179,
    name: 'MCG_CAP',
    doc: 'Machine-check banks there are: none',
    read: constant(0),
    write: unsupported,
  },
  { index: 0x17a, name: 'MCG_STATUS', doc: 'Machine check under way', listed: true, keepsOnInit: true },
  // paravirtual clocks are not offered (CPUID 40000001h): x86.c, guest_pv_has
  ...[0x11, 0x12, 0x4b56_4d00, 0x4b56_4d01].map(
    (index): MsrDef => ({
      index,
      name: `KVM_${index & 1 ? (index < 0x100 ? 'WALL_CLOCK' : 'SYSTEM_TIME_NEW') : index < 0x100 ? 'SYSTEM_TIME' : 'WALL_CLOCK_NEW'}`,
      doc: 'Paravirtual clock; refused',
      read: refused,
      write: refused,
    }),
  ),
];

/** Registers of platforms that KVM answers without meaning anything by it (arch/x86/kvm/x86.c, kvm_get_msr_common). */
import { type MsrAccess, type MsrDef, MsrResult, type MsrResultCode } from './def.ts';
import { constant, ignored, unsupported } from './rules.ts';

/** Reads as a constant; writes are unknown, unless said otherwise. */
const fixed = (
  index: number,
  name: string,
  lo: number,
  hi: number = 0,
  write: MsrDef['write'] = unsupported,
): MsrDef => ({
  index,
  name,
  doc: lo | hi ? 'Platform register; a constant' : 'Platform register; reads 0',
  read: constant(lo, hi),
  write: write ?? unsupported,
});

/** Registers that a guest without the feature must not touch; the host reads and writes their 0. */
const gated = (index: number, name: string, feature: string): MsrDef => {
  const allowed = (a: MsrAccess): MsrResultCode =>
    a.host || a.vcpu.cpuid.has(feature) ? MsrResult.Ok : MsrResult.Refused;
  return {
    index,
    name,
    doc: `Reads 0; the guest needs ${feature}`,
    listed: true,
    read: allowed,
    write: (a) => (a.lo | a.hi ? MsrResult.Refused : allowed(a)),
  };
};

/** PLATFORM_INFO.CPUID_FAULT: CPUID can be made to fault outside CPL 0. */
const CPUID_FAULT = 0x8000_0000;

/** Whether CPUID faults outside CPL 0 (x86.c, cpuid_fault_enabled). */
export function cpuidFaults(m: {
  readonly msrs: { stored(index: number): { readonly lo: number } };
}): boolean {
  return (m.msrs.stored(0x140).lo & 1) !== 0;
}

/** Rows. */
export const PLATFORM_MSRS: readonly MsrDef[] = [
  fixed(0x17, 'PLATFORM_ID', 0),
  fixed(0x2a, 'EBL_CR_POWERON', 0),
  fixed(0x2c, 'EBC_FREQUENCY_ID', 0x100_0000),
  fixed(0xcd, 'FSB_FREQ', 3),
  fixed(0x11e, 'BBL_CR_CTL3', 0xbe70_2111, 0, ignored),
  fixed(0x198, 'PERF_STATUS', 1000, 0x400),
  fixed(0x199, 'PERF_CTL', 0),
  { ...fixed(0x1db, 'LASTBRANCHFROMIP', 0), listed: true },
  { ...fixed(0x1dc, 'LASTBRANCHTOIP', 0), listed: true },
  { ...fixed(0x1dd, 'LASTINTFROMIP', 0), listed: true },
  { ...fixed(0x1de, 'LASTINTTOIP', 0), listed: true },
  fixed(0x606, 'RAPL_POWER_UNIT', 0),
  fixed(0x611, 'PKG_ENERGY_STATUS', 0),
  fixed(0x619, 'DRAM_ENERGY_STATUS', 0),
  fixed(0x639, 'PP0_ENERGY_STATUS', 0),
  fixed(0x641, 'PP1_ENERGY_STATUS', 0),
  gated(0x10a, 'ARCH_CAPABILITIES', 'arch_capabilities'),
  gated(0x345, 'PERF_CAPABILITIES', 'pdcm'),
  {
    index: 0xda0,
    name: 'XSS',
    doc: 'State components of XSAVES, which is not offered',
    read: (a) => (a.host ? MsrResult.Ok : MsrResult.Refused),
    write: unsupported,
  },
  {
    index: 0x34,
    name: 'SMI_COUNT',
    doc: 'SMIs taken; the host sets it',
    listed: true,
    keepsOnInit: true,
    check: (a) => (a.host ? MsrResult.Ok : MsrResult.Refused),
  },
  {
    index: 0x1fc,
    name: 'POWER_CTL',
    doc: 'Power control; takes anything',
    listed: true,
    keepsOnInit: true,
  },
  {
    index: 0x8b,
    name: 'UCODE_REV',
    doc: 'Microcode revision in 63:32 (Intel), 31:0 (AMD)',
    listed: true,
    read: (a) => {
      const { lo, hi } = a.vcpu.microcode;
      a.lo = lo;
      a.hi = hi;
      return MsrResult.Ok;
    },
    // guests' writes are dropped: it is how Intel asks for the revision
    write: (a) => {
      if (a.host) {
        a.vcpu.microcode.lo = a.lo;
        a.vcpu.microcode.hi = a.hi;
      }
      return MsrResult.Ok;
    },
  },
  { index: 0x79, name: 'UCODE_WRITE', doc: 'Microcode update; ignored', read: unsupported, write: ignored },
  {
    index: 0xce,
    name: 'PLATFORM_INFO',
    doc: 'Platform; the guest cannot write it',
    fields: [['CPUID_FAULT', 31, 31]],
    reset: 0x8000_0000n,
    listed: true,
    keepsOnInit: true,
    check: (a) => (a.host && (a.lo & CPUID_FAULT || !cpuidFaults(a.vcpu)) ? MsrResult.Ok : MsrResult.Refused),
  },
  {
    index: 0x140,
    name: 'MISC_FEATURES_ENABLES',
    doc: 'CPUID faults outside CPL 0',
    fields: [['CPUID_FAULT', 0, 0]],
    listed: true,
    keepsOnInit: true,
    check: (a) => {
      const offered = (a.vcpu.msrs.stored(0xce).lo & CPUID_FAULT) !== 0;
      return a.hi !== 0 || a.lo & (offered ? ~1 : ~0) ? MsrResult.Refused : MsrResult.Ok;
    },
  },
];

/** MSRs of AMD that KVM answers on any host (arch/x86/kvm/x86.c), and those of its AMD backend (svm.c). */
import { type MsrDef, MsrResult } from './def.ts';
import { constant, ignored, refused, unsupported, zeroOnly } from './rules.ts';

/** Known to KVM, without meaning: reads 0. */
const quiet = (index: number, name: string, write: MsrDef['write']): MsrDef => ({
  index,
  name,
  doc: 'Platform register; reads 0',
  read: constant(0),
  write: write ?? ignored,
});

/** Rows. */
export const AMD_MSRS: readonly MsrDef[] = [
  {
    index: 0xc001_0015,
    name: 'HWCR',
    doc: 'Hardware configuration',
    fields: [
      ['TscFreqSel', 24, 24],
      ['McStatusWrEn', 18, 18],
    ],
    listed: true,
    keepsOnInit: true,
    // bits 3, 6 and 8 are dropped; only 18 and 24 may be set (x86.c, MSR_K7_HWCR)
    check: (a) => {
      a.lo &= ~0x148;
      return a.hi !== 0 || a.lo & ~0x0104_0000 ? MsrResult.Refused : MsrResult.Ok;
    },
  },
  {
    index: 0xc001_001b,
    name: 'CLK_CTL',
    doc: 'Clock control; reads 20000000h',
    read: constant(0x2000_0000),
    write: ignored,
  },
  quiet(0xc001_001f, 'NB_CFG', ignored),
  {
    index: 0xc001_0020,
    name: 'PATCH_LOADER',
    doc: 'Microcode update; ignored',
    read: unsupported,
    write: ignored,
  },
  quiet(0xc001_0010, 'SYSCFG', unsupported),
  quiet(0xc001_0055, 'INT_PENDING_MSG', unsupported),
  quiet(0xc001_0058, 'MMIO_CONF_BASE', zeroOnly),
  quiet(0xc001_0112, 'TSEG_ADDR', unsupported),
  quiet(0xc001_0113, 'TSEG_MASK', unsupported),
  quiet(0xc001_102a, 'BU_CFG2', ignored),
  quiet(0xc001_1022, 'DC_CFG', ignored),
  quiet(0xc001_1023, 'TW_CFG', ignored),
  quiet(0xc001_102c, 'EX_CFG', ignored),
  // performance counters without a PMU: KVM takes anything (x86.c, MSR_K7_EVNTSEL0 ...)
  ...Array.from(
    { length: 2 },
    (_, i): MsrDef => ({
      index: 0xc001_0140 + i,
      name: i ? 'OSVW_STATUS' : 'OSVW_ID_LENGTH',
      doc: 'Workarounds that the OS should know of',
      keepsOnInit: true,
      exists: (v) => v.cpuid.has('osvw'),
    }),
  ),
  ...Array.from({ length: 4 }, (_, i) => quiet(0xc001_0000 + i, `EVNTSEL${i}`, ignored)),
  ...Array.from({ length: 4 }, (_, i) => quiet(0xc001_0004 + i, `PERFCTR${i}`, ignored)),
  {
    index: 0xc001_1029,
    name: 'DE_CFG',
    doc: 'Decode configuration: LFENCE serialises (bit 1)',
    keepsOnInit: true,
    reset: 2n,
    exists: (v) => v.model.vendor === 'AMD',
    check: (a) => (a.hi !== 0 || a.lo & ~2 ? MsrResult.Refused : MsrResult.Ok),
  },
];

/** Intel: performance counters and feature control, as far as every guest asks for them. */
export const INTEL_MSRS: readonly MsrDef[] = [
  ...[0, 1].map((i) => quiet(0x186 + i, `P6_EVNTSEL${i}`, ignored)),
  ...[0, 1].map((i) => quiet(0xc1 + i, `P6_PERFCTR${i}`, ignored)),
  {
    index: 0x3a,
    name: 'FEAT_CTL',
    doc: 'Feature control: locked, nothing enabled',
    fields: [['LOCKED', 0, 0]],
    listed: true,
    keepsOnInit: true,
    exists: (v) => v.model.vendor === 'Intel',
    check: (a) => {
      if (a.hi !== 0 || a.lo & ~1) return MsrResult.Refused;
      return !a.host && a.vcpu.msrs.stored(0x3a).lo & 1 ? refused() : MsrResult.Ok;
    },
  },
];

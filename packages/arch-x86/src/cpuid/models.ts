/** The CPUs that models are made after, as KVM would show them to a guest: no AVX, no FP extensions beyond SSE4.2. */
import type { Feature, ModelName } from '../model.ts';

/** What distinguishes one CPU from another. */
export interface CpuFacts {
  readonly vendor: 'AMD' | 'Intel';
  /** Leaf 1 EAX: family, model, stepping. */
  readonly signature: number;
  /** Processor name string, at most 47 characters. */
  readonly brand: string;
  /** Highest standard and extended leaf. */
  readonly maxLeaf: number;
  readonly maxExtended: number;
  readonly physicalBits: number;
  /** kHz. */
  readonly tscKhz: number;
  readonly features: readonly Feature[];
}

/** x86-64-v2 and what any KVM host of the last ten years passes on. */
const COMMON: readonly Feature[] = [
  ...['fpu', 'vme', 'de', 'pse', 'tsc', 'msr', 'pae', 'mce', 'cx8', 'apic', 'sep', 'mtrr', 'pge', 'mca'],
  ...['cmov', 'pat', 'pse36', 'clflush', 'mmx', 'fxsr', 'sse', 'sse2', 'sse3', 'ssse3', 'cx16', 'sse4_1'],
  ...[
    'sse4_2',
    'movbe',
    'popcnt',
    'xsave',
    'xsaveopt',
    'xgetbv1',
    'hypervisor',
    'arat',
    'fsgsbase',
    'x2apic',
  ],
  'tsc_deadline_timer',
  ...['tsc_adjust', 'bmi1', 'smep', 'bmi2', 'adx', 'smap', 'clflushopt', 'lahf_lm', 'abm', '3dnowprefetch'],
  ...['syscall', 'nx', 'pdpe1gb', 'rdtscp', 'lm', 'constant_tsc'],
];
const AMD: readonly Feature[] = ['cr8_legacy', 'mmxext', 'fxsr_opt', 'lfence_rdtsc'];

/** Models by name. */
export const MODELS: Readonly<Record<ModelName, CpuFacts>> = {
  /** Zen 1 (family 17h, model 1), with its machine-check banks shown the old way. */
  'zen1-legacy-mca': {
    vendor: 'AMD',
    signature: 0x0080_0f12,
    brand: 'AMD EPYC 7281 16-Core Processor',
    maxLeaf: 0xd,
    maxExtended: 0x8000_0021,
    physicalBits: 48,
    tscKhz: 2_100_000,
    features: [...COMMON, ...AMD],
  },
  /** Zen 3 (family 19h, model 1), scalable MCA. */
  zen3: {
    vendor: 'AMD',
    signature: 0x00a0_0f11,
    brand: 'AMD EPYC 7313 16-Core Processor',
    maxLeaf: 0x10,
    maxExtended: 0x8000_0021,
    physicalBits: 48,
    tscKhz: 3_000_000,
    features: [
      ...COMMON,
      ...AMD,
      ...['pcid', 'invpcid', 'umip', 'pku', 'rdpid', 'erms', 'fsrm', 'clwb', 'wbnoinvd', 'smca'],
      'null_sel_clr_base',
    ],
  },
  /** Skylake-SP (family 6, model 55h). */
  skylake: {
    vendor: 'Intel',
    signature: 0x0005_0654,
    brand: 'Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz',
    maxLeaf: 0x16,
    maxExtended: 0x8000_0008,
    physicalBits: 46,
    tscKhz: 2_100_000,
    features: [...COMMON, 'ss', 'pcid', 'invpcid', 'umip', 'pku', 'erms', 'clwb'],
  },
};

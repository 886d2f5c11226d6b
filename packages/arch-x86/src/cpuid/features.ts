/**
 * CPUID feature bits by name (Linux's names, arch/x86/include/asm/cpufeatures.h): what models list, rows ask for and
 * KVM's checks look up.
 */

/** Register of a CPUID leaf, as an index into EAX, EBX, ECX, EDX. */
export const CpuidReg = { EAX: 0, EBX: 1, ECX: 2, EDX: 3 } as const;

/** Where a feature's bit is. */
export interface FeatureBit {
  readonly leaf: number;
  readonly subleaf: number;
  /** One of {@link CpuidReg}. */
  readonly reg: 0 | 1 | 2 | 3;
  readonly bit: number;
}

const bits = (
  leaf: number,
  subleaf: number,
  reg: 0 | 1 | 2 | 3,
  names: Readonly<Record<string, number>>,
): [string, FeatureBit][] => Object.entries(names).map(([name, bit]) => [name, { leaf, subleaf, reg, bit }]);

/** Every feature the package knows by name (AMD64 APM volume 3, appendix E; SDM volume 2, CPUID). */
export const FEATURES: ReadonlyMap<string, FeatureBit> = new Map([
  ...bits(1, 0, 3, {
    fpu: 0,
    vme: 1,
    de: 2,
    pse: 3,
    tsc: 4,
    msr: 5,
    pae: 6,
    mce: 7,
    cx8: 8,
    apic: 9,
    sep: 11,
    mtrr: 12,
    pge: 13,
    mca: 14,
    cmov: 15,
    pat: 16,
    pse36: 17,
    clflush: 19,
    mmx: 23,
    fxsr: 24,
    sse: 25,
    sse2: 26,
    ss: 27,
    ht: 28,
  }),
  ...bits(1, 0, 2, {
    sse3: 0,
    monitor: 3,
    ssse3: 9,
    cx16: 13,
    pdcm: 15,
    pcid: 17,
    sse4_1: 19,
    sse4_2: 20,
    x2apic: 21,
    movbe: 22,
    popcnt: 23,
    tsc_deadline_timer: 24,
    xsave: 26,
    osxsave: 27,
    rdrand: 30,
    hypervisor: 31,
  }),
  ...bits(6, 0, 0, { arat: 2 }),
  ...bits(7, 0, 1, {
    fsgsbase: 0,
    tsc_adjust: 1,
    bmi1: 3,
    smep: 7,
    bmi2: 8,
    erms: 9,
    invpcid: 10,
    rdseed: 18,
    adx: 19,
    smap: 20,
    clflushopt: 23,
    clwb: 24,
  }),
  ...bits(7, 0, 2, { umip: 2, pku: 3, ospke: 4, la57: 16, rdpid: 22 }),
  ...bits(7, 0, 3, { fsrm: 4, arch_capabilities: 29 }),
  ...bits(0xd, 1, 0, { xsaveopt: 0, xsavec: 1, xgetbv1: 2, xsaves: 3 }),
  ...bits(0x8000_0001, 0, 2, {
    lahf_lm: 0,
    cmp_legacy: 1,
    svm: 2,
    extapic: 3,
    cr8_legacy: 4,
    abm: 5,
    sse4a: 6,
    misalignsse: 7,
    '3dnowprefetch': 8,
    osvw: 9,
    skinit: 12,
    topoext: 22,
  }),
  ...bits(0x8000_0001, 0, 3, {
    syscall: 11,
    nx: 20,
    mmxext: 22,
    fxsr_opt: 25,
    pdpe1gb: 26,
    rdtscp: 27,
    lm: 29,
  }),
  ...bits(0x8000_0007, 0, 1, { overflow_recov: 0, succor: 1, smca: 3 }),
  ...bits(0x8000_0007, 0, 3, { constant_tsc: 8 }),
  ...bits(0x8000_0008, 0, 1, { clzero: 0, xsaveerptr: 2, wbnoinvd: 9 }),
  ...bits(0x8000_0021, 0, 0, { lfence_rdtsc: 2, null_sel_clr_base: 6 }),
]);

/** Bits of leaf 1 EDX that AMD repeats in leaf 80000001h EDX. */
export const AMD_REPEATED = 0x0183_f3ff;

/**
 * Registers of the machine-check architecture: indices and bits, as 64-bit values (Intel SDM volume 3B, chapter 17; AMD64
 * APM volume 2, chapter 9).
 */

const bit = (n: number): bigint => 1n << BigInt(n);

/** Bits of MCi_STATUS. Bits 56 to 43 mean different things for Intel and for AMD. */
export const Status = {
  VAL: bit(63) as bigint,
  OVER: bit(62) as bigint,
  UC: bit(61) as bigint,
  EN: bit(60) as bigint,
  MISCV: bit(59) as bigint,
  ADDRV: bit(58) as bigint,
  PCC: bit(57) as bigint,
  /** Intel: signalled as a machine check. */
  S: bit(56) as bigint,
  /** Intel: action required. AMD: TCC. */
  AR: bit(55) as bigint,
  /** AMD: uncorrectable data was found and not consumed. */
  DEFERRED: bit(44) as bigint,
  /** AMD: bad data was consumed. */
  POISON: bit(43) as bigint,
} as const;

/** Bits of MCG_CAP (MSR 179h); bits 7:0 count the banks. */
export const McgCap = {
  /** MCG_CTL exists. */
  CTL_P: bit(8) as bigint,
  /** Corrected errors interrupt: CTL2 registers and the LVT entry. Intel. */
  CMCI_P: bit(10) as bigint,
  /** Software error recovery: S and AR in MCi_STATUS. Intel. */
  SER_P: bit(24) as bigint,
  /** Machine checks for one logical CPU alone. Intel. */
  LMCE_P: bit(27) as bigint,
} as const;

/** Bits of MCG_STATUS (MSR 17Ah). */
export const McgStatus = {
  /** The interrupted program can go on at the saved RIP. */
  RIPV: bit(0) as bigint,
  /** The saved RIP belongs to the error. */
  EIPV: bit(1) as bigint,
  /** A machine check is being handled. */
  MCIP: bit(2) as bigint,
  /** Intel: delivered to this logical CPU alone. */
  LMCE_S: bit(3) as bigint,
} as const;

/** Indices of MSRs. Bank i's CTL, STATUS, ADDR and MISC are at `MC0_CTL + 4 * i`, and so on. */
export const McaMsr = {
  FEAT_CTL: 0x3a,
  MCG_CAP: 0x179,
  MCG_STATUS: 0x17a,
  MCG_CTL: 0x17b,
  MC0_CTL2: 0x280,
  MC0_CTL: 0x400,
  MC0_STATUS: 0x401,
  MC0_ADDR: 0x402,
  MC0_MISC: 0x403,
  MCG_EXT_CTL: 0x4d0,
  /** First register of AMD's window; bank i has 16 from `SMCA + 16 * i`. */
  SMCA: 0xc000_2000,
  HWCR: 0xc001_0015,
} as const;

/** Registers of a bank in AMD's window, by offset (AMD PPR, MCA registers). */
export const SmcaRegister = {
  CTL: 0,
  STATUS: 1,
  ADDR: 2,
  MISC0: 3,
  CONFIG: 4,
  IPID: 5,
  SYND: 6,
  DESTAT: 8,
  DEADDR: 9,
} as const;

/** KVM_MAX_MCE_BANKS. */
export const MAX_BANKS = 32;
/** Bits of HWCR: STATUS may be written by software; the TSC runs at P0's frequency; CPUID faults outside CPL 0. */
export const Hwcr = {
  McStatusWrEn: bit(18) as bigint,
  TscFreqSel: bit(24) as bigint,
  CpuidUserDis: bit(35) as bigint,
} as const;
/** Bits of FEAT_CTL. */
export const FeatCtl = { LOCKED: bit(0) as bigint, LMCE_ENABLED: bit(20) as bigint } as const;
/** MCi_CTL2: interrupt on corrected errors. */
export const CMCI_EN: bigint = bit(30);
/** Register of the local APIC through which corrected errors interrupt: LVT CMCI (Intel SDM volume 3A, 11.5.1). */
export const LVT_CMCI = 0x2f0;

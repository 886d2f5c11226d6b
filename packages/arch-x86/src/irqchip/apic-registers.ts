/** Registers of a local APIC, and what goes over the APIC bus (AMD64 APM volume 2, chapter 16; arch/x86/kvm/lapic.c). */

/** Register offsets in bytes (APM volume 2, table 16-2). In x2APIC mode register `r` is MSR 800h + r / 16. */
export const Apic = {
  Id: 0x20,
  Version: 0x30,
  Tpr: 0x80,
  Apr: 0x90,
  Ppr: 0xa0,
  Eoi: 0xb0,
  Ldr: 0xd0,
  Dfr: 0xe0,
  Spiv: 0xf0,
  Isr: 0x100,
  Tmr: 0x180,
  Irr: 0x200,
  Esr: 0x280,
  LvtCmci: 0x2f0,
  Icr: 0x300,
  Icr2: 0x310,
  LvtTimer: 0x320,
  LvtThermal: 0x330,
  LvtPerf: 0x340,
  LvtLint0: 0x350,
  LvtLint1: 0x360,
  LvtError: 0x370,
  InitialCount: 0x380,
  CurrentCount: 0x390,
  Divide: 0x3e0,
  SelfIpi: 0x3f0,
} as const;
/** Bytes of the register page (struct kvm_lapic_state). */
export const APIC_BYTES = 0x400;
/** Where it lies after RESET. */
export const APIC_GPA = 0xfee0_0000;

/** Bits of APIC_BASE. */
export const ApicBase = { Bsp: 0x100, X2: 0x400, Enable: 0x800 } as const;

/** Delivery modes, bits 10:8 of LVT entries, ICR, redirection entries and MSI data. */
export const Delivery = {
  Fixed: 0,
  Lowest: 1,
  Smi: 2,
  Remote: 3,
  Nmi: 4,
  Init: 5,
  Startup: 6,
  ExtInt: 7,
} as const;

/** Bits of an LVT entry. */
export const Lvt = {
  Vector: 0xff,
  Mode: 0x700,
  Level: 0x8000,
  Masked: 0x1_0000,
  TimerMode: 0x6_0000,
} as const;
/** Delivery status, mask, vector: what every LVT entry has. */
const ENTRY = 0x1_10ff;
/** LINT entries: polarity, remote IRR, trigger mode. */
const LINT = ENTRY | Lvt.Mode | 0xe000;

/** Bits that each LVT entry keeps; the timer's modes are added by CPUID. */
export const LVT_MASKS: ReadonlyMap<number, number> = new Map([
  [Apic.LvtTimer, ENTRY],
  [Apic.LvtThermal, ENTRY | Lvt.Mode],
  [Apic.LvtPerf, ENTRY | Lvt.Mode],
  [Apic.LvtLint0, LINT],
  [Apic.LvtLint1, LINT],
  [Apic.LvtError, ENTRY],
  [Apic.LvtCmci, ENTRY | Lvt.Mode],
]);

/** Registers that read as they are kept, in both modes (lapic.c, kvm_lapic_readable_reg_mask). */
export const READABLE: ReadonlySet<number> = new Set([
  ...[Apic.Id, Apic.Version, Apic.Tpr, Apic.Ldr, Apic.Spiv, Apic.Esr, Apic.Icr, Apic.InitialCount],
  ...[Apic.LvtTimer, Apic.LvtThermal, Apic.LvtPerf, Apic.LvtLint0, Apic.LvtLint1, Apic.LvtError, Apic.Divide],
  ...[Apic.Isr, Apic.Tmr, Apic.Irr].flatMap((base) => Array.from({ length: 8 }, (_, i) => base + 16 * i)),
]);

/** An interrupt on the APIC bus. */
export interface ApicMessage {
  readonly vector: number;
  /** One of {@link Delivery}. */
  readonly mode: number;
  /** Level-triggered. */
  readonly level: boolean;
  /** The level; edges are always asserted. */
  readonly assert: boolean;
  /** An MSI with a redirection hint: one of its destinations takes it. */
  readonly hint?: boolean;
}
/** Whom a message is for. */
export interface Destination {
  /** APIC id, or a logical destination. Unsigned. */
  readonly id: number;
  readonly logical: boolean;
  /** ICR bits 19:18: 0 by `id`, 1 self, 2 all, 3 all but self. */
  readonly shorthand: number;
}

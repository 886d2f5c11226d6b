/** The local APIC in the kernel, as far as machine checks use it: the LVT entry of corrected errors. */
import type { X86Vcpu } from '@faultyard/arch-x86';

/** Register offset of LVT CMCI (Intel SDM volume 3A, 11.5.1). */
export const LVT_CMCI = 0x2f0;

/** What machine checks want of a local APIC. */
export interface CmciApic {
  /** Whether the LVT entry exists: its number shows in the version register (lapic.c, kvm_apic_after_set_mcg_cap). */
  setCmci(on: boolean): void;
  /** Delivers through an LVT entry (lapic.c, kvm_apic_local_deliver); whether it was taken. */
  local(lvt: number): boolean;
}

/** The vCPU's local APIC; `undefined` without one in the kernel. */
export function apicOf(v: X86Vcpu): CmciApic | undefined {
  return (v as { readonly apic?: CmciApic }).apic;
}

/**
 * KVM_X86_SET_MSR_FILTER: which MSRs the guest may reach at all (Documentation/virt/kvm/api.rst 4.97; arch/x86/kvm/x86.c,
 * kvm_msr_allowed). State of the VM.
 */
import { KvmError, type Plain } from '@faultyard/core';

/** One range of indices: bit n of the bitmap is 1 where index base + n is allowed. */
export interface MsrFilterRange {
  /** 1: for reads, 2: for writes, 3: both. */
  readonly flags: number;
  readonly base: number;
  readonly count: number;
  readonly bitmap: Uint8Array;
}
/** Argument of KVM_X86_SET_MSR_FILTER. */
export interface MsrFilterSetting {
  /** KVM_MSR_FILTER_DEFAULT_DENY is bit 0. */
  readonly flags: number;
  /** At most 16; empty ones are left out. */
  readonly ranges: readonly MsrFilterRange[];
}

/** The filter of a VM. */
export class MsrFilter {
  #on = false;
  #deny = false;
  #ranges: readonly MsrFilterRange[] = [];

  /** Whether the guest's access passes. */
  allows(index: number, write: boolean): boolean {
    if (!this.#on) return true;
    // x2APIC registers are not filtered (api.rst 4.97)
    if (index >= 0x800 && index <= 0x8ff) return true;
    const flag = write ? 2 : 1;
    for (const r of this.#ranges) {
      if (!(r.flags & flag) || index < r.base || index >= r.base + r.count) continue;
      const n = index - r.base;
      return (((r.bitmap[n >>> 3] as number) >>> (n & 7)) & 1) !== 0;
    }
    return !this.#deny;
  }
  /** @throws KvmError EINVAL for unknown flags, a bitmap over 600h bytes, or default deny with no range at all. */
  set(s: MsrFilterSetting): void {
    const no = (why: string): never => {
      throw new KvmError('KVM_X86_SET_MSR_FILTER', 'EINVAL', why);
    };
    if (s.flags & ~1) no(`flags ${s.flags} are not known`);
    const ranges = s.ranges.filter((r) => r.count > 0);
    if (s.ranges.length > 16) no('more than 16 ranges');
    if (ranges.length === 0 && s.flags & 1) no('default deny needs a range');
    for (const r of ranges) {
      if (r.flags & ~3 || r.flags === 0) no(`range flags ${r.flags} are not known`);
      if (Math.ceil(r.count / 64) * 8 > 0x600) no(`a bitmap of ${r.count} MSRs is too long`);
    }
    this.#on = ranges.length > 0;
    this.#deny = (s.flags & 1) !== 0;
    this.#ranges = ranges.map((r) => ({ ...r, bitmap: r.bitmap.slice() }));
  }
  /** For cells. */
  save(): Plain {
    return {
      on: this.#on,
      deny: this.#deny,
      ranges: this.#ranges.map((r) => ({ ...r, bitmap: r.bitmap.slice() })),
    };
  }
  /** For cells. */
  restore(v: Plain): void {
    const s = v as unknown as { on: boolean; deny: boolean; ranges: readonly MsrFilterRange[] };
    this.#on = s.on;
    this.#deny = s.deny;
    this.#ranges = s.ranges.map((r) => ({ ...r, bitmap: r.bitmap.slice() }));
  }
}

/** From a host virtual address to a pfn, as KVM looks it up (kernel: virt/kvm/kvm_main.c, hva_to_pfn). */
import type { AddressSpace } from './host/address-space.ts';
import { driverFault, fastGup, mayWrite, slowGup, Touch, touch } from './host/page-fault.ts';
import { Prot, type VmaKind } from './host/vma.ts';
import { at, type Task } from './task.ts';

/** KVM's error pfns (include/linux/kvm_host.h): bits 62:52 set, bit 63 for no slot. */
export const ERROR_PFN = {
  fault: 0x7ff0_0000_0000_0000n,
  hwpoison: 0x7ff0_0000_0000_0001n,
  'ro-fault': 0x7ff0_0000_0000_0002n,
  sigpending: 0x7ff0_0000_0000_0003n,
  'needs-io': 0x7ff0_0000_0000_0004n,
  noslot: 0x8000_0000_0000_0000n,
} as const;
/** Name of an error pfn. */
export type ErrorPfn = keyof typeof ERROR_PFN;
/** Bits that tell an error pfn whose slot exists. */
export const ERROR_PFN_MASK: bigint = 0x7ff0_0000_0000_0000n;

/** What the lookup is for. */
export interface PfnQuery {
  /** hva / 4096. */
  readonly page: number;
  readonly write: boolean;
  /** x86's first pass: do not sleep, answer `needs-io`. */
  readonly nowait?: boolean;
}

/** Result of {@link hvaToPfn}. */
export interface PfnResult {
  /** pfn, or the error. */
  readonly pfn: number | ErrorPfn;
  /** The page may be mapped writable. */
  readonly writable: boolean;
  /** Memory of a device (VM_IO | VM_PFNMAP). */
  readonly device: boolean;
  /** Kind of the area, when there is one. */
  readonly vma: VmaKind | undefined;
}

const error = (pfn: ErrorPfn, vma: VmaKind | undefined): PfnResult => ({
  pfn,
  writable: false,
  device: false,
  vma,
});

/**
 * Looks a pfn up: fast GUP, slow GUP, then the area itself (a PFNMAP PTE, or the driver's fault handler). Yields
 * `fault.gup` before the lookup, `fault.io` before it calls a driver, and what locks and drivers yield.
 */
export function* hvaToPfn(s: AddressSpace, q: PfnQuery): Task<PfnResult> {
  const { page, write } = q;
  yield at('fault.gup');
  const kind = s.vmas.find(page)?.kind;
  // Reads try for a writable mapping first, as fast GUP with FOLL_WRITE does.
  const got = fastGup(s, page, write) || (yield* slowGup(s, page, write, q.nowait === true));
  if (typeof got === 'number') {
    const v = s.vmas.find(page);
    return {
      pfn: got,
      writable: v !== undefined && (write || mayWrite(s, v, page)),
      device: false,
      vma: v?.kind,
    };
  }
  if (got === 'EHWPOISON') return error('hwpoison', kind);
  yield* s.mmapLock.read();
  try {
    const v = s.vmas.find(page);
    if (!v) return error('fault', undefined);
    const permitted = (v.prot & (write ? Prot.Write : Prot.Read)) !== 0;
    if (v.kind !== 'io') return error(q.nowait && permitted ? 'needs-io' : 'fault', v.kind);
    if (!s.ioPtes.has(page)) {
      if (!permitted) return error('fault', 'io');
      yield at('fault.io');
      if (!(yield* driverFault(s, v, page, write))) return error('fault', 'io');
    }
    if (v.prot === Prot.None) return error('fault', 'io');
    const pfn = touch(s, v, page, write);
    if (pfn === Touch.ReadOnly) return error('ro-fault', 'io');
    if (pfn <= 0) return error('fault', 'io');
    return { pfn, writable: mayWrite(s, v, page), device: true, vma: 'io' };
  } finally {
    s.mmapLock.endRead();
  }
}

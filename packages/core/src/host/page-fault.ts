/**
 * What a touch of a page meets in the host: page faults, fast and slow GUP, and waiting for userfaultfd.
 * (kernel: mm/memory.c, mm/gup.c, fs/userfaultfd.c)
 */
import { PAGE_SIZE } from '../address.ts';
import type { Task } from '../task.ts';
import type { AddressSpace } from './address-space.ts';
import { readDiskBytes } from './backing.ts';
import { Entry } from './page-table.ts';
import { indexOf, Prot, type Vma } from './vma.ts';

/** Results of {@link touch} other than a pfn. */
export const Touch: {
  /** Somebody must act first: a driver's fault handler, or userfaultfd. */
  readonly Wait: 0;
  /** VM_FAULT_SIGBUS: beyond the end of a file, or refused. */
  readonly SigBus: -1;
  /** VM_FAULT_HWPOISON. */
  readonly HwPoison: -2;
  /** No frame left in the lab. */
  readonly NoMemory: -3;
  /** An IO mapping's PTE is there, but read-only. */
  readonly ReadOnly: -4;
} = { Wait: 0, SigBus: -1, HwPoison: -2, NoMemory: -3, ReadOnly: -4 };

/** First page of the huge page that holds `page`. */
export function hugeBase(v: Vma, page: number): number {
  const n = 2 ** (v.shift - 12);
  return page - (page % n);
}

/**
 * Faults a page in, permissions being checked already: its pfn (exclusive when `write`), or a {@link Touch}.
 * Never blocks.
 */
export function touch(s: AddressSpace, v: Vma, page: number, write: boolean): number {
  const b = v.backing;
  const index = indexOf(v, page);
  const table = s.tableOf(b);
  if (v.kind === 'hugetlb' && s.lostHuge.size > 0 && s.lostHuge.has(hugeBase(v, page))) return Touch.HwPoison;
  if (b?.kind === 'file' && index * PAGE_SIZE >= b.length) return Touch.SigBus;
  if (b?.kind === 'gmem' && (!b.initShared || index * PAGE_SIZE >= b.length)) return Touch.SigBus;
  if (b?.kind === 'io') {
    const writable = s.ioPtes.get(page);
    if (writable === undefined) return Touch.Wait;
    if (write && !writable) return Touch.ReadOnly;
  }
  const e = table.get(index);
  if (e < 0) return Touch.HwPoison;
  if (e === 0) {
    if (v.userfault) return Touch.Wait;
    const pfn = s.host.takeFrame();
    if (pfn === 0) return Touch.NoMemory;
    if (b?.kind === 'file') s.host.u8.set(readDiskBytes(b, index * PAGE_SIZE, PAGE_SIZE), pfn * PAGE_SIZE);
    table.put(index, pfn);
  }
  if (!write) return table.pfn(index);
  const pfn = s.ownPage(b, index);
  if (pfn < 0) return Touch.NoMemory;
  if (b?.kind === 'file') table.setBits(index, Entry.Dirty);
  return pfn;
}

/** Whether a page that was read may be mapped writable at once. Pages of disk files stay clean until written. */
export function mayWrite(s: AddressSpace, v: Vma, page: number): boolean {
  if ((v.prot & Prot.Write) === 0) return false;
  const b = v.backing;
  if (b?.kind === 'io') return s.ioPtes.get(page) === true;
  return b?.kind !== 'file' || b.disk === undefined || (b.pages.get(indexOf(v, page)) & Entry.Dirty) !== 0;
}

/**
 * get_user_pages_fast without faulting: the pfn of a page whose PTE is present and permits the access, else 0.
 * A PTE of an area without PROT_READ is readable once it is present, as on both architectures.
 */
export function fastGup(s: AddressSpace, page: number, write: boolean): number {
  const v = s.vmas.find(page);
  if (!v || v.kind === 'io' || v.prot === Prot.None || (write && (v.prot & Prot.Write) === 0)) return 0;
  if (s.tableOf(v.backing).get(indexOf(v, page)) <= 0) return 0;
  if (write && !mayWrite(s, v, page)) return 0;
  return Math.max(touch(s, v, page, write), 0);
}

/** Yields until userfaultfd has resolved the page; the caller holds no lock. */
export function* awaitUserfault(s: AddressSpace, page: number, write: boolean): Task<void> {
  const waiting = (): boolean => {
    const l = s.locate(page);
    return l?.vma.userfault === true && s.tableOf(l.vma.backing).get(l.index) === 0;
  };
  if (!waiting()) return;
  if (!s.userfaults.has(page)) {
    s.userfaults.set(page, write);
    s.onUserfault?.(page, write);
  }
  yield {
    at: 'fault.userfault',
    ready: () => !waiting(),
    waits: `userfaultfd to resolve hva 0x${(page * PAGE_SIZE).toString(16)}`,
  };
}

/**
 * Calls a driver's fault handler for an absent PTE; the caller holds mmap_lock shared.
 * Returns whether a PTE stands there now.
 */
export function* driverFault(s: AddressSpace, v: Vma, page: number, write: boolean): Task<boolean> {
  const b = v.backing;
  if (b?.kind !== 'io') return false;
  const asked = b.fault(indexOf(v, page), write);
  const answer = typeof asked === 'string' ? asked : yield* asked;
  if (answer === 'sigbus') return false;
  s.ioPtes.set(page, answer === 'map' && (v.prot & Prot.Write) !== 0);
  return true;
}

/** Outcome of {@link slowGup}: a pfn, or an errno. */
export type GupResult = number | 'EFAULT' | 'EHWPOISON' | 'EAGAIN';

/**
 * get_user_pages for one page, faulting it in (kernel: __get_user_pages with FOLL_HWPOISON).
 * With `nowait` (x86's first pass) it does not wait for userfaultfd.
 */
export function* slowGup(s: AddressSpace, page: number, write: boolean, nowait: boolean): Task<GupResult> {
  for (;;) {
    yield* s.mmapLock.read();
    try {
      const v = s.vmas.find(page);
      if (!v || v.kind === 'io') return 'EFAULT';
      if ((v.prot & (write ? Prot.Write : Prot.Read)) === 0) return 'EFAULT';
      const r = touch(s, v, page, write);
      if (r > 0) return r;
      if (r === Touch.HwPoison) return 'EHWPOISON';
      // GUP's ENOMEM is one more page that cannot be had: KVM makes an error pfn of it
      if (r !== Touch.Wait) return 'EFAULT';
      if (nowait) return 'EAGAIN';
    } finally {
      s.mmapLock.endRead();
    }
    yield* awaitUserfault(s, page, write);
  }
}

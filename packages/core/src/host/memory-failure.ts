/** memory_failure(): what the host kernel does when a page is reported bad (kernel: mm/memory-failure.c). */
import { type Hva, hva, PAGE_SIZE } from '../address.ts';
import { at, type Task } from '../task.ts';
import { lsbOf } from './access.ts';
import type { AddressSpace } from './address-space.ts';
import type { Backing, GuestMemfd } from './backing.ts';
import { hugeBase } from './page-fault.ts';
import { Entry, Mark } from './page-table.ts';
import { indexOf, type Vma } from './vma.ts';

/** What became of a page. */
export interface FailureReport {
  /**
   * `killed`: the page is lost and its users get SIGBUS. `recovered`: a clean page of a file was dropped, the next
   * touch reads it again. `already`: it was lost before (its users get SIGBUS again). `ignored`: nothing to do there.
   */
  readonly how: 'killed' | 'recovered' | 'already' | 'ignored';
  /** Whether the process is to get SIGBUS: AR to the thread that touched it, AO to others. */
  readonly signal: boolean;
  /** si_addr: the page. */
  readonly addr: Hva;
  /** si_addr_lsb: 12, or 21 / 30 when a hugetlb page is gone. */
  readonly lsb: number;
}

const report = (how: FailureReport['how'], v: Vma | undefined, page: number): FailureReport => ({
  how,
  signal: how === 'killed' || how === 'already',
  addr: hva(page * PAGE_SIZE),
  lsb: v ? lsbOf(v) : 12,
});

/**
 * The page at `addr` is bad: mark it, remove it from every mapping (MMU notifiers), say what signal is due. THP is
 * split to 4K first; a hugetlb page goes whole. Yields `mf.mark` before the mark, then the notifier points.
 */
export function* memoryFailure(s: AddressSpace, addr: bigint | number): Task<FailureReport> {
  const page = Math.floor(Number(addr) / PAGE_SIZE);
  yield at('mf.mark');
  const v = s.vmas.find(page);
  // Pages of devices have no struct page: action "ignored: reserved kernel page".
  if (!v || v.kind === 'io') return report('ignored', v, page);
  const index = indexOf(v, page);
  if (v.kind === 'hugetlb') {
    const base = hugeBase(v, page);
    if (s.lostHuge.has(base)) return report('already', v, page);
    const n = 2 ** (v.shift - 12);
    yield* s.change(base, base + n, () => {
      s.anon.clear(base, n);
      s.lostHuge.add(base);
    });
    return report('killed', v, page);
  }
  const e = s.tableOf(v.backing).get(index);
  if (e < 0) return report('already', v, page);
  // Nothing is there: no frame can be bad.
  if (e === 0) return report('ignored', v, page);
  if (v.backing?.kind === 'file' && v.backing.disk && (e & Entry.Dirty) === 0) {
    const f = v.backing;
    yield* s.zap(f, index, index + 1, () => f.pages.put(index, 0));
    return report('recovered', v, page);
  }
  yield* lose(s, v.backing, index);
  return report('killed', v, page);
}

function lose(s: AddressSpace, b: Backing | undefined, index: number): Task<void> {
  const mark = (): void => s.tableOf(b).put(index, Mark.HwPoison);
  if (!b) return s.change(index, index + 1, mark);
  return b.kind === 'gmem' ? s.changeGmem(b, index, index + 1, mark) : s.zap(b, index, index + 1, mark);
}

/** memory_failure() on page `index` of a guest_memfd (kernel: kvm_gmem_error_folio). */
export function* gmemFailure(s: AddressSpace, g: GuestMemfd, index: number): Task<void> {
  yield at('mf.mark');
  if (g.pages.get(index) >= 0) yield* lose(s, g, index);
}

/**
 * memory_failure() by frame: every page of this space that stands in it. Frames are found by search, because only
 * rare events ask.
 */
export function* frameFailure(s: AddressSpace, pfn: number): Task<readonly FailureReport[]> {
  const found: number[] = [];
  const gmem: (readonly [GuestMemfd, number])[] = [];
  s.anon.forAll((p, e) => {
    if (e > 0 && (e & Entry.Pfn) === pfn) found.push(p);
  });
  for (const b of s.backings.values())
    b.pages.forAll((index, e) => {
      if (e <= 0 || (e & Entry.Pfn) !== pfn) return;
      const v = s.vmas.all.find(
        (x) => x.backing === b && index >= x.offset && index < x.offset + (x.end - x.start),
      );
      if (v) found.push(v.start + (index - v.offset));
      else if (b.kind === 'gmem') gmem.push([b, index]);
    });
  const out: FailureReport[] = [];
  for (const p of found) out.push(yield* memoryFailure(s, p * PAGE_SIZE));
  for (const [g, i] of gmem) yield* gmemFailure(s, g, i);
  return out;
}

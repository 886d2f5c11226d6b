/** Content hash of guest memory: deterministic, whatever pfns it lies in. */
import { PAGE_SIZE } from './address.ts';
import { FrameFlag, type HostMemory } from './host/memory.ts';
import { Entry } from './host/page-table.ts';
import type { Memslots } from './memslot.ts';

const pageHash = { lo: 0, hi: 0 };

/** Content hash of a frame in {@link pageHash}; `false` when it is all zeros. */
function hashFrame(host: HostMemory, pfn: number, keep: boolean): boolean {
  const { hashes } = host;
  if (((host.flags[pfn] as number) & FrameFlag.Hashed) !== 0) {
    pageHash.lo = hashes[2 * pfn] as number;
    pageHash.hi = hashes[2 * pfn + 1] as number;
    return pageHash.lo !== 0 || pageHash.hi !== 0;
  }
  const { i32 } = host;
  const from = pfn * (PAGE_SIZE / 4);
  let a = 0x811c9dc5 | 0;
  let b = 0x2f0b4a27;
  let any = 0;
  for (let i = from; i < from + PAGE_SIZE / 4; i++) {
    const w = i32[i] as number;
    any |= w;
    a = Math.imul(a ^ w, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b + w, 0x85ebca6b) ^ (a >>> 7);
  }
  pageHash.lo = any === 0 ? 0 : a | 1;
  pageHash.hi = any === 0 ? 0 : b;
  if (keep) {
    hashes[2 * pfn] = pageHash.lo;
    hashes[2 * pfn + 1] = pageHash.hi;
    host.mark(pfn, FrameFlag.Hashed, true);
  }
  return any !== 0;
}

/**
 * Feeds the content of guest memory, slot by slot, page by page: pages that are absent or zero are skipped, so that
 * touching memory does not change the hash. Poison and what memory_failure took are content too. Pages shared with a
 * snapshot are hashed once.
 */
export function hashGuest(slots: Memslots, feed: (word: number) => void): void {
  const { space } = slots;
  const { host } = space;
  const one = (gfn: number, e: number, keep: boolean): void => {
    const tag = (state: number): void => {
      feed(gfn | 0);
      feed(Math.floor(gfn / 2 ** 32) * 8 + state);
    };
    if (e < 0) {
      tag(2 - e);
      return;
    }
    const pfn = e & Entry.Pfn;
    const state = host.poisoned(pfn) ? 1 : 0;
    if (!hashFrame(host, pfn, keep) && state === 0) return;
    tag(state);
    feed(pageHash.lo);
    feed(pageHash.hi);
  };
  for (const s of slots.all()) {
    feed((s.asId << 16) | s.id);
    if (s.gmem?.mmap) {
      const { pages: t } = s.gmem;
      t.forEach(s.gmemIndex, s.npages, (i, e) => one(s.baseGfn + (i - s.gmemIndex), e, !t.exclusive(i)));
      continue;
    }
    for (const v of space.vmas.meeting(s.hvaPage, s.hvaPage + s.npages)) {
      const from = Math.max(v.start, s.hvaPage);
      const to = Math.min(v.end, s.hvaPage + s.npages);
      const first = v.backing ? v.offset + (from - v.start) : from;
      const gfn = s.baseGfn + (from - s.hvaPage);
      const t = space.tableOf(v.backing);
      const beyond = v.backing?.kind === 'file' ? Math.ceil(v.backing.length / PAGE_SIZE) : Infinity;
      t.forEach(first, to - from, (i, e) => {
        if (i < beyond) one(gfn + (i - first), e, !t.exclusive(i));
      });
      if (v.kind === 'hugetlb')
        for (const p of [...space.lostHuge].sort((x, y) => x - y))
          if (p >= from && p < to) {
            feed((gfn + (p - from)) | 0);
            feed(5);
          }
    }
  }
}

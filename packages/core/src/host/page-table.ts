/**
 * Copy-on-write page tables: from a page number (of an address space, or of a file) to a host frame.
 *
 * Entries stand in chunks of 512 with a reference count. Sharing a table (snapshot, fork) copies the list of chunks
 * and adds a reference to each; the first write to a shared page copies the chunk, then the frame. So a page may be
 * written in place only while its chunk and its frame have one reference: {@link PageTable.exclusive}.
 */
import type { HostMemory } from './memory.ts';
import { FrameFlag } from './memory.ts';

const CHUNK_PAGES = 512;

/** Parts of an entry. 0 = absent, negative = a {@link Mark}, else pfn and bits. */
export const Entry: {
  /** Mask of the pfn. */
  readonly Pfn: 0xfffff;
  /** The page differs from what its file holds on disk. */
  readonly Dirty: 0x100000;
} = { Pfn: 0xfffff, Dirty: 0x100000 };

/** Entries that stand for something other than a frame. */
export const Mark: {
  /** memory_failure took the page away: a touch is BUS_MCEERR_AR (kernel: hwpoison swap entry, PG_hwpoison). */
  readonly HwPoison: -1;
  /** UFFDIO_POISON stands there: a touch is BUS_MCEERR_AR too (kernel: PTE_MARKER_POISONED). */
  readonly UserPoison: -2;
} = { HwPoison: -1, UserPoison: -2 };

interface Chunk {
  refs: number;
  readonly e: Int32Array;
}

const releaseChunk = (host: HostMemory, c: Chunk): void => {
  if (--c.refs > 0) return;
  for (const e of c.e) if (e > 0) host.release(e & Entry.Pfn);
};

/** A page table with copy-on-write sharing. Page numbers are integers below 2^40. */
export class PageTable {
  readonly host: HostMemory;
  #chunks = new Map<number, Chunk>();
  #key = -1;
  #last: Chunk | undefined;

  constructor(host: HostMemory) {
    this.host = host;
    const chunks = this.#chunks;
    host.adopt(this, () => {
      for (const c of chunks.values()) releaseChunk(host, c);
      chunks.clear();
    });
  }

  #chunk(page: number): Chunk | undefined {
    const key = (page - (page & (CHUNK_PAGES - 1))) / CHUNK_PAGES;
    if (key === this.#key) return this.#last;
    this.#key = key;
    this.#last = this.#chunks.get(key);
    return this.#last;
  }

  /** The chunk of `page`, which nobody else refers to. */
  #ownChunk(page: number): Chunk {
    const old = this.#chunk(page);
    if (old && old.refs === 1) return old;
    const c: Chunk = { refs: 1, e: old ? old.e.slice() : new Int32Array(CHUNK_PAGES) };
    if (old) {
      for (const e of c.e) if (e > 0) this.host.retain(e & Entry.Pfn);
      old.refs--;
    }
    this.#chunks.set(this.#key, c);
    this.#last = c;
    return c;
  }

  /** The entry: 0 when absent, a {@link Mark}, or pfn and bits. */
  get(page: number): number {
    const c = this.#chunk(page);
    return c ? (c.e[page & (CHUNK_PAGES - 1)] as number) : 0;
  }

  /** The pfn, or 0 when no frame stands there. */
  pfn(page: number): number {
    const e = this.get(page);
    return e > 0 ? e & Entry.Pfn : 0;
  }

  /** Writes an entry. A frame in it brings its reference along; the replaced frame loses one. */
  put(page: number, entry: number): void {
    if (entry === 0 && this.get(page) === 0) return;
    const c = this.#ownChunk(page);
    const i = page & (CHUNK_PAGES - 1);
    const old = c.e[i] as number;
    c.e[i] = entry;
    if (old > 0) this.host.release(old & Entry.Pfn);
  }

  /** Whether the page stands in a frame that may be written in place. */
  exclusive(page: number): boolean {
    const c = this.#chunk(page);
    if (c?.refs !== 1) return false;
    const e = c.e[page & (CHUNK_PAGES - 1)] as number;
    return e > 0 && this.host.refs(e & Entry.Pfn) === 1;
  }

  /**
   * Makes the page's frame writable in place, copying chunk and frame when they are shared, and returns its pfn;
   * 0 when no frame stands there, -1 when memory has run out.
   */
  own(page: number): number {
    if (this.pfn(page) === 0) return 0;
    const c = this.#ownChunk(page);
    const i = page & (CHUNK_PAGES - 1);
    const e = c.e[i] as number;
    let pfn = e & Entry.Pfn;
    const { host } = this;
    if (host.refs(pfn) > 1) {
      const copy = host.copyFrame(pfn);
      if (copy === 0) return -1;
      host.release(pfn);
      c.e[i] = copy | (e & ~Entry.Pfn);
      pfn = copy;
    }
    host.mark(pfn, FrameFlag.Hashed, false);
    return pfn;
  }

  /** Sets bits (such as {@link Entry.Dirty}) of an entry that holds a frame. */
  setBits(page: number, bits: number): void {
    const e = this.get(page);
    if (e <= 0 || (e & bits) === bits) return;
    const c = this.#ownChunk(page);
    c.e[page & (CHUNK_PAGES - 1)] = e | bits;
  }

  /** Removes `n` entries from `page` on. */
  clear(page: number, n: number): void {
    this.forEach(page, n, (p) => this.put(p, 0));
  }

  /** Calls `visit` for each entry that is not absent, in ascending order. */
  forEach(page: number, n: number, visit: (page: number, entry: number) => void): void {
    const end = page + n;
    const first = Math.floor(page / CHUNK_PAGES);
    const last = Math.floor((end - 1) / CHUNK_PAGES);
    if (n <= 0) return;
    const keys =
      last - first < this.#chunks.size
        ? Array.from({ length: last - first + 1 }, (_, i) => first + i)
        : [...this.#chunks.keys()].filter((k) => k >= first && k <= last).sort((a, b) => a - b);
    for (const key of keys) {
      const c = this.#chunks.get(key);
      if (!c) continue;
      const base = key * CHUNK_PAGES;
      const to = Math.min(CHUNK_PAGES, end - base);
      for (let i = Math.max(0, page - base); i < to; i++) {
        const e = c.e[i] as number;
        if (e !== 0) visit(base + i, e);
      }
    }
  }

  /** Every entry that is not absent, in ascending order. */
  forAll(visit: (page: number, entry: number) => void): void {
    this.forEach(0, Number.MAX_SAFE_INTEGER - 1, visit);
  }

  /** A second table with the same content, sharing everything. */
  share(): PageTable {
    const t = new PageTable(this.host);
    for (const [k, c] of this.#chunks) {
      c.refs++;
      t.#chunks.set(k, c);
    }
    return t;
  }

  /** Makes this table's content that of `from`, sharing it; `changed` hears of each page whose entry differs. */
  become(from: PageTable, changed: (page: number) => void): void {
    const compare = (key: number, a: Chunk | undefined, b: Chunk | undefined): void => {
      for (let i = 0; i < CHUNK_PAGES; i++)
        if ((a ? a.e[i] : 0) !== (b ? b.e[i] : 0)) changed(key * CHUNK_PAGES + i);
    };
    const gone: Chunk[] = [];
    for (const [k, c] of this.#chunks) {
      const n = from.#chunks.get(k);
      if (n === c) continue;
      compare(k, c, n);
      gone.push(c);
      if (!n) this.#chunks.delete(k);
    }
    for (const [k, n] of from.#chunks) {
      const c = this.#chunks.get(k);
      if (n === c) continue;
      if (!c) compare(k, c, n);
      n.refs++;
      this.#chunks.set(k, n);
    }
    for (const c of gone) releaseChunk(this.host, c);
    this.#key = -1;
    this.#last = undefined;
  }

  /** Gives everything back; the table is empty afterwards. */
  release(): void {
    for (const c of this.#chunks.values()) releaseChunk(this.host, c);
    this.#chunks.clear();
    this.#key = -1;
    this.#last = undefined;
  }

  /** {@link release}, and nothing is left to collect. For snapshots that end. */
  dispose(): void {
    this.release();
    this.host.settle(this);
  }
}

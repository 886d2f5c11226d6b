/**
 * The fast TLBs of one vCPU: per access context three direct-mapped tables (read, write, exec) in its block. They are
 * never state: any entry may go at any time. A list of filled entries makes a flush cost what was filled.
 */
import { CONTEXT_BYTES, TLB_ENTRIES, TLB_ENTRY } from './cpu-block.ts';

/** Kind of table: its index within a context. */
export const Table = { read: 0, write: 1, exec: 2 } as const;
/** One of {@link Table}. */
export type TableIndex = 0 | 1 | 2;

/** Entry number of the page at guest virtual address `hi:lo`; generated code computes the same. */
function tlbIndex(lo: number, hi: number): number {
  const page = (lo >>> 12) | (hi << 20);
  return (page + (page >>> 10)) & (TLB_ENTRIES - 1);
}

/** Counters of {@link ContextTlb}'s frames: a power of two. */
const COUNTERS = 8192;
function counter(frame: number): number {
  return (frame >>> 12) & (COUNTERS - 1);
}

/** The fast TLB of one access context. */
export class ContextTlb {
  readonly #i32: Int32Array;
  /** Index of the first word in the view. */
  readonly #start: number;
  /** Entries (table * 1024 + index) that may be filled, each listed once. */
  readonly #filled: Uint16Array = new Uint16Array(3 * TLB_ENTRIES);
  readonly #listed: Uint8Array = new Uint8Array(3 * TLB_ENTRIES);
  #count = 0;
  /** How many listed entries lead to frames of each counter: mostly none, and then there is nothing to drop. */
  readonly #frames: Uint16Array = new Uint16Array(COUNTERS);

  /** @param at its offset in host memory; the entries are made empty. */
  constructor(i32: Int32Array, at: number) {
    this.#i32 = i32;
    this.#start = at >>> 2;
    for (let w = 0; w < CONTEXT_BYTES >>> 2; w += TLB_ENTRY >>> 2) {
      i32[this.#start + w] = -1;
      i32[this.#start + w + 1] = -1;
    }
  }
  #word(entry: number): number {
    return this.#start + entry * (TLB_ENTRY >>> 2);
  }
  /**
   * Makes the page that holds `hi:lo` hit. `addend` plus the low half of an address is what the fast path uses;
   * `frame` is the host frame it leads to.
   */
  fill(table: TableIndex, lo: number, hi: number, addend: number, frame: number): void {
    const entry = table * TLB_ENTRIES + tlbIndex(lo, hi);
    const w = this.#word(entry);
    if (this.#listed[entry] === 0) {
      this.#listed[entry] = 1;
      this.#filled[this.#count++] = entry;
    } else this.#tally(w, -1);
    this.#i32[w] = lo & -4096;
    this.#i32[w + 1] = hi;
    this.#i32[w + 2] = addend | 0;
    this.#i32[w + 3] = frame | 0;
    this.#tally(w, 1);
  }
  /** Counts the frame of a listed entry in (1) or out (-1). */
  #tally(word: number, by: number): void {
    const i = counter(this.#i32[word + 3] ?? 0);
    this.#frames[i] = (this.#frames[i] ?? 0) + by;
  }
  /** Word index of the entry that serves `hi:lo`, or -1: addend at +2, frame at +3. */
  find(table: TableIndex, lo: number, hi: number): number {
    const w = this.#word(table * TLB_ENTRIES + tlbIndex(lo, hi));
    return this.#i32[w] === (lo & -4096) && this.#i32[w + 1] === hi ? w : -1;
  }
  #drop(entry: number): void {
    const w = this.#word(entry);
    this.#i32[w] = -1;
    this.#i32[w + 1] = -1;
  }
  /** Drops everything. */
  flush(): void {
    for (let i = 0; i < this.#count; i++) {
      const entry = this.#filled[i] ?? 0;
      this.#drop(entry);
      this.#tally(this.#word(entry), -1);
      this.#listed[entry] = 0;
    }
    this.#count = 0;
  }
  /** Drops one table. */
  flushTable(table: TableIndex): void {
    for (let i = 0; i < this.#count; i++) {
      const entry = this.#filled[i] ?? 0;
      if (entry >>> 10 === table) this.#drop(entry);
    }
  }
  /** Drops what leads to the frame, in the tables of the mask (bit 0 read, 1 write, 2 exec). */
  dropFrame(frame: number, tables: number): void {
    const f = frame | 0;
    if (this.#frames[counter(f)] === 0) return;
    for (let i = 0; i < this.#count; i++) {
      const entry = this.#filled[i] ?? 0;
      if (this.#i32[this.#word(entry) + 3] === f && (tables >>> (entry >>> 10)) & 1) this.#drop(entry);
    }
  }
  /** Drops one guest virtual page. */
  dropPage(lo: number, hi: number): void {
    for (const table of [0, 1, 2] as const)
      if (this.find(table, lo, hi) >= 0) this.#drop(table * TLB_ENTRIES + tlbIndex(lo, hi));
  }
  /** How many entries may be filled (an upper bound, for tests and figures). */
  get filled(): number {
    return this.#count;
  }
}

/**
 * Mapped layout, for instructions of any length: a map from page offset to record (u32, 0 = none), and runs of
 * contiguous records. A run that reaches decoded code joins it; one that reaches the page's end goes to the next page
 * by lookup; an instruction that crosses the page's end is never cached.
 */
import type { EngineHost, HostViews } from './host.ts';
import { PAGE } from './host.ts';
import type { Isa } from './isa.ts';
import { FIRST_HANDLER, MAPPED_RUN, Special } from './layout.ts';
import type { CodePage, Decoder, PageLayout } from './predecode.ts';

/** Bytes of the map. */
export const MAP_BYTES: number = PAGE * 4;
/** Above every handler's index. */
const PAIR_KEY = 0x1_0000;
/** Runs that fit into one piece of record memory. */
const RUNS_PER_CHUNK = 4;

/** A page with its record memory. */
export interface MappedPage extends CodePage {
  readonly chunks: number[];
  /** Chunk being filled, and the next free record in it. */
  chunk: number;
  free: number;
  /** One bit for each byte of the page that belongs to a decoded instruction. */
  readonly covered: Uint32Array;
}

/** Pages of an instruction set with variable lengths. */
export class MappedPages implements PageLayout<MappedPage> {
  readonly #host: EngineHost;
  readonly #v: HostViews;
  readonly #isa: Isa;
  readonly #chunkBytes: number;
  readonly longest: number = MAPPED_RUN;
  /** Record numbers of pairs, by first and second handler. */
  readonly #pairs: Map<number, number> = new Map();

  constructor(host: EngineHost, v: HostViews, isa: Isa) {
    this.#host = host;
    this.#v = v;
    this.#isa = isa;
    this.#chunkBytes = RUNS_PER_CHUNK * MAPPED_RUN * isa.recordSize;
    isa.pairs?.forEach(([first, second], i) => {
      this.#pairs.set(first * PAIR_KEY + second, FIRST_HANDLER + isa.handlers.length + i);
    });
  }
  create(frame: number, mode: number): MappedPage {
    const base = this.#host.allocTable(MAP_BYTES, 16);
    return {
      frame,
      mode,
      base,
      misses: 0,
      chunks: [],
      chunk: -1,
      free: 0,
      covered: new Uint32Array(PAGE / 32),
    };
  }
  decode(p: MappedPage, offset: number, decoder: Decoder): void {
    const size = this.#isa.recordSize;
    const map = p.base >>> 2;
    let rec = this.#room(p);
    let at = offset;
    let before = -1;
    for (let n = 1; ; n++) {
      const known = n > 1 && at < PAGE ? (this.#v.i32[map + at] ?? 0) : 0;
      if (at >= PAGE || known !== 0 || n === MAPPED_RUN) {
        this.#stop(rec, at, known);
        break;
      }
      const handler = decoder.one(rec, p.frame + at, at, PAGE - at, p.mode);
      this.#v.i32[map + at] = rec;
      if (handler < 0) {
        this.#special(rec, at, Special.Cross);
        this.#cover(p, at, PAGE);
        rec += size;
        break;
      }
      this.#cover(p, at, at + decoder.length);
      const pair = before < 0 ? undefined : this.#pairs.get(before * PAIR_KEY + handler);
      if (pair !== undefined) this.#v.u16[(rec - size) >>> 1] = pair;
      before = handler;
      at += decoder.length;
      rec += size;
      if (this.#isa.handlers[handler]?.ends) {
        this.#stop(rec, at, 0);
        break;
      }
    }
    p.free = rec + size;
  }
  #stop(rec: number, at: number, known: number): void {
    this.#special(rec, at, at >= PAGE ? Special.End : known !== 0 ? Special.Join : Special.Undecoded);
    this.#v.i32[(rec >>> 2) + 2] = known;
  }
  #special(rec: number, at: number, what: number): void {
    this.#v.u16[rec >>> 1] = what;
    this.#v.u16[(rec >>> 1) + 1] = at;
  }
  /** Makes the undecoded record at `rec` go to the records of its offset, which are decoded now. */
  patch(p: MappedPage, rec: number): void {
    const at = this.#v.u16[(rec >>> 1) + 1] ?? 0;
    const known = at < PAGE ? (this.#v.i32[(p.base >>> 2) + at] ?? 0) : 0;
    if (known !== 0 && known >>> 0 !== rec && this.#v.u16[rec >>> 1] === Special.Undecoded)
      this.#stop(rec, at, known);
  }
  /** First record of a stretch that holds a run of any length. */
  #room(p: MappedPage): number {
    const need = MAPPED_RUN * this.#isa.recordSize;
    const start = p.chunks[p.chunk];
    if (start !== undefined && p.free + need <= start + this.#chunkBytes) return p.free;
    p.chunk++;
    let next = p.chunks[p.chunk];
    if (next === undefined) {
      next = this.#host.allocTable(this.#chunkBytes, 16);
      p.chunks.push(next);
    }
    p.free = next;
    return next;
  }
  #cover(p: MappedPage, from: number, to: number): void {
    for (let i = from; i < to; i++) p.covered[i >>> 5] = (p.covered[i >>> 5] ?? 0) | (1 << (i & 31));
  }
  drop(p: MappedPage, from: number, to: number): boolean {
    for (let i = from; i < to; i++)
      if (((p.covered[i >>> 5] ?? 0) >>> (i & 31)) & 1) {
        this.clear(p);
        return true;
      }
    return false;
  }
  clear(p: MappedPage): void {
    const size = this.#isa.recordSize;
    this.#v.i32.fill(0, p.base >>> 2, (p.base + MAP_BYTES) >>> 2);
    for (const start of p.chunks)
      for (let rec = start; rec < start + this.#chunkBytes; rec += size)
        this.#v.u16[rec >>> 1] = Special.Undecoded;
    p.covered.fill(0);
    p.chunk = -1;
    p.free = 0;
  }
  free(p: MappedPage): void {
    this.#host.freeTable(p.base, MAP_BYTES);
    for (const c of p.chunks) this.#host.freeTable(c, this.#chunkBytes);
  }
}

/** Direct layout: instruction n of a page is record n; behind the last stands the record that goes to the next page. */
import type { EngineHost, HostViews } from './host.ts';
import { PAGE } from './host.ts';
import type { Isa } from './isa.ts';
import { DIRECT_RECORDS, FIRST_HANDLER, Special } from './layout.ts';
import type { CodePage, Decoder, PageLayout } from './predecode.ts';

/** Most instructions decoded ahead. */
const AHEAD = 64;

/** Pages of a fixed four-byte instruction set. */
export class DirectPages implements PageLayout {
  readonly #host: EngineHost;
  readonly #v: HostViews;
  readonly #isa: Isa;
  readonly #bytes: number;
  /** By handler number: whether a straight run stops there, because it ends or must be decoded first. */
  readonly #stops: Uint8Array;
  longest = 1;

  constructor(host: EngineHost, v: HostViews, isa: Isa) {
    this.#host = host;
    this.#v = v;
    this.#isa = isa;
    this.#bytes = (DIRECT_RECORDS + 1) * isa.recordSize;
    this.#stops = new Uint8Array(FIRST_HANDLER + isa.handlers.length);
    this.#stops.fill(1, 0, FIRST_HANDLER);
    isa.handlers.forEach((h, i) => {
      this.#stops[FIRST_HANDLER + i] = h.ends ? 1 : 0;
    });
  }
  create(frame: number, mode: number): CodePage {
    const base = this.#host.allocTable(this.#bytes, 16);
    this.#v.u16[(base + DIRECT_RECORDS * this.#isa.recordSize) >>> 1] = Special.End;
    return { frame, mode, base, misses: 0 };
  }
  decode(p: CodePage, offset: number, decoder: Decoder): void {
    const last = Math.min(offset + AHEAD * 4, PAGE);
    for (let at = offset & ~3; at < last; at += 4) {
      const rec = p.base + (at >>> 2) * this.#isa.recordSize;
      if (this.#v.u16[rec >>> 1] !== Special.Undecoded) break;
      if (decoder.one(rec, p.frame + at, at, PAGE - at, p.mode) < 0) decoder.undefined(rec, at, 4);
      if (this.#stopsAt(p, at >>> 2)) break;
    }
    this.#measure(p, offset >>> 2);
  }
  #stopsAt(p: CodePage, n: number): boolean {
    return this.#stops[this.#v.u16[(p.base + n * this.#isa.recordSize) >>> 1] ?? 0] === 1;
  }
  /** Takes note of the straight run around record `n`. */
  #measure(p: CodePage, n: number): void {
    let first = n;
    while (first > 0 && !this.#stopsAt(p, first - 1)) first--;
    let end = n;
    while (end < DIRECT_RECORDS && !this.#stopsAt(p, end)) end++;
    this.longest = Math.max(this.longest, end - first + 1);
  }
  drop(p: CodePage, from: number, to: number): boolean {
    const size = this.#isa.recordSize;
    let hit = false;
    for (let at = from & ~3; at < to; at += 4) {
      const word = (p.base + (at >>> 2) * size) >>> 1;
      if (this.#v.u16[word] !== Special.Undecoded) hit = true;
      this.#v.u16[word] = Special.Undecoded;
    }
    return hit;
  }
  clear(p: CodePage): void {
    this.drop(p, 0, PAGE);
  }
  free(p: CodePage): void {
    this.#host.freeTable(p.base, this.#bytes);
  }
}

/**
 * Predecoded code: pages of records, keyed by host frame and decode mode and shared by all vCPUs of an engine, filled
 * lazily one straight run at a time. Two layouts: direct (fixed length, one record per word) and mapped (any length).
 */
import type { CodeFrames } from './code-frames.ts';
import type { EngineHost, HostViews } from './host.ts';
import type { DecodeSite, Isa } from './isa.ts';
import { FIRST_HANDLER } from './layout.ts';

/** The records of one frame in one decode mode. */
export interface CodePage {
  readonly frame: number;
  readonly mode: number;
  /** Offset of the page's table in host memory: its records (direct) or its map (mapped). */
  readonly base: number;
  /** Stores that went slow although they hit no decoded instruction. */
  misses: number;
}

/** How records of a page are found. */
export interface PageLayout<P extends CodePage = CodePage> {
  /** Most instructions that can run from one look at the budget to the next, in what is decoded so far. */
  readonly longest: number;
  create(frame: number, mode: number): P;
  /** Decodes the straight run at `offset` of the page. */
  decode(page: P, offset: number, decoder: Decoder): void;
  /** Whether an instruction decoded from bytes `from` to `to - 1` of the page has records; drops them. */
  drop(page: P, from: number, to: number): boolean;
  /** Drops every record; what runs in the page now stops at the next one. Record fields stay as they are. */
  clear(page: P): void;
  free(page: P): void;
}

/** Decodes one instruction into a record. */
export class Decoder {
  readonly #isa: Isa;
  readonly #v: HostViews;
  readonly #site: DecodeSite;
  readonly #out: { handler: number } = { handler: 0 };
  /** Instruction length by the last {@link one}. */
  length = 0;
  /** Handlers met for the first time, in order; whoever makes something of them empties it. */
  readonly met: number[] = [];
  readonly #known: Uint8Array;

  constructor(isa: Isa, v: HostViews) {
    this.#isa = isa;
    this.#v = v;
    this.#known = new Uint8Array(isa.handlers.length);
    this.#site = { dv: v.dv, u8: v.u8, i32: v.i32, code: 0, avail: 0, offset: 0, record: 0, mode: 0 };
  }
  /**
   * Fills the record at `rec` from the code at host offset `code`, page offset `offset`. Returns the index of the
   * handler, or -1 if the instruction needs more than `avail` bytes.
   */
  one(rec: number, code: number, offset: number, avail: number, mode: number): number {
    const s = this.#site;
    this.#v.u8.fill(0, rec, rec + this.#isa.recordSize);
    s.code = code;
    s.avail = avail;
    s.offset = offset;
    s.record = rec;
    s.mode = mode;
    this.#out.handler = this.#isa.undefinedHandler;
    const n = this.#isa.decode(s, this.#out);
    if (n === 0) return -1;
    this.#finish(rec, offset, n, this.#out.handler);
    return this.#out.handler;
  }
  /** Makes the record at `rec` the undefined instruction of `n` bytes. */
  undefined(rec: number, offset: number, n: number): void {
    this.#v.u8.fill(0, rec, rec + this.#isa.recordSize);
    this.#finish(rec, offset, n, this.#isa.undefinedHandler);
  }
  #finish(rec: number, offset: number, n: number, handler: number): void {
    this.length = n;
    if (this.#known[handler] === 0) {
      this.#known[handler] = 1;
      this.met.push(handler);
    }
    this.#v.u16[rec >>> 1] = FIRST_HANDLER + handler;
    if (this.#isa.unit === 1) {
      this.#v.u16[(rec >>> 1) + 1] = offset;
      this.#v.u8[rec + 4] = n;
    }
  }
}

/** Non-overlapping slow stores after which a page's records are given up so that its stores become fast. */
const PATIENCE = 64;
/** Predecoded pages an engine keeps; beyond that it starts over. */
const MOST_PAGES = 8192;

/** All predecoded pages of an engine. */
export class Predecode {
  readonly decoder: Decoder;
  readonly #layout: PageLayout;
  readonly #frames: CodeFrames;
  readonly #pages: Map<number, CodePage> = new Map();
  readonly #byBase: Map<number, CodePage> = new Map();
  /** Pages given up while generated code may still be in one of them. */
  #retired: CodePage[] = [];
  readonly #gone: (page: CodePage) => void;

  /** @param gone called when a page is given up: no exec translation to it may remain. */
  constructor(
    parts: { isa: Isa; views: HostViews; host: EngineHost; layout: PageLayout; frames: CodeFrames },
    gone: (page: CodePage) => void,
  ) {
    this.decoder = new Decoder(parts.isa, parts.views);
    this.#layout = parts.layout;
    this.#frames = parts.frames;
    this.#gone = gone;
  }
  /** The page of a frame, made if need be. */
  page(frame: number, mode: number): CodePage {
    const key = (frame / 4096) * 256 + mode;
    const had = this.#pages.get(key);
    if (had) return had;
    if (this.#pages.size >= MOST_PAGES) for (const p of [...this.#pages.values()]) this.#retire(p);
    const p = this.#layout.create(frame, mode);
    this.#pages.set(key, p);
    this.#byBase.set(p.base, p);
    this.#frames.add(frame);
    return p;
  }
  /** The page whose table is at `base`, if it is still in use. */
  at(base: number): CodePage | undefined {
    return this.#byBase.get(base >>> 0);
  }
  /** Decodes the straight run at `offset`. */
  decode(p: CodePage, offset: number): void {
    this.#layout.decode(p, offset, this.decoder);
  }
  /** Drops the records of the page but keeps it. */
  clear(p: CodePage): void {
    this.#layout.clear(p);
  }
  /** Bytes of a frame were written. */
  wrote(frame: number, at: number, size: number): void {
    this.#eachOf(frame, (p) => {
      if (!this.#layout.drop(p, at, at + size) && ++p.misses >= PATIENCE) this.#retire(p);
    });
  }
  /** Gives up all records of a frame. */
  invalidate(frame: number): void {
    this.#eachOf(frame, (p) => this.#retire(p));
  }
  /** Most instructions between two looks at the budget. */
  get longest(): number {
    return this.#layout.longest;
  }
  /** Frees what was given up. Only while generated code does not run. */
  sweep(): void {
    if (this.#retired.length === 0) return;
    for (const p of this.#retired) this.#layout.free(p);
    this.#retired = [];
  }
  /** Predecoded pages in use. */
  get size(): number {
    return this.#pages.size;
  }
  readonly #modes: Set<number> = new Set();
  #eachOf(frame: number, f: (p: CodePage) => void): void {
    if (!this.#frames.has(frame)) return;
    if (this.#modes.size === 0) this.#modes.add(0);
    for (const mode of this.#modes) {
      const p = this.#pages.get((frame / 4096) * 256 + mode);
      if (p) f(p);
    }
  }
  /** Announces a decode mode, before its first page. */
  useMode(mode: number): void {
    this.#modes.add(mode);
  }
  #retire(p: CodePage): void {
    this.#layout.clear(p);
    this.#pages.delete((p.frame / 4096) * 256 + p.mode);
    this.#byBase.delete(p.base);
    this.#retired.push(p);
    this.#gone(p);
    this.#frames.remove(p.frame);
  }
}

/**
 * The architectural TLB of one vCPU: stage 1 translations the guest has not invalidated. It is state: filled in
 * program order, of fixed size and replacement, hashed and saved. The engine's fast TLBs hold nothing that is not here;
 * an entry that goes takes its fast translations with it ({@link Tlb.onEvict}).
 *
 * Fetches and data have sets of their own: the translation of the page that runs then goes only when another page is
 * fetched from, never between two instructions of it, so that it does not matter where generated code is left.
 */
import { leafShift, PAGE } from './attributes.ts';

const DATA_SETS = 512;
const FETCH_SETS = 128;
const SETS = DATA_SETS + FETCH_SETS;
const WAYS = 4;
/** Words per entry: va[43:12]; va[55:44] | valid | ASID; pa[43:12]; pa[47:44]; attributes. */
const WORDS = 5;
const VALID = 1 << 12;

/** A translation found; one object, reused. */
export interface TlbHit {
  pa: number;
  attributes: number;
}

/** The TLB. */
export class Tlb {
  readonly #e: Int32Array = new Int32Array(SETS * WAYS * WORDS);
  readonly #next: Uint8Array = new Uint8Array(SETS);
  #count = 0;
  /** Called with the page (va halves, low 12 bits zero) of every entry that goes. */
  onEvict: (lo: number, hi: number) => void = () => {};
  /** Called when many entries went at once. */
  onFlush: () => void = () => {};

  /** Looks a canonical address up under an ASID. */
  find(lo: number, hi: number, asid: number, fetch: boolean, out: TlbHit): boolean {
    const v0 = (lo >>> 12) | (hi << 20);
    const v1 = ((hi >>> 12) & 0xfff) | VALID;
    const e = this.#e;
    let i = index(v0, fetch) * WAYS * WORDS;
    for (let w = 0; w < WAYS; w++, i += WORDS) {
      if (e[i] !== v0) continue;
      const tag = e[i + 1] as number;
      if ((tag & 0xffff) !== v1) continue;
      const attributes = e[i + 4] as number;
      if (attributes & PAGE.NotGlobal && tag >>> 16 !== asid) continue;
      out.pa = (((e[i + 2] as number) >>> 0) + (e[i + 3] as number) * 0x1_0000_0000) * 4096 + (lo & 0xfff);
      out.attributes = attributes;
      return true;
    }
    return false;
  }

  /** Adds a translation; the oldest of its set goes if there is no room. */
  add(lo: number, hi: number, asid: number, fetch: boolean, pa: number, attributes: number): void {
    const v0 = (lo >>> 12) | (hi << 20);
    const set = index(v0, fetch);
    const e = this.#e;
    let i = set * WAYS * WORDS;
    let w = 0;
    while (w < WAYS && (e[i + 1] as number) & VALID) {
      w++;
      i += WORDS;
    }
    if (w === WAYS) {
      w = this.#next[set] as number;
      i = (set * WAYS + w) * WORDS;
      this.#drop(i);
    }
    this.#next[set] = (w + 1) % WAYS;
    const page = Math.floor(pa / 4096);
    e[i] = v0;
    e[i + 1] = ((hi >>> 12) & 0xfff) | VALID | (asid << 16);
    e[i + 2] = page | 0;
    e[i + 3] = Math.floor(page / 0x1_0000_0000);
    e[i + 4] = attributes;
    this.#count++;
  }

  /** Invalidates everything, or everything of one ASID. */
  dropAll(asid: number = -1): void {
    if (this.#count === 0) return;
    const e = this.#e;
    for (let i = 0; i < e.length; i += WORDS) {
      const tag = e[i + 1] as number;
      if ((tag & VALID) === 0) continue;
      if (asid >= 0 && (((e[i + 4] as number) & PAGE.NotGlobal) === 0 || tag >>> 16 !== asid)) continue;
      this.#clear(i);
    }
    this.onFlush();
  }

  /**
   * Invalidates what translates an address, whatever the size of its leaf.
   * @param lo va[43:12], as TLBI's argument gives it
   * @param hi va[55:44]
   * @param asid entries of this ASID and global ones; -1 for any
   */
  dropPage(lo: number, hi: number, asid: number): void {
    if (this.#count === 0) return;
    const e = this.#e;
    for (let i = 0; i < e.length; i += WORDS) {
      const tag = e[i + 1] as number;
      if ((tag & VALID) === 0) continue;
      const attributes = e[i + 4] as number;
      if (asid >= 0 && attributes & PAGE.NotGlobal && tag >>> 16 !== asid) continue;
      const shift = leafShift(attributes) - 12;
      // leaves are at most 2^39 bytes: their page bits are all in the first word
      if (((tag ^ hi) & 0xfff) === 0 && ((e[i] as number) ^ lo) >>> shift === 0) this.#drop(i);
    }
  }

  #drop(i: number): void {
    const e = this.#e;
    const v0 = e[i] as number;
    const tag = e[i + 1] as number;
    this.#clear(i);
    const high = (tag & 0xfff) << 12;
    this.onEvict(v0 << 12, high | (v0 >>> 20) | (tag & 0x800 ? 0xff00_0000 | 0 : 0));
  }

  #clear(i: number): void {
    this.#e.fill(0, i, i + WORDS);
    this.#count--;
  }

  /** Valid entries as bytes: position, then the words, all int32; the replacement pointers behind them. */
  save(): Uint8Array {
    const out = new Int32Array(this.#count * (WORDS + 1) + SETS / 4);
    let n = 0;
    for (let i = 0; i < this.#e.length; i += WORDS) {
      if (((this.#e[i + 1] as number) & VALID) === 0) continue;
      out[n++] = i;
      for (let w = 0; w < WORDS; w++) out[n++] = this.#e[i + w] as number;
    }
    const bytes = new Uint8Array(out.buffer);
    bytes.set(this.#next, n * 4);
    return bytes;
  }
  /** The reverse of {@link save}. */
  restore(bytes: Uint8Array): void {
    const words = new Int32Array(bytes.slice(0, bytes.length - SETS).buffer);
    this.#e.fill(0);
    this.#count = 0;
    for (let n = 0; n + WORDS < words.length; n += WORDS + 1) {
      this.#e.set(words.subarray(n + 1, n + 1 + WORDS), words[n]);
      this.#count++;
    }
    this.#next.set(bytes.subarray(bytes.length - SETS));
  }
}

/** Set of a page. */
function index(v0: number, fetch: boolean): number {
  const mixed = v0 ^ (v0 >>> 9) ^ (v0 >>> 18);
  return fetch ? DATA_SETS + (mixed & (FETCH_SETS - 1)) : mixed & (DATA_SETS - 1);
}

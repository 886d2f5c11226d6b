/**
 * The architectural TLB of one vCPU: translations that the guest has not invalidated. It is state: filled in program
 * order, of fixed size and replacement, hashed and saved. The engine's fast TLBs hold nothing that is not here; an
 * entry that goes takes its fast translations with it ({@link Tlb.onEvict}).
 *
 * Entries carry the PCID, and {@link Tlb.asid}: the address space identifier of the guest whose entry it is, 0 unless
 * a nested guest runs. Large leaves are kept in pieces of 4 KiB, and go together.
 *
 * Fetches and data have sets of their own: the translation of the page that runs then goes only when another page is
 * fetched from, never between two instructions of it, so that it does not matter where generated code is left.
 */
import { leafShift, PAGE } from './page.ts';

const DATA_SETS = 512;
const FETCH_SETS = 128;
const SETS = DATA_SETS + FETCH_SETS;
const WAYS = 4;
/** Words per entry: va[43:12]; va[56:44] | valid | PCID; pa[43:12]; pa[51:44] | ASID; attributes. */
const WORDS = 5;
const VA_HIGH = 0x1fff;
const VALID = 1 << 13;
const PCID_SHIFT = 14;
const ASID_SHIFT = 8;

/** A translation found; one object, reused. */
export interface TlbHit {
  /** Physical address of the accessed byte. */
  pa: number;
  /** See `page.ts`. */
  attributes: number;
}

/** The TLB. */
export class Tlb {
  readonly #e: Int32Array = new Int32Array(SETS * WAYS * WORDS);
  readonly #next: Uint8Array = new Uint8Array(SETS);
  #count = 0;
  /** Entries of leaves larger than 4 KiB. */
  #large = 0;
  /** Whose entries {@link find}, {@link add} and the drops mean: 0, or the ASID of the nested guest that runs. */
  asid = 0;
  /** Called with the page (linear address halves, low 12 bits zero) of every entry that goes. */
  onEvict: (lo: number, hi: number) => void = () => {};
  /** Called when many entries went at once. */
  onFlush: () => void = () => {};

  /** Looks a canonical address up under a PCID. */
  find(lo: number, hi: number, pcid: number, fetch: boolean, out: TlbHit): boolean {
    const v0 = (lo >>> 12) | (hi << 20);
    const v1 = ((hi >>> 12) & VA_HIGH) | VALID;
    const e = this.#e;
    let i = index(v0, fetch) * WAYS * WORDS;
    for (let w = 0; w < WAYS; w++, i += WORDS) {
      if (e[i] !== v0) continue;
      const tag = e[i + 1] as number;
      if ((tag & (VALID | VA_HIGH)) !== v1) continue;
      const attributes = e[i + 4] as number;
      if ((attributes & PAGE.Global) === 0 && tag >>> PCID_SHIFT !== pcid) continue;
      const high = e[i + 3] as number;
      if (high >>> ASID_SHIFT !== this.asid) continue;
      out.pa = (((e[i + 2] as number) >>> 0) + (high & 0xff) * 0x1_0000_0000) * 4096 + (lo & 0xfff);
      out.attributes = attributes;
      return true;
    }
    return false;
  }

  /**
   * Adds a translation, in place of the one of the same address, PCID and ASID if there is any (a walk that found more
   * rights, or set D); else the oldest of its set goes if there is no room.
   */
  add(lo: number, hi: number, pcid: number, fetch: boolean, pa: number, attributes: number): void {
    const v0 = (lo >>> 12) | (hi << 20);
    const tag = ((hi >>> 12) & VA_HIGH) | VALID | (pcid << PCID_SHIFT);
    const set = index(v0, fetch);
    const e = this.#e;
    const first = set * WAYS * WORDS;
    let free = -1;
    let i = first;
    for (let w = 0; w < WAYS; w++, i += WORDS) {
      const t = e[i + 1] as number;
      if ((t & VALID) === 0) {
        if (free < 0) free = i;
        continue;
      }
      if (e[i] !== v0 || (t ^ tag) & VA_HIGH || (e[i + 3] as number) >>> ASID_SHIFT !== this.asid) continue;
      if (t !== tag && ((e[i + 4] as number) & PAGE.Global) === 0) continue;
      this.#drop(i);
      free = i;
      break;
    }
    if (free < 0) {
      free = first + (this.#next[set] as number) * WORDS;
      this.#drop(free);
    }
    this.#next[set] = ((free - first) / WORDS + 1) % WAYS;
    const page = Math.floor(pa / 4096);
    e[free] = v0;
    e[free + 1] = tag;
    e[free + 2] = page | 0;
    e[free + 3] = Math.floor(page / 0x1_0000_0000) | (this.asid << ASID_SHIFT);
    e[free + 4] = attributes;
    this.#count++;
    if (leafShift(attributes) > 12) this.#large++;
  }

  // ---- invalidation ----------------------------------------------------------------------------------------------

  /** Everything of the current ASID, global or not (CR0.PG, CR4.PGE and others change; INVPCID type 2). */
  dropAll(): void {
    this.#sweep(-1, true);
  }
  /** What is not global: of one PCID (MOV CR3, INVPCID type 1), or of all (-1; INVPCID type 3). */
  dropNonGlobal(pcid: number = -1): void {
    this.#sweep(pcid, false);
  }
  #sweep(pcid: number, global: boolean): void {
    if (this.#count === 0) return;
    const e = this.#e;
    let gone = false;
    for (let i = 0; i < e.length; i += WORDS) {
      const tag = e[i + 1] as number;
      if ((tag & VALID) === 0 || (e[i + 3] as number) >>> ASID_SHIFT !== this.asid) continue;
      if (!global && (e[i + 4] as number) & PAGE.Global) continue;
      if (pcid >= 0 && tag >>> PCID_SHIFT !== pcid) continue;
      this.#clear(i);
      gone = true;
    }
    if (gone) this.onFlush();
  }

  /** Everything of every ASID and PCID: reset, VMCB TLB_CONTROL 1. */
  dropEverything(): void {
    if (this.#count === 0) return;
    this.#e.fill(0);
    this.#count = 0;
    this.#large = 0;
    this.onFlush();
  }

  /**
   * What translates a linear address, whatever the size of its leaf: under a PCID, and if `global` (INVLPG; not
   * INVPCID type 0) the global entries too.
   */
  dropPage(lo: number, hi: number, pcid: number, global: boolean = true): void {
    if (this.#count === 0) return;
    const v0 = (lo >>> 12) | (hi << 20);
    const v1 = (hi >>> 12) & VA_HIGH;
    if (this.#large === 0) {
      this.#dropIn(v0, v1, pcid, global, index(v0, false) * WAYS, WAYS);
      this.#dropIn(v0, v1, pcid, global, index(v0, true) * WAYS, WAYS);
    } else this.#dropIn(v0, v1, pcid, global, 0, SETS * WAYS);
  }
  #dropIn(v0: number, v1: number, pcid: number, global: boolean, from: number, n: number): void {
    const e = this.#e;
    const end = (from + n) * WORDS;
    for (let i = from * WORDS; i < end; i += WORDS) {
      const tag = e[i + 1] as number;
      // leaves are at most 2^30 bytes: their page bits are all in the first word
      if ((tag & (VALID | VA_HIGH)) !== (v1 | VALID)) continue;
      const attributes = e[i + 4] as number;
      if (((e[i] as number) ^ v0) >>> (leafShift(attributes) - 12) !== 0) continue;
      if (attributes & PAGE.Global ? !global : tag >>> PCID_SHIFT !== pcid) continue;
      if ((e[i + 3] as number) >>> ASID_SHIFT === this.asid) this.#drop(i);
    }
  }

  #drop(i: number): void {
    const e = this.#e;
    const v0 = e[i] as number;
    const high = ((e[i + 1] as number) & VA_HIGH) << 12;
    this.#clear(i);
    // bits 56:44 of a canonical address tell those above
    this.onEvict(v0 << 12, ((high << 7) >> 7) | (v0 >>> 20));
  }
  #clear(i: number): void {
    const e = this.#e;
    if (leafShift(e[i + 4] as number) > 12) this.#large--;
    this.#count--;
    for (let w = 0; w < WORDS; w++) e[i + w] = 0;
  }

  // ---- state -----------------------------------------------------------------------------------------------------

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
  /** The reverse of {@link save}. {@link asid} is the nested guest's business. */
  restore(bytes: Uint8Array): void {
    const words = new Int32Array(bytes.slice(0, bytes.length - SETS).buffer);
    this.#e.fill(0);
    this.#count = 0;
    this.#large = 0;
    for (let n = 0; n + WORDS < words.length; n += WORDS + 1) {
      this.#e.set(words.subarray(n + 1, n + 1 + WORDS), words[n]);
      this.#count++;
      if (leafShift(words[n + WORDS] as number) > 12) this.#large++;
    }
    this.#next.set(bytes.subarray(bytes.length - SETS));
  }
}

/** Set of a page. */
function index(v0: number, fetch: boolean): number {
  const mixed = v0 ^ (v0 >>> 9) ^ (v0 >>> 18);
  return fetch ? DATA_SETS + (mixed & (FETCH_SETS - 1)) : mixed & (DATA_SETS - 1);
}

/**
 * Device pages that a vCPU's accesses led to lately, so that the next one goes straight to the device. Never state:
 * entries go with the fast translations. An entry belongs to one access site and one context, because permissions,
 * alignment and what a device may serve depend on them; only naturally aligned single elements are kept.
 */
const ENTRIES = 64;
/** Words of a tag: site and kind, page of the address and context, its high half. A site is never 0. */
const WORDS = 4;

/** Adds the kind of access to a packed site (which has 28 bits). */
export function deviceKey(site: number, write: boolean): number {
  return write ? site | (1 << 28) : site;
}

function index(lo: number, key: number, ctx: number): number {
  return ((lo >>> 12) ^ key ^ (key >>> 7) ^ (key >>> 26) ^ (ctx << 3)) & (ENTRIES - 1);
}

/** The device pages of one vCPU. */
export class DeviceTlb {
  readonly #tags: Int32Array = new Int32Array(ENTRIES * WORDS);
  /** gpa of the page. */
  readonly #pages: Float64Array = new Float64Array(ENTRIES);
  #filled = false;

  /**
   * gpa of an access of `size` bytes at `hi:lo`, or -1.
   * @param key see {@link deviceKey}
   */
  find(lo: number, hi: number, size: number, key: number, ctx: number): number {
    const tags = this.#tags;
    const i = index(lo, key, ctx);
    const t = i * WORDS;
    if (tags[t] !== key || tags[t + 1] !== ((lo & -4096) | ctx) || tags[t + 2] !== hi) return -1;
    return (lo & (size - 1)) === 0 ? (this.#pages[i] as number) + (lo & 4095) : -1;
  }
  /** Remembers that the access at `hi:lo` goes to `gpa`. */
  fill(lo: number, hi: number, key: number, ctx: number, gpa: number): void {
    const i = index(lo, key, ctx);
    const t = i * WORDS;
    this.#tags[t] = key;
    this.#tags[t + 1] = (lo & -4096) | ctx;
    this.#tags[t + 2] = hi;
    this.#pages[i] = gpa - (lo & 4095);
    this.#filled = true;
  }
  /** Forgets everything. */
  flush(): void {
    if (!this.#filled) return;
    this.#tags.fill(0);
    this.#filled = false;
  }
}

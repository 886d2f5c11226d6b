/**
 * Device pages that a vCPU's accesses led to lately, so that the next one goes straight to the device. Never state:
 * entries go with the fast translations. An entry belongs to one access site and one context, because permissions,
 * alignment and what a device may serve depend on them; only naturally aligned single elements are kept.
 */
import type { AccessInfo } from './cpu.ts';

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

const NOTHING: AccessInfo = { lo: 0, hi: 0, size: 0, kind: 0, ctx: 0, cls: 0, ordinal: 0, align: 1 };

/** The device pages of one vCPU. */
export class DeviceTlb {
  readonly #tags: Int32Array = new Int32Array(ENTRIES * WORDS);
  /** gpa of the page. */
  readonly #pages: Float64Array = new Float64Array(ENTRIES);
  /** The access as ports see it; only its address differs from one to the next. */
  readonly #accesses: AccessInfo[] = Array.from({ length: ENTRIES }, () => NOTHING);
  #filled = false;

  /**
   * Entry of an access of `size` bytes at `hi:lo`, or -1.
   * @param key see {@link deviceKey}
   */
  find(lo: number, hi: number, size: number, key: number, ctx: number): number {
    const tags = this.#tags;
    const i = index(lo, key, ctx);
    const t = i * WORDS;
    if (tags[t] !== key || tags[t + 1] !== ((lo & -4096) | ctx) || tags[t + 2] !== hi) return -1;
    return (lo & (size - 1)) === 0 ? i : -1;
  }
  /** gpa behind the address, by an entry that was found. */
  gpa(entry: number, lo: number): number {
    return (this.#pages[entry] as number) + (lo & 4095);
  }
  /** The access at `hi:lo`, by an entry that was found; the object is reused. */
  access(entry: number, lo: number, hi: number): AccessInfo {
    const a = this.#accesses[entry] as AccessInfo;
    a.lo = lo;
    a.hi = hi;
    return a;
  }
  /** Remembers that the access `a`, of the site and kind in `key` and under the current context, goes to `gpa`. */
  fill(a: AccessInfo, key: number, ctx: number, gpa: number): void {
    const { lo, hi } = a;
    const i = index(lo, key, ctx);
    const t = i * WORDS;
    this.#tags[t] = key;
    this.#tags[t + 1] = (lo & -4096) | ctx;
    this.#tags[t + 2] = hi;
    this.#pages[i] = gpa - (lo & 4095);
    this.#accesses[i] = { ...a };
    this.#filled = true;
  }
  /** Forgets everything. */
  flush(): void {
    if (!this.#filled) return;
    this.#tags.fill(0);
    this.#filled = false;
  }
}

/** Virtual memory areas of a process, as a sorted list without overlaps. Page numbers are hva / 4096. */
import type { Backing } from './backing.ts';

/** Protection bits of mmap and mprotect. */
export const Prot: { readonly None: 0; readonly Read: 1; readonly Write: 2; readonly Exec: 4 } = {
  None: 0,
  Read: 1,
  Write: 2,
  Exec: 4,
};

/** Kinds of mapping KVM distinguishes. */
export type VmaKind = 'anon' | 'hugetlb' | 'file' | 'io' | 'gmem';

/** One area. */
export interface Vma {
  /** First page, and the page behind the last. */
  start: number;
  end: number;
  /** {@link Prot} bits. */
  prot: number;
  readonly kind: VmaKind;
  /** log2 of the page size the host maps with: 12, or 21 / 30 for hugetlb. */
  readonly shift: 12 | 21 | 30;
  /** Anonymous memory that transparent huge pages may back (MADV_HUGEPAGE). */
  thp: boolean;
  readonly backing: Backing | undefined;
  /** Page index in the backing of `start`. */
  offset: number;
  /** Registered with userfaultfd for missing pages. */
  userfault: boolean;
}

/** Page index in its backing (or, for private memory, the page itself). */
export function indexOf(v: Vma, page: number): number {
  return v.backing ? v.offset + (page - v.start) : page;
}

/** The areas of one address space. */
export class VmaList {
  #list: Vma[] = [];
  #hit: Vma | undefined;

  /** All areas in ascending order. */
  get all(): readonly Vma[] {
    return this.#list;
  }

  /** The area that holds the page. */
  find(page: number): Vma | undefined {
    const hit = this.#hit;
    if (hit && page >= hit.start && page < hit.end) return hit;
    const v = this.#list[this.#from(page)];
    if (!v || v.start > page) return undefined;
    this.#hit = v;
    return v;
  }

  /** Index of the first area that ends behind `page`. */
  #from(page: number): number {
    let lo = 0;
    for (let hi = this.#list.length; lo < hi; ) {
      const mid = (lo + hi) >>> 1;
      if ((this.#list[mid] as Vma).end <= page) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }

  /** Areas that meet [start, end), as they are. */
  meeting(start: number, end: number): Vma[] {
    const out: Vma[] = [];
    for (let i = this.#from(start); i < this.#list.length; i++) {
      const v = this.#list[i] as Vma;
      if (v.start >= end) break;
      out.push(v);
    }
    return out;
  }

  /** Splits areas so that none crosses `page`. */
  #cut(page: number): void {
    const i = this.#from(page);
    const v = this.#list[i];
    if (!v || v.start >= page) return;
    const tail: Vma = { ...v, start: page, offset: v.backing ? v.offset + (page - v.start) : 0 };
    v.end = page;
    this.#list.splice(i + 1, 0, tail);
    this.#hit = undefined;
  }

  /** Areas exactly covering what is mapped of [start, end), split at its borders. */
  carve(start: number, end: number): Vma[] {
    this.#cut(start);
    this.#cut(end);
    return this.meeting(start, end);
  }

  /** Removes [start, end). */
  remove(start: number, end: number): void {
    const gone = new Set(this.carve(start, end));
    this.#list = this.#list.filter((v) => !gone.has(v));
    this.#hit = undefined;
  }

  /** Adds an area; its range must be free. */
  add(v: Vma): void {
    this.#list.splice(this.#from(v.start), 0, v);
    this.#hit = undefined;
  }

  /** Lowest free range of `pages` pages at or above `from`, aligned to `align` pages. */
  gap(pages: number, from: number, align: number): number {
    let at = Math.ceil(from / align) * align;
    for (let i = this.#from(at); i < this.#list.length; i++) {
      const v = this.#list[i] as Vma;
      if (at + pages <= v.start) break;
      at = Math.ceil(v.end / align) * align;
    }
    return at;
  }

  /** For snapshots. */
  save(): readonly Vma[] {
    return this.#list.map((v) => ({ ...v }));
  }
  /** For snapshots; `resolve` names the backing here that stands for a saved one. */
  restore(list: readonly Vma[], resolve: (b: Backing) => Backing): void {
    this.#list = list.map((v) => ({ ...v, backing: v.backing && resolve(v.backing) }));
    this.#hit = undefined;
  }
}

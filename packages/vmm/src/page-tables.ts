/** Page tables that a loader makes for 64-bit guests: long mode's four levels (AMD64 APM volume 2, section 5.3). */
import { FaultyardError, hex, type Vm } from '@faultyard/core';

const PAGE = 4096;
const LARGE = 0x20_0000n;
/** Present, writable; the page size bit of a 2 MiB page. */
const TABLE = 0x3n;
const LEAF = 0x3n;
const SIZE = 0x80n;

/** Tables in guest memory, built entry by entry. All pages are present, writable, executable, for the supervisor. */
export class PageTables {
  readonly #vm: Vm;
  readonly #end: number;
  #next: number;
  /** The PML4: value of CR3. */
  readonly root: bigint;

  /** Takes its tables from `[from, to)`, both multiples of 4096. */
  constructor(vm: Vm, from: number, to: number) {
    this.#vm = vm;
    this.#next = from;
    this.#end = to;
    this.root = BigInt(this.#table());
  }

  /** First byte behind the tables. */
  get end(): number {
    return this.#next;
  }

  #table(): number {
    const at = this.#next;
    if (at + PAGE > this.#end)
      throw new FaultyardError('FY_IMAGE', {
        what: 'page tables',
        why: `need more than ${hex(this.#end)} leaves`,
        fix: 'map less, or give the loader other scratch memory',
      });
    this.#next += PAGE;
    this.#vm.write(at, new Uint8Array(PAGE));
    return at;
  }

  /** Maps `size` bytes of virtual addresses at `va` to `pa`, in pages of 2 MiB where both allow it. */
  map(va: bigint, pa: bigint, size: bigint): void {
    const end = (va + size + 0xfffn) & ~0xfffn;
    let from = va & ~0xfffn;
    let to = pa & ~0xfffn;
    while (from < end) {
      const large = (from | to) % LARGE === 0n && end - from >= LARGE;
      this.#put(from, to, large);
      const step = large ? LARGE : 0x1000n;
      from += step;
      to += step;
    }
  }

  #put(va: bigint, pa: bigint, large: boolean): void {
    let table = Number(this.root);
    for (let shift = 39n; shift > (large ? 21n : 12n); shift -= 9n) {
      const entry = this.#read(table, va, shift);
      // what a larger page maps already stays mapped by it
      if ((entry & SIZE) !== 0n && shift === 21n) return;
      if (entry === 0n) {
        const next = this.#table();
        this.#write(table, va, shift, BigInt(next) | TABLE);
        table = next;
      } else table = Number(entry & ~0xfffn);
    }
    if (large) this.#write(table, va, 21n, pa | LEAF | SIZE);
    else this.#write(table, va, 12n, pa | LEAF);
  }
  #slot(table: number, va: bigint, shift: bigint): number {
    return table + Number((va >> shift) & 0x1ffn) * 8;
  }
  #read(table: number, va: bigint, shift: bigint): bigint {
    const bytes = this.#vm.read(this.#slot(table, va, shift), 8);
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  }
  #write(table: number, va: bigint, shift: bigint, entry: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, entry, true);
    this.#vm.write(this.#slot(table, va, shift), bytes);
  }
}

/** Guest memory as the VMM reaches it: a gpa through its memslot to its own mapping. */
import { hex, PAGE_SIZE, toNumber } from './address.ts';
import { FaultyardError } from './errors.ts';
import { type HostFault, peek, read, write } from './host/access.ts';
import type { AddressSpace } from './host/address-space.ts';
import { memoryFailure } from './host/memory-failure.ts';
import { hvaPageOf, type Memslot, type Memslots } from './memslot.ts';
import type { Signal } from './signal.ts';
import type { Task } from './task.ts';

/** A memslot in bytes, for people. */
export interface SlotAt {
  readonly slot: number;
  readonly gpa: number;
  readonly size: number;
  readonly hva: number;
  readonly flags: number;
}

const bytes = (s: Memslot): SlotAt => ({
  slot: s.id,
  gpa: s.baseGfn * PAGE_SIZE,
  size: s.npages * PAGE_SIZE,
  hva: s.hvaPage * PAGE_SIZE,
  flags: s.flags,
});

/** The VMM's view of the guest's memory. Addresses are gpas in bytes, as bigint or number. */
export class GuestMemory {
  readonly #mm: AddressSpace;
  readonly #slots: Memslots;
  readonly #unmapped: (gpa: number, size: number) => void;

  /** `unmapped` is told of reads that met nothing. */
  constructor(mm: AddressSpace, slots: Memslots, unmapped: (gpa: number, size: number) => void) {
    this.#mm = mm;
    this.#slots = slots;
    this.#unmapped = unmapped;
  }

  /** The memslot that holds a gpa. */
  slotAt(gpa: bigint | number): SlotAt | undefined {
    const s = this.#slots.find(Math.floor(this.#number(gpa) / PAGE_SIZE));
    return s && bytes(s);
  }
  /** The host virtual address behind a gpa. */
  hvaOf(gpa: bigint | number): number | undefined {
    const a = this.#number(gpa);
    const s = this.#slots.find(Math.floor(a / PAGE_SIZE));
    return s && hvaPageOf(s, Math.floor(a / PAGE_SIZE)) * PAGE_SIZE + (a % PAGE_SIZE);
  }
  /** The gpa that an address of the VMM backs: the lowest one, if several slots share it. */
  gpaOf(hva: bigint | number): number | undefined {
    const page = Math.floor(Number(hva) / PAGE_SIZE);
    const gpas = this.#slots
      .all()
      .filter((s) => page >= s.hvaPage && page < s.hvaPage + s.npages)
      .map((s) => (s.baseGfn + page - s.hvaPage) * PAGE_SIZE + (Number(hva) % PAGE_SIZE));
    return gpas.length ? Math.min(...gpas) : undefined;
  }
  /** Whether a gpa is backed by memory (not by a device's mapping, and not by nothing). */
  isRam(gpa: bigint | number): boolean {
    const hva = this.hvaOf(gpa);
    const v = hva === undefined ? undefined : this.#mm.vmas.find(Math.floor(hva / PAGE_SIZE));
    return v !== undefined && v.kind !== 'io';
  }
  /** log2 of the page size that the host backs a gpa with. */
  backingShift(gpa: bigint | number): 12 | 21 | 30 {
    const hva = this.hvaOf(gpa);
    return (hva === undefined ? undefined : this.#mm.vmas.find(Math.floor(hva / PAGE_SIZE))?.shift) ?? 12;
  }

  /** Loads as the VMM's thread would: the bytes, or the signal it gets. Memory outside slots is `undefined`. */
  load(gpa: bigint | number, length: number): Uint8Array | HostFault | undefined {
    checkLength(length);
    const hva = this.hvaOf(gpa);
    return hva === undefined ? undefined : read(this.#mm, hva, length);
  }
  /** Stores within one page as the VMM's thread would: `true`, or the signal it gets. Outside slots `undefined`. */
  store(gpa: bigint | number, data: Uint8Array): true | HostFault | undefined {
    const hva = this.hvaOf(gpa);
    return hva === undefined ? undefined : (write(this.#mm, hva, data) ?? true);
  }
  /**
   * Looks at guest memory without any effect (no page appears, no poison is consumed). What is not there reads as
   * ones and is told to the trace.
   * @throws FaultyardError FY_ADDRESS, FY_ARGUMENT for a length that is no whole number below 2^31.
   */
  read(gpa: bigint | number, length: number): Uint8Array {
    checkLength(length);
    const out = new Uint8Array(length);
    this.#pieces(gpa, length, (a, from, n) => {
      const hva = this.hvaOf(a);
      const got = hva === undefined ? undefined : peek(this.#mm, hva, n);
      if (!got) this.#unmapped(a, n);
      out.set(got ?? new Uint8Array(n).fill(0xff), from);
    });
    return out;
  }
  /**
   * Stores as the VMM would.
   * @throws FaultyardError FY_ADDRESS when a page is in no slot or cannot be written; what precedes it is written.
   */
  write(gpa: bigint | number, data: Uint8Array): void {
    this.#pieces(gpa, data.length, (a, from, n) => {
      const hva = this.hvaOf(a);
      const f = hva === undefined ? undefined : write(this.#mm, hva, data.subarray(from, from + n));
      if (hva !== undefined && !f) return;
      throw new FaultyardError('FY_ADDRESS', {
        what: 'gpa',
        value: hex(a),
        why: hva === undefined ? 'is in no memslot' : `cannot be written: ${f?.signal} ${f?.code}`,
        fix: 'add memory there first',
      });
    });
  }
  #pieces(gpa: bigint | number, length: number, f: (gpa: number, from: number, n: number) => void): void {
    let a = this.#number(gpa);
    for (let done = 0; done < length; ) {
      const n = Math.min(length - done, PAGE_SIZE - (a % PAGE_SIZE));
      f(a, done, n);
      done += n;
      a += n;
    }
  }

  /**
   * Marks the host page behind a gpa bad (`on`) or good again. A page that was never touched appears first.
   * @throws FaultyardError FY_ADDRESS when nothing is mapped there.
   */
  poison(gpa: bigint | number, on: boolean): void {
    const hva = this.hvaOf(gpa);
    const f = hva === undefined ? 'none' : this.#mm.poison(hva, on);
    if (f !== true)
      throw new FaultyardError('FY_ADDRESS', {
        what: 'gpa',
        value: hex(BigInt(gpa)),
        why: 'has no host page behind it',
        fix: 'name an address in memory',
      });
  }
  /**
   * memory_failure() on the page behind a gpa: HWPoison, unmapped everywhere, the signal for `to` (action required)
   * or for the main thread. Sends nothing for a clean page that can be read again.
   */
  *memoryFailure(gpa: bigint | number, to: Signal['to'], send: (s: Signal) => void): Task<void> {
    const hva = this.hvaOf(gpa);
    if (hva === undefined) return;
    const r = yield* memoryFailure(this.#mm, hva);
    if (r.signal)
      send({
        signal: 'SIGBUS',
        code: to === 'main' ? 'BUS_MCEERR_AO' : 'BUS_MCEERR_AR',
        addr: r.addr,
        lsb: r.lsb,
        to,
      });
  }

  #number(a: bigint | number): number {
    const n = toNumber(a);
    if (n === undefined)
      throw new FaultyardError('FY_ADDRESS', {
        what: 'gpa',
        value: hex(a),
        why: 'is not an address below 2^53',
        fix: 'give a guest physical address',
      });
    return n;
  }
}

function checkLength(length: number): void {
  if (!(Number.isInteger(length) && length >= 0 && length < 2 ** 31))
    throw new FaultyardError('FY_ARGUMENT', {
      what: 'length',
      value: length,
      why: 'is not a number of bytes below 2^31',
      fix: 'give how many bytes to read',
    });
}

/** Page tables in a memory of their own, for walks without a vCPU. */
import { noPaging, type Paging } from '../../src/memory/paging.ts';
import {
  type TableReader,
  WalkEnd,
  type WalkEndCode,
  type WalkResult,
  walk,
  walkResult,
} from '../../src/memory/walk.ts';

/** Bits of an entry. */
export const E = {
  P: 1n,
  RW: 2n,
  US: 4n,
  PWT: 8n,
  PCD: 0x10n,
  A: 0x20n,
  D: 0x40n,
  PS: 0x80n,
  PAT: 0x80n,
  G: 0x100n,
  PAT_LARGE: 0x1000n,
  NX: 1n << 63n,
} as const;
/** Everything allowed. */
export const ALL: bigint = E.P | E.RW | E.US;

/** Physical memory that holds nothing but tables, as a reader. */
export class Tables implements TableReader {
  readonly #words = new Map<number, number>();
  /** Addresses of entries in the order they were read. */
  readonly reads: number[] = [];
  readonly marks: number[] = [];
  /** What reading the entry at an address ends in. */
  readonly trouble = new Map<number, WalkEndCode>();
  /** What marking it ends in. */
  readonly markTrouble = new Map<number, WalkEndCode>();

  readTable(pa: number, size: 4 | 8, out: { lo: number; hi: number }): WalkEndCode {
    this.reads.push(pa);
    if (pa % size !== 0) throw new Error(`entry at 0x${pa.toString(16)} is not aligned`);
    const end = this.trouble.get(pa) ?? WalkEnd.Done;
    if (end !== WalkEnd.Done) return end;
    out.lo = this.#words.get(pa) ?? 0;
    out.hi = size === 8 ? (this.#words.get(pa + 4) ?? 0) : 0;
    return WalkEnd.Done;
  }
  markTable(pa: number, lo: number): WalkEndCode {
    const end = this.markTrouble.get(pa) ?? WalkEnd.Done;
    if (end !== WalkEnd.Done) return end;
    this.marks.push(pa);
    this.#words.set(pa, lo);
    return WalkEnd.Done;
  }
  /** Writes an entry of 8 bytes. */
  put(pa: number, entry: bigint): void {
    this.#words.set(pa, Number(BigInt.asIntN(32, entry)));
    this.#words.set(pa + 4, Number(BigInt.asIntN(32, entry >> 32n)));
  }
  /** Writes an entry of 4 bytes. */
  put32(pa: number, entry: bigint): void {
    this.#words.set(pa, Number(BigInt.asIntN(32, entry)));
  }
  /** Reads an entry of 8 bytes. */
  get(pa: number): bigint {
    const half = (at: number): bigint => BigInt((this.#words.get(at) ?? 0) >>> 0);
    return half(pa) | (half(pa + 4) << 32n);
  }
}

/** Parameters of a walk; 4 levels from 1000h with everything on that has no rule of its own. */
export function paging(o: Partial<Paging> = {}): Paging {
  const p: Paging = {
    ...noPaging(),
    levels: 4,
    root: 0x1000,
    nx: true,
    global: true,
    gib: true,
    wp: true,
    ...o,
  };
  const phys = o.physicalBits ?? 48;
  p.physicalBits = phys;
  p.reservedHigh = (0xf_ffff & ~(2 ** (phys - 32) - 1)) | (p.nx ? 0 : 1 << 31);
  if (p.levels === 3) p.reservedHigh |= 0x7ff0_0000;
  return p;
}

/** Outcome of a walk. */
export interface Walked extends WalkResult {
  readonly end: WalkEndCode;
}
/** Walks a linear address. */
export function walkTo(p: Paging, t: TableReader, va: bigint, want: number = 0): Walked {
  const out = walkResult();
  const end = walk(p, Number(BigInt.asIntN(32, va)), Number(BigInt.asIntN(32, va >> 32n)), want, t, out);
  return { ...out, end };
}

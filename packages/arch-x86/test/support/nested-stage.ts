/** Nested paging over the port's own walk: what a hypervisor in the guest gives its guest as a second stage. */
import { PAGE, WANT } from '../../src/memory/page.ts';
import type { Paging } from '../../src/memory/paging.ts';
import type { SecondStage } from '../../src/memory/port.ts';
import {
  type TableReader,
  WalkEnd,
  type WalkEndCode,
  type WalkResult,
  walk,
  walkResult,
} from '../../src/memory/walk.ts';

/** A second stage with what its last refusal was: error code of #NPF (bits 4:0, 32, 33) and the guest's address. */
export class NestedStage implements SecondStage {
  readonly #npt: Paging;
  readonly #tables: TableReader;
  readonly #r: WalkResult = walkResult();
  errorCode = 0n;
  gpa = 0;
  missed = 0;

  constructor(npt: Paging, tables: TableReader) {
    this.#npt = npt;
    this.#tables = tables;
  }
  /** Address that a guest's physical address leads to, in {@link #r}. */
  #translate(gpa: number, want: number, stage: bigint): WalkEndCode {
    const hi = Math.floor(gpa / 2 ** 32);
    const end = walk(this.#npt, (gpa - hi * 2 ** 32) | 0, hi, want | WANT.User, this.#tables, this.#r);
    this.missed = this.#r.table;
    if (end !== WalkEnd.Fault) return end;
    this.errorCode = BigInt(this.#r.errorCode) | stage;
    this.gpa = gpa;
    return WalkEnd.Nested;
  }
  readTable(pa: number, size: 4 | 8, out: { lo: number; hi: number }): WalkEndCode {
    // the guest's walk reaches its tables for writing
    const end = this.#translate(pa, WANT.Write, 1n << 33n);
    if (end !== WalkEnd.Done) return end;
    this.missed = this.#r.pa;
    return this.#tables.readTable(this.#r.pa, size, out);
  }
  markTable(pa: number, lo: number): WalkEndCode {
    const end = this.#translate(pa, WANT.Write, 1n << 33n);
    if (end !== WalkEnd.Done) return end;
    this.missed = this.#r.pa;
    return this.#tables.markTable(this.#r.pa, lo);
  }
  finish(want: number, out: WalkResult): WalkEndCode {
    const end = this.#translate(out.pa, want & (WANT.Write | WANT.Fetch), 1n << 32n);
    if (end !== WalkEnd.Done) return end;
    out.pa = this.#r.pa;
    if (!(this.#r.attributes & PAGE.Dirty && this.#r.attributes & PAGE.Writable))
      out.attributes &= ~PAGE.Dirty;
    return WalkEnd.Done;
  }
}

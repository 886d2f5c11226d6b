/** The guest's page tables behind stage 2, as the CPU's walks reach them, and without effect, and as KVM's software does. */
import { type HostMemory, Miss, type Stage2 } from '@faultyard/core';
import type { Pair } from '../state.ts';
import { type TableReader, WalkEnd, type WalkEndCode } from './walk.ts';

/** What the tables are read from. */
export interface TableParts {
  readonly host: HostMemory;
  /** Walks consume poison. */
  readonly consumes: boolean;
  /**
   * The CPU's walks reach their tables for writing, whether or not A or D is to be set: nested paging of AMD (APM volume
   * 2, 15.25.5), EPT with A and D (SDM volume 3C, 29.3.3.2).
   */
  readonly writes: boolean;
  /**
   * KVM's copy of up to 8 bytes from a slot's memory through the VMM's own mapping; `false` when the host cannot read
   * there. Absent: what stage 2 has mapped is all there is.
   */
  readonly copyFrom: ((pa: number, size: number, out: Pair) => boolean) | undefined;
  /** The same to it: not into read-only slots. */
  readonly copyTo: ((pa: number, size: number, lo: number, hi: number) => boolean) | undefined;
}

/** Tables of one vCPU; as a reader itself it is the CPU. */
export class GuestTables implements TableReader {
  /** Stage 2 in force. */
  stage2: Stage2;
  readonly #p: TableParts;
  readonly #i32: Int32Array;
  /** Reads tables as they are mapped now, and marks nothing. */
  readonly silent: TableReader = {
    readTable: (pa, size, out) => this.#read(pa, size, out, false),
    markTable: () => WalkEnd.Done,
  };
  /**
   * Reads tables as KVM's walker does (arch/x86/kvm/mmu/paging_tmpl.h): through the VMM's mapping, never for writing; A
   * and D of tables in read-only memory stay as they are.
   */
  readonly software: TableReader = {
    readTable: (pa, size, out) => {
      const end = this.#read(pa, size, out, false);
      return end !== WalkEnd.Done && this.#p.copyFrom?.(pa, size, out) ? WalkEnd.Done : end;
    },
    markTable: (pa, lo) => {
      const end = this.markTable(pa, lo);
      if (end !== WalkEnd.Stage2) return end;
      // stage 2 lacks the page, or the slot is read-only
      this.#p.copyTo?.(pa, 4, lo, 0);
      return WalkEnd.Done;
    },
  };

  constructor(stage2: Stage2, p: TableParts) {
    this.stage2 = stage2;
    this.#p = p;
    this.#i32 = p.host.i32;
  }

  readTable(pa: number, size: 4 | 8, out: Pair): WalkEndCode {
    return this.#read(pa, size, out, this.#p.writes);
  }
  #read(pa: number, size: number, out: Pair, write: boolean): WalkEndCode {
    const gfn = Math.floor(pa / 4096);
    let frame = this.stage2.lookup(gfn, write);
    if (frame === Miss.Poison && !this.#p.consumes) frame = this.stage2.lookup(gfn, write, true);
    if (frame < 0) return endOf(frame);
    const i = (frame + (pa - gfn * 4096)) >>> 2;
    out.lo = this.#i32[i] as number;
    out.hi = size === 8 ? (this.#i32[i + 1] as number) : 0;
    return WalkEnd.Done;
  }
  markTable(pa: number, lo: number): WalkEndCode {
    const gfn = Math.floor(pa / 4096);
    const frame = this.stage2.lookup(gfn, true, true);
    if (frame < 0) return endOf(frame);
    this.#p.host.codeWritten(frame / 4096);
    this.#i32[(frame + (pa - gfn * 4096)) >>> 2] = lo;
    return WalkEnd.Done;
  }
}

/** The end of a walk whose table's page missed so. */
function endOf(miss: number): WalkEndCode {
  if (miss === Miss.Poison) return WalkEnd.External;
  return miss === Miss.NoMemory ? WalkEnd.NoMemory : WalkEnd.Stage2;
}

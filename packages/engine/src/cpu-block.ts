/**
 * Where things lie in a vCPU's block. Generated code reaches everything at a static offset from the block's start,
 * except the fast TLB of the current access context, whose address it is given.
 */
import type { Isa } from './isa.ts';

/** Fixed offsets at the start of the block, in bytes. */
export const At = {
  /** u64. Current only while generated code does not run. */
  pc: 0,
  /** u32. */
  guard: 8,
  /** u32, after Leave.Slow and Leave.Guard. */
  slowOp: 12,
  /** Four u64. */
  slowArgs: 16,
  /** i32: record bytes of budget left when generated code was left (less the bias of the fast variant). */
  left: 48,
  /** u32: record at which generated code was left; 0 when it was left between pages. */
  rec: 52,
  /** u32: predecoded page of the current code, and u64: the page's guest virtual address. */
  page: 56,
  pageVa: 64,
  /** u32 for each access context: its fast TLB. */
  contexts: 72,
  /** 64 bytes through which multi-element, crossing and device accesses go. */
  data: 144,
  /** 32 bytes of code that crosses a page. */
  code: 208,
  /** Records of one instruction that is not cached, and of the stop behind it. */
  scratch: 240,
} as const;

/** Largest number of access contexts. */
export const MAX_CONTEXTS = 15;

/** Fast TLB: entries per kind of access, and bytes of an entry. */
export const TLB_ENTRIES = 1024;
/** Bytes of one entry: tag i64, addend i32, frame or page i32. */
export const TLB_ENTRY = 16;
/** Offsets of the three tables in a context. */
export const Tlb: { readonly read: number; readonly write: number; readonly exec: number } = {
  read: 0,
  write: TLB_ENTRIES * TLB_ENTRY,
  exec: 2 * TLB_ENTRIES * TLB_ENTRY,
};
/** Bytes of one context. */
export const CONTEXT_BYTES: number = 3 * TLB_ENTRIES * TLB_ENTRY;

/** The block of one instruction set. */
export interface BlockLayout {
  /** Offset of a state variable. */
  readonly state: ReadonlyMap<string, number>;
  /** Offset of register 0 of a file. */
  readonly files: ReadonlyMap<string, number>;
  /** Offset of the first context's fast TLB; the others follow. */
  readonly tlb: number;
  readonly bytes: number;
}

/** Lays out the block. Register files come first: their offsets are in every handler. */
export function layoutBlock(isa: Isa): BlockLayout {
  const files = new Map<string, number>();
  const state = new Map<string, number>();
  let at = align(At.scratch + 2 * isa.recordSize, 16);
  for (const [name, f] of Object.entries(isa.files)) {
    const under = f.over === undefined ? undefined : files.get(f.over);
    files.set(name, under ?? at);
    if (under === undefined) at = align(at + f.count * f.size, 16);
  }
  for (const name of Object.keys(isa.state)) {
    state.set(name, at);
    at += 8;
  }
  const tlb = align(at, 64);
  return { state, files, tlb, bytes: tlb + isa.contexts.length * CONTEXT_BYTES };
}

function align(n: number, to: number): number {
  return Math.ceil(n / to) * to;
}

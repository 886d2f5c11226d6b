/**
 * What generated code sees of an x86 vCPU: register files, state variables, record fields, decode modes and access
 * contexts. Everything else lies beside it in TypeScript (`state.ts`).
 */
import type { RecordField, RegisterFile, StateVar } from '@faultyard/engine';

/** Slots of the general registers in file `r`, in encoding order. */
export const R = {
  RAX: 0,
  RCX: 1,
  RDX: 2,
  RBX: 3,
  RSP: 4,
  RBP: 5,
  RSI: 6,
  RDI: 7,
  R8: 8,
  R15: 15,
} as const;
/** Slot that always reads 0: an absent base or index. Nothing writes it. */
export const ZERO = 16;
// slot 17 is free

/** Segment numbers, in encoding order; LDTR and TR follow. */
export const Seg = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const;
/** One of {@link Seg}. */
export type SegNumber = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

/**
 * Slots derived from the six segment registers (`SEG_BASE + Seg.DS` …), kept by `X86State.segmentsChanged()`:
 * the base that effective addresses add (0 for ES, CS, SS, DS in 64-bit mode), and the offsets that may be read and
 * written: first, last of a read, last of a write (inclusive). Offsets are 32 bits wide, zero-extended; a last of -1
 * (all 64 bits) allows none, so compare signed: `first <= offset && offset + bytes - 1 <= last`. 64-bit mode never
 * looks at the limits.
 */
export const SEG_BASE = 18;
export const SEG_FIRST = 24;
export const SEG_LAST_READ = 30;
export const SEG_LAST_WRITE = 36;
const SLOTS = 42;

/** File `r`: general registers and derived segments. File `b`: the bytes of its first 16. File `v`: XMM0 to XMM15. */
export const FILES: Readonly<Record<string, RegisterFile>> = {
  r: { count: SLOTS, size: 8 },
  b: { count: 128, size: 1, over: 'r' },
  v: { count: 16, size: 16 },
};
/** Slot of file `b` for an 8-bit register: AL..R15L by number, AH..BH as `highByte(0..3)`. */
export const lowByte = (gpr: number): number => gpr * 8;
/** AH, CH, DH, BH. */
export const highByte = (gpr: number): number => gpr * 8 + 1;

/**
 * The arithmetic flags are two variables (`flags.ts`): `fr`, the last result sign-extended from its operand size, and
 * `fa`, the carries. `fl` holds the other bits of EFLAGS (TF IF DF IOPL NT RF VM AC VIF VIP ID) where they lie there.
 * `csb` is CS.base and `csl` its limit, for 16- and 32-bit branches (0 and -1 in 64-bit mode).
 */
export const STATE: Readonly<Record<string, StateVar>> = {
  fr: { ty: 'i64', hot: true },
  fa: { ty: 'i32', hot: true },
  fl: { ty: 'i32' },
  csb: { ty: 'i64' },
  csl: { ty: 'i64' },
};

/** Record size in bytes; bytes 0 to 4 (handler, page offset, length) are the engine's. */
export const RECORD_SIZE = 24;
/**
 * Record fields: three register slots in operand order (of file `r`, or `b` for 8-bit operands, or `v`), and the memory
 * operand: base, index (slots of `r`), log2 of the scale, segment number, displacement (sign-extend it); `imm` is the
 * immediate, or a branch's distance from its own first byte. With a memory operand `imm` has 32 bits, and the slots of
 * its segment's base, first and lasts lie behind them. A second immediate (ENTER) is in `disp`.
 */
export const FIELDS: Readonly<Record<string, RecordField>> = {
  r0: { at: 5, ty: 'u8' },
  r1: { at: 6, ty: 'u8' },
  r2: { at: 7, ty: 'u8' },
  base: { at: 8, ty: 'u8' },
  index: { at: 9, ty: 'u8' },
  scale: { at: 10, ty: 'u8' },
  seg: { at: 11, ty: 'u8' },
  disp: { at: 12, ty: 'i32' },
  imm: { at: 16, ty: 'i64' },
  // displacement and immediate of string instructions, both 0: a branch to the record itself
  again: { at: 12, ty: 'i64' },
  segBase: { at: 20, ty: 'u8' },
  segFirst: { at: 21, ty: 'u8' },
  segLastRead: { at: 22, ty: 'u8' },
  segLastWrite: { at: 23, ty: 'u8' },
};

/** Where a record without a displacement remembers the record it jumps to. */
export const LINK = 12;

/**
 * Decode mode of the vCPU, as the engine keys predecoded code. Bits 1:0 default operand and address size (0 = 16,
 * 1 = 32, 2 = 64 bit); bit 2: the stack pointer is 32 bits wide (SS.B; always 0 with 64-bit code); bit 3: the segments
 * are flat (32-bit code, all of CS SS DS ES with base 0, limit 4 GiB, data writable), so that no limit is looked at.
 */
export const Mode = { Code16: 0, Code32: 1, Code64: 2, CodeMask: 3, Stack32: 4, Flat: 8 } as const;

/**
 * Access contexts. Supervisor accesses with EFLAGS.AC = 1 are not subject to SMAP; implicit supervisor accesses
 * (descriptor tables, TSS, event delivery) are made with {@link CTX_SUPERVISOR} whatever the CPL and AC are.
 */
export const CONTEXTS: readonly string[] = ['supervisor', 'user', 'supervisor-ac'];
export const CTX_SUPERVISOR = 0;
export const CTX_USER = 1;
export const CTX_SUPERVISOR_AC = 2;

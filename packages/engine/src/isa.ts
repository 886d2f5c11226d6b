/** What an instruction set tells the engine: registers, state, record layout, handlers, decoder. */
import type { Builder, Fields, Ty } from './ir.ts';

/** A field of the predecoded record. Bytes 0-1 hold the handler number and belong to the engine. */
export interface RecordField {
  readonly at: number;
  readonly ty: 'u8' | 'u16' | 'i32' | 'i64';
}

/** A named variable of the vCPU block. */
export interface StateVar {
  readonly ty: Ty;
  /** Kept in a wasm local while generated code runs (flags); spilled on every leave. Default: in the block. */
  readonly hot?: boolean;
}

/** A register file: `count` registers of `size` bytes, contiguous in the vCPU block. */
export interface RegisterFile {
  readonly count: number;
  readonly size: 1 | 2 | 4 | 8 | 16;
  /** Another file, named before this one, whose bytes these registers are (x86: AL and AH in RAX). Default: none. */
  readonly over?: string;
}

/** One handler of the interpreter: an instruction form with its variant constants filled in. */
export interface Handler {
  /** Unique, readable: `ldr_imm_post.x`. */
  readonly name: string;
  /** Whether a straight run of records ends here (control may go elsewhere unconditionally, or a slow op). */
  readonly ends: boolean;
  /** Rarely run: an engine may keep it out of its fast code, whose size is what optimising it costs. */
  readonly cold?: boolean;
  /**
   * How often it is executed compared to others, on any scale; default 0. The heaviest few hundred handlers go into
   * the interpreter's fast loop, the others are functions it calls (some nanoseconds more, never a difference in
   * what they do). Needed only by instruction sets with more handlers than fit.
   */
  readonly weight?: number;
  /** Writes the semantics. */
  sem(b: Builder, f: Fields): void;
}

/** Two handlers by index, the second behind the first. */
export type HandlerPair = readonly [first: number, second: number];

/** Where the decoder reads from and writes to; all addresses are byte offsets into the host's memory. */
export interface DecodeSite {
  readonly dv: DataView;
  readonly u8: Uint8Array;
  readonly i32: Int32Array;
  /** First byte of the instruction. */
  code: number;
  /** Bytes left in its page, 1..4096. */
  avail: number;
  /** Offset of the instruction in its page. */
  offset: number;
  /** Record to fill; its fields are zero on entry. The decoder writes every byte but 0-1 it needs. */
  record: number;
  /** Decode mode of the vCPU, 0..255 (AArch64: 0; x86: 16/32/64-bit and so on). */
  mode: number;
}

/** An instruction set on the engine. */
export interface Isa {
  readonly name: string;
  /** Alignment and granule of instructions in bytes: 4 for fixed four-byte ISAs, 1 for variable length. */
  readonly unit: 4 | 1;
  /** Record size in bytes, a multiple of 8. With `unit: 1` bytes 2-3 (page offset) and 4 (length) are the engine's too. */
  readonly recordSize: number;
  readonly fields: Readonly<Record<string, RecordField>>;
  /**
   * Byte offset, a multiple of 4, of four bytes in which the records of handlers that do not look at them remember where
   * they jump to; the decoder leaves them 0 there. With `unit: 1` only. Default: nothing is remembered.
   */
  readonly link?: number;
  /** Register files; the first is the main one (8-byte registers). */
  readonly files: Readonly<Record<string, RegisterFile>>;
  readonly state: Readonly<Record<string, StateVar>>;
  /** Names of the access contexts; each has its own fast TLB. */
  readonly contexts: readonly string[];
  readonly handlers: readonly Handler[];
  /**
   * Pairs of handlers (indices) that often follow each other, heaviest first: the fast loop runs both at one dispatch.
   * Never a difference in what they do. With `unit: 1` only. A pair with a cold handler, or whose first always ends a run,
   * does nothing.
   */
  readonly pairs?: readonly HandlerPair[];
  /** Handler number (index into `handlers`) of the undefined instruction; also used when decoding fails. */
  readonly undefinedHandler: number;
  /**
   * Decodes one instruction. Returns its length in bytes and leaves the handler index in `out.handler`, or
   * returns 0 when more than `avail` bytes are needed (only with `unit: 1`).
   */
  decode(site: DecodeSite, out: { handler: number }): number;
}

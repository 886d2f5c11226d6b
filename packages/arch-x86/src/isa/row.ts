/**
 * A row of the instruction table: which encodings, and what they mean. Decoding is iced-x86's: a row names iced `Code`
 * values, and its meaning is written once for every operand size, operand kind and addressing form.
 */
import type { Builder, Expr, Fields, I64, Slot } from '@faultyard/engine';
import type { SegNumber } from './layout.ts';

/** Operand size in bytes. */
export type Width = 1 | 2 | 4 | 8;

/**
 * The instruction as its meaning sees it: operands by number in Intel order (0 = destination), whatever they are.
 * Values of 1, 2 and 4 bytes are I32 (8- and 16-bit ones zero-extended), of 8 bytes I64.
 *
 * The engine's restart rule holds: whatever can fault comes before the first change of state. {@link write} to memory
 * can fault; write memory before registers and flags, or use {@link modify}.
 */
export interface Operands {
  readonly b: Builder;
  readonly f: Fields;
  /** Operand size of the instruction: that of operand 0 unless the row says otherwise. */
  readonly width: Width;
  /** Size of operand `i` in bytes. */
  size(i: number): Width;
  /**
   * What operand `i` is in this variant. `vector`: an XMM register. Implied memory operands of string instructions
   * are `memory`, too. A vector register or 16 bytes of memory have no value to {@link read}: use {@link slot} and
   * {@link linear}; {@link size} is then 8.
   */
  kind(i: number): 'register' | 'vector' | 'memory' | 'immediate';
  /** Slot of register operand `i` in file `r` (`b` if it has 8 bits, `v` if `vector`). */
  slot(i: number): Slot;
  /** Value of operand `i`; evaluates a load, so call it once. Immediates come sign-extended to `size(i)`. */
  read(i: number): Expr;
  /** Writes operand `i`: a 32-bit register write clears the upper half, narrower ones merge. */
  write(i: number, v: Expr, cls?: number): void;
  /**
   * Reads operand `i`, writes `f(old)` back, and returns old (one read-modify-write access if it is memory). State may
   * be changed after it, not in `f`.
   */
  modify(i: number, f: (old: Expr) => Expr): Expr;
  /** Effective address of the memory operand, without segment base (LEA), of the address size. */
  offset(): I64;
  /** Linear address of the memory operand, its segment limits checked for `bytes` (and for writing). */
  linear(bytes: number, write: boolean): I64;
  /**
   * As {@link linear} for another offset: in the segment given, or in the memory operand's (bit strings, the source of
   * string instructions: DS unless overridden). `offset` is a value of the address size, zero-extended.
   */
  linearAt(segment: SegNumber | 'operand', offset: I64, bytes: number, write: boolean): I64;
  /** Address size in bytes, and stack address size. */
  readonly addressSize: 2 | 4 | 8;
  readonly stackSize: 2 | 4 | 8;
  /** Code size of the mode: 2, 4, 8 for 16-, 32-, 64-bit code; and whether its segments are flat. */
  readonly codeSize: 2 | 4 | 8;
  readonly flat: boolean;
  /** Width of linear addresses of the model: 57 with the feature `la57`, whatever CR4.LA57 says. */
  readonly linearBits: 48 | 57;
}

/** Prefixes that make a variant of their own. */
export type Repeat = 'none' | 'rep' | 'repne';

/** One row. */
export interface Row {
  /** Unique, readable; also the stem of its handlers' names: `add`, `cmovcc.b`. */
  readonly name: string;
  /** Names of iced-x86 `Code` values. */
  readonly codes: readonly string[];
  /** Meaning. `rep`: the REP prefix in force (string instructions); others ignore it. */
  sem(o: Operands, rep: Repeat): void;
  /** REP variants are wanted: string instructions. */
  readonly repeats?: boolean;
  /**
   * The meaning looks at `codeSize`, `stackSize` or `flat` (stack, branches): a variant for each. Without it a meaning
   * that asks for them is its author's mistake, save in 64-bit mode and for `flat` with a memory operand.
   */
  readonly modes?: boolean;
  /** An address that uses the stack pointer is computed after the operand was popped (POP). */
  readonly popsFirst?: boolean;
  /** The meaning looks at no operand: all codes are one handler. */
  readonly bare?: boolean;
  /** Encodings beside `codes`, for instructions that iced-x86 does not know. */
  readonly encodings?: readonly Encoding[];
  /** Control may go elsewhere unconditionally, or a slow op always ends it. */
  readonly ends?: boolean;
  /**
   * How often its handlers run, in executions a million instructions, where `weights.ts` has not counted them. Handlers
   * without a weight are cold: functions made when first needed.
   */
  readonly weight?: number;
  /** KVM's emulator cannot do it (memfault.md 2.4): an access to MMIO is an emulation failure. */
  readonly notEmulated?: boolean;
  /** Width when it is not operand 0's. */
  readonly width?: Width;
  /** CPUID feature that it needs, as the model names it; absent features make it #UD. */
  readonly feature?: string;
}

/**
 * An encoding of one's own: looked for before iced-x86 decodes, behind legacy prefixes and REX, so it wins over whatever
 * iced-x86 makes of the bytes.
 */
export interface Encoding {
  /** Opcode bytes in hex, two digits each; `.` stands for any digit: `0f 3b`, `0f 01 c.`. */
  readonly bytes: string;
  /** A prefix that must be there: `66`, `f2` or `f3`. Default: any or none. */
  readonly prefix?: '66' | 'f2' | 'f3';
  /**
   * Name of an iced-x86 `Code` with the same operands: what follows the opcode bytes (ModRM, SIB, displacement,
   * immediate) is read as if its opcode stood there. Default: nothing follows.
   */
  readonly like?: string;
}

/**
 * One row of the A64 instruction table: encoding, assembly text and meaning stand together; decoder, assembler,
 * disassembler and the engine's handlers are derived from it.
 */
import type { Builder, Fields } from '@faultyard/engine';
import type { SysregNames } from './sysreg-names.ts';

/** Values of the named bit fields of one 32-bit instruction word. */
export type Bits = Readonly<Record<string, number>>;

/** Optional architecture features that gate a row; a row without one is Armv8.0. */
export type Feature = 'lse' | 'crc32' | 'pan' | 'ras' | 'lor' | 'uao' | 'fpsimd' | 'sb';

/**
 * The predecoded record (16 bytes): `rd rn rm ra` are slots of the `x` file, `x` and `y` small numbers, `imm` 64 bits.
 * Slots: 0..30 = X0..X30, `SP` = the current stack pointer, `ZR` reads zero, `SINK` discards writes.
 */
export interface Rec {
  rd?: number;
  rn?: number;
  rm?: number;
  ra?: number;
  x?: number;
  y?: number;
  /** Low and high half. */
  imm?: readonly [lo: number, hi: number];
}

/** Slot of the current stack pointer. */
export const SP = 31;
/** Slot that reads as zero. */
export const ZR = 32;
/** Slot that swallows writes. */
export const SINK = 33;

/** A row of the table. */
export interface Form {
  /** Unique and searchable: the manual's name, e.g. `LDR (immediate) post-index`. */
  readonly name: string;
  /**
   * The 32 bits from bit 31 down: literal `0`/`1` runs, ignored bits (`x` should be zero, `o` should be one: what
   * assembly writes), and `name:width` fields, separated by spaces: `sf:1 0 0 100010 sh:1 imm12:12 Rn:5 Rd:5`.
   */
  readonly bits: string;
  /** Section of the Arm ARM (DDI 0487) that defines it. */
  readonly ref: string;
  readonly feature?: Feature;
  /** Further condition on the fields; where false the word is not this row (UNDEFINED if no other row takes it). */
  readonly when?: (b: Bits) => boolean;
  /**
   * Fields whose values are constants of the handler: the table makes one handler for every combination that
   * {@link when} allows. Everything else comes from the record.
   */
  readonly spec?: readonly string[];
  /**
   * Further constants of the handler that are computed from the fields: possible values and rule, by name. They
   * join the {@link spec} fields in `v` (`sp`: the base register is the stack pointer).
   */
  readonly derive?: Readonly<Record<string, Derived>>;
  /**
   * Fields that tell the *forms* of this row apart for tests and reports (size, width, addressing mode).
   * Default: those of {@link spec} named `sf`, `size`, `sz`, `opc`, `A`, `R`, `L`, `V` or `Q`.
   */
  readonly split?: readonly string[];
  /** Assembly syntax, see {@link AsmLine}. The first line that applies is the preferred disassembly. */
  readonly asm: readonly AsmLine[];
  /** Operand classes used by this row's {@link asm} only, by name. */
  readonly operands?: Readonly<Record<string, Operand>>;
  /** What the record holds. */
  readonly record: (b: Bits) => Rec;
  /** Whether a straight run ends here (unconditional transfer, slow operation that may redirect). */
  readonly ends?: boolean;
  /** Rarely run (`Handler.cold`): the engine may keep it out of its fast code. */
  readonly cold?: boolean;
  /** The meaning. `v` holds the `spec` fields. */
  readonly sem: (b: Builder, f: Fields, v: Bits) => void;
}

/** A handler constant computed from the fields of an instruction, see {@link Form.derive}. */
export interface Derived {
  /** Every value `of` can return. */
  readonly values: readonly number[];
  /** The value for one instruction word. */
  of(b: Bits): number;
}

/**
 * One syntax of a row: a mnemonic and its operands, as `add <Rd|SP>, <Rn|SP>, <addimm>`.
 *
 * - `<Xd>` `<Wd>`: the 64-bit / 32-bit register in field `Rd` (`<Xt2>`: field `Rt2`), 31 = `xzr`/`wzr`.
 *   `<Rd>`: width by field `sf`. `<Xn|SP>`, `<Wn|SP>`, `<Rn|SP>`: 31 = `sp`/`wsp`.
 *   `<Bt>` `<Ht>` `<St>` `<Dt>` `<Qt>`: SIMD&FP registers.
 * - `<class>`: an operand class of `operands.ts` or of {@link Form.operands}, such as `<cond>`, `<bitmask>`.
 * - `<field>`: the field as an unsigned number. Modifiers, in this order: `:s` signed, `*N` scaled by N, `:d` printed
 *   in decimal (always so inside brackets). Write `#` before it; assembly takes it without, too.
 * - `<label:imm26>`: pc-relative target, signed field * 4.
 * - `<index*N>`: register offset of a load/store (fields Rm, option, S), N = log2 of the bytes accessed.
 * - `{, #<imm9:s>}`: an optional part, left out of the disassembly when all its fields are 0 (of a class: when its
 *   text is empty); fields that assembly does not name are 0. `{, lsl #12 if sh}`: printed if field `sh` is not 0; naming it sets `sh` to 1.
 * - The mnemonic itself may hold `<cond>` (`b.<cond>`).
 */
export interface AsmLine {
  readonly text: string;
  /** Fields with a fixed value in this syntax: set by assembly, and a condition for disassembly. */
  readonly with?: Bits;
  /** Further fields that follow from those assembly has read (`N` from `sf`). */
  readonly complete?: (b: Bits) => Bits;
  /** Further condition for disassembly to prefer this line (aliases). Assembly tries every line. */
  readonly if?: (b: Bits) => boolean;
  /** Assembly takes the line only where {@link if} holds, too. */
  readonly binding?: boolean;
  /** Assembly accepts it, disassembly never prints it. */
  readonly asmOnly?: boolean;
}

/** An operand class: text to fields and back. */
export interface Operand {
  /** What an error message says would have been accepted here: `a shift amount, 0 to 63`. */
  readonly expect: string;
  /** The text for these fields; `pc` is the instruction's address. */
  print(b: Bits, pc: bigint, registers: SysregNames): string;
  /**
   * Takes its text from the cursor and returns the fields it sets; `undefined` if something else stands there;
   * a string if it is this operand but its value cannot be encoded (the reason, for the error message).
   * `b` holds the fields set so far (`sf` of an earlier register).
   */
  parse(c: Cursor, b: Bits): Bits | string | undefined;
}

/** The assembler's position within one statement, as operand classes see it. */
export interface Cursor {
  /** Address of the instruction. */
  readonly pc: bigint;
  /** Names of system registers. */
  readonly registers: SysregNames;
  /** Takes the punctuation or word `text` (any case) if it comes next. */
  take(text: string): boolean;
  /** Takes a word (letters, digits, `_`, `.`), lower-cased, or `undefined`. */
  word(): string | undefined;
  /** Takes an expression (numbers, labels, `.`, C operators, optional `#`), or `undefined` if none stands there. */
  number(): bigint | undefined;
}

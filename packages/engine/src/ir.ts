/**
 * The intermediate language in which an instruction's meaning is written once.
 *
 * A semantic function receives a {@link Builder} and a {@link Fields} object and describes what the instruction
 * does. With constant fields the result is compiled code for one instruction; with symbolic fields (loads from the
 * predecoded record) the very same function yields the interpreter's handler.
 *
 * Rules every semantic function obeys:
 * - **Restartable.** All accesses that can fault come before the first change of guest state
 *   ({@link Builder.set}, {@link Builder.put}, {@link Builder.setElem}); multi-element accesses go through
 *   {@link Builder.loads} and {@link Builder.stores}, which translate everything before they move a byte.
 * - **Pure expressions.** An expression may be evaluated where it is used, more than once; what must be evaluated
 *   once, or before a later change of state, is bound with {@link Builder.let}. Register reads are expressions: bind
 *   them before you overwrite the register.
 * - **No JavaScript decisions on values.** Only variant constants (known when the handler is emitted) may steer
 *   JavaScript `if`s.
 */

/** Width of a value: a wasm `i32` or `i64`. */
export type Ty = 'i32' | 'i64';

declare const exprType: unique symbol;
/** An expression of type `T`; opaque to semantic functions. */
export interface Expr<T extends Ty = Ty> {
  readonly ty: T;
  readonly [exprType]?: T;
}
/** A 32-bit expression. Conditions are `I32`, any non-zero value is true. */
export type I32 = Expr<'i32'>;
/** A 64-bit expression. */
export type I64 = Expr<'i64'>;

declare const slotType: unique symbol;
/**
 * An index into a register file: a plain number when it is known at emission, or an opaque reference to a record
 * field in the interpreter. Semantic functions only pass it on.
 */
export type Slot = number | { readonly [slotType]: true };

/** Sizes of one memory element, in bytes. */
export type Size = 1 | 2 | 4 | 8;

/** Attributes of a memory access; they are constants of the handler. */
export interface AccessOptions {
  /** Sign-extend the element (loads only). Default: zero-extend. */
  readonly signed?: boolean;
  /**
   * Access context to use instead of the current one, by index into {@link Isa.contexts}
   * (AArch64 LDTR/STTR: the unprivileged one). Default: the vCPU's current context.
   */
  readonly ctx?: number;
  /**
   * ISA-defined access class, 0..255, handed to the slow path as is (AArch64: atomic, exclusive, acquire, cache
   * operation, no-syndrome …). It never changes the fast path.
   */
  readonly cls?: number;
  /** The access must be naturally aligned to this many bytes, else it takes the slow path. Default: no check. */
  readonly align?: number;
}

/** The fields of one instruction as a semantic function sees them: constants, or loads from the record. */
export interface Fields {
  /** Register-file index stored in record field `name` (type `u8`). */
  slot(name: string): Slot;
  /** Value of an `u8`, `u16` or `i32` record field (or the low half of an `i64` field). */
  i32(name: string): I32;
  /** Value of an `i64` record field; a narrower field is zero-extended. */
  i64(name: string): I64;
  /** High half of an `i64` record field. */
  hi32(name: string): I32;
}

/** What a semantic function may say. Every method is total: it never throws for values a guest can choose. */
export interface Builder {
  // ---- constants -------------------------------------------------------------------------------------------
  /** 32-bit constant (taken modulo 2^32). */
  c32(n: number): I32;
  /** 64-bit constant from two 32-bit halves; `c64(n)` sign-extends an int32. */
  c64(lo: number, hi?: number): I64;

  // ---- arithmetic: both operands of one width, result of the same width --------------------------------------
  /** Sum, modulo 2^width. */
  add<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T>;
  /** Difference, modulo 2^width. */
  sub<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T>;
  /** Low half of the product. */
  mul<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T>;
  /** Unsigned division. The divisor must not be zero: guard with {@link select} first (wasm traps). */
  divU<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T>;
  /** Signed division. Divisor neither zero nor -1: guard with {@link select} first (wasm traps). */
  divS<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T>;
  /** Bitwise and. */
  and<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T>;
  /** Bitwise or. */
  or<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T>;
  /** Bitwise exclusive or. */
  xor<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T>;
  /** All bits inverted. */
  not<T extends Ty>(a: Expr<T>): Expr<T>;
  /** Shifts and rotates: the amount is an `I32`, taken modulo the width. */
  shl<T extends Ty>(a: Expr<T>, n: I32): Expr<T>;
  /** Shift right, zeros in. */
  shrU<T extends Ty>(a: Expr<T>, n: I32): Expr<T>;
  /** Shift right, copies of the sign in. */
  shrS<T extends Ty>(a: Expr<T>, n: I32): Expr<T>;
  /** Rotate right. */
  rotr<T extends Ty>(a: Expr<T>, n: I32): Expr<T>;
  /** Leading zeros; the width for 0. */
  clz<T extends Ty>(a: Expr<T>): Expr<T>;
  /** Trailing zeros; the width for 0. */
  ctz<T extends Ty>(a: Expr<T>): Expr<T>;
  /** Number of ones. */
  popcnt<T extends Ty>(a: Expr<T>): Expr<T>;
  /** High 64 bits of the unsigned 128-bit product. */
  mulhU(a: I64, b: I64): I64;
  /** High 64 bits of the signed 128-bit product. */
  mulhS(a: I64, b: I64): I64;

  // ---- comparisons: an I32 of 0 or 1 --------------------------------------------------------------------------
  /** Equal. */
  eq<T extends Ty>(a: Expr<T>, b: Expr<T>): I32;
  /** Not equal. */
  ne<T extends Ty>(a: Expr<T>, b: Expr<T>): I32;
  /** Unsigned less. */
  ltU<T extends Ty>(a: Expr<T>, b: Expr<T>): I32;
  /** Signed less. */
  ltS<T extends Ty>(a: Expr<T>, b: Expr<T>): I32;
  /** Unsigned greater or equal. */
  geU<T extends Ty>(a: Expr<T>, b: Expr<T>): I32;
  /** Signed greater or equal. */
  geS<T extends Ty>(a: Expr<T>, b: Expr<T>): I32;
  /** Zero. */
  eqz(a: Expr): I32;

  // ---- conversions --------------------------------------------------------------------------------------------
  /** Low 32 bits. */
  wrap(a: I64): I32;
  /** Zero-extends 32 to 64 bits. */
  extU(a: I32): I64;
  /** Sign-extends 32 to 64 bits. */
  extS(a: I32): I64;
  /** Sign-extend the low `bits` within the same width. */
  sext<T extends Ty>(a: Expr<T>, bits: 8 | 16 | 32): Expr<T>;
  /** Keep the low `bits` (zero-extend within the same width). */
  zext<T extends Ty>(a: Expr<T>, bits: 8 | 16 | 32): Expr<T>;
  /** `c ? a : b`, both evaluated. */
  select<T extends Ty>(c: I32, a: Expr<T>, b: Expr<T>): Expr<T>;

  // ---- state --------------------------------------------------------------------------------------------------
  /** Evaluates `e` now, once; the result may be used any number of times. */
  let<T extends Ty>(e: Expr<T>): Expr<T>;
  /** Reads the 64-bit register `slot` of the main file (the first of {@link Isa.files}). */
  get(slot: Slot): I64;
  /** Writes the 64-bit register `slot` of the main file. */
  set(slot: Slot, v: I64): void;
  /** Reads `size` bytes at byte `at` of register `slot` in register file `file`, zero-extended. */
  elem(file: string, slot: Slot, at: number, size: 8): I64;
  /** Reads a narrower element, zero-extended. */
  elem(file: string, slot: Slot, at: number, size: 1 | 2 | 4): I32;
  /** Writes the low `size` bytes of `v` there. */
  setElem(file: string, slot: Slot, at: number, size: Size, v: Expr): void;
  /** Reads a named state variable of {@link Isa.state} (the caller states its type, checked at emission). */
  read32(name: string): I32;
  /** Reads a 64-bit state variable. */
  read64(name: string): I64;
  /** Writes a named state variable. */
  put(name: string, v: Expr): void;

  // ---- memory -------------------------------------------------------------------------------------------------
  /** Loads one element of 1, 2 or 4 bytes as I32, or of 8 bytes as I64. */
  load(size: 8, addr: I64, o?: AccessOptions): I64;
  /** Loads one narrower element. */
  load(size: 1 | 2 | 4, addr: I64, o?: AccessOptions): I32;
  /** Stores the low `size` bytes of `v`. */
  store(size: Size, addr: I64, v: Expr, o?: AccessOptions): void;
  /** Loads `n` consecutive elements as one access (translated whole first; at most 64 bytes together). */
  loads(size: Size, n: number, addr: I64, o?: AccessOptions): Expr[];
  /** Stores consecutive elements as one access (translated whole first; at most 64 bytes together). */
  stores(size: Size, addr: I64, v: readonly Expr[], o?: AccessOptions): void;
  /**
   * Read-modify-write of one element: loads the old value with write permission checked first, stores `f(old)`
   * and returns the old value. Atomic with respect to other vCPUs by construction (one thread).
   */
  rmw(size: 8, addr: I64, f: (old: I64) => I64, o?: AccessOptions): I64;
  /** Read-modify-write of a narrower element. */
  rmw(size: 1 | 2 | 4, addr: I64, f: (old: I32) => I32, o?: AccessOptions): I32;

  // ---- control ------------------------------------------------------------------------------------------------
  /** Address of this instruction. */
  pc(): I64;
  /** Address of the instruction behind this one. */
  next(): I64;
  /** Transfers control to `pc() + offset`; `offset` is an `i64` record field, or a constant. Ends the handler. */
  jump(field: string): void;
  /** As {@link jump} if `c`, else falls through. */
  jumpIf(c: I32, field: string): void;
  /** Transfers control to an absolute address. Ends the handler. */
  jumpTo(addr: I64): void;
  /** Structured conditional. Statements inside must keep the restart rule. */
  when(c: I32, then: () => void, otherwise?: () => void): void;
  /**
   * Leaves generated code with pc at this instruction and nothing of it done; the vCPU then runs slow operation
   * `op` (an ISA-defined number, 0..65535) with the given arguments, which do or do not retire it.
   * Ends the handler (inside {@link when}: ends that branch).
   */
  slow(op: number, ...args: Expr[]): void;
  /** One test of bit `n` (0..31) in the vCPU block's guard word; if set, leaves as `slow(GUARD)` with `n`. */
  guard(n: number): void;
}

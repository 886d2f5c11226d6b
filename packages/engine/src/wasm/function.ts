/** Writes the body of one wasm function: locals, structured control with labels, instructions. */
import { Bytes } from './bytes.ts';
import { type I32, type I64, Op, VOID } from './op.ts';

/** A target of `br`: the nesting depth of its block, loop or if. */
export type Label = number;

/** One function body under construction. */
export class FunctionWriter {
  readonly code: Bytes = new Bytes();
  /** Types of the locals behind the parameters. */
  readonly locals: number[] = [];
  readonly #params: number;
  #depth = 0;

  /** A function with `params` parameters (locals 0 to `params - 1`). */
  constructor(params: number) {
    this.#params = params;
  }
  /** Adds a local of the type and returns its index. */
  local(type: typeof I32 | typeof I64): number {
    this.locals.push(type);
    return this.#params + this.locals.length - 1;
  }
  /** An instruction without immediates. */
  op(code: number): void {
    this.code.u8(code);
  }
  get(local: number): void {
    this.#index(Op.get, local);
  }
  set(local: number): void {
    this.#index(Op.set, local);
  }
  tee(local: number): void {
    this.#index(Op.tee, local);
  }
  call(fn: number): void {
    this.#index(Op.call, fn);
  }
  /** Calls through table 0; `type` is the signature's index among the module's types. */
  callIndirect(type: number): void {
    this.#index(Op.callIndirect, type);
    this.code.u8(0);
  }
  i32(n: number): void {
    this.code.u8(Op.i32const);
    this.code.s32(n);
  }
  i64(lo: number, hi: number = lo >> 31): void {
    this.code.u8(Op.i64const);
    this.code.s64(lo, hi);
  }
  /** A load or store with a static offset; no alignment is promised. */
  mem(code: number, offset: number): void {
    this.code.u8(code);
    this.code.u8(0);
    this.code.u32(offset);
  }
  block(): Label {
    return this.#open(Op.block);
  }
  loop(): Label {
    return this.#open(Op.loop);
  }
  if(): Label {
    return this.#open(Op.if);
  }
  else(): void {
    this.code.u8(Op.else);
  }
  end(): void {
    this.code.u8(Op.end);
    this.#depth--;
  }
  br(to: Label): void {
    this.#index(Op.br, this.#depth - to);
  }
  brIf(to: Label): void {
    this.#index(Op.brIf, this.#depth - to);
  }
  brTable(to: readonly Label[], otherwise: Label): void {
    this.code.u8(Op.brTable);
    this.code.u32(to.length);
    for (const l of to) this.code.u32(this.#depth - l);
    this.code.u32(this.#depth - otherwise);
  }
  #open(code: number): Label {
    this.code.u8(code);
    this.code.u8(VOID);
    return ++this.#depth;
  }
  #index(code: number, n: number): void {
    this.code.u8(code);
    this.code.u32(n);
  }
}

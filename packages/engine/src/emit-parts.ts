/** What the parts of the emitter share. */
import type { Ty } from './ir.ts';
import type { Label } from './wasm/function.ts';
import { Mem } from './wasm/op.ts';

/** Imported and internal functions of every generated module, by index. */
export const Fn = {
  load: 0,
  store: 1,
  storeMany: 2,
  rmwLoad: 3,
  rmwStore: 4,
  complete: 5,
  mulhU: 6,
  mulhS: 7,
} as const;

/** Where a handler leaves generated code with its instruction not done; `why` holds the reason at `leave`. */
export interface Exits {
  readonly leave: Label;
  readonly fault: Label;
  /** Where the whole instruction is done over, complete with slow path; absent in code that has its own. */
  readonly complete?: Label;
}

/** The instruction that stores the low `size` bytes of a value of type `ty`. */
export function storeOp(size: number, ty: Ty): number {
  if (ty === 'i64')
    return size === 8
      ? Mem.i64store
      : size === 4
        ? Mem.i64store32
        : size === 2
          ? Mem.i64store16
          : Mem.i64store8;
  return size === 4 ? Mem.i32store : size === 2 ? Mem.i32store16 : Mem.i32store8;
}

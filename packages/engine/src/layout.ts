/** Numbers and signatures that the parts of the interpreter agree on. */
import { mulhBody } from './mulh.ts';
import type { Definition, Signature } from './wasm/module.ts';
import { I32, I64 } from './wasm/op.ts';

/** Handler numbers of the engine's own records; the instruction set's follow. */
export const Special = { Undecoded: 0, End: 1, Join: 2, Cross: 3 } as const;
/** Number of the instruction set's first handler. */
export const FIRST_HANDLER = 4;

/**
 * Reasons of leaving that `Cpu.run` deals with itself; the others are `Leave`. `Jump` is what a handler's function
 * returns when control goes to the pc in the block.
 */
export const Inner = { Miss: 4, Decode: 5, Cross: 6, Jump: 7 } as const;

/** Records in a directly mapped page. */
export const DIRECT_RECORDS = 1024;

/** Most records of one straight run in a mapped page, its terminator included. */
export const MAPPED_RUN = 96;

/** `params` i32 in, `results` out. */
export function signature(params: number, results: readonly number[] = [I32]): Signature {
  return { params: new Array<number>(params).fill(I32), results };
}
/** The slow path's functions, and the one that makes a handler's function when it is first called; see `Fn`. */
export const IMPORTS: readonly { readonly name: string; readonly signature: Signature }[] = [
  { name: 'load', signature: signature(3) },
  { name: 'store', signature: signature(5) },
  { name: 'storeMany', signature: signature(3) },
  { name: 'rmwLoad', signature: signature(3) },
  { name: 'rmwStore', signature: signature(5) },
  { name: 'complete', signature: signature(3) },
];
const wide: Signature = { params: [I64, I64], results: [I64] };
/** Functions every generated module brings along. */
export const INTERNAL: readonly Definition[] = [
  { signature: wide, body: mulhBody(false) },
  { signature: wide, body: mulhBody(true) },
];

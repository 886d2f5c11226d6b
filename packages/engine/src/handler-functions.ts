/**
 * The functions of handlers, made when one of them is first called. A module costs more than what is in it, so that all
 * handlers that decoding has met since come along.
 */
import { emitHandlers, type Interpreter } from './interpreter.ts';
import type { Isa } from './isa.ts';

/** A handler's function: see `outlined.ts`. */
export type HandlerRun = (block: number, context: number, rec: number) => number;

/** Handlers that were compiled together. */
export interface Batch {
  readonly module: WebAssembly.Module;
  /** By index; the functions are exports by these numbers. */
  readonly handlers: readonly number[];
}

/** Most handlers of a batch. */
const BATCH = 64;

/** The functions of one engine's handlers. */
export class HandlerFunctions {
  readonly #isa: Isa;
  readonly #interpreter: Interpreter;
  /** By handler; shared by all engines of the instruction set. */
  readonly #batches: (Batch | undefined)[];
  readonly #imports: WebAssembly.ModuleImports;
  readonly #made: (HandlerRun | undefined)[] = [];

  constructor(
    isa: Isa,
    emitted: { readonly interpreter: Interpreter; readonly batches: (Batch | undefined)[] },
    imports: WebAssembly.ModuleImports,
  ) {
    this.#isa = isa;
    this.#interpreter = emitted.interpreter;
    this.#batches = emitted.batches;
    this.#imports = imports;
  }
  /** The function of handler `n`; `met`: handlers that decoding met for the first time, which is emptied. */
  get(n: number, met: number[]): HandlerRun {
    const had = this.#made[n];
    if (had) return had;
    const batch = this.#batches[n] ?? this.#compile(n, met);
    const { exports } = new WebAssembly.Instance(batch.module, { e: this.#imports });
    for (const h of batch.handlers) this.#made[h] = exports[h] as unknown as HandlerRun;
    return this.#made[n] as HandlerRun;
  }
  #compile(n: number, met: number[]): Batch {
    const others = met.splice(0).filter((h) => h !== n && !this.#batches[h]);
    const handlers = [n, ...others.slice(0, BATCH - 1)];
    const module = new WebAssembly.Module(emitHandlers(this.#isa, handlers, this.#interpreter.programs));
    const batch: Batch = { module, handlers };
    for (const h of handlers) this.#batches[h] = batch;
    return batch;
  }
}

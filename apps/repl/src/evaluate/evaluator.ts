/**
 * Runs the inputs of a session in the process's own global scope. An input that does not await is evaluated before
 * `evaluate` returns, so that lines keep their order; one that awaits gives a promise. Both can be interrupted.
 */
import { Script } from 'node:vm';
import { Interrupted, type Interrupts } from '../interrupt/interrupts.ts';
import { mendStreams } from '../interrupt/streams.ts';
import type { Importer } from '../modules/importer.ts';
import { compile, IMPORT, LOOK } from './compile.ts';

/** What became of one input. */
export type Outcome =
  | { readonly kind: 'value'; readonly value: unknown; readonly declares?: string }
  | { readonly kind: 'error'; readonly error: unknown }
  | { readonly kind: 'incomplete' };

/** Evaluates one input (one or more lines). */
export type Evaluate = (input: string) => Outcome | Promise<Outcome>;

/** An evaluator over the global scope; `interrupts` decides how Ctrl-C reaches a running line, `load` how it imports. */
export function createEvaluator(interrupts: Interrupts, load: Importer): Evaluate {
  let count = 0;
  const look = (): void => {
    if (interrupts.requested()) throw new Interrupted();
  };
  for (const [name, value] of [
    [IMPORT, load],
    [LOOK, look],
  ] as const)
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  return (input) => {
    try {
      const compiled = compile(input);
      if (compiled.kind !== 'script') return compiled;
      if (compiled.code === '') return { kind: 'value', value: undefined };
      const declares = compiled.declares === undefined ? {} : { declares: compiled.declares };
      const script = new Script(compiled.code, { filename: `line ${++count}` });
      const result: unknown = interrupts.running(() =>
        script.runInThisContext({ displayErrors: false, breakOnSigint: true }),
      );
      if (!compiled.isAsync) return { kind: 'value', value: result, ...declares };
      return interrupts.waiting(result as Promise<{ value: unknown } | undefined>).then(
        (settled): Outcome => ({ kind: 'value', value: settled?.value, ...declares }),
        (error: unknown): Outcome => ({ kind: 'error', error }),
      );
    } catch (error) {
      const stopped = (error as { code?: unknown } | null)?.code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED';
      if (stopped) mendStreams();
      return { kind: 'error', error: stopped ? new Interrupted() : error };
    }
  };
}

/** Sessions in process, on streams instead of a terminal. */
import { PassThrough } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import { createEvaluator } from '../src/evaluate/evaluator.ts';
import { type Interrupts, signalInterrupts } from '../src/interrupt/interrupts.ts';
import { type Session, type SessionOptions, startSession } from '../src/session.ts';

/** What a session wrote, and how it left. */
export interface Piped {
  readonly out: string;
  readonly err: string;
  readonly status: 0 | 1;
}

/** Collects what is written to a stream. */
export function collect(stream: PassThrough): () => string {
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return () => text;
}

/** Starts a session; `import()` is the test's own. */
export function open(
  options: Partial<SessionOptions> & Pick<SessionOptions, 'input' | 'output'>,
  interrupts: Interrupts = signalInterrupts(),
): Session {
  return startSession({
    errors: options.output,
    terminal: false,
    prompt: '',
    interrupts,
    evaluate: createEvaluator(interrupts, (specifier) => import(/* @vite-ignore */ specifier)),
    show: (value) => inspect(value),
    showError: (error) => `! ${(error as Error).name}: ${(error as Error).message.split('\n')[0]}`,
    ...options,
  });
}

/** Pipes lines through a session. */
export async function pipe(lines: string, options: Partial<SessionOptions> = {}): Promise<Piped> {
  const input = new PassThrough();
  const output = new PassThrough();
  const errors = new PassThrough();
  const out = collect(output);
  const err = collect(errors);
  const session = open({ input, output, errors, ...options });
  input.end(lines);
  const status = await session.done;
  await setTimeout(0);
  return { out: out(), err: err(), status };
}

/**
 * A session: TypeScript lines read from a terminal or a pipe, evaluated in order, their values printed.
 *
 * It is node:repl with its own evaluation. On a terminal it has line editing, completion, history and Ctrl-C; from a pipe
 * it takes one line at a time, waits for lines that await, prints values on standard output and errors on standard error,
 * and remembers whether the last line failed.
 */
import type { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { type REPLServer, Recoverable, start } from 'node:repl';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { UserError } from './errors.ts';
import type { Evaluate, Outcome } from './evaluate/evaluator.ts';
import type { History } from './history.ts';
import type { Interrupts } from './interrupt/interrupts.ts';

/** What a session needs. */
export interface SessionOptions {
  readonly input: Readable;
  readonly output: Writable;
  /** Where errors go when there is no terminal. */
  readonly errors: Writable;
  /** Line editing, prompt, completion, history; needs `input` and `output` to be one terminal. */
  readonly terminal: boolean;
  readonly evaluate: Evaluate;
  readonly interrupts: Interrupts;
  readonly history?: History | undefined;
  /** Prints a value; called for everything but undefined. */
  readonly show: (value: unknown) => string;
  /** Prints what a line threw. */
  readonly showError: (error: unknown) => string;
  /** Whether the value of `let x = …` is worth printing (an exit is). */
  readonly announces?: (value: unknown) => boolean;
  /** Completions of the text left of the cursor that node:repl's own do not find. */
  readonly complete?: (line: string) => readonly [readonly string[], string] | undefined;
  /** Told of every input that was evaluated without an error. */
  readonly onInput?: (input: string) => void;
  readonly prompt?: string;
  /** Shows the value of a line while it is typed; default: on a terminal. */
  readonly preview?: boolean;
}

/** A running session. */
export interface Session {
  readonly server: REPLServer;
  /** Resolves when the session has ended: 0, or 1 if the last line failed. */
  readonly done: Promise<0 | 1>;
  /** Runs a line's work that is not TypeScript (a dot command): its errors are the line's, and so is a status but 0. */
  work(work: () => number | Promise<number>): Promise<void>;
}

/** The name under which a line finds the work of a dot command. */
const WORK = '__work';

/** Starts a session over the process's global scope. */
export function startSession(options: SessionOptions): Session {
  const { terminal, interrupts } = options;
  let failed = false;
  let unfinished = false;
  let busy = false;
  const waiting: (() => void)[] = [];

  const report = (error: unknown): void => {
    failed = true;
    (terminal ? options.output : options.errors).write(`${options.showError(error)}\n`);
  };
  const settle = (
    input: string,
    outcome: Outcome,
    callback: (e: Error | null, value?: unknown) => void,
  ): void => {
    unfinished = outcome.kind === 'incomplete';
    if (outcome.kind === 'incomplete') callback(new Recoverable(new SyntaxError('more lines are needed')));
    else if (outcome.kind === 'error') {
      report(outcome.error);
      callback(null);
    } else {
      failed = false;
      options.onInput?.(input.trimEnd());
      const { declares } = outcome;
      const declared: unknown = declares === undefined ? undefined : Reflect.get(globalThis, declares);
      callback(null, declared !== undefined && options.announces?.(declared) ? declared : outcome.value);
    }
    rest();
  };
  /** The line is over: what was typed meanwhile goes on. */
  const rest = (): void => {
    busy = false;
    while (!busy && waiting.length > 0) waiting.shift()?.();
  };

  const gate = terminal ? undefined : new PassThrough();
  const before = new Set(Reflect.ownKeys(globalThis));
  const server = start({
    prompt: options.prompt ?? 'fy> ',
    input: gate ?? options.input,
    output: options.output,
    terminal,
    useGlobal: true,
    useColors: false,
    preview: options.preview ?? terminal,
    ignoreUndefined: true,
    writer: options.show,
    eval(input, _context, _file, callback) {
      busy = true;
      const outcome = options.evaluate(input);
      if (outcome instanceof Promise) void outcome.then((o) => settle(input, o, callback));
      else settle(input, outcome, callback);
    },
  });
  // node:repl adds Node's modules as globals (`vm` among them); a script has none of them, so a session has none either
  for (const key of Reflect.ownKeys(globalThis))
    if (!before.has(key) && key !== '_' && key !== '_error') Reflect.deleteProperty(globalThis, key);

  // node:repl's own feeds a file's lines in without waiting for those that await
  const load = async (path: string): Promise<void> => {
    busy = true;
    try {
      const text = readFileSync(path, 'utf8');
      const outcome = await options.evaluate(text);
      if (outcome.kind === 'incomplete') throw new SyntaxError(`${path} ends in the middle of a statement`);
      settle(text, outcome, (_error, value) => {
        if (value !== undefined) options.output.write(`${options.show(value)}\n`);
      });
    } catch (error) {
      report(error);
      rest();
    }
    server.displayPrompt();
  };
  server.defineCommand('load', {
    help: 'evaluate a TypeScript file as a line of this session',
    action: (path) => void load(path.trim()),
  });
  onLateErrors(server, (error) => {
    report(error);
    if (terminal) server.displayPrompt();
  });
  if (options.history) keepHistory(server, options.history);
  if (options.complete) extendCompletion(server, options.complete);
  const idle = server.listeners('SIGINT') as (() => void)[];
  server.removeAllListeners('SIGINT');
  server.on('SIGINT', () => {
    if (busy) interrupts.interrupt();
    else for (const listener of idle) listener.call(server);
  });
  // node:repl only prints that it knows no such word, and the session would end well
  const refuses = (line: string): boolean => {
    const word = unfinished ? undefined : /^\s*\.([a-z][\w-]*)/i.exec(line)?.[1];
    if (word === undefined || Object.hasOwn(server.commands, word)) return false;
    const known = Object.keys(server.commands).map((name) => `.${name}`);
    report(UserError.unknown('command', `.${word}`, known, `commands: ${known.join(' ')}`));
    return true;
  };
  if (gate) void feed(options.input, server, gate, refuses);
  else holdKeys(server, () => busy, waiting);

  const done = new Promise<0 | 1>((resolve) => {
    server.on('exit', () => {
      if (unfinished) report(new SyntaxError('the input ended in the middle of a statement'));
      interrupts.close();
      resolve(failed && !terminal ? 1 : 0);
    });
  });
  const work: Session['work'] = async (run) => {
    // as a line, so that Ctrl-C reaches it
    Object.defineProperty(globalThis, WORK, { value: run, configurable: true });
    busy = true;
    const outcome = await options.evaluate(`await ${WORK}()`);
    if (outcome.kind === 'error') report(outcome.error);
    else failed = outcome.kind === 'value' && outcome.value !== 0;
    server.displayPrompt();
    rest();
  };
  return { server, done, work };
}

/** Errors thrown after their line has ended (by a timer, a rejected promise) are reported like the others. */
function onLateErrors(server: REPLServer, report: (error: unknown) => void): void {
  // Node 20 to 24 catch them in a domain; a Node without it reports them by itself
  const { _domain: domain } = server as unknown as { _domain?: EventEmitter };
  domain?.removeAllListeners('error');
  domain?.on('error', report);
}

/** Hands a pipe's lines over one at a time, but those refused: the next when the prompt would be shown again. */
async function feed(
  input: Readable,
  server: REPLServer,
  gate: PassThrough,
  refuses: (line: string) => boolean,
): Promise<void> {
  let ready: () => void = () => undefined;
  server.displayPrompt = () => ready();
  let open = true;
  server.on('exit', () => {
    open = false;
    ready();
  });
  for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (!open) break;
    if (refuses(line)) continue;
    await new Promise<void>((resolve) => {
      ready = resolve;
      gate.write(`${line}\n`);
    });
  }
  gate.end();
}

/** Keys pasted while a line runs wait for it to end; Ctrl-C does not. */
function holdKeys(server: REPLServer, busy: () => boolean, waiting: (() => void)[]): void {
  type Write = (data: string, key: { ctrl?: boolean; name?: string } | undefined) => void;
  const editor = server as unknown as { _ttyWrite: Write };
  const write = editor._ttyWrite.bind(server);
  editor._ttyWrite = (data, key) => {
    if (busy() && !(key?.ctrl && key.name === 'c')) waiting.push(() => editor._ttyWrite(data, key));
    else write(data, key);
  };
}

function keepHistory(server: REPLServer, history: History): void {
  const editor = server as unknown as { history: string[] };
  editor.history = [...history.entries];
  server.on('history', (lines: string[]) => {
    const newest = lines[0];
    if (newest?.trim()) history.add(newest);
  });
}

function extendCompletion(server: REPLServer, complete: NonNullable<SessionOptions['complete']>): void {
  type Callback = (error: Error | null, result?: readonly [readonly string[], string]) => void;
  const completer = server as unknown as { completer: (line: string, callback: Callback) => void };
  const original = completer.completer.bind(server);
  completer.completer = (line, callback) => {
    const own = complete(line);
    if (own) callback(null, own);
    else original(line, callback);
  };
}

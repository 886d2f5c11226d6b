/** `script`: a TypeScript file with the globals of a session; and scenario files, which `run` takes too. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describeError, UserError } from '../errors.ts';
import { uninterrupted } from '../interrupt/interrupts.ts';
import { type Io, line } from '../io.ts';
import { type Journal, outcomeText } from '../lab/journal.ts';
import { openLab } from '../lab/open.ts';
import type { KnobSet, ScenarioResult } from '../scenarios.ts';
import { type Command, type Invocation, writeJson } from './command.ts';
import { contract, resultText } from './result.ts';

/** Whether a word of `run` names a file rather than a scenario. */
export function isScenarioFile(word: string): boolean {
  return /\.m?ts$/.test(word);
}

/** What became of a file. */
interface Ran {
  readonly journal: Journal;
  /** What it threw, unless it ran to its end. */
  readonly error?: unknown;
}

/** Sends what a file prints on standard output elsewhere while it runs. */
function divert(io: Io): () => void {
  const { stdout } = process;
  if (io.out !== stdout) return () => undefined;
  const { write } = stdout;
  stdout.write = ((chunk: string | Uint8Array, ...rest: never[]) =>
    io.err.write(chunk, ...rest)) as typeof write;
  return () => {
    stdout.write = write;
  };
}

/** Runs a file as a module. Under `--json` what it prints goes to standard error. */
async function runModule(invocation: Invocation, file: string, set: KnobSet): Promise<Ran> {
  const { io, runs } = invocation;
  const { journal, close } = openLab({ interrupts: uninterrupted, ...invocation, set });
  const { href } = pathToFileURL(resolve(file));
  // Node keeps modules by URL: the same file runs again under another one
  const again = runs.get(href) ?? 0;
  runs.set(href, again + 1);
  const url = again > 0 ? `${href}?run=${again}` : href;
  const restore = invocation.options['json'] ? divert(io) : () => undefined;
  try {
    await import(url);
    return { journal };
  } catch (error) {
    const { code, url: missing } = error as { code?: unknown; url?: unknown };
    if (
      code === 'ERR_MODULE_NOT_FOUND' &&
      (missing === href || missing === undefined) &&
      String(error).includes(resolve(file))
    )
      throw new UserError(`there is no file ${file}`);
    return { journal, error };
  } finally {
    restore();
    close();
  }
}

/** A scenario file's outcome against what its head expects. @throws UserError when it has no head. */
function judge(file: string, { journal, error }: Ran, set: KnobSet): ScenarioResult {
  const { head } = journal;
  if (error === undefined && !head)
    throw new UserError(
      `${file} does not say what it expects\nadd scenario({ id, expected }), or run it with \`script\``,
    );
  const outcome =
    error === undefined ? outcomeText(journal.outcome) : `threw ${describeError(error).split('\n')[0]}`;
  const expected = head ? outcomeText(head.expected) : '';
  return {
    scenario: head?.id ?? file,
    entry: head?.id ?? file,
    column: '',
    set,
    outcome,
    expected,
    ok: outcome === expected,
    exits: journal.exits,
    instructions: journal.instructions,
    stateHash: journal.stateHash,
    log: error === undefined ? [] : describeError(error).split('\n'),
  };
}

/** Runs a scenario file as `run` does: status 0 only if the outcome is the expected one. */
export async function runFile(invocation: Invocation, file: string, set: KnobSet): Promise<number> {
  const result = judge(file, await runModule(invocation, file, set), set);
  if (invocation.options['json']) writeJson(invocation.io, contract(result));
  else line(invocation.io.out, resultText(result, invocation.io.colors));
  return result.ok ? 0 : 1;
}

/** The `script` command. */
export const script: Command = {
  name: 'script',
  help: 'run a TypeScript file with the globals of a session',
  usage: 'script <file>',
  async run(invocation) {
    const { words, options, io } = invocation;
    const [file, ...rest] = words;
    if (file === undefined || rest.length > 0)
      throw new UserError(
        `script takes one file${rest.length > 0 ? `, not ${words.length}` : ''}\nusage: ${script.usage}`,
      );
    const ran = await runModule(invocation, file, {});
    const { journal, error } = ran;
    const judged = journal.head && error === undefined ? judge(file, ran, {}) : undefined;
    const ok = error === undefined && (judged?.ok ?? true);
    if (options['json'])
      writeJson(io, {
        script: file,
        ok,
        ...(error === undefined ? {} : { error: describeError(error) }),
        ...(judged ? { outcome: judged.outcome, expected: judged.expected } : {}),
        exits: journal.exits,
        instructions: journal.instructions,
        stateHash: journal.stateHash,
      });
    else if (error !== undefined) line(io.err, describeError(error));
    else if (judged && !judged.ok) line(io.out, resultText(judged, io.colors));
    return ok ? 0 : 1;
  },
};

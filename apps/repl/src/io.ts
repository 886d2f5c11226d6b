/** Where a command writes, and what the place it writes to can show. */
import type { Readable, Writable } from 'node:stream';
import pc from 'picocolors';

/** Colours by meaning; plain text where there are none. */
export type Colors = ReturnType<typeof pc.createColors>;

/** Input, output, and what they can do. */
export interface Io {
  readonly input: Readable;
  /** Results. Under `--json` nothing but the JSON. */
  readonly out: Writable;
  /** Errors and progress. */
  readonly err: Writable;
  /** Whether input and output are a terminal. */
  readonly terminal: boolean;
  /** Whether output goes to a terminal that can redraw lines. */
  readonly live: boolean;
  /** Whether errors and progress go to one. */
  readonly progress: boolean;
  readonly colors: Colors;
  /** Width of the output in columns. */
  readonly columns: () => number;
  readonly env: NodeJS.ProcessEnv;
}

/** Width of tables that go to a file or a pipe, unless `COLUMNS` says otherwise. */
const PLAIN_COLUMNS = 100;

/** The process's own streams. Colours follow the terminal, `NO_COLOR` and `FORCE_COLOR`. */
export function processIo(): Io {
  const { stdin, stdout, stderr, env } = process;
  const plain = env['TERM'] === 'dumb' || Boolean(env['NO_COLOR']);
  const forced = Boolean(env['FORCE_COLOR']) && env['FORCE_COLOR'] !== '0';
  const colors = forced || (stdout.isTTY === true && !plain);
  return {
    input: stdin,
    out: stdout,
    err: stderr,
    terminal: stdin.isTTY === true && stdout.isTTY === true,
    live: stdout.isTTY === true && env['TERM'] !== 'dumb',
    progress: stderr.isTTY === true && env['TERM'] !== 'dumb',
    colors: pc.createColors(colors),
    columns: () => {
      const said = Number(env['COLUMNS']);
      return (stdout.isTTY && stdout.columns) || (said >= 20 ? said : PLAIN_COLUMNS);
    },
    env,
  };
}

/** Writes one line. */
export function line(to: Writable, text = ''): void {
  to.write(`${text}\n`);
}

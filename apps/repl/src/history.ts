/**
 * The history of a session: one line per entry in a file, oldest first. A file that cannot be read or written costs the
 * history, never the session: the first failure is reported once.
 */
import { appendFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';

/** Entries kept in memory and, roughly, in the file. */
export const HISTORY_LIMIT = 1000;

/** An open history. */
export interface History {
  /** The entries of earlier sessions, newest first, as readline keeps them. */
  readonly entries: string[];
  /** Adds an entry. */
  add(line: string): void;
}

/**
 * The file a session keeps its history in: `$FAULTYARD_HISTORY` (empty: none), else one in the home directory (no home:
 * none).
 */
export function historyFile(env: NodeJS.ProcessEnv): string | undefined {
  const named = env['FAULTYARD_HISTORY'];
  if (named !== undefined) return named === '' ? undefined : named;
  return env['HOME'] ? `${env['HOME']}/.faultyard_history` : undefined;
}

/** Opens a history file; `warn` is told at most once that it cannot be kept. */
export function openHistory(file: string, warn: (message: string) => void): History {
  let lines: string[] = [];
  let usable = true;
  const guard = (what: () => void): void => {
    if (!usable) return;
    try {
      what();
    } catch (error) {
      usable = false;
      warn(`history is not kept: ${(error as Error).message}`);
    }
  };
  try {
    const stat = statSync(file);
    if (stat.isDirectory()) throw new Error(`${file} is a folder`);
    // a device may never end
    if (stat.isFile()) lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  } catch (error) {
    // a first session has no file yet
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      guard(() => {
        throw error;
      });
  }
  if (lines.length > 2 * HISTORY_LIMIT) {
    lines = lines.slice(-HISTORY_LIMIT);
    guard(() => writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 }));
  }
  return {
    entries: lines.slice(-HISTORY_LIMIT).reverse(),
    add(line) {
      guard(() => appendFileSync(file, `${line}\n`, { mode: 0o600 }));
    },
  };
}

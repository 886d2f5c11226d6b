/** Tools installed on this machine: found on PATH, run with a time limit, in a directory of their own. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/** Full path of a program, or `undefined` when it is not installed. */
export function tool(name: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((dir) => dir)
    .map((dir) => join(dir, name))
    .find((path) => {
      const s = statSync(path, { throwIfNoEntry: false });
      return s?.isFile() === true && (s.mode & 0o111) !== 0;
    });
}

/** Why something cannot run here: the names of missing tools; `undefined` when all are installed. */
export function missing(...names: readonly string[]): string | undefined {
  const none = names.filter((n) => tool(n) === undefined);
  return none.length ? `${none.join(', ')} not installed` : undefined;
}

/** How a program ended. */
export interface Ran {
  /** Exit status; `undefined` after a signal or the time limit. */
  readonly status: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: Uint8Array;
  readonly stderr: string;
}

/** Options of {@link run}. */
export interface RunToolOptions {
  readonly stdin?: Uint8Array | string;
  /** Milliseconds until it is killed. Default 60,000. */
  readonly timeout?: number;
  readonly cwd?: string;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program to its end. Its environment is the C locale. */
export function run(program: string, args: readonly string[], o: RunToolOptions = {}): Ran {
  const r = spawnSync(program, args, {
    input: o.stdin ?? '',
    timeout: o.timeout ?? 60_000,
    maxBuffer: 1 << 30,
    ...(o.cwd === undefined ? {} : { cwd: o.cwd }),
    env: { ...process.env, LC_ALL: 'C', ...o.env },
  });
  return {
    status: r.status ?? undefined,
    signal: r.signal ?? (r.error ? r.error.message : undefined),
    stdout: r.stdout ?? new Uint8Array(),
    stderr: r.stderr?.toString() ?? '',
  };
}

/** Standard output of a program that must succeed. @throws Error with its own words when it does not. */
export function output(program: string, args: readonly string[], o: RunToolOptions = {}): Uint8Array {
  const r = run(program, args, o);
  if (r.status !== 0)
    throw new Error(`${program} ${args.join(' ')}: ${r.signal ?? `status ${r.status}`}\n${r.stderr}`);
  return r.stdout;
}

/** Calls `use` with a new empty directory, removed afterwards. */
export function scratch<T>(use: (dir: string) => T): T {
  const dir = mkdtempSync(join(tmpdir(), 'faultyard-'));
  try {
    return use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

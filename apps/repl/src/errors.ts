/** Mistakes on the command line or in a session's own calls: what is wrong and what to do. Exit status 2. */

/** An error that is shown without a stack: its message says all there is. */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly code = 'FY_USAGE';

  /** An error about a name that is not one of `known`, with what to do. */
  static unknown(what: string, name: string, known: readonly string[], hint: string): UserError {
    const near = nearest(name, known);
    const guess = near.length > 0 ? `; did you mean ${near.join(' or ')}?` : '';
    return new UserError(`unknown ${what} ${JSON.stringify(name)}${guess}\n${hint}`);
  }
}

/** The names closest to a mistyped one: at most three, best first. */
export function nearest(name: string, known: readonly string[]): string[] {
  const limit = Math.max(1, Math.floor(name.length / 3));
  return [...new Set(known)]
    .map((candidate) => ({ candidate, far: distance(name.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ far }) => far <= limit)
    .sort((a, b) => a.far - b.far)
    .slice(0, 3)
    .map(({ candidate }) => candidate);
}

/** Number of insertions, deletions and replacements between two words (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}

/** Whether an error's message is complete without a stack: ours, the kernel's (`FY_*`) and KVM's (with an errno). */
export function isExplained(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, errno } = error as { code?: unknown; errno?: unknown };
  return (
    (typeof code === 'string' && code.startsWith('FY_')) ||
    (typeof errno === 'string' && error.name === 'KvmError')
  );
}

/** Frames of Node, of the loader, of the session, and the top level of a line, which the reader has before them. */
const OWN_FRAME =
  /(at |async )line \d+:|(\(|at |async )node:|\/node_modules\/(\.pnpm\/)?(esbuild|tsx)@?|\/apps\/repl\/src\//;

/** An error as text: what was thrown, and the frames that are the user's. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  if (isExplained(error)) return error.name === 'KvmError' ? `KvmError: ${error.message}` : error.message;
  const head = `${error.name}: ${error.message}`;
  if (error instanceof SyntaxError && !/\n\s+at .*\.m?[jt]s:/.test(error.stack ?? '')) return head;
  const frames = (error.stack ?? '').split('\n').filter((l) => /^\s+at /.test(l) && !OWN_FRAME.test(l));
  const cause = error.cause === undefined ? [] : [`caused by ${describeError(error.cause)}`];
  return [head, ...frames, ...cause].join('\n');
}

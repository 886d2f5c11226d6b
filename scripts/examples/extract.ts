/** Finds the TypeScript examples in Markdown pages and doc comments. */

/** One block of TypeScript that a reader is shown. */
export interface Example {
  /** The file it stands in, from the workspace's root. */
  readonly path: string;
  /** The line of its first line of code, from 1. */
  readonly line: number;
  readonly code: string;
  /** What to do with it: `no-run` is only type-checked, `continue` goes on in the scope of the block before. */
  readonly mode: 'run' | 'no-run' | 'continue';
}

const opening = /^(\s*)(`{3,})(?:ts|typescript)(?:\s+(\S+))?\s*$/;
const anyOpening = /^\s*(`{3,})\S*/;

/** The TypeScript blocks of `lines`, of which the first is line `first` of the file at `path`. */
function fenced(path: string, lines: readonly string[], first: number): Example[] {
  const found: Example[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    const fence = anyOpening.exec(line)?.[1];
    if (!fence) continue;
    const start = at + 1;
    for (at = start; at < lines.length && (lines[at] ?? '').trim() !== fence; ) at++;
    const [, indent = '', , word] = opening.exec(line) ?? [];
    if (!opening.test(line)) continue;
    // what is typed into a session is run as one, by test/newcomer.test.ts
    if (word === 'session') continue;
    if (word !== undefined && word !== 'no-run' && word !== 'continue')
      throw new Error(
        `${path}:${first + start - 1}: "${word}" after ts is neither no-run nor continue nor session`,
      );
    const code = lines
      .slice(start, at)
      .map((text) => (text.startsWith(indent) ? text.slice(indent.length) : text));
    found.push({ path, line: first + start, code: code.join('\n'), mode: word ?? 'run' });
  }
  return found;
}

/** The examples of a Markdown page. */
export function examplesOfPage(path: string, text: string): Example[] {
  return fenced(path, text.split('\n'), 1);
}

/** The TypeScript blocks below the `@example` tags of a source file's doc comments. */
export function examplesOfSource(path: string, text: string): Example[] {
  const found: Example[] = [];
  for (const comment of text.matchAll(/\/\*\*[\s\S]*?\*\//g)) {
    const first = text.slice(0, comment.index).split('\n').length;
    const lines = comment[0].split('\n').map((line) => line.replace(/^\s*(?:\/\*\*|\*\/|\* ?)/, ''));
    let inExample = false;
    const kept = lines.map((line) => {
      const tag = /^\s*@(\w+)/.exec(line)?.[1];
      if (tag) inExample = tag === 'example';
      return inExample && !tag ? line : '';
    });
    found.push(...fenced(path, kept, first));
  }
  return found;
}

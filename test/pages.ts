/** Runs what a Markdown page tells its reader to type: shell blocks, and the lines of sessions. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root } from './packed-project.ts';

/** One thing to run: a shell command, or `npm start` with the lines typed into its session. */
export interface Step {
  /** Line of the page on which it starts, from 1. */
  readonly line: number;
  readonly command: string;
  /** Lines typed into the session. */
  readonly typed: readonly string[];
  /** What the page shows, in order; each a run of lines. In a line `…` stands for anything, and alone for lines. */
  readonly shown: readonly { readonly line: number; readonly text: string }[];
}

/** What a step gave. */
export interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** Opens a session in a page: the `ts session` blocks up to the next shell block are typed into it. */
const OPENS = 'npm start';
const MARK = { sh: '#=>', session: '//=>' } as const;

/**
 * The steps of a page, in order. In `sh` blocks every line is a command and `#=> …` what it prints; in `ts session` blocks
 * every line is typed, and `//=> …` is what the session answers.
 */
export function stepsOf(page: string): Step[] {
  const steps: { line: number; command: string; typed: string[]; shown: { line: number; text: string }[] }[] =
    [];
  let kind: keyof typeof MARK | undefined;
  let fence = false;
  let runOn = false;
  for (const [at, text] of readFileSync(join(root, page), 'utf8').split('\n').entries()) {
    const line = at + 1;
    if (text.startsWith('```')) {
      fence = !fence;
      kind = !fence ? undefined : text === '```sh' ? 'sh' : text === '```ts session' ? 'session' : undefined;
      runOn = false;
      continue;
    }
    if (!kind || text === '') continue;
    const mark = MARK[kind];
    const step = steps.at(-1);
    if (text.startsWith(mark)) {
      const expected = text.slice(mark.length + 1);
      const before = step?.shown.at(-1);
      if (runOn && before) before.text += `\n${expected}`;
      else step?.shown.push({ line, text: expected });
      runOn = true;
      continue;
    }
    runOn = false;
    if (kind === 'sh') steps.push({ line, command: text, typed: [], shown: [] });
    else if (step?.command === OPENS) step.typed.push(text);
    else throw new Error(`${page}:${line}: no \`${OPENS}\` before this session`);
  }
  return steps;
}

/** Runs a step where its reader would stand: in `folder`, with the repository's npm. */
export function runStep(step: Step, folder: string): Promise<Ran> {
  const [program, ...words] = step.command.split(' ');
  if (program !== 'npm') throw new Error(`line ${step.line}: only npm is run, not ${step.command}`);
  const silent = words.includes('--silent') ? [] : ['--silent'];
  // npm runs the repository's script and tells it where the reader stands
  const child = spawn('npm', ['--prefix', root, ...silent, ...words], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: '1', PATH: process.env['PATH'] ?? delimiter },
    shell: process.platform === 'win32',
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk;
  });
  child.stdin.end(step.typed.map((l) => `${l}\n`).join(''));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status: status ?? -1, out, err }));
  });
}

/** What a page shows that was not printed, in its order, as `line: text`; empty when all was. */
export function missing(step: Step, out: string): string[] {
  let from = 0;
  const lost: string[] = [];
  for (const { line, text } of step.shown) {
    const literal = text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const body = literal.replace(/\n…\n/g, '\n(?:.*\n)*?').replaceAll('…', '.*');
    const pattern = new RegExp(`^${body}$`, 'gm');
    pattern.lastIndex = from;
    const found = pattern.exec(out);
    if (found) from = found.index + found[0].length;
    else lost.push(`${line}: ${text}`);
  }
  return lost;
}

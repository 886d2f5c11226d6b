/** Recorded answers of GNU binutils, so that tests need none of them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';

/** What binutils say about one instance, at address 4 * its index. */
export interface Recorded {
  readonly word: number;
  /** objdump's text. */
  readonly text: string;
  /** What `as` makes of that text: the word (usually the same), or why it refuses. */
  readonly back: number | string;
}

const instancesFile = new URL('../data/binutils.txt.gz', import.meta.url);
const sweepFile = new URL('../data/allocated.bin.gz', import.meta.url);

/** Seed and number of the words of the sweep. */
export const SWEEP = { seed: 1, count: 2_000_000 } as const;

/** The recorded instances. */
export function readInstances(): Recorded[] {
  const lines = gunzipSync(readFileSync(instancesFile)).toString('latin1').trimEnd().split('\n');
  return lines.map((line) => {
    const [word = '', text = '', back] = line.split('\t');
    const value = Number.parseInt(word, 16);
    return {
      word: value,
      text,
      back: back === undefined ? value : back[0] === '!' ? back.slice(1) : Number.parseInt(back, 16),
    };
  });
}

/** Writes the instances, one a line: word, text, and what `as` made of it if that is not the word. */
export function writeInstances(all: readonly Recorded[]): void {
  const lines = all.map(({ word, text, back }) => {
    const tail = back === word ? '' : `\t${typeof back === 'string' ? `!${back}` : back.toString(16)}`;
    return `${word.toString(16)}\t${text}${tail}\n`;
  });
  writeFileSync(instancesFile, gzipSync(Buffer.from(lines.join(''), 'latin1'), { level: 9 }));
}

/** One bit a word of the sweep: binutils know it as an instruction of the architecture. */
export function readSweep(): Uint8Array {
  return gunzipSync(readFileSync(sweepFile));
}

/** Writes the sweep's bits. */
export function writeSweep(bits: Uint8Array): void {
  writeFileSync(sweepFile, gzipSync(bits, { level: 9 }));
}

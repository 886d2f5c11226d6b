/** Recorded answers of GNU binutils about the sample of instances, so that tests need none of them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { Instance } from './instances.ts';

/** What binutils say about one instance. */
export interface Recorded extends Instance {
  /** Its number among those of its size: it stands at SLOT times it. */
  readonly index: number;
  /** objdump's text, branch targets relative to `.`; empty where objdump sees another length. */
  readonly text: string;
  /** What `as` makes of that text, in hex; with a `!`: why it refuses. */
  readonly back: string;
}

const file = new URL('../data/binutils.txt.gz', import.meta.url);

/** Tries and instances of each shape, by seed 1. */
export const SAMPLE = { seed: 1, tries: 1_000_000, each: 2 } as const;

/** The recorded instances. */
export function readRecording(): Recorded[] {
  const lines = gunzipSync(readFileSync(file)).toString('latin1').trimEnd().split('\n');
  const counts = { 16: 0, 32: 0, 64: 0 };
  return lines.map((line) => {
    const [size = '', hex = '', text = '', back = hex] = line.split('\t');
    const bits = Number(size) as 16 | 32 | 64;
    return { bits, bytes: Buffer.from(hex, 'hex'), text, back, index: counts[bits]++ };
  });
}

/** Writes the recording, one instance a line. */
export function writeRecording(all: readonly Omit<Recorded, 'index'>[]): void {
  const lines = all.map(({ bits, bytes, text, back }) => {
    const hex = Buffer.from(bytes).toString('hex');
    return `${bits}\t${hex}\t${text}${back === hex ? '' : `\t${back}`}\n`;
  });
  writeFileSync(file, gzipSync(Buffer.from(lines.join(''), 'latin1'), { level: 9 }));
}

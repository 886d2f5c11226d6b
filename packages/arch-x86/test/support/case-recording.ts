/** What QEMU answered to the sets of cases, recorded. */
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { type Results, resultBytes, resultRows } from './case-runner.ts';

const file = (name: string): URL => new URL(`../data/system/${name}.bin.gz`, import.meta.url);

/** The recorded rows of a set. */
export const readCases = (name: string, count: number): Results =>
  resultRows(gunzipSync(readFileSync(file(name))), count);

/** Writes them; returns the file's size. */
export function recordCases(name: string, results: Results): number {
  const packed = gzipSync(resultBytes(results), { level: 9 });
  writeFileSync(file(name), packed);
  return packed.length;
}

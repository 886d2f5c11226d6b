/** Recorded results of case images. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';

const file = (name: string): URL => new URL(`../data/system/${name}.br`, import.meta.url);

/** Results of a suite by another implementation; undefined when there is no recording. */
export const readResults = (name: string): Uint8Array | undefined =>
  existsSync(file(name)) ? brotliDecompressSync(readFileSync(file(name))) : undefined;

/** Keeps results. */
export function writeResults(name: string, results: Uint8Array): void {
  writeFileSync(
    file(name),
    brotliCompressSync(results, {
      params: { [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: results.length },
    }),
  );
}

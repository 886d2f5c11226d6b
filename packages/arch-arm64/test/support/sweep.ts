/** Words for asking which encodings are allocated: random, but dense where the table has its fine structure. */
import { random } from './instances.ts';

/** Bits 28 to 25 of the groups outside FP and SIMD data processing, as often as they should come up in 16. */
const GROUPS = [
  0b1000, 0b1001, 0b1010, 0b1011, 0b0100, 0b0110, 0b1100, 0b1110, 0b0101, 0b1101, 0b0101, 0b1101,
];
/** Parts of a word that encodings tend to hold as all zeroes or all ones. */
const PARTS = [0x001f0000, 0x0000fc00, 0x000003e0, 0x0000001f, 0x0000f000, 0x00e00000] as const;

/** `count` words from a seed; every quarter of them is drawn in another way. */
export function sweepWords(seed: number, count: number): Uint32Array {
  const next = random(seed);
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    let w = next();
    if (i % 4 !== 0) {
      const group = GROUPS[next() % GROUPS.length] ?? 0;
      w = ((w & ~0x1e000000) | (group << 25)) >>> 0;
    }
    if (i % 4 >= 2) {
      const how = next();
      for (const [k, part] of PARTS.entries()) {
        const choice = (how >>> (k * 3)) & 7;
        if (choice < 2) w &= ~part;
        else if (choice < 4) w |= part;
      }
    }
    // System instructions: one in eight words shares their first ten bits.
    if (i % 8 === 7) w = (w & 0x003fffff) | 0xd5000000;
    words[i] = w >>> 0;
  }
  return words;
}

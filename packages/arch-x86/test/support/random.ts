/** Seeded numbers for test instances: the same on every machine and in every run. */

/** A small seeded generator (mulberry32); each call gives an integer from 0 to 2^32 - 1. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** Seed that depends on a name and a number (FNV-1a). */
export function seedOf(name: string, seed: number): number {
  let h = 0x811c9dc5 ^ seed;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** FNV-1a of bytes, going on from `h`. */
export function hashBytes(bytes: Uint8Array, h = 0x811c9dc5): number {
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193);
  return h >>> 0;
}

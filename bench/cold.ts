/**
 * Cold code: 100,000 basic blocks, every one run twice or so and then never again. What counts is how fast code gets
 * from memory to running, not how fast it runs. Each architecture writes the blocks in its own instructions: functions of
 * eight blocks of three to six everyday instructions, joined by conditional and unconditional forward branches.
 */

/** Blocks of a function. */
export const BLOCKS_PER_FUNCTION = 8;
/** Functions. */
export const FUNCTIONS = 12_500;

/** Pseudo-random numbers below n, the same every time. */
export function generator(): (n: number) => number {
  let seed = 7;
  return (n) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    return (seed >>> 8) % n;
  };
}

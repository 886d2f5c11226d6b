/** Bitmask immediates: a run of ones, rotated within an element that is repeated (DecodeBitMasks(), DDI 0487 J1). */

/** Ones in bits 0 .. `n`-1 of a pair, 0 <= n <= 64. */
function ones(n: number): readonly [number, number] {
  if (n >= 32) return [-1, n === 64 ? -1 : n === 32 ? 0 : (1 << (n - 32)) - 1];
  return [n === 0 ? 0 : (1 << n) - 1, 0];
}

/**
 * The immediate as two int32 halves (the high one 0 if `sf` is 0), or `undefined` for a reserved combination.
 * With `sf` = 0, N must be 0 (the caller checks).
 */
export function decodeBitmask(
  n: number,
  imms: number,
  immr: number,
  sf: number,
): readonly [lo: number, hi: number] | undefined {
  const length = 31 - Math.clz32((n << 6) | (~imms & 0x3f));
  if (length < 1) return undefined;
  const size = 1 << length;
  const run = (imms & (size - 1)) + 1;
  if (run === size) return undefined;
  const by = immr & (size - 1);
  let [lo, hi] = ones(run);
  if (size === 64) {
    for (let left = by; left > 0; left--) {
      const out = lo & 1;
      lo = (lo >>> 1) | (hi << 31);
      hi = (hi >>> 1) | (out << 31);
    }
    return [lo | 0, hi | 0];
  }
  const mask = size === 32 ? -1 : (1 << size) - 1;
  if (by > 0) lo = ((lo >>> by) | (lo << (size - by))) & mask;
  for (let width = size; width < 32; width *= 2) lo |= lo << width;
  return [lo | 0, sf === 1 ? lo | 0 : 0];
}

/** Fields of the immediate with these halves, or `undefined` if it is not a bitmask of the width. */
export function encodeBitmask(
  lo: number,
  hi: number,
  sf: number,
): { N: number; immr: number; imms: number } | undefined {
  const want = BigInt.asUintN(64, (BigInt(sf === 1 ? hi : lo) << 32n) | BigInt(lo >>> 0));
  if (want === 0n || want === 2n ** 64n - 1n) return undefined;
  let size = 64n;
  while (
    size > 2n &&
    BigInt.asUintN(Number(size / 2n), want) === BigInt.asUintN(Number(size), want) >> (size / 2n)
  ) {
    size /= 2n;
  }
  const all = 2n ** size - 1n;
  const element = want & all;
  const width = Number(size);
  for (let by = 0n; by < size; by++) {
    // Rotating right by `by` made the element: rotate it back.
    const run = ((element << by) | (element >> (size - by))) & all;
    if ((run & (run + 1n)) !== 0n) continue;
    const length = run.toString(2).length;
    return {
      N: width === 64 ? 1 : 0,
      immr: Number(by),
      imms: ((~(width * 2 - 1) & 0x3f) | (length - 1)) & 0x3f,
    };
  }
  return undefined;
}

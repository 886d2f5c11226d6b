/** Values for instances: biased to the edges of every operand size, to counts around it, and to places around pages. */
import { READ_ONLY, WINDOW, WINDOW_SIZE } from './user-world.ts';

/** A source of integers from 0 to 2^32 - 1. */
export type Source = () => number;

/** One of `list`. */
export function pick<T>(next: Source, list: readonly T[]): T {
  return list[next() % list.length] as T;
}
/** True in one of `n` cases. */
export function oneIn(next: Source, n: number): boolean {
  return next() % n === 0;
}
/** 64 random bits. */
export function bits64(next: Source): bigint {
  return BigInt(next()) * 0x1_0000_0000n + BigInt(next());
}

function edge(next: Source, width: number): bigint {
  const one = 1n;
  const sign = one << BigInt(width - 1);
  const top = (one << BigInt(width)) - one;
  const bit = one << BigInt(next() % width);
  const edges = [
    0n,
    0n,
    one,
    2n,
    top,
    top,
    top - one,
    sign,
    sign,
    sign - one,
    sign + one,
    0x55n,
    bit,
    bit - one,
    top - bit,
  ];
  return BigInt.asUintN(width, pick(next, edges));
}

/** A register's 64 bits: the low 8, 16, 32 or 64 an edge of that size, or small, or random; the rest something else. */
export function registerValue(next: Source): bigint {
  const kind = next() % 8;
  if (kind === 0) return BigInt(next() % 200);
  if (kind === 1) return bits64(next);
  const width = [8, 16, 32, 64][next() % 4] as number;
  const low = edge(next, width);
  const rest = pick(next, [0n, (1n << 64n) - 1n, bits64(next)]);
  return (BigInt.asUintN(64, rest) & ~((1n << BigInt(width)) - 1n)) | low;
}

/** A value of `bytes` bytes. */
export function operandValue(next: Source, bytes: number): bigint {
  if (oneIn(next, 3)) return BigInt.asUintN(bytes * 8, bits64(next));
  return edge(next, bytes * 8);
}

/** A shift or rotate count of 8 bits, for an operand of `bytes` bytes. */
export function count(next: Source, bytes: number): number {
  const w = bytes * 8;
  return pick(next, [
    0,
    0,
    1,
    1,
    2,
    w - 1,
    w - 1,
    w,
    w,
    w + 1,
    2 * w,
    7,
    8,
    9,
    15,
    16,
    17,
    31,
    32,
    33,
    63,
    64,
    65,
    128,
    255,
    next() & 255,
    next() & 31,
  ]);
}

/** A signed immediate of `bits` bits. */
export function immediate(next: Source, width: number): number {
  const v = oneIn(next, 3) ? next() : Number(edge(next, width));
  return (v << (32 - width)) >> (32 - width);
}

/** Linear address of an access of `bytes` bytes: mostly within the window, some across or beyond its pages' ends. */
export function place(next: Source, bytes: number): number {
  const kind = next() % 32;
  const across = 1 + (next() % Math.max(1, bytes - 1));
  if (kind < 15) return WINDOW + ((next() % (READ_ONLY - 512)) & ~15) + 256;
  if (kind < 22) return WINDOW + (next() % (READ_ONLY - 512)) + 256;
  if (kind < 25) return WINDOW + 0x1000 - across;
  if (kind < 27) return WINDOW + READ_ONLY - across;
  if (kind === 27) return WINDOW + READ_ONLY + (next() % 0x800);
  if (kind === 28) return WINDOW + WINDOW_SIZE - across;
  if (kind === 29) return WINDOW - across;
  if (kind === 30) return WINDOW + (next() % 0x120);
  return WINDOW + READ_ONLY - bytes;
}

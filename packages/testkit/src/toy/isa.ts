/**
 * The toy instruction set: five instructions of one to seven bytes, enough to be wrong about everything an engine can
 * be wrong about (lengths, joins, overlaps, instructions that cross pages).
 *
 * | bytes | instruction | meaning |
 * |---|---|---|
 * | `01` | `halt` | slow operation {@link ToySlow.Halt} |
 * | `10 dn` | `inc d, n` | d = n + 1 |
 * | `11 dn ii` · `12 dn iiii` · `13 dn iiiiiiii` | `addi d, n, #i` | d = n + signed immediate of 8, 16, 32 bits |
 * | `2s dn oo` · `2s+8 dn oooooooo` | `load d, [n, #o]` | 1 << s bytes, zero-extended; signed offset of 8, 32 bits |
 * | `3s dn oo` · `3s+8 dn oooooooo` | `store d, [n, #o]` | likewise |
 * | `40 n0 rr` · `41 n0 xx rrrr` · `42 n0 xx rrrrrrrr` | `bz n, r` | to this instruction + r if n = 0; `xx` is ignored |
 *
 * `dn` is one byte: d in the high half, n in the low one, both modulo 8. Multi-byte numbers are little-endian. Anything
 * else is undefined and one byte long.
 */
import type { DecodeSite, Handler, HandlerPair, I64, Isa, Size } from '@faultyard/engine';

/** Slow operations. */
export const ToySlow: {
  /** `halt`: not retired; no arguments. */
  readonly Halt: 0;
  /** Undefined byte; no arguments. */
  readonly Undefined: 1;
} = { Halt: 0, Undefined: 1 };

/** Number of registers, `r0` to `r7`. */
export const TOY_REGISTERS = 8;
/** Length of the longest instruction in bytes. */
export const TOY_LONGEST = 7;

const address = (b: Parameters<Handler['sem']>[0], f: Parameters<Handler['sem']>[1]): I64 =>
  b.add(b.get(f.slot('n')), f.i64('imm'));

const sizes: readonly Size[] = [1, 2, 4, 8];

const handlers: readonly Handler[] = [
  { name: 'undefined', ends: true, sem: (b) => b.slow(ToySlow.Undefined) },
  { name: 'halt', ends: true, sem: (b) => b.slow(ToySlow.Halt) },
  { name: 'addi', ends: false, sem: (b, f) => b.set(f.slot('d'), address(b, f)) },
  { name: 'bz', ends: false, sem: (b, f) => b.jumpIf(b.eqz(b.get(f.slot('n'))), 'imm') },
  ...sizes.map(
    (size): Handler => ({
      name: `load${size}`,
      ends: false,
      sem: (b, f) => {
        const v = size === 8 ? b.load(8, address(b, f)) : b.extU(b.load(size, address(b, f)));
        b.set(f.slot('d'), v);
      },
    }),
  ),
  ...sizes.map(
    (size): Handler => ({
      name: `store${size}`,
      ends: false,
      sem: (b, f) => b.store(size, address(b, f), b.get(f.slot('d'))),
    }),
  ),
];
const UNDEFINED = 0;
const HALT = 1;
const ADDI = 2;
const BZ = 3;
const LOAD = 4;
const STORE = 8;

/** Length in bytes of the instruction that starts with `op`, and bytes of the immediate at its end. */
function shape(op: number): readonly [handler: number, length: number, immediate: number] {
  if (op === 0x01) return [HALT, 1, 0];
  if (op === 0x10) return [ADDI, 2, 0];
  if (op >= 0x11 && op <= 0x13) {
    const n = 1 << (op - 0x11);
    return [ADDI, 2 + n, n];
  }
  const wide = (op & 8) !== 0 ? 4 : 1;
  if ((op & 0xf4) === 0x20) return [LOAD + (op & 3), 2 + wide, wide];
  if ((op & 0xf4) === 0x30) return [STORE + (op & 3), 2 + wide, wide];
  if (op === 0x40) return [BZ, 3, 1];
  if (op === 0x41) return [BZ, 5, 2];
  if (op === 0x42) return [BZ, 7, 4];
  return [UNDEFINED, 1, 0];
}

function decode(site: DecodeSite, out: { handler: number }): number {
  const { u8, dv, i32, code, record } = site;
  const op = u8[code] ?? 0;
  const [handler, length, immediate] = shape(op);
  if (length > site.avail) return 0;
  out.handler = handler;
  if (length === 1) return 1;
  const registers = u8[code + 1] ?? 0;
  u8[record + 5] = (registers >>> 4) & 7;
  u8[record + 6] = registers & 7;
  if (handler === BZ) u8[record + 6] = (registers >>> 4) & 7;
  const at = code + length - immediate;
  const imm =
    immediate === 0
      ? 1
      : immediate === 1
        ? dv.getInt8(at)
        : immediate === 2
          ? dv.getInt16(at, true)
          : dv.getInt32(at, true);
  i32[(record + 8) >>> 2] = imm;
  i32[(record + 12) >>> 2] = imm >> 31;
  return length;
}

/** All of them: what the engine makes of pairs is tested on everything. */
const pairs: readonly HandlerPair[] = handlers.flatMap((first, i) =>
  first.ends ? [] : handlers.map((_, k): HandlerPair => [i, k]),
);

/** The instruction set, for `createEngine`. */
export const toyIsa: Isa = {
  name: 'toy',
  unit: 1,
  recordSize: 24,
  fields: { d: { at: 5, ty: 'u8' }, n: { at: 6, ty: 'u8' }, imm: { at: 8, ty: 'i64' } },
  link: 16,
  files: { r: { count: TOY_REGISTERS, size: 8 } },
  state: {},
  contexts: ['all'],
  handlers,
  pairs,
  undefinedHandler: UNDEFINED,
  decode,
};

const little = (n: number, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => (n >> (8 * i)) & 255);
const pair = (d: number, n: number): number => ((d & 7) << 4) | (n & 7);

/** Bytes of `halt`. */
export function toyHalt(): number[] {
  return [0x01];
}
/** Bytes of `addi d, n, #imm`; `width` 0 is `inc`, whose immediate is 1. */
export function toyAddi(d: number, n: number, imm: number, width: 0 | 1 | 2 | 4 = 4): number[] {
  if (width === 0) return [0x10, pair(d, n)];
  return [0x11 + Math.log2(width), pair(d, n), ...little(imm, width)];
}
/** Bytes of `load d, [n, #offset]`. */
export function toyLoad(size: Size, d: number, n: number, offset: number, width: 1 | 4 = 4): number[] {
  return [0x20 + Math.log2(size) + (width === 4 ? 8 : 0), pair(d, n), ...little(offset, width)];
}
/** Bytes of `store d, [n, #offset]`. */
export function toyStore(size: Size, d: number, n: number, offset: number, width: 1 | 4 = 4): number[] {
  return [0x30 + Math.log2(size) + (width === 4 ? 8 : 0), pair(d, n), ...little(offset, width)];
}
/** Bytes of `bz n, offset`: to its own address plus `offset` if n is 0. */
export function toyBz(n: number, offset: number, width: 1 | 2 | 4 = 4): number[] {
  if (width === 1) return [0x40, pair(n, 0), ...little(offset, 1)];
  return [width === 2 ? 0x41 : 0x42, pair(n, 0), 0, ...little(offset, width)];
}

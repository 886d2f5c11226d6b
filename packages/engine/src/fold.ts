/** Constant folding and the identities worth having: what is known at emission costs nothing at run time. */

import type { Ty } from './ir.ts';
import type { ConstNode, Node, OpNode } from './node.ts';
import { I, L } from './wasm/op.ts';

/** Names of the two-operand instructions that exist for both widths. */
export type Binary = Exclude<keyof typeof I, 'eqz' | 'clz' | 'ctz' | 'popcnt' | 'extend8' | 'extend16'>;

/** A 32-bit constant. */
export function const32(n: number): ConstNode {
  return { kind: 'const', ty: 'i32', lo: n | 0, hi: 0 };
}
/** A 64-bit constant from its halves. */
export function const64(lo: number, hi: number): ConstNode {
  return { kind: 'const', ty: 'i64', lo: lo | 0, hi: hi | 0 };
}
/** An instruction node. */
export function op(ty: Ty, code: number, ...args: Node[]): OpNode {
  return { kind: 'op', ty, op: code, args };
}

const comparisons: ReadonlySet<Binary> = new Set(['eq', 'ne', 'ltS', 'ltU', 'geS', 'geU']);

function big(c: ConstNode): bigint {
  return (BigInt(c.hi) << 32n) | BigInt(c.lo >>> 0);
}
function fromBig(ty: Ty, v: bigint): ConstNode {
  const lo = Number(BigInt.asIntN(32, v));
  return ty === 'i32' ? const32(lo) : const64(lo, Number(BigInt.asIntN(32, BigInt.asUintN(64, v) >> 32n)));
}
function value(c: ConstNode): bigint {
  return c.ty === 'i32' ? BigInt(c.lo) : big(c);
}
function isConst(n: Node, lo: number, hi: number): boolean {
  return n.kind === 'const' && n.lo === lo && (n.ty === 'i32' || n.hi === hi);
}
const isZero = (n: Node): boolean => isConst(n, 0, 0);
const isOnes = (n: Node): boolean => isConst(n, -1, -1);

/** A two-operand instruction; both operands have the width of the first. */
export function binary(name: Binary, a: Node, b: Node): Node {
  if (a.kind === 'const' && b.kind === 'const') {
    const folded = foldBinary(name, a, b);
    if (folded) return folded;
  }
  switch (name) {
    case 'add':
    case 'or':
    case 'xor':
      if (isZero(a)) return b;
      if (isZero(b)) return a;
      break;
    case 'sub':
    case 'shl':
    case 'shrU':
    case 'shrS':
    case 'rotr':
      if (isZero(b)) return a;
      break;
    case 'and':
      if (isOnes(a)) return b;
      if (isOnes(b)) return a;
      if (isZero(a)) return a;
      if (isZero(b)) return b;
      break;
    default:
  }
  const codes = a.ty === 'i32' ? I : L;
  return op(comparisons.has(name) ? 'i32' : a.ty, codes[name], a, b);
}

function foldBinary(name: Binary, a: ConstNode, b: ConstNode): ConstNode | undefined {
  const bits = a.ty === 'i32' ? 32 : 64;
  const x = value(a);
  const y = value(b);
  const ux = BigInt.asUintN(bits, x);
  const uy = BigInt.asUintN(bits, y);
  const n = b.lo & (bits - 1);
  switch (name) {
    case 'add':
      return fromBig(a.ty, x + y);
    case 'sub':
      return fromBig(a.ty, x - y);
    case 'mul':
      return fromBig(a.ty, x * y);
    case 'and':
      return { ...a, lo: a.lo & b.lo, hi: a.hi & b.hi };
    case 'or':
      return { ...a, lo: a.lo | b.lo, hi: a.hi | b.hi };
    case 'xor':
      return { ...a, lo: a.lo ^ b.lo, hi: a.hi ^ b.hi };
    case 'shl':
      return fromBig(a.ty, x * 2n ** BigInt(n));
    case 'shrU':
      return fromBig(a.ty, ux / 2n ** BigInt(n));
    case 'rotr':
      return fromBig(a.ty, ux / 2n ** BigInt(n) + ux * 2n ** BigInt(bits - n));
    case 'shrS': {
      const hi = a.ty === 'i32' ? a.lo >> 31 : a.hi;
      if (a.ty === 'i32') return const32(a.lo >> n);
      if (n === 0) return a;
      return n < 32 ? const64((a.lo >>> n) | (hi << (32 - n)), hi >> n) : const64(hi >> (n - 32), hi >> 31);
    }
    case 'eq':
      return const32(x === y ? 1 : 0);
    case 'ne':
      return const32(x !== y ? 1 : 0);
    case 'ltS':
      return const32(x < y ? 1 : 0);
    case 'ltU':
      return const32(ux < uy ? 1 : 0);
    case 'geS':
      return const32(x >= y ? 1 : 0);
    case 'geU':
      return const32(ux >= uy ? 1 : 0);
    default:
      return undefined;
  }
}

/** 1 if the operand is zero. */
export function eqz(a: Node): Node {
  if (a.kind === 'const') return const32(isZero(a) ? 1 : 0);
  return op('i32', a.ty === 'i32' ? I.eqz : L.eqz, a);
}
/** Low half. */
export function wrap(a: Node): Node {
  if (a.kind === 'const') return const32(a.lo);
  if (a.kind === 'op' && (a.op === L.extendU || a.op === L.extendS) && a.args[0]) return a.args[0];
  return op('i32', L.wrap, a);
}
/** Zero-extension. */
export function extU(a: Node): Node {
  return a.kind === 'const' ? const64(a.lo, 0) : op('i64', L.extendU, a);
}
/** Sign-extension. */
export function extS(a: Node): Node {
  return a.kind === 'const' ? const64(a.lo, a.lo >> 31) : op('i64', L.extendS, a);
}
/** Sign-extension of the low bits within the width. */
export function sext(a: Node, bits: 8 | 16 | 32): Node {
  if (a.ty === 'i32' && bits === 32) return a;
  if (a.kind === 'const') {
    const lo = bits === 32 ? a.lo : (a.lo << (32 - bits)) >> (32 - bits);
    return a.ty === 'i32' ? const32(lo) : const64(lo, lo >> 31);
  }
  if (a.ty === 'i32') return op('i32', bits === 8 ? I.extend8 : I.extend16, a);
  return op('i64', bits === 8 ? L.extend8 : bits === 16 ? L.extend16 : L.extend32, a);
}
/** Zero-extension of the low bits within the width. */
export function zext(a: Node, bits: 8 | 16 | 32): Node {
  if (bits === 32) return a.ty === 'i32' ? a : extU(wrap(a));
  const mask = 2 ** bits - 1;
  return binary('and', a, a.ty === 'i32' ? const32(mask) : const64(mask, 0));
}
/** Choice between two evaluated values. */
export function select(c: Node, a: Node, b: Node): Node {
  if (c.kind === 'const') return c.lo !== 0 ? a : b;
  return op(a.ty, 0x1b, a, b, c);
}

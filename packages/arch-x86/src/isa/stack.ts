/** The stack pointer and what lies at it, with the width and the segment that the mode says (AMD64 APM volume 2, 4.8.3). */
import type { Expr, I32, I64 } from '@faultyard/engine';
import { R, Seg } from './layout.ts';
import type { Operands, Width } from './row.ts';

/** The offset `n` bytes above the stack pointer (below: negative), cut to the width of the stack; bound. */
export function stackOffset(o: Operands, n: number, from: I64 = stackPointer(o)): I64 {
  const { b } = o;
  if (o.stackSize === 8) return b.let(b.add(from, b.c64(n)));
  const sum = b.add(b.wrap(from), b.c32(n));
  return b.let(b.extU(o.stackSize === 2 ? b.zext(sum, 16) : sum));
}
/** The stack pointer, zero-extended. */
export function stackPointer(o: Operands): I64 {
  const { b, stackSize } = o;
  return stackSize === 8 ? b.get(R.RSP) : b.extU(b.elem('r', R.RSP, 0, stackSize));
}
/** Changes the stack pointer; a 16-bit one leaves the bits above. */
export function setStackPointer(o: Operands, to: I64): void {
  if (o.stackSize === 2) o.b.setElem('r', R.RSP, 0, 2, to);
  else o.b.set(R.RSP, to);
}
/** Pushes a value of `size` bytes. Its store is what can fault. */
export function push(o: Operands, size: Width, v: Expr): void {
  const { b } = o;
  const to = stackOffset(o, -size);
  b.store(size, o.linearAt(Seg.SS, to, size, true), v);
  setStackPointer(o, to);
}
/** The value of `size` bytes at the stack pointer, which stays. */
export function top(o: Operands, size: Width): Expr {
  return o.b.load(size as 8, o.linearAt(Seg.SS, stackPointer(o), size, false));
}
/** A value as one of `size` bytes: cut, or as it is. */
export function sized(o: Operands, size: Width, v: I64): Expr {
  const { b } = o;
  if (size === 8) return v;
  const x: I32 = b.wrap(v);
  return size === 4 ? x : b.zext(x, 16);
}

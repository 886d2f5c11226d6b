/** High half of a 64 x 64 bit product, as a wasm function of two i64. */
import { FunctionWriter } from './wasm/function.ts';
import { I64, L } from './wasm/op.ts';

/** Body of the function: schoolbook multiplication of 32-bit halves, corrected by the signs (Hacker's Delight 8-3). */
export function mulhBody(signed: boolean): FunctionWriter {
  const w = new FunctionWriter(2);
  const [a, b] = [0, 1];
  const low = w.local(I64);
  const middle = w.local(I64);
  const lowHalf = (x: number): void => {
    w.get(x);
    w.i64(-1, 0);
    w.op(L.and);
  };
  const highHalf = (x: number): void => {
    w.get(x);
    w.i64(32);
    w.op(L.shrU);
  };
  lowHalf(a);
  lowHalf(b);
  w.op(L.mul);
  w.set(low);
  highHalf(a);
  lowHalf(b);
  w.op(L.mul);
  highHalf(low);
  w.op(L.add);
  w.set(middle);
  lowHalf(a);
  highHalf(b);
  w.op(L.mul);
  lowHalf(middle);
  w.op(L.add);
  w.set(low);
  highHalf(a);
  highHalf(b);
  w.op(L.mul);
  highHalf(middle);
  w.op(L.add);
  highHalf(low);
  w.op(L.add);
  if (!signed) return w;
  for (const [x, y] of [
    [a, b],
    [b, a],
  ] as const) {
    w.get(x);
    w.i64(63);
    w.op(L.shrS);
    w.get(y);
    w.op(L.and);
    w.op(L.sub);
  }
  return w;
}

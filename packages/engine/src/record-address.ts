/** Between an instruction's offset in its page and its record's address. */
import type { Isa } from './isa.ts';
import type { FunctionWriter } from './wasm/function.ts';
import { I, Mem } from './wasm/op.ts';

/** The bytes of code on the stack (a multiple of 4) become bytes of records (direct layout). */
export function scale(w: FunctionWriter, isa: Isa): void {
  const factor = isa.recordSize / 4;
  const power = Math.log2(factor);
  w.i32(Number.isInteger(power) ? power : factor);
  w.op(Number.isInteger(power) ? I.shl : I.mul);
}

/** Pushes the offset in its page of the instruction whose record is in local `rec`; `page` pushes the page's table. */
export function pushOffset(w: FunctionWriter, isa: Isa, rec: number, page: () => void): void {
  w.get(rec);
  if (isa.unit === 1) {
    w.mem(Mem.i32load16u, 2);
    return;
  }
  page();
  w.op(I.sub);
  const factor = isa.recordSize / 4;
  const power = Math.log2(factor);
  w.i32(Number.isInteger(power) ? power : factor);
  w.op(Number.isInteger(power) ? I.shrU : I.divU);
}

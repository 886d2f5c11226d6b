/**
 * A handler as a function `(block, context, rec)` of its own: complete with slow path, state variables in the block.
 * It returns 0 (go on behind), {@link Inner.Jump} (go on at the pc in the block), or why it left, nothing done.
 */
import { Leave } from './cpu.ts';
import { At, type BlockLayout } from './cpu-block.ts';
import { Emitter } from './emit.ts';
import type { Isa } from './isa.ts';
import { Inner } from './layout.ts';
import type { FieldNode, FieldSlot, JumpOffset, Program } from './node.ts';
import { pushOffset } from './record-address.ts';
import { FunctionWriter } from './wasm/function.ts';
import { I, L, Mem, Op } from './wasm/op.ts';

/** The function's body. */
export function outline(isa: Isa, layout: BlockLayout, p: Program): FunctionWriter {
  const e = new Outlined(isa, layout);
  e.emit(p);
  return e.w;
}

const REC = 2;

class Outlined extends Emitter {
  constructor(isa: Isa, layout: BlockLayout) {
    super(new FunctionWriter(3), isa, layout, false);
  }
  emit(p: Program): void {
    const w = this.w;
    const leave = w.block();
    const fault = w.block();
    this.exits = { leave, fault };
    this.handler(p);
    w.end();
    w.i32(Leave.Fault);
    w.set(this.why);
    w.end();
    w.get(this.why);
  }
  #return(n: number): void {
    this.w.i32(n);
    this.w.op(Op.return);
  }
  protected override field(n: FieldNode): void {
    this.w.get(REC);
    this.w.mem(n.op, n.at);
  }
  protected override slotNumber(s: FieldSlot): void {
    this.w.get(REC);
    this.w.mem(Mem.i32load8u, s.at);
  }
  protected override pc(next: boolean): void {
    const w = this.w;
    w.get(this.base);
    w.mem(Mem.i64load, At.pageVa);
    pushOffset(w, this.isa, REC, () => {
      w.get(this.base);
      w.mem(Mem.i32load, At.page);
    });
    if (next) {
      if (this.isa.unit === 4) w.i32(4);
      else {
        w.get(REC);
        w.mem(Mem.i32load8u, 4);
      }
      w.op(I.add);
    }
    w.op(L.extendU);
    w.op(L.add);
  }
  protected override jump(offset: JumpOffset): void {
    this.pc(false);
    this.expr(offset.full);
    this.w.op(L.add);
    this.jumpTo();
  }
  protected override jumpTo(): void {
    const w = this.w;
    const target = this.memory.addr;
    w.set(target);
    w.get(this.base);
    w.get(target);
    w.mem(Mem.i64store, At.pc);
    this.#return(Inner.Jump);
  }
  protected override fallThrough(): void {
    this.#return(Leave.Budget);
  }
}

/**
 * Emits expressions and statements as wasm. What differs between the interpreter and compiled code (registers by
 * record field or by number, the program counter, how control goes on) is left to subclasses.
 */

import { Leave } from './cpu.ts';
import { At, type BlockLayout } from './cpu-block.ts';
import {
  emitLoad,
  emitRmwLoad,
  emitRmwStore,
  emitStore,
  type MemoryEmitter,
  type MemoryLocals,
  memoryLocals,
} from './emit-memory.ts';
import { type Exits, Fn, storeOp } from './emit-parts.ts';
import type { Slot, Ty } from './ir.ts';
import type { Isa } from './isa.ts';
import type { ElemNode, FieldNode, FieldSlot, JumpOffset, Node, PcNode, Program, Statement } from './node.ts';
import type { FunctionWriter } from './wasm/function.ts';
import { I, I32, I64, L, Mem } from './wasm/op.ts';

/** Emits the handlers of one function. */
export abstract class Emitter implements MemoryEmitter {
  readonly w: FunctionWriter;
  readonly isa: Isa;
  readonly layout: BlockLayout;
  /** Parameters 0 and 1: addresses of the block and of the current context. */
  readonly base: number = 0;
  readonly ctx: number = 1;
  /** Local that holds the reason of leaving. */
  readonly why: number;
  readonly memory: MemoryLocals;
  /** Locals of hot state variables; none where they stay in the block. */
  readonly hot: ReadonlyMap<string, number>;
  exits: Exits = { leave: 0, fault: 0 };
  readonly #pool: { readonly [K in Ty]: number[] } = { i32: [], i64: [] };
  #lets: number[] = [];

  constructor(w: FunctionWriter, isa: Isa, layout: BlockLayout, hotInLocals: boolean) {
    this.w = w;
    this.isa = isa;
    this.layout = layout;
    const hot = new Map<string, number>();
    for (const [name, v] of Object.entries(isa.state))
      if (v.hot && hotInLocals) hot.set(name, w.local(v.ty === 'i32' ? I32 : I64));
    this.hot = hot;
    this.why = w.local(I32);
    this.memory = memoryLocals(w);
  }

  /** Pushes the value of a record field. */
  protected abstract field(n: FieldNode): void;
  /** Pushes the slot number held in the record, as i32. */
  protected abstract slotNumber(s: FieldSlot): void;
  /** Pushes the address of this instruction or of the next. */
  protected abstract pc(next: boolean): void;
  /** Goes to this instruction plus `offset`. */
  protected abstract jump(offset: JumpOffset): void;
  /** Goes to the address on the stack. */
  protected abstract jumpTo(): void;
  /** Goes on behind this instruction. */
  protected abstract fallThrough(): void;

  /** Emits a whole handler: its statements, then the way to the next instruction, or what `then` emits. */
  handler(p: Program, then: () => void = () => this.fallThrough()): void {
    const used = { i32: 0, i64: 0 };
    this.#lets = p.lets.map((ty) => {
      const pool = this.#pool[ty];
      const at = used[ty]++;
      const had = pool[at];
      if (had !== undefined) return had;
      const local = this.w.local(ty === 'i32' ? I32 : I64);
      pool.push(local);
      return local;
    });
    if (this.statements(p.statements)) then();
  }

  /** The local of a bound value. */
  letLocal(id: number): number {
    return this.#lets[id] ?? 0;
  }

  /** Loads hot state variables into their locals. */
  fillHot(): void {
    for (const [name, local] of this.hot) {
      this.w.get(this.base);
      this.w.mem(this.#stateType(name) === 'i32' ? Mem.i32load : Mem.i64load, this.stateOffset(name));
      this.w.set(local);
    }
  }
  /** Stores hot state variables into the block. */
  spillHot(): void {
    for (const [name, local] of this.hot) {
      this.w.get(this.base);
      this.w.get(local);
      this.w.mem(this.#stateType(name) === 'i32' ? Mem.i32store : Mem.i64store, this.stateOffset(name));
    }
  }
  /** Offset of a state variable in the block. */
  stateOffset(name: string): number {
    return this.layout.state.get(name) ?? 0;
  }
  #stateType(name: string): Ty {
    return this.isa.state[name]?.ty ?? 'i32';
  }

  /** Pushes the value of an expression. */
  expr(n: Node): void {
    const w = this.w;
    switch (n.kind) {
      case 'const':
        if (n.ty === 'i32') w.i32(n.lo);
        else w.i64(n.lo, n.hi);
        return;
      case 'op':
        for (const a of n.args) this.expr(a);
        w.op(n.op);
        return;
      case 'let':
        w.get(this.letLocal(n.id));
        return;
      case 'elem':
        this.#elem(n);
        return;
      case 'state': {
        const local = this.hot.get(n.name);
        if (local !== undefined) w.get(local);
        else {
          w.get(this.base);
          w.mem(n.ty === 'i32' ? Mem.i32load : Mem.i64load, this.stateOffset(n.name));
        }
        return;
      }
      case 'field':
        this.field(n);
        return;
      case 'pc':
        this.#pc(n);
        return;
      case 'mulh':
        this.expr(n.a);
        this.expr(n.b);
        w.call(n.signed ? Fn.mulhS : Fn.mulhU);
        return;
    }
  }
  #pc(n: PcNode): void {
    this.pc(n.next);
  }
  #elem(n: ElemNode): void {
    const offset = this.register(n.file, n.slot) + n.at;
    const ops = { 1: Mem.i32load8u, 2: Mem.i32load16u, 4: Mem.i32load, 8: Mem.i64load } as const;
    this.w.mem(ops[n.size], offset);
  }
  /** Pushes the address of a register less the static offset, which it returns. */
  register(file: string, slot: Slot): number {
    const size = this.isa.files[file]?.size ?? 8;
    const start = this.layout.files.get(file) ?? 0;
    this.w.get(this.base);
    if (typeof slot === 'number') return start + slot * size;
    this.slotNumber(slot as unknown as FieldSlot);
    if (size > 1) {
      this.w.i32(Math.log2(size));
      this.w.op(I.shl);
    }
    this.w.op(I.add);
    return start;
  }

  /** Emits statements; `false` if control does not reach their end. */
  statements(list: readonly Statement[]): boolean {
    for (const s of list) if (!this.#statement(s)) return false;
    return true;
  }
  #statement(s: Statement): boolean {
    const w = this.w;
    switch (s.kind) {
      case 'let':
        this.expr(s.e);
        w.set(this.letLocal(s.id));
        return true;
      case 'setElem': {
        const offset = this.register(s.file, s.slot) + s.at;
        this.expr(s.v);
        w.mem(storeOp(s.size, s.v.ty), offset);
        return true;
      }
      case 'put': {
        const local = this.hot.get(s.name);
        if (local === undefined) w.get(this.base);
        this.expr(s.v);
        if (local !== undefined) w.set(local);
        else w.mem(s.v.ty === 'i32' ? Mem.i32store : Mem.i64store, this.stateOffset(s.name));
        return true;
      }
      case 'load':
        emitLoad(this, s);
        return true;
      case 'store':
        emitStore(this, s);
        return true;
      case 'rmwLoad':
        emitRmwLoad(this, s);
        return true;
      case 'rmwStore':
        emitRmwStore(this, s);
        return true;
      case 'jump':
        if (!s.cond) {
          this.jump(s.offset);
          return false;
        }
        this.expr(s.cond);
        w.if();
        this.jump(s.offset);
        w.end();
        return true;
      case 'jumpTo':
        this.expr(s.addr);
        this.jumpTo();
        return false;
      case 'when': {
        this.expr(s.c);
        w.if();
        const first = this.statements(s.yes);
        let second = true;
        if (s.no.length > 0) {
          w.else();
          second = this.statements(s.no);
        }
        w.end();
        if (!first && !second) w.op(0);
        return first || second;
      }
      case 'slow':
        this.#slow(s.op, s.args);
        return false;
      case 'guard':
        w.get(this.base);
        w.mem(Mem.i32load, At.guard);
        w.i32(1 << s.n);
        w.op(I.and);
        w.if();
        this.#leaveWith(Leave.Guard, s.n);
        w.end();
        return true;
    }
  }
  #slow(op: number, args: readonly Node[]): void {
    args.forEach((a, i) => {
      this.w.get(this.base);
      this.expr(a);
      if (a.ty === 'i32') this.w.op(L.extendU);
      this.w.mem(Mem.i64store, At.slowArgs + 8 * i);
    });
    this.#leaveWith(Leave.Slow, op);
  }
  #leaveWith(reason: number, op: number): void {
    const w = this.w;
    w.get(this.base);
    w.i32(op);
    w.mem(Mem.i32store, At.slowOp);
    w.i32(reason);
    w.set(this.why);
    w.br(this.exits.leave);
  }
}

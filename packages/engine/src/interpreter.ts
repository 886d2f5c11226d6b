/**
 * The interpreter: a loop around one `br_table` over predecoded records. The program counter is implicit in the
 * record's address, and so is the budget: local `end` is the address at which it is used up, moved along at every
 * transfer. The fast variant looks at it only there (it starts with a bias of the longest straight run, so it stops
 * early, never late); the counted variant looks before every instruction and stops exactly.
 */
import { record } from './builder.ts';
import { Leave } from './cpu.ts';
import { At, type BlockLayout, layoutBlock, Tlb } from './cpu-block.ts';
import { Emitter } from './emit.ts';
import { emitTlbIndex } from './emit-memory.ts';
import { recordFields } from './fields.ts';
import type { Isa } from './isa.ts';
import { mulhBody } from './mulh.ts';
import type { FieldNode, FieldSlot, JumpOffset } from './node.ts';
import { FunctionWriter, type Label } from './wasm/function.ts';
import { type Definition, encodeModule, type Signature } from './wasm/module.ts';
import { I, I32, I64, L, Mem, Op } from './wasm/op.ts';

/** Handler numbers of the engine's own records; the instruction set's follow. */
export const Special = { Undecoded: 0, End: 1, Join: 2, Cross: 3 } as const;
/** Number of the instruction set's first handler. */
export const FIRST_HANDLER = 4;

/** Reasons of leaving that {@link Cpu.run} deals with itself; the others are {@link Leave}. */
export const Inner = { Miss: 4, Decode: 5, Cross: 6 } as const;

/** Records in a directly mapped page. */
export const DIRECT_RECORDS = 1024;
/** Most records of one straight run in a mapped page, its terminator included. */
export const MAPPED_RUN = 96;
/** Most instructions between two looks at the budget in the fast variant. */
export function longestRun(isa: Isa): number {
  return isa.unit === 4 ? DIRECT_RECORDS : MAPPED_RUN;
}

/** Which of the two. */
export type Variant = 'fast' | 'counted';

const signature = (params: number, results: readonly number[] = [I32]): Signature => ({
  params: new Array<number>(params).fill(I32),
  results,
});
/** The slow path's functions, in the order of {@link Fn}. */
export const IMPORTS: readonly { readonly name: string; readonly signature: Signature }[] = [
  { name: 'load', signature: signature(3) },
  { name: 'store', signature: signature(5) },
  { name: 'storeMany', signature: signature(3) },
  { name: 'rmwLoad', signature: signature(3) },
  { name: 'rmwStore', signature: signature(5) },
];
const wide: Signature = { params: [I64, I64], results: [I64] };
/** Functions every generated module brings along. */
export const INTERNAL: readonly Definition[] = [
  { signature: wide, body: mulhBody(false) },
  { signature: wide, body: mulhBody(true) },
];

/**
 * Emits the module. Its export `run(block, context, end, rec)` starts at the pc in the block if `rec` is 0, else at
 * that record of the page named in the block; `end` is the budget in record bytes. It returns why it left.
 */
export function emitInterpreter(isa: Isa, variant: Variant): Uint8Array<ArrayBuffer> {
  const e = new Interpreter(isa, layoutBlock(isa), variant);
  e.emit();
  return encodeModule({
    imports: IMPORTS,
    functions: [...INTERNAL, { signature: signature(4), body: e.w, export: 'run' }],
  });
}

class Interpreter extends Emitter {
  readonly #counted: boolean;
  readonly #size: number;
  /** Parameters 2 and 3. */
  readonly #end = 2;
  readonly #rec = 3;
  /** Predecoded page, its guest virtual address, a target. */
  readonly #page: number;
  readonly #pageVa: number;
  readonly #target: number;
  readonly #temp: number;
  readonly #entry: number;
  #out: Label = 0;
  #budget: Label = 0;
  #lookup: Label = 0;
  #next: Label = 0;

  constructor(isa: Isa, layout: BlockLayout, variant: Variant) {
    super(new FunctionWriter(4), isa, layout, 0, 1);
    this.#counted = variant === 'counted';
    this.#size = isa.recordSize;
    this.#page = this.w.local(I32);
    this.#pageVa = this.w.local(I64);
    this.#target = this.w.local(I64);
    this.#temp = this.w.local(I32);
    this.#entry = this.w.local(I32);
  }

  emit(): void {
    const w = this.w;
    this.#enter();
    this.#out = w.block();
    const leave = w.block();
    const fault = w.block();
    this.exits = { leave, fault };
    this.#budget = w.block();
    this.#body();
    w.end();
    this.#reason(Leave.Budget);
    w.br(leave);
    w.end();
    this.#reason(Leave.Fault);
    w.end();
    // At a record: compute the pc, turn `end` into what is left.
    w.get(this.base);
    w.get(this.#rec);
    w.mem(Mem.i32store, At.rec);
    this.pc(false);
    w.set(this.#target);
    this.#uncharge();
    w.end();
    // Between pages: the pc is in `target`, what is left in `end`.
    w.get(this.base);
    w.get(this.#target);
    w.mem(Mem.i64store, At.pc);
    w.get(this.base);
    w.get(this.#end);
    w.mem(Mem.i32store, At.left);
    this.spillHot();
    w.get(this.why);
  }

  #enter(): void {
    const w = this.w;
    this.fillHot();
    w.get(this.base);
    w.mem(Mem.i32load, At.page);
    w.set(this.#page);
    w.get(this.base);
    w.mem(Mem.i64load, At.pageVa);
    w.set(this.#pageVa);
    w.get(this.base);
    w.mem(Mem.i64load, At.pc);
    w.set(this.#target);
    this.#charge();
    w.get(this.base);
    w.i32(0);
    w.mem(Mem.i32store, At.rec);
  }

  #body(): void {
    const w = this.w;
    this.#lookup = w.loop();
    const known = w.block();
    w.get(this.#rec);
    w.brIf(known);
    this.#find();
    w.end();
    this.#next = w.loop();
    if (this.#counted) {
      w.get(this.#rec);
      w.get(this.#end);
      w.op(I.eq);
      w.brIf(this.#budget);
    }
    this.#dispatch();
    w.op(Op.unreachable);
    w.end();
    w.end();
    w.op(Op.unreachable);
  }

  /** Finds the record of the pc in `target`, through the exec TLB. */
  #find(): void {
    const w = this.w;
    const direct = this.isa.unit === 4;
    w.get(this.#end);
    w.i32(this.#counted ? 1 : 0);
    w.op(I.ltS);
    w.if();
    this.#reason(Leave.Budget);
    w.br(this.#out);
    w.end();
    emitTlbIndex(w, this.#target, this.#temp);
    w.get(this.ctx);
    w.op(I.add);
    w.tee(this.#entry);
    w.mem(Mem.i64load, Tlb.exec);
    w.get(this.#target);
    // A misaligned pc never matches.
    w.i64(direct ? -4096 | 3 : -4096);
    w.op(L.and);
    w.op(L.ne);
    w.if();
    this.#reason(Inner.Miss);
    w.br(this.#out);
    w.end();
    w.get(this.#target);
    w.i64(-4096);
    w.op(L.and);
    w.set(this.#pageVa);
    w.get(this.base);
    w.get(this.#entry);
    w.mem(Mem.i32load, Tlb.exec + 8);
    w.tee(this.#page);
    w.mem(Mem.i32store, At.page);
    w.get(this.#page);
    w.get(this.#target);
    w.op(L.wrap);
    if (direct) {
      w.i32(4092);
      w.op(I.and);
      this.#scale();
      w.op(I.add);
      w.set(this.#rec);
    } else {
      w.i32(4095);
      w.op(I.and);
      w.i32(2);
      w.op(I.shl);
      w.op(I.add);
      w.mem(Mem.i32load, 0);
      w.tee(this.#rec);
      w.op(I.eqz);
      w.if();
      this.#reason(Inner.Decode);
      w.br(this.#out);
      w.end();
    }
    this.#charge();
  }

  #dispatch(): void {
    const w = this.w;
    const count = FIRST_HANDLER + this.isa.handlers.length;
    const labels: Label[] = [];
    for (let i = 0; i < count; i++) labels.push(w.block());
    labels.reverse();
    w.get(this.#rec);
    w.mem(Mem.i32load16u, 0);
    w.brTable(labels, labels[Special.Undecoded] ?? 0);
    const fields = recordFields(this.isa);
    for (let i = 0; i < count; i++) {
      w.end();
      if (i < FIRST_HANDLER) this.#special(i);
      else {
        const h = this.isa.handlers[i - FIRST_HANDLER];
        if (h) this.handler(record(this.isa, h.name, h.sem, fields));
      }
    }
  }

  #special(n: number): void {
    const w = this.w;
    switch (n) {
      case Special.Undecoded:
      case Special.Cross:
        this.#reason(n === Special.Cross ? Inner.Cross : Inner.Decode);
        w.br(this.exits.leave);
        return;
      case Special.End:
        w.get(this.#pageVa);
        w.i64(4096);
        w.op(L.add);
        w.set(this.#target);
        this.#uncharge();
        this.#again();
        return;
      default:
        w.get(this.#rec);
        w.mem(Mem.i32load, 8);
        w.set(this.#temp);
        this.#moveTo(0);
    }
  }

  #reason(n: number): void {
    this.w.i32(n);
    this.w.set(this.why);
  }
  /** end += rec: what is left becomes an address. */
  #charge(): void {
    this.w.get(this.#end);
    this.w.get(this.#rec);
    this.w.op(I.add);
    this.w.set(this.#end);
  }
  /** end -= rec. */
  #uncharge(): void {
    this.w.get(this.#end);
    this.w.get(this.#rec);
    this.w.op(I.sub);
    this.w.set(this.#end);
  }
  /** Looks `target` up. */
  #again(): void {
    this.w.i32(0);
    this.w.set(this.#rec);
    this.w.br(this.#lookup);
  }
  /** Goes to the record in `temp`, charging `done` records of this one's run (1: this instruction is done). */
  #moveTo(done: 0 | 1): void {
    const w = this.w;
    w.get(this.#end);
    w.get(this.#temp);
    w.op(I.add);
    w.get(this.#rec);
    w.op(I.sub);
    if (done) {
      w.i32(this.#size);
      w.op(I.sub);
    }
    w.set(this.#end);
    w.get(this.#temp);
    w.set(this.#rec);
    if (!this.#counted) {
      w.get(this.#end);
      w.get(this.#rec);
      w.op(I.sub);
      w.i32(0);
      w.op(I.ltS);
      w.brIf(this.#budget);
    }
    w.br(this.#next);
  }
  /** Bytes of code on the stack (a multiple of 4) become bytes of records. */
  #scale(): void {
    const factor = this.#size / 4;
    const power = Math.log2(factor);
    this.w.i32(Number.isInteger(power) ? power : factor);
    this.w.op(Number.isInteger(power) ? I.shl : I.mul);
  }
  /** Pushes the offset of this instruction in its page. */
  #offset(): void {
    const w = this.w;
    w.get(this.#rec);
    if (this.isa.unit === 1) {
      w.mem(Mem.i32load16u, 2);
      return;
    }
    w.get(this.#page);
    w.op(I.sub);
    const factor = this.#size / 4;
    const power = Math.log2(factor);
    w.i32(Number.isInteger(power) ? power : factor);
    w.op(Number.isInteger(power) ? I.shrU : I.divU);
  }

  protected override field(n: FieldNode): void {
    this.w.get(this.#rec);
    this.w.mem(n.op, n.at);
  }
  protected override slotNumber(s: FieldSlot): void {
    this.w.get(this.#rec);
    this.w.mem(Mem.i32load8u, s.at);
  }
  protected override pc(next: boolean): void {
    const w = this.w;
    w.get(this.#pageVa);
    this.#offset();
    if (next && this.isa.unit === 1) {
      w.get(this.#rec);
      w.mem(Mem.i32load8u, 4);
      w.op(I.add);
    }
    w.op(L.extendU);
    w.op(L.add);
    if (next && this.isa.unit === 4) {
      w.i64(4);
      w.op(L.add);
    }
  }
  protected override fallThrough(): void {
    const w = this.w;
    w.get(this.#rec);
    w.i32(this.#size);
    w.op(I.add);
    w.set(this.#rec);
    w.br(this.#next);
  }
  protected override jump(offset: JumpOffset): void {
    const w = this.w;
    if (this.isa.unit === 4) {
      w.get(this.#rec);
      this.expr(offset.low);
      this.#scale();
      w.op(I.add);
      w.tee(this.#temp);
      w.get(this.#page);
      w.op(I.sub);
      w.i32(DIRECT_RECORDS * this.#size);
      w.op(I.ltU);
      w.if();
      this.#moveTo(1);
      w.end();
    } else {
      this.#offset();
      this.expr(offset.low);
      w.op(I.add);
      w.tee(this.#temp);
      w.i32(4096);
      w.op(I.ltU);
      w.if();
      w.get(this.#temp);
      w.i32(2);
      w.op(I.shl);
      w.get(this.#page);
      w.op(I.add);
      w.mem(Mem.i32load, 0);
      w.tee(this.#temp);
      w.if();
      this.#moveTo(1);
      w.end();
      w.end();
    }
    this.pc(false);
    this.expr(offset.full);
    w.op(L.add);
    this.jumpTo();
  }
  protected override jumpTo(): void {
    const w = this.w;
    w.set(this.#target);
    this.#uncharge();
    w.get(this.#end);
    w.i32(this.#size);
    w.op(I.sub);
    w.set(this.#end);
    this.#again();
  }
}

/**
 * One instruction with constant fields as a straight function: what a region compiler builds its code from. The same
 * semantic function as the interpreter's handler, with every field, register number and address known.
 */
import { record } from './builder.ts';
import { Leave } from './cpu.ts';
import { At, type BlockLayout, layoutBlock } from './cpu-block.ts';
import { Emitter } from './emit.ts';
import { constantFields } from './fields.ts';
import type { Isa } from './isa.ts';
import { IMPORTS, INTERNAL } from './layout.ts';
import type { FieldNode, FieldSlot, JumpOffset } from './node.ts';
import { FunctionWriter, type Label } from './wasm/function.ts';
import { encodeModule } from './wasm/module.ts';
import { I32, L, Mem } from './wasm/op.ts';

/** An instruction to compile. */
export interface StraightInstruction {
  /** Index into the instruction set's handlers. */
  readonly handler: number;
  /** Its filled record, in `dv` at `record`. */
  readonly dv: DataView;
  readonly record: number;
  /** Its address as two int32, and its length in bytes. */
  readonly lo: number;
  readonly hi: number;
  readonly length: number;
}

/**
 * Emits a module whose export `run(block, context)` executes the instruction and returns {@link Leave.Budget} when it
 * is done, with the pc in the block at where control goes, or why it left, with the pc at the instruction.
 */
export function emitStraight(isa: Isa, at: StraightInstruction): Uint8Array<ArrayBuffer> {
  const e = new Straight(isa, layoutBlock(isa), at);
  e.emit();
  const signature = { params: [I32, I32], results: [I32] };
  return encodeModule({
    imports: IMPORTS,
    functions: [...INTERNAL, { signature, body: e.w, export: 'run' }],
  });
}

class Straight extends Emitter {
  readonly #at: StraightInstruction;
  #done: Label = 0;

  constructor(isa: Isa, layout: BlockLayout, at: StraightInstruction) {
    super(new FunctionWriter(2), isa, layout, true);
    this.#at = at;
  }
  emit(): void {
    const w = this.w;
    const { isa } = this;
    const h = isa.handlers[this.#at.handler];
    if (!h) throw new RangeError(`${isa.name} has no handler ${this.#at.handler}`);
    this.fillHot();
    this.#done = w.block();
    const leave = w.block();
    const fault = w.block();
    this.exits = { leave, fault };
    this.handler(record(isa, h.name, h.sem, constantFields(isa, this.#at.dv, this.#at.record)));
    w.end();
    w.i32(Leave.Fault);
    w.set(this.why);
    w.end();
    this.#store(() => this.pc(false));
    w.end();
    this.spillHot();
    w.get(this.why);
  }
  #store(value: () => void): void {
    this.w.get(this.base);
    value();
    this.w.mem(Mem.i64store, At.pc);
  }
  #finish(value: () => void): void {
    this.#store(value);
    this.w.i32(Leave.Budget);
    this.w.set(this.why);
    this.w.br(this.#done);
  }
  protected override field(n: FieldNode): void {
    throw new RangeError(`field at ${n.at} of a compiled instruction is not constant`);
  }
  protected override slotNumber(s: FieldSlot): void {
    throw new RangeError(`slot at ${s.at} of a compiled instruction is not constant`);
  }
  protected override pc(next: boolean): void {
    this.w.i64(this.#at.lo, this.#at.hi);
    if (!next) return;
    this.w.i64(this.#at.length);
    this.w.op(L.add);
  }
  protected override jump(offset: JumpOffset): void {
    this.#finish(() => {
      this.pc(false);
      this.expr(offset.full);
      this.w.op(L.add);
    });
  }
  protected override jumpTo(): void {
    const target = this.memory.addr;
    this.w.set(target);
    this.#finish(() => this.w.get(target));
  }
  protected override fallThrough(): void {
    this.#finish(() => this.pc(true));
  }
}

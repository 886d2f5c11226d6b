/**
 * A loop around one `br_table` over predecoded records. The program counter is implicit in the record's address, and
 * so is the budget: local `end` is the address at which it is used up, moved along at every transfer. The fast loop
 * looks at it only there (it starts with a bias of the longest straight run, so it stops early, never late); the
 * counted loop looks before every instruction and stops exactly.
 */
import { Leave } from './cpu.ts';
import { At, type BlockLayout, Tlb } from './cpu-block.ts';
import { Emitter } from './emit.ts';
import { emitTlbIndex } from './emit-memory.ts';
import type { Isa } from './isa.ts';
import { DIRECT_RECORDS, FIRST_HANDLER, IMPORTS, Inner, Special, signature } from './layout.ts';
import type { FieldNode, FieldSlot, JumpOffset, Program } from './node.ts';
import { pushOffset, scale } from './record-address.ts';
import { jumpsIn, mayRead } from './record-use.ts';
import { FunctionWriter, type Label } from './wasm/function.ts';
import { signatureIndex } from './wasm/module.ts';
import { I, I32, I64, L, Mem, Op } from './wasm/op.ts';

/** Type index of handler functions: they share the signature of an import. */
const HANDLER_TYPE: number = signatureIndex(
  IMPORTS.map((i) => i.signature).filter((s, i, all) => signatureIndex(all.slice(0, i), s) === i),
  signature(3),
);

/** One of the two loops. */
export type Variant = 'fast' | 'counted';

/** Emits a loop. */
export class Loop extends Emitter {
  readonly #counted: boolean;
  readonly #size: number;
  /** Parameters 2 and 3. */
  readonly #rec = 2;
  readonly #end = 3;
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
  /** Where the handler being emitted remembers the record it jumps to. */
  #link: number | undefined;

  constructor(isa: Isa, layout: BlockLayout, variant: Variant) {
    super(new FunctionWriter(4), isa, layout, variant === 'fast');
    this.#counted = variant === 'counted';
    this.#size = isa.recordSize;
    this.#page = this.w.local(I32);
    this.#pageVa = this.w.local(I64);
    this.#target = this.w.local(I64);
    this.#temp = this.w.local(I32);
    this.#entry = this.w.local(I32);
  }

  /**
   * Emits the loop with the handlers of the given indices inline, and with the pairs of the given numbers; other
   * pairs do their first handler.
   */
  emit(
    inline: readonly number[],
    programs: readonly (Program | undefined)[],
    pairs: readonly number[] = [],
  ): void {
    const w = this.w;
    this.#enter();
    this.#out = w.block();
    const leave = w.block();
    const fault = w.block();
    this.exits = { leave, fault };
    this.#budget = w.block();
    this.#body(inline, programs, pairs);
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

  #body(
    inline: readonly number[],
    programs: readonly (Program | undefined)[],
    pairs: readonly number[],
  ): void {
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
    this.#dispatch(inline, programs, pairs);
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
    w.get(this.#pageVa);
    w.mem(Mem.i64store, At.pageVa);
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
      scale(w, this.isa);
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

  #dispatch(
    inline: readonly number[],
    programs: readonly (Program | undefined)[],
    pairs: readonly number[],
  ): void {
    const w = this.w;
    const complete = w.block();
    this.exits = { ...this.exits, complete };
    const firstPair = FIRST_HANDLER + programs.length;
    const count = inline.length > 0 ? firstPair + (this.isa.pairs?.length ?? 0) : FIRST_HANDLER;
    const targets: Label[] = new Array<Label>(count).fill(complete);
    const order = [
      ...Array(FIRST_HANDLER).keys(),
      ...inline.map((i) => FIRST_HANDLER + i),
      ...pairs.map((i) => firstPair + i),
    ];
    for (const n of [...order].reverse()) targets[n] = w.block();
    w.get(this.#rec);
    w.mem(Mem.i32load16u, 0);
    w.brTable(targets, complete);
    for (const n of order) {
      w.end();
      const pair = this.isa.pairs?.[n - firstPair];
      if (n < FIRST_HANDLER) this.#special(n);
      else if (pair) this.#both(programs[pair[0]], programs[pair[1]]);
      else this.#one(programs[n - FIRST_HANDLER]);
    }
    w.end();
    this.#complete();
  }
  #one(p: Program | undefined): void {
    if (!p) return;
    this.#link = this.#linkOf(p);
    this.handler(p);
  }
  /** Two records: the second begins where the first would dispatch. */
  #both(first: Program | undefined, second: Program | undefined): void {
    if (!first) return;
    this.#link = this.#linkOf(first);
    this.handler(first, () => {
      this.#advance();
      this.#one(second);
    });
  }
  #advance(): void {
    this.w.get(this.#rec);
    this.w.i32(this.#size);
    this.w.op(I.add);
    this.w.set(this.#rec);
  }

  /** Where a record of this handler remembers the record it jumps to, if there is one such place and one such jump. */
  #linkOf(p: Program): number | undefined {
    const { link } = this.isa;
    if (link === undefined || jumpsIn(p.statements) !== 1) return undefined;
    return mayRead(p, link, link + 4) ? undefined : link;
  }

  /** Does the instruction over, or does it at all, by its function. */
  #complete(): void {
    const w = this.w;
    this.spillHot();
    w.get(this.base);
    w.get(this.ctx);
    w.get(this.#rec);
    w.get(this.#rec);
    w.mem(Mem.i32load16u, 0);
    w.callIndirect(HANDLER_TYPE);
    w.set(this.why);
    this.fillHot();
    w.get(this.why);
    w.op(I.eqz);
    w.if();
    this.fallThrough();
    w.end();
    w.get(this.why);
    w.i32(Inner.Jump);
    w.op(I.ne);
    w.brIf(this.exits.leave);
    w.get(this.base);
    w.mem(Mem.i64load, At.pc);
    this.jumpTo();
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
  /** Pushes the offset of this instruction in its page. */
  #offset(): void {
    pushOffset(this.w, this.isa, this.#rec, () => this.w.get(this.#page));
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
    this.#advance();
    this.w.br(this.#next);
  }
  protected override jump(offset: JumpOffset): void {
    const w = this.w;
    if (this.isa.unit === 4) {
      w.get(this.#rec);
      this.expr(offset.low);
      scale(w, this.isa);
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
      const far = w.block();
      if (this.#link === undefined) this.#findInPage(offset, far);
      else {
        const known = w.block();
        w.get(this.#rec);
        w.mem(Mem.i32load, this.#link);
        w.tee(this.#temp);
        w.brIf(known);
        this.#findInPage(offset, far);
        w.get(this.#rec);
        w.get(this.#temp);
        w.mem(Mem.i32store, this.#link);
        w.end();
      }
      this.#moveTo(1);
      w.end();
    }
    this.pc(false);
    this.expr(offset.full);
    w.op(L.add);
    this.jumpTo();
  }
  /** Leaves the record that lies `offset` from this one in `temp`; goes to `far` if it is in another page or not decoded. */
  #findInPage(offset: JumpOffset, far: Label): void {
    const w = this.w;
    this.#offset();
    this.expr(offset.low);
    w.op(I.add);
    w.tee(this.#temp);
    w.i32(4096);
    w.op(I.geU);
    w.brIf(far);
    w.get(this.#temp);
    w.i32(2);
    w.op(I.shl);
    w.get(this.#page);
    w.op(I.add);
    w.mem(Mem.i32load, 0);
    w.tee(this.#temp);
    w.op(I.eqz);
    w.brIf(far);
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

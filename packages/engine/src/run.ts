/** A vCPU on the engine: runs generated code in slices, serves what it leaves for, and counts exactly. */
import { Access, type AccessPort, type Cpu, Leave, type LeaveReason, Resolved } from './cpu.ts';
import { At, CONTEXT_BYTES } from './cpu-block.ts';
import type { EngineParts, Loops } from './engine.ts';
import { PAGE } from './host.ts';
import { Inner, Special } from './layout.ts';
import type { CodePage } from './predecode.ts';
import type { MappedPage } from './predecode-mapped.ts';
import { SlowPath } from './slow.ts';
import { ContextTlb, Table } from './tlb.ts';

/** Most instructions of one call into wasm: optimised code takes over between calls only. */
const SLICE = 1_000_000;

/** Where the pc's code is, after {@link EngineCpu.fetch}. */
const Fetched = { Page: 0, Once: 1, Fault: 2 } as const;

/** The engine's {@link Cpu}. */
export class EngineCpu implements Cpu {
  readonly port: AccessPort;
  readonly block: number;
  readonly pcAddr: number;
  readonly guardAddr: number;
  readonly slowArgs: number;
  readonly slow: SlowPath;
  retired = 0;
  slowOp = 0;
  readonly #e: EngineParts;
  readonly #i32: Int32Array;
  #loops: Loops | undefined;
  readonly #tlbs: readonly ContextTlb[];
  readonly #tlbAt: number;
  readonly #size: number;
  #context = 0;
  #mode = 0;
  #page: CodePage | undefined;
  #disposed = false;

  constructor(e: EngineParts, port: AccessPort) {
    this.#e = e;
    this.port = port;
    const { layout, isa, host, views } = e;
    this.#i32 = views.i32;
    this.block = host.allocTable(layout.bytes, 64);
    this.pcAddr = this.block + At.pc;
    this.guardAddr = this.block + At.guard;
    this.slowArgs = this.block + At.slowArgs;
    this.#tlbAt = this.block + layout.tlb;
    this.#tlbs = isa.contexts.map((_, i) => new ContextTlb(views.i32, this.#tlbAt + i * CONTEXT_BYTES));
    this.#size = isa.recordSize;
    this.slow = new SlowPath({ port, views, frames: e.frames, tlbs: this.#tlbs, data: this.block + At.data });
    this.#nameContexts();
    e.predecode.useMode(0);
    e.cpus.add(this);
  }

  regAddr(file: string, index: number): number {
    const f = this.#e.isa.files[file];
    const start = this.#e.layout.files.get(file);
    if (!f || start === undefined || index < 0 || index >= f.count)
      throw new RangeError(`${this.#e.isa.name} has no register ${file}[${index}]`);
    return this.block + start + index * f.size;
  }
  stateAddr(name: string): number {
    const at = this.#e.layout.state.get(name);
    if (at === undefined) throw new RangeError(`${this.#e.isa.name} has no state variable ${name}`);
    return this.block + at;
  }
  setContext(ctx: number): void {
    this.#context = ctx;
    this.slow.context = ctx;
  }
  setMode(mode: number): void {
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.#e.predecode.useMode(mode);
    for (const t of this.#tlbs) t.flushTable(Table.exec);
  }

  run(budget: number): LeaveReason {
    let left = budget;
    for (;;) {
      const slice = Math.min(left, SLICE);
      const { longest } = this.#e.predecode;
      const bias = slice > longest ? longest : 0;
      const why = this.#enter(slice, bias, this.#tlbAt + this.#context * CONTEXT_BYTES, 0);
      left -= slice - this.#left(bias);
      if (why === Leave.Budget || why >= Inner.Miss) {
        if (left === 0) return this.#leave(budget, Leave.Budget);
        if (why === Leave.Budget) continue;
        const fetched = this.#serve(why);
        if (fetched === Fetched.Page) continue;
        if (fetched === Fetched.Fault) return this.#leave(budget - left, Leave.Fault);
        const reason = this.#once();
        left -= this.#left(0) === 0 ? 1 : 0;
        if (reason !== Leave.Budget) return this.#leave(budget - left, reason);
        if (left === 0) return this.#leave(budget, Leave.Budget);
        continue;
      }
      return this.#leave(budget - left, why as LeaveReason);
    }
  }

  step(): LeaveReason {
    this.slow.caching = false;
    this.#e.views.i32.fill(
      this.#e.voidContext(),
      (this.block + At.contexts) >>> 2,
      (this.block + At.contexts + 60) >>> 2,
    );
    const fetched = this.#fetch(true);
    const reason = fetched === Fetched.Fault ? Leave.Fault : this.#once();
    const done = fetched !== Fetched.Fault && this.#left(0) === 0 ? 1 : 0;
    this.slow.caching = true;
    this.#nameContexts();
    return this.#leave(done, reason);
  }

  #nameContexts(): void {
    this.#tlbs.forEach((_, i) => {
      this.#e.views.i32[(this.block + At.contexts + 4 * i) >>> 2] = this.#tlbAt + i * CONTEXT_BYTES;
    });
  }
  /** Enters generated code; `slice` instructions, `bias` of them held back (the fast variant), from a record or pc. */
  #enter(slice: number, bias: number, context: number, rec: number): number {
    const e = this.#e;
    e.predecode.sweep();
    e.running = this;
    e.slow = this.slow;
    this.#loops ??= e.loops();
    const run = bias > 0 ? this.#loops.fast : this.#loops.counted;
    const why = run(this.block, context, rec, (slice - bias) * this.#size);
    e.running = undefined;
    return why;
  }
  /** Instructions of the slice that were not run. */
  #left(bias: number): number {
    const bytes = this.#i32[(this.block + At.left) >>> 2] ?? 0;
    return (this.#size === 16 ? bytes >> 4 : bytes / this.#size) + bias;
  }
  #leave(retired: number, why: LeaveReason): LeaveReason {
    this.retired = retired;
    if (why === Leave.Slow || why === Leave.Guard) this.slowOp = this.#word(At.slowOp);
    return why;
  }
  #word(at: number): number {
    return this.#i32[(this.block + at) >>> 2] ?? 0;
  }

  /** Makes the code at the pc runnable after generated code left for it. */
  #serve(why: number): number {
    if (why === Inner.Cross) return this.#fetch(true);
    const lo = this.#word(At.pc);
    const w = this.#tlbs[this.#context]?.find(Table.exec, lo, this.#word(At.pc + 4)) ?? -1;
    this.#page =
      why === Inner.Miss || w < 0 ? undefined : this.#e.predecode.at(this.#e.views.i32[w + 2] ?? 0);
    if (!this.#page) {
      const fetched = this.#fetch(false);
      if (fetched !== Fetched.Page) return fetched;
    }
    const p = this.#page;
    if (p && why === Inner.Decode) this.#decode(p, lo & (PAGE - 1));
    return Fetched.Page;
  }
  #decode(p: CodePage, offset: number): void {
    const { predecode, mapped, views } = this.#e;
    const rec = this.#word(At.rec) >>> 0;
    if (!mapped) {
      predecode.decode(p, offset);
      return;
    }
    const known = views.i32[(p.base >>> 2) + offset] ?? 0;
    if (known === 0 || views.u16[known >>> 1] === Special.Undecoded) predecode.decode(p, offset);
    if (rec !== 0 && this.#word(At.page) >>> 0 === p.base) mapped.patch(p as MappedPage, rec);
  }

  /**
   * Translates the pc. `Page`: an exec translation is cached. `Once`: the instruction is in the scratch record, to be
   * run alone (always so with `once`). `Fault`: the port has recorded why.
   */
  #fetch(once: boolean): number {
    const { predecode, isa } = this.#e;
    const a = this.slow.access;
    const r = this.slow.resolution;
    let lo = 0;
    let hi = 0;
    do {
      lo = this.#word(At.pc);
      hi = this.#word(At.pc + 4);
      this.#describeFetch(lo, hi, isa.unit);
      if (this.port.check(a) !== 0) return Fetched.Fault;
    } while (this.#word(At.pc) !== lo || this.#word(At.pc + 4) !== hi);
    if ((lo & (isa.unit - 1)) !== 0) return Fetched.Fault;
    if (this.port.resolve(a, r) !== Resolved.Ram) return Fetched.Fault;
    if (once || !r.cache) return this.#scratch(r.frame, lo, hi);
    this.#page = predecode.page(r.frame, this.#mode);
    this.#tlbs[this.#context]?.fill(Table.exec, lo, hi, this.#page.base, r.frame);
    return Fetched.Page;
  }
  #describeFetch(lo: number, hi: number, size: number): void {
    const a = this.slow.access;
    a.lo = lo;
    a.hi = hi;
    a.size = size;
    a.kind = Access.Exec;
    a.ctx = this.#context;
    a.cls = 0;
    a.ordinal = 0;
    a.align = this.#e.isa.unit;
  }
  /** Decodes the instruction at the pc, in `frame`, into the scratch record; its second page is translated if needed. */
  #scratch(frame: number, lo: number, hi: number): number {
    const { predecode, views, isa } = this.#e;
    const { decoder } = predecode;
    const offset = lo & (PAGE - 1);
    const rec = this.block + At.scratch;
    const avail = PAGE - offset;
    if (decoder.one(rec, frame + offset, offset, avail, this.#mode) < 0) {
      const next = (lo + avail) | 0;
      this.#describeFetch(next, next === 0 ? (hi + 1) | 0 : hi, isa.unit);
      const r = this.slow.resolution;
      if (this.port.resolve(this.slow.access, r) !== Resolved.Ram) return Fetched.Fault;
      const code = this.block + At.code;
      const first = Math.min(avail, 16);
      views.u8.copyWithin(code, frame + offset, frame + offset + first);
      views.u8.copyWithin(code + first, r.frame, r.frame + 16);
      if (decoder.one(rec, code, offset, first + 16, this.#mode) < 0) decoder.undefined(rec, offset, first);
    }
    const after = rec + isa.recordSize;
    views.u16[after >>> 1] = Special.Undecoded;
    views.u16[(after >>> 1) + 1] = offset + decoder.length;
    const page = isa.unit === 4 ? rec - (offset >>> 2) * isa.recordSize : this.#e.voidMap();
    views.i32[(this.block + At.page) >>> 2] = page;
    views.i32[(this.block + At.pageVa) >>> 2] = lo & -PAGE;
    views.i32[(this.block + At.pageVa + 4) >>> 2] = hi;
    return Fetched.Once;
  }
  /** Runs the scratch record. */
  #once(): LeaveReason {
    const context = this.slow.caching ? this.#tlbAt + this.#context * CONTEXT_BYTES : this.#e.voidContext();
    const why = this.#enter(1, 0, context, this.block + At.scratch);
    return (why >= Inner.Miss ? Leave.Budget : why) as LeaveReason;
  }

  get length(): number {
    const rec = this.#word(At.rec);
    return rec === 0 ? 0 : (this.#e.views.u8[rec + 4] as number);
  }
  codeAt(): number {
    const lo = this.#word(At.pc);
    const w = this.#tlbs[this.#context]?.find(Table.exec, lo, this.#word(At.pc + 4)) ?? -1;
    return w < 0 ? -1 : ((this.#e.views.i32[w + 3] as number) + (lo & (PAGE - 1))) >>> 0;
  }
  flush(ctx?: number): void {
    this.slow.devices.flush();
    if (ctx !== undefined) this.#tlbs[ctx]?.flush();
    else for (const t of this.#tlbs) t.flush();
    if (this.#e.running === this && (ctx === undefined || ctx === this.#context)) this.#stop();
  }
  dropFrame(frame: number, writesOnly = false): void {
    for (const t of this.#tlbs) t.dropFrame(frame, writesOnly ? 2 : 7);
    if (!writesOnly && this.#e.running === this && this.#running()?.frame === frame) this.#stop();
  }
  dropPage(lo: number, hi: number): void {
    this.slow.devices.flush();
    for (const t of this.#tlbs) t.dropPage(lo, hi);
    if (this.#e.running !== this) return;
    const va = this.#word(At.pageVa);
    if (va === (lo & -PAGE)) this.#stop();
  }
  dropWrites(): void {
    for (const t of this.#tlbs) t.flushTable(Table.write);
  }
  /** Drops exec translations to a frame (its predecoded page is gone). */
  dropExec(frame: number): void {
    for (const t of this.#tlbs) t.dropFrame(frame, 4);
  }
  /** The predecoded page generated code is in. */
  #running(): CodePage | undefined {
    return this.#e.predecode.at(this.#word(At.page));
  }
  /** A translation the running code may rest on is gone: its page's records go, so that it is left and looked up. */
  #stop(): void {
    const p = this.#running();
    if (p) this.#e.predecode.clear(p);
  }
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#e.cpus.delete(this);
    this.#e.host.freeTable(this.block, this.#e.layout.bytes);
  }
}

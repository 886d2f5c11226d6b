/**
 * Emits memory accesses: one compare with the fast TLB's tag, which also catches page crossing and the alignment an
 * instruction demands; everything else goes through the imported slow path.
 */
import { CURRENT_CONTEXT, packSite } from './access-site.ts';
import { At, TLB_ENTRIES, Tlb } from './cpu-block.ts';
import { type Exits, Fn, storeOp } from './emit-parts.ts';
import type { AccessSite, Node, Statement } from './node.ts';
import type { FunctionWriter } from './wasm/function.ts';
import { I, I32, I64, L, Mem } from './wasm/op.ts';

/** Scratch locals of accesses. */
export interface MemoryLocals {
  /** i64: the address. */
  readonly addr: number;
  /** i32: the TLB entry less the table's offset. */
  readonly entry: number;
  /** i32: the host address. */
  readonly ptr: number;
  /** i64: a value on its way to the slow path. */
  readonly value: number;
  /** A read-modify-write's address, host address and "took the slow path": they live across its computation. */
  readonly rmwAddr: number;
  readonly rmwPtr: number;
  readonly rmwSlow: number;
}

/** What accesses need of the emitter. */
export interface MemoryEmitter {
  readonly w: FunctionWriter;
  /** Locals that hold the addresses of the block and of the current context. */
  readonly base: number;
  readonly ctx: number;
  readonly memory: MemoryLocals;
  readonly exits: Exits;
  expr(n: Node): void;
  letLocal(id: number): number;
}

/** Allocates them. */
export function memoryLocals(w: FunctionWriter): MemoryLocals {
  return {
    addr: w.local(I64),
    entry: w.local(I32),
    ptr: w.local(I32),
    value: w.local(I64),
    rmwAddr: w.local(I64),
    rmwPtr: w.local(I32),
    rmwSlow: w.local(I32),
  };
}

/**
 * Pushes the entry's offset in a table for the address in local `addr`: page + (page >> 10), modulo the table size, so
 * that buffers 4 MiB apart do not meet. Adjacent pages never share an entry, or a crossing access could match.
 * `tlbIndex` in tlb.ts is the same function.
 */
export function emitTlbIndex(w: FunctionWriter, addr: number, temp: number): void {
  w.get(addr);
  w.i64(12);
  w.op(L.shrU);
  w.op(L.wrap);
  w.tee(temp);
  w.get(temp);
  w.i32(10);
  w.op(I.shrU);
  w.op(I.add);
  w.i32(TLB_ENTRIES - 1);
  w.op(I.and);
  w.i32(4);
  w.op(I.shl);
}

/** Pushes the context's address. */
function context(e: MemoryEmitter, site: AccessSite): void {
  if (site.ctx === undefined || site.ctx === CURRENT_CONTEXT) e.w.get(e.ctx);
  else {
    e.w.get(e.base);
    e.w.mem(Mem.i32load, At.contexts + 4 * site.ctx);
  }
}

/** Evaluates the address and pushes 1 if the fast path cannot serve it. Leaves `addr` and `entry` set. */
function probe(e: MemoryEmitter, site: AccessSite, addr: Node, table: number, into: number): void {
  const w = e.w;
  const m = e.memory;
  e.expr(addr);
  w.set(into);
  emitTlbIndex(w, into, m.entry);
  context(e, site);
  w.op(I.add);
  w.tee(m.entry);
  w.mem(Mem.i64load, table);
  w.get(into);
  if (site.align >= site.total) {
    // Aligned to its size or more: an aligned access cannot cross.
    if (site.align > 1) w.i64(-4096 | (site.align - 1) | 0, -1);
    else w.i64(-4096);
  } else {
    w.i64(site.total - 1);
    w.op(L.add);
    w.i64(-4096);
  }
  w.op(L.and);
  w.op(L.ne);
  if (site.align > 1 && site.align < site.total) {
    w.get(into);
    w.op(L.wrap);
    w.i32(site.align - 1);
    w.op(I.and);
    w.op(I.or);
  }
}

/** Pushes the fast path's host address. */
function pointer(e: MemoryEmitter, table: number, addr: number): void {
  e.w.get(e.memory.entry);
  e.w.mem(Mem.i32load, table + 8);
  e.w.get(addr);
  e.w.op(L.wrap);
  e.w.op(I.add);
}

/** Pushes the arguments every slow helper starts with: address halves and the packed site. */
function slowArguments(e: MemoryEmitter, site: AccessSite, addr: number): void {
  const w = e.w;
  w.get(addr);
  w.op(L.wrap);
  w.get(addr);
  w.i64(32);
  w.op(L.shrU);
  w.op(L.wrap);
  w.i32(packSite(site));
}

/** Leaves with a fault if the helper's result on the stack is -1; it stays in local `result`. */
function orFault(e: MemoryEmitter, result: number): void {
  e.w.tee(result);
  e.w.i32(-1);
  e.w.op(I.eq);
  e.w.brIf(e.exits.fault);
}

function loadOp(site: AccessSite): number {
  switch (site.size) {
    case 8:
      return Mem.i64load;
    case 4:
      return Mem.i32load;
    case 2:
      return site.signed ? Mem.i32load16s : Mem.i32load16u;
    case 1:
      return site.signed ? Mem.i32load8s : Mem.i32load8u;
  }
}

/** A load of one or more elements. */
export function emitLoad(e: MemoryEmitter, s: Extract<Statement, { kind: 'load' }>): void {
  const w = e.w;
  const m = e.memory;
  probe(e, s.site, s.addr, Tlb.read, m.addr);
  if (e.exits.complete !== undefined) {
    w.brIf(e.exits.complete);
    pointer(e, Tlb.read, m.addr);
    w.set(m.ptr);
  } else {
    w.if();
    slowArguments(e, s.site, m.addr);
    w.call(Fn.load);
    orFault(e, m.ptr);
    w.else();
    pointer(e, Tlb.read, m.addr);
    w.set(m.ptr);
    w.end();
  }
  s.ids.forEach((id, i) => {
    w.get(m.ptr);
    w.mem(loadOp(s.site), i * s.site.size);
    w.set(e.letLocal(id));
  });
}

/** Pushes the halves of a value as two i32. */
function halves(e: MemoryEmitter, v: Node): void {
  const w = e.w;
  e.expr(v);
  if (v.ty === 'i32') {
    w.i32(0);
    return;
  }
  w.tee(e.memory.value);
  w.op(L.wrap);
  w.get(e.memory.value);
  w.i64(32);
  w.op(L.shrU);
  w.op(L.wrap);
}

/** A store of one or more elements. */
export function emitStore(e: MemoryEmitter, s: Extract<Statement, { kind: 'store' }>): void {
  const w = e.w;
  probe(e, s.site, s.addr, Tlb.write, e.memory.addr);
  if (e.exits.complete !== undefined) {
    w.brIf(e.exits.complete);
    fastStore(e, s);
    return;
  }
  w.if();
  slowStore(e, s);
  w.else();
  fastStore(e, s);
  w.end();
}

function fastStore(e: MemoryEmitter, s: Extract<Statement, { kind: 'store' }>): void {
  const w = e.w;
  const { addr, ptr } = e.memory;
  pointer(e, Tlb.write, addr);
  w.set(ptr);
  s.values.forEach((v, i) => {
    w.get(ptr);
    e.expr(v);
    w.mem(storeOp(s.site.size, v.ty), i * s.site.size);
  });
}

function slowStore(e: MemoryEmitter, s: Extract<Statement, { kind: 'store' }>): void {
  const w = e.w;
  const { addr } = e.memory;
  const [only, ...more] = s.values;
  if (only && more.length === 0) {
    slowArguments(e, s.site, addr);
    halves(e, only);
    w.call(Fn.store);
  } else {
    s.values.forEach((v, i) => {
      w.get(e.base);
      e.expr(v);
      w.mem(storeOp(s.site.size, v.ty), At.data + i * s.site.size);
    });
    slowArguments(e, s.site, addr);
    w.call(Fn.storeMany);
  }
  w.brIf(e.exits.fault);
}

/** First half of a read-modify-write: the old value, with the place to store kept. */
export function emitRmwLoad(e: MemoryEmitter, s: Extract<Statement, { kind: 'rmwLoad' }>): void {
  const w = e.w;
  const m = e.memory;
  probe(e, s.site, s.addr, Tlb.write, m.rmwAddr);
  if (e.exits.complete !== undefined) {
    w.brIf(e.exits.complete);
    pointer(e, Tlb.write, m.rmwAddr);
    w.set(m.rmwPtr);
  } else {
    w.tee(m.rmwSlow);
    w.if();
    slowArguments(e, s.site, m.rmwAddr);
    w.call(Fn.rmwLoad);
    orFault(e, m.rmwPtr);
    w.else();
    pointer(e, Tlb.write, m.rmwAddr);
    w.set(m.rmwPtr);
    w.end();
  }
  w.get(m.rmwPtr);
  w.mem(loadOp(s.site), 0);
  w.set(e.letLocal(s.id));
}

/** Second half: stores the new value. */
export function emitRmwStore(e: MemoryEmitter, s: Extract<Statement, { kind: 'rmwStore' }>): void {
  const w = e.w;
  const m = e.memory;
  const fast = (): void => {
    w.get(m.rmwPtr);
    e.expr(s.v);
    w.mem(storeOp(s.site.size, s.v.ty), 0);
  };
  if (e.exits.complete !== undefined) {
    fast();
    return;
  }
  w.get(m.rmwSlow);
  w.if();
  slowArguments(e, s.site, m.rmwAddr);
  halves(e, s.v);
  w.call(Fn.rmwStore);
  w.brIf(e.exits.fault);
  w.else();
  fast();
  w.end();
}

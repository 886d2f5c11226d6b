/**
 * A builder that evaluates a row's meaning directly, on bigints: what the semantics say, with no engine in between.
 * Expressions are evaluated where they are used, each time anew, so a missing `let` shows up as a wrong value.
 */
import type { AccessOptions, Builder, Expr, Fields, I32, I64, Size, Slot, Ty } from '@faultyard/engine';
import type { Rec } from '../../src/isa/form.ts';
import { SINK, ZR } from '../../src/isa/form.ts';

/** Memory as the evaluator sees it. Each function returns false (or undefined) where the access faults. */
export interface Memory {
  read(address: bigint, size: number): Uint8Array | undefined;
  /** Whether all bytes may be written. */
  writable(address: bigint, size: number): boolean;
  write(address: bigint, bytes: Uint8Array): void;
}

/** Registers and state of the evaluated machine. */
export interface Machine {
  /** Slots 0..33. */
  readonly x: bigint[];
  /** 32 registers of 16 bytes. */
  readonly v: Uint8Array;
  readonly state: Map<string, bigint>;
  pc: bigint;
  guards: number;
  readonly memory: Memory;
}

/** How an instruction ended. */
export type Outcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'slow'; readonly op: number; readonly args: readonly bigint[] }
  | { readonly kind: 'guard'; readonly bit: number }
  | { readonly kind: 'fault'; readonly access: FaultedAccess };

/** The access that faulted, or that a watcher stopped at. */
export interface FaultedAccess {
  readonly address: bigint;
  readonly size: number;
  readonly write: boolean;
  readonly misaligned: boolean;
  readonly options: AccessOptions;
}

class Leave extends Error {
  readonly outcome: Outcome;
  constructor(outcome: Outcome) {
    super(outcome.kind);
    this.outcome = outcome;
  }
}

interface Value<T extends Ty = Ty> extends Expr<T> {
  readonly value: () => bigint;
}

const MASK = { i32: 0xffffffffn, i64: 0xffffffffffffffffn } as const;
const BITS = { i32: 32n, i64: 64n } as const;

const expr = <T extends Ty>(ty: T, value: () => bigint): Expr<T> =>
  ({ ty, value: () => value() & MASK[ty] }) as Value<T>;
const val = (e: Expr): bigint => (e as Value).value();
const signed = (e: Expr): bigint => BigInt.asIntN(e.ty === 'i32' ? 32 : 64, val(e));

/** Fields of one instruction, all constant. */
function constantFields(rec: Rec): Fields {
  const raw = (name: string): bigint => {
    if (name === 'imm') {
      const [lo, hi] = rec.imm ?? [0, 0];
      return (BigInt.asUintN(32, BigInt(hi)) << 32n) | BigInt.asUintN(32, BigInt(lo));
    }
    return BigInt((rec as Record<string, number | undefined>)[name] ?? 0);
  };
  return {
    slot: (name) => Number(raw(name)),
    i32: (name) => expr('i32', () => raw(name)),
    i64: (name) => expr('i64', () => raw(name)),
    hi32: (name) => expr('i32', () => raw(name) >> 32n),
  };
}

const toBytes = (v: bigint, size: number): Uint8Array => {
  const out = new Uint8Array(size);
  for (let i = 0; i < size; i++) out[i] = Number((v >> BigInt(8 * i)) & 255n);
  return out;
};

const fromBytes = (b: Uint8Array): bigint => b.reduceRight((n, x) => (n << 8n) | BigInt(x), 0n);

/**
 * Runs one meaning on `m` and moves pc. On a fault, guard or slow operation nothing has changed: a meaning that broke
 * the restart rule throws.
 */
export function evaluate(m: Machine, rec: Rec, sem: (b: Builder, f: Fields) => void): Outcome {
  const start = m.pc;
  let next = start + 4n;
  let changed = false;
  let ended = false;
  const live = (): void => {
    if (ended) throw new Error('statement behind the end of the handler');
  };
  const change = (): void => {
    live();
    changed = true;
  };
  const leave = (outcome: Outcome): never => {
    if (changed) throw new Error(`${outcome.kind} after a change of state`);
    throw new Leave(outcome);
  };
  const check = (address: bigint, size: number, write: boolean, options: AccessOptions = {}): void => {
    live();
    if (changed) throw new Error('access after a change of state');
    const misaligned = options.align !== undefined && address % BigInt(options.align) !== 0n;
    const reachable = write ? m.memory.writable(address, size) : m.memory.read(address, size) !== undefined;
    if (misaligned || !reachable)
      leave({ kind: 'fault', access: { address, size, write, misaligned, options } });
  };
  const readElement = (address: bigint, size: number, o: AccessOptions): Expr => {
    const n = fromBytes(m.memory.read(address, size) ?? new Uint8Array(size));
    const ty = size === 8 ? 'i64' : 'i32';
    const value = o.signed ? BigInt.asIntN(size * 8, n) : n;
    return expr(ty, () => value);
  };
  const binary =
    (f: (x: bigint, y: bigint, bits: bigint) => bigint) =>
    <T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T> => {
      if (a.ty !== b.ty) throw new Error(`operands are ${a.ty} and ${b.ty}`);
      return expr(a.ty, () => f(val(a), val(b), BITS[a.ty]));
    };
  const compare =
    (f: (x: bigint, y: bigint) => boolean, read: (e: Expr) => bigint = val) =>
    <T extends Ty>(a: Expr<T>, b: Expr<T>): I32 => {
      if (a.ty !== b.ty) throw new Error(`operands are ${a.ty} and ${b.ty}`);
      return expr('i32', () => (f(read(a), read(b)) ? 1n : 0n));
    };
  const shift =
    (f: (a: Expr, n: bigint, bits: bigint) => bigint) =>
    <T extends Ty>(a: Expr<T>, n: I32): Expr<T> => {
      if (n.ty !== 'i32') throw new Error('a shift amount is an i32');
      return expr(a.ty, () => f(a, val(n) % BITS[a.ty], BITS[a.ty]));
    };
  const count = (bits: bigint, x: bigint, fromTop: boolean): bigint => {
    for (let i = 0n; i < bits; i++) if ((x >> (fromTop ? bits - 1n - i : i)) & 1n) return i;
    return bits;
  };
  const slotOf = (s: Slot): number => s as number;
  const once = <T extends Ty>(e: Expr<T>): Expr<T> => {
    const value = val(e);
    return expr(e.ty, () => value);
  };
  const elementAt = (s: Slot, at: number): number => slotOf(s) * 16 + at;

  const b: Builder = {
    c32: (n) => expr('i32', () => BigInt.asUintN(32, BigInt(n))),
    c64: (lo, hi = lo < 0 ? -1 : 0) =>
      expr('i64', () => (BigInt.asUintN(32, BigInt(hi)) << 32n) | BigInt.asUintN(32, BigInt(lo))),
    add: binary((x, y) => x + y),
    sub: binary((x, y) => x - y),
    mul: binary((x, y) => x * y),
    divU: binary((x, y) => x / y),
    divS: (a, c) => expr(a.ty, () => signed(a) / signed(c)),
    and: binary((x, y) => x & y),
    or: binary((x, y) => x | y),
    xor: binary((x, y) => x ^ y),
    not: (a) => expr(a.ty, () => ~val(a)),
    shl: shift((a, n) => val(a) << n),
    shrU: shift((a, n) => val(a) >> n),
    shrS: shift((a, n) => signed(a) >> n),
    rotr: shift((a, n, bits) => (val(a) >> n) | (val(a) << (bits - n))),
    clz: (a) => expr(a.ty, () => count(BITS[a.ty], val(a), true)),
    ctz: (a) => expr(a.ty, () => count(BITS[a.ty], val(a), false)),
    popcnt: (a) => expr(a.ty, () => BigInt([...val(a).toString(2)].filter((d) => d === '1').length)),
    mulhU: (a, c) => expr('i64', () => (val(a) * val(c)) >> 64n),
    mulhS: (a, c) => expr('i64', () => (signed(a) * signed(c)) >> 64n),
    eq: compare((x, y) => x === y),
    ne: compare((x, y) => x !== y),
    ltU: compare((x, y) => x < y),
    ltS: compare((x, y) => x < y, signed),
    geU: compare((x, y) => x >= y),
    geS: compare((x, y) => x >= y, signed),
    eqz: (a) => expr('i32', () => (val(a) === 0n ? 1n : 0n)),
    wrap: (a) => expr('i32', () => val(a)),
    extU: (a) => expr('i64', () => val(a)),
    extS: (a) => expr('i64', () => signed(a)),
    sext: (a, bits) => expr(a.ty, () => BigInt.asIntN(bits, val(a))),
    zext: (a, bits) => expr(a.ty, () => BigInt.asUintN(bits, val(a))),
    select: (c, x, y) => expr(x.ty, () => (val(c) !== 0n ? val(x) : val(y))),
    let: once,
    get: (s) => expr('i64', () => (slotOf(s) === ZR ? 0n : (m.x[slotOf(s)] ?? 0n))),
    set(s, v) {
      change();
      if (v.ty !== 'i64') throw new Error('a register takes an i64');
      if (slotOf(s) === ZR) throw new Error('write to the zero slot');
      if (slotOf(s) !== SINK) m.x[slotOf(s)] = val(v);
    },
    elem: ((_file: string, s: Slot, at: number, size: Size) =>
      expr(size === 8 ? 'i64' : 'i32', () =>
        fromBytes(m.v.slice(elementAt(s, at), elementAt(s, at) + size)),
      )) as Builder['elem'],
    setElem(_file, s, at, size, v) {
      const bytes = toBytes(val(v), size);
      change();
      m.v.set(bytes, elementAt(s, at));
    },
    read32: (name) => expr('i32', () => m.state.get(name) ?? 0n),
    read64: (name) => expr('i64', () => m.state.get(name) ?? 0n),
    put(name, v) {
      const value = val(v);
      change();
      m.state.set(name, value);
    },
    load: ((size: Size, address: I64, o: AccessOptions = {}) => {
      const at = val(address);
      check(at, size, false, o);
      return readElement(at, size, o);
    }) as Builder['load'],
    store(size, address, v, o = {}) {
      const at = val(address);
      check(at, size, true, o);
      m.memory.write(at, toBytes(val(v), size));
    },
    loads(size, n, address, o = {}) {
      const at = val(address);
      if (size * n > 64) throw new Error('more than 64 bytes in one access');
      check(at, size * n, false, o);
      return Array.from({ length: n }, (_, i) => readElement(at + BigInt(i * size), size, o));
    },
    stores(size, address, values, o = {}) {
      const at = val(address);
      if (size * values.length > 64) throw new Error('more than 64 bytes in one access');
      check(at, size * values.length, true, o);
      for (const [i, v] of values.entries()) m.memory.write(at + BigInt(i * size), toBytes(val(v), size));
    },
    rmw: ((size: Size, address: I64, f: (old: Expr) => Expr, o: AccessOptions = {}) => {
      const at = val(address);
      check(at, size, true, o);
      const old = readElement(at, size, o);
      m.memory.write(at, toBytes(val(f(old)), size));
      return old;
    }) as Builder['rmw'],
    pc: () => expr('i64', () => start),
    next: () => expr('i64', () => start + 4n),
    jump(field) {
      live();
      next = start + BigInt.asIntN(64, val(f.i64(field)));
      ended = true;
    },
    jumpIf(c, field) {
      live();
      if (val(c) === 0n) return;
      next = start + BigInt.asIntN(64, val(f.i64(field)));
      ended = true;
    },
    jumpTo(address) {
      live();
      next = val(address);
      ended = true;
    },
    when(c, then, otherwise) {
      live();
      if (val(c) !== 0n) then();
      else otherwise?.();
    },
    slow: (op, ...args) => leave({ kind: 'slow', op, args: args.map((a) => val(a)) }),
    guard(bit) {
      live();
      if ((m.guards >>> bit) & 1) leave({ kind: 'guard', bit });
    },
  };
  const f = constantFields(rec);
  try {
    sem(b, f);
  } catch (e) {
    if (e instanceof Leave) return e.outcome;
    throw e;
  }
  m.pc = BigInt.asUintN(64, next);
  return { kind: 'done' };
}

/** The {@link Builder} that records a semantic function as statements and expressions. */
import { FaultyardError } from '@faultyard/core';
import * as fold from './fold.ts';
import type { AccessOptions, Builder, Expr, Fields, I32, I64, Size, Slot, Ty } from './ir.ts';
import type { Isa } from './isa.ts';
import { type AccessSite, type Node, nodeOf, type Program, type Statement } from './node.ts';
import { I, L } from './wasm/op.ts';

/** An instruction set's author used the builder against its rules (FY_INSTRUCTION); the message names the handler. */
export class SemanticsError extends FaultyardError {
  constructor(why: string) {
    super('FY_INSTRUCTION', { why, fix: 'correct the meaning of that instruction' });
  }
}

/** Longest single access in bytes. */
export const MAX_ACCESS = 64;

/** Records the meaning of one handler. `fields` supplies symbolic or constant record fields. */
export function record(
  isa: Isa,
  name: string,
  sem: (b: Builder, f: Fields) => void,
  fields: Fields,
): Program {
  const r = new Recorder(isa, name, fields);
  sem(r, fields);
  return r.program();
}

const as = <T extends Ty>(n: Node): Expr<T> => n as unknown as Expr<T>;

class Recorder implements Builder {
  readonly #isa: Isa;
  readonly #name: string;
  readonly #fields: Fields;
  readonly #main: string;
  readonly #lets: Ty[] = [];
  readonly #root: Statement[] = [];
  #into: Statement[] = this.#root;
  #accesses = 0;

  constructor(isa: Isa, name: string, fields: Fields) {
    this.#isa = isa;
    this.#name = name;
    this.#fields = fields;
    this.#main = Object.keys(isa.files)[0] ?? '';
  }
  program(): Program {
    return { statements: this.#root, lets: this.#lets };
  }
  #wrong(what: string): never {
    throw new SemanticsError(`handler ${this.#name}: ${what}`);
  }
  #bind(ty: Ty): number {
    return this.#lets.push(ty) - 1;
  }
  #value<T extends Ty>(id: number): Expr<T> {
    return as({ kind: 'let', ty: this.#lets[id] ?? 'i32', id });
  }
  #binary<T extends Ty, R extends Ty>(name: fold.Binary, a: Expr<T>, b: Expr<T>): Expr<R> {
    if (a.ty !== b.ty) this.#wrong(`${name} of ${a.ty} and ${b.ty}`);
    return as(fold.binary(name, nodeOf(a), nodeOf(b)));
  }
  #shift<T extends Ty>(name: fold.Binary, a: Expr<T>, n: I32): Expr<T> {
    const amount = nodeOf(n);
    return as(fold.binary(name, nodeOf(a), a.ty === 'i32' ? amount : fold.extU(amount)));
  }

  c32(n: number): I32 {
    return as(fold.const32(n));
  }
  c64(lo: number, hi: number = lo >> 31): I64 {
    return as(fold.const64(lo, hi));
  }
  add<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T> {
    return this.#binary('add', a, b);
  }
  sub<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T> {
    return this.#binary('sub', a, b);
  }
  mul<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T> {
    return this.#binary('mul', a, b);
  }
  divU<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T> {
    return this.#binary('divU', a, b);
  }
  divS<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T> {
    return this.#binary('divS', a, b);
  }
  and<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T> {
    return this.#binary('and', a, b);
  }
  or<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T> {
    return this.#binary('or', a, b);
  }
  xor<T extends Ty>(a: Expr<T>, b: Expr<T>): Expr<T> {
    return this.#binary('xor', a, b);
  }
  not<T extends Ty>(a: Expr<T>): Expr<T> {
    const ones = a.ty === 'i32' ? fold.const32(-1) : fold.const64(-1, -1);
    return this.#binary('xor', a, as<T>(ones));
  }
  shl<T extends Ty>(a: Expr<T>, n: I32): Expr<T> {
    return this.#shift('shl', a, n);
  }
  shrU<T extends Ty>(a: Expr<T>, n: I32): Expr<T> {
    return this.#shift('shrU', a, n);
  }
  shrS<T extends Ty>(a: Expr<T>, n: I32): Expr<T> {
    return this.#shift('shrS', a, n);
  }
  rotr<T extends Ty>(a: Expr<T>, n: I32): Expr<T> {
    return this.#shift('rotr', a, n);
  }
  clz<T extends Ty>(a: Expr<T>): Expr<T> {
    return as(fold.op(a.ty, (a.ty === 'i32' ? I : L).clz, nodeOf(a)));
  }
  ctz<T extends Ty>(a: Expr<T>): Expr<T> {
    return as(fold.op(a.ty, (a.ty === 'i32' ? I : L).ctz, nodeOf(a)));
  }
  popcnt<T extends Ty>(a: Expr<T>): Expr<T> {
    return as(fold.op(a.ty, (a.ty === 'i32' ? I : L).popcnt, nodeOf(a)));
  }
  mulhU(a: I64, b: I64): I64 {
    return as({ kind: 'mulh', ty: 'i64', signed: false, a: nodeOf(a), b: nodeOf(b) });
  }
  mulhS(a: I64, b: I64): I64 {
    return as({ kind: 'mulh', ty: 'i64', signed: true, a: nodeOf(a), b: nodeOf(b) });
  }
  eq<T extends Ty>(a: Expr<T>, b: Expr<T>): I32 {
    return this.#binary('eq', a, b);
  }
  ne<T extends Ty>(a: Expr<T>, b: Expr<T>): I32 {
    return this.#binary('ne', a, b);
  }
  ltU<T extends Ty>(a: Expr<T>, b: Expr<T>): I32 {
    return this.#binary('ltU', a, b);
  }
  ltS<T extends Ty>(a: Expr<T>, b: Expr<T>): I32 {
    return this.#binary('ltS', a, b);
  }
  geU<T extends Ty>(a: Expr<T>, b: Expr<T>): I32 {
    return this.#binary('geU', a, b);
  }
  geS<T extends Ty>(a: Expr<T>, b: Expr<T>): I32 {
    return this.#binary('geS', a, b);
  }
  eqz(a: Expr): I32 {
    return as(fold.eqz(nodeOf(a)));
  }
  wrap(a: I64): I32 {
    return as(fold.wrap(nodeOf(a)));
  }
  extU(a: I32): I64 {
    return as(fold.extU(nodeOf(a)));
  }
  extS(a: I32): I64 {
    return as(fold.extS(nodeOf(a)));
  }
  sext<T extends Ty>(a: Expr<T>, bits: 8 | 16 | 32): Expr<T> {
    return as(fold.sext(nodeOf(a), bits));
  }
  zext<T extends Ty>(a: Expr<T>, bits: 8 | 16 | 32): Expr<T> {
    return as(fold.zext(nodeOf(a), bits));
  }
  select<T extends Ty>(c: I32, a: Expr<T>, b: Expr<T>): Expr<T> {
    if (a.ty !== b.ty) this.#wrong(`select of ${a.ty} and ${b.ty}`);
    return as(fold.select(nodeOf(c), nodeOf(a), nodeOf(b)));
  }

  let<T extends Ty>(e: Expr<T>): Expr<T> {
    const n = nodeOf(e);
    if (n.kind === 'const' || n.kind === 'let') return e;
    const id = this.#bind(e.ty);
    this.#into.push({ kind: 'let', id, e: n });
    return this.#value(id);
  }
  get(slot: Slot): I64 {
    return as({ kind: 'elem', ty: 'i64', file: this.#main, slot, at: 0, size: 8 });
  }
  set(slot: Slot, v: I64): void {
    this.setElem(this.#main, slot, 0, 8, v);
  }
  elem(file: string, slot: Slot, at: number, size: 8): I64;
  elem(file: string, slot: Slot, at: number, size: 1 | 2 | 4): I32;
  elem(file: string, slot: Slot, at: number, size: Size): Expr {
    this.#checkElem(file, at, size);
    return as({ kind: 'elem', ty: size === 8 ? 'i64' : 'i32', file, slot, at, size });
  }
  setElem(file: string, slot: Slot, at: number, size: Size, v: Expr): void {
    this.#checkElem(file, at, size);
    if (size === 8 && v.ty !== 'i64') this.#wrong('an 8-byte element needs a 64-bit value');
    this.#into.push({ kind: 'setElem', file, slot, at, size, v: nodeOf(v) });
  }
  #checkElem(file: string, at: number, size: Size): void {
    const f = this.#isa.files[file];
    if (!f) this.#wrong(`no register file "${file}"`);
    if (at < 0 || at + size > f.size)
      this.#wrong(`bytes ${at}..${at + size} of a ${f.size}-byte register of "${file}"`);
  }
  #state(name: string, ty: Ty): void {
    const v = this.#isa.state[name];
    if (!v) this.#wrong(`no state variable "${name}"`);
    if (v.ty !== ty) this.#wrong(`state variable "${name}" is ${v.ty}, not ${ty}`);
  }
  read32(name: string): I32 {
    this.#state(name, 'i32');
    return as({ kind: 'state', ty: 'i32', name });
  }
  read64(name: string): I64 {
    this.#state(name, 'i64');
    return as({ kind: 'state', ty: 'i64', name });
  }
  put(name: string, v: Expr): void {
    this.#state(name, v.ty);
    this.#into.push({ kind: 'put', name, v: nodeOf(v) });
  }

  #site(size: Size, n: number, o: AccessOptions): AccessSite {
    const total = size * n;
    const align = o.align ?? 1;
    const cls = o.cls ?? 0;
    if (n < 1 || total > MAX_ACCESS) this.#wrong(`an access of ${total} bytes (1 to ${MAX_ACCESS})`);
    if (align < 1 || align > MAX_ACCESS || (align & (align - 1)) !== 0) this.#wrong(`alignment ${align}`);
    if (cls < 0 || cls > 255) this.#wrong(`access class ${cls}`);
    if (o.ctx !== undefined && !this.#isa.contexts[o.ctx]) this.#wrong(`no access context ${o.ctx}`);
    if (this.#accesses > 15) this.#wrong('more than 16 accesses');
    return { size, total, signed: o.signed ?? false, ctx: o.ctx, align, cls, ordinal: this.#accesses++ };
  }
  load(size: 8, addr: I64, o?: AccessOptions): I64;
  load(size: 1 | 2 | 4, addr: I64, o?: AccessOptions): I32;
  load(size: Size, addr: I64, o: AccessOptions = {}): Expr {
    return this.loads(size, 1, addr, o)[0] ?? this.#wrong('no value');
  }
  store(size: Size, addr: I64, v: Expr, o: AccessOptions = {}): void {
    this.stores(size, addr, [v], o);
  }
  loads(size: Size, n: number, addr: I64, o: AccessOptions = {}): Expr[] {
    const site = this.#site(size, n, o);
    const ids: number[] = [];
    for (let i = 0; i < n; i++) ids.push(this.#bind(size === 8 ? 'i64' : 'i32'));
    this.#into.push({ kind: 'load', site, addr: nodeOf(addr), ids });
    return ids.map((id) => this.#value(id));
  }
  stores(size: Size, addr: I64, v: readonly Expr[], o: AccessOptions = {}): void {
    if (size === 8 && v.some((x) => x.ty !== 'i64')) this.#wrong('an 8-byte store needs a 64-bit value');
    const site = this.#site(size, v.length, o);
    this.#into.push({ kind: 'store', site, addr: nodeOf(addr), values: v.map(nodeOf) });
  }
  rmw(size: 8, addr: I64, f: (old: I64) => I64, o?: AccessOptions): I64;
  rmw(size: 1 | 2 | 4, addr: I64, f: (old: I32) => I32, o?: AccessOptions): I32;
  rmw(size: Size, addr: I64, f: ((old: I64) => I64) | ((old: I32) => I32), o: AccessOptions = {}): Expr {
    const site = this.#site(size, 1, o);
    const id = this.#bind(size === 8 ? 'i64' : 'i32');
    this.#into.push({ kind: 'rmwLoad', site, addr: nodeOf(addr), id });
    const before = this.#accesses;
    const v = (f as (old: Expr) => Expr)(this.#value(id));
    if (this.#accesses !== before) this.#wrong('an access inside a read-modify-write');
    this.#into.push({ kind: 'rmwStore', site, v: nodeOf(v) });
    return this.#value(id);
  }

  pc(): I64 {
    return as({ kind: 'pc', ty: 'i64', next: false });
  }
  next(): I64 {
    return as({ kind: 'pc', ty: 'i64', next: true });
  }
  jump(field: string): void {
    this.#jump(field, undefined);
  }
  jumpIf(c: I32, field: string): void {
    const cond = nodeOf(c);
    if (cond.kind !== 'const') this.#jump(field, cond);
    else if (cond.lo !== 0) this.#jump(field, undefined);
  }
  #jump(field: string, cond: Node | undefined): void {
    if (this.#isa.fields[field]?.ty !== 'i64') this.#wrong(`jump by field "${field}", which is not i64`);
    this.#into.push({
      kind: 'jump',
      offset: { low: nodeOf(this.#fields.i32(field)), full: nodeOf(this.#fields.i64(field)) },
      cond,
    });
  }
  jumpTo(addr: I64): void {
    this.#into.push({ kind: 'jumpTo', addr: nodeOf(addr) });
  }
  when(c: I32, then: () => void, otherwise?: () => void): void {
    const cond = nodeOf(c);
    if (cond.kind === 'const') {
      if (cond.lo !== 0) then();
      else otherwise?.();
      return;
    }
    const outer = this.#into;
    const branches: [Statement[], Statement[]] = [[], []];
    this.#into = branches[0];
    then();
    this.#into = branches[1];
    otherwise?.();
    this.#into = outer;
    outer.push({ kind: 'when', c: cond, yes: branches[0], no: branches[1] });
  }
  slow(operation: number, ...args: Expr[]): void {
    if (args.length > 4) this.#wrong(`slow operation ${operation} with ${args.length} arguments`);
    if (operation < 0 || operation > 0xffff) this.#wrong(`slow operation ${operation}`);
    this.#into.push({ kind: 'slow', op: operation, args: args.map(nodeOf) });
  }
  guard(n: number): void {
    if (n < 0 || n > 31) this.#wrong(`guard ${n}`);
    this.#into.push({ kind: 'guard', n });
  }
}

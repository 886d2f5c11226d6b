/**
 * A four-byte instruction set for tests, with one instruction for every thing a builder can say, and its reference
 * model in BigInt. Word: op, a, b, c (one byte each, op lowest); `imm` is c sign-extended, branches count words.
 */
import type { Builder, Expr, Fields, Handler, I32, I64, Isa } from '../../src/index.ts';

const sizes = [1, 2, 4, 8] as const;
type Sem = (b: Builder, f: Fields) => void;
const list: { name: string; sem: Sem; ends?: boolean }[] = [];
export const OP: Record<string, number> = {};
function def(name: string, sem: Sem, ends = false): void {
  OP[name] = list.length;
  list.push({ name, sem, ends });
}
const ra = (b: Builder, f: Fields): I64 => b.get(f.slot('a'));
const rb = (b: Builder, f: Fields): I64 => b.get(f.slot('b'));
const rc = (b: Builder, f: Fields): I64 => b.get(f.slot('c'));
const wide = (b: Builder, e: Expr): I64 => (e.ty === 'i64' ? (e as I64) : b.extU(e as I32));

def('undefined', (b) => b.slow(0xdead), true);
def('addi', (b, f) => b.set(f.slot('a'), b.add(rb(b, f), f.i64('imm'))));
def('add', (b, f) => b.set(f.slot('a'), b.add(rb(b, f), rc(b, f))));
def('mul', (b, f) => b.set(f.slot('a'), b.mul(rb(b, f), rc(b, f))));
def('xor', (b, f) => b.set(f.slot('a'), b.xor(rb(b, f), rc(b, f))));
def('rotr', (b, f) => b.set(f.slot('a'), b.rotr(rb(b, f), b.wrap(rc(b, f)))));
def('mulhu', (b, f) => b.set(f.slot('a'), b.mulhU(rb(b, f), rc(b, f))));
def('mulhs', (b, f) => b.set(f.slot('a'), b.mulhS(rb(b, f), rc(b, f))));
def('cmp', (b, f) => {
  const r = b.let(b.sub(rb(b, f), rc(b, f)));
  b.put('last', r);
  b.put('carry', b.geU(rb(b, f), rc(b, f)));
});
def('flags', (b, f) => b.set(f.slot('a'), b.xor(b.read64('last'), b.extU(b.read32('carry')))));
def('count', (b) => b.put('cold', b.add(b.read64('cold'), b.c64(1))));
def('pc', (b, f) => b.set(f.slot('a'), b.add(b.pc(), b.shl(b.next(), b.c32(8)))));
for (const s of sizes) {
  def(`ld${s}`, (b, f) => b.set(f.slot('a'), wide(b, b.load(s as 8, b.add(rb(b, f), f.i64('imm'))))));
  def(`st${s}`, (b, f) => {
    const v = s === 8 ? ra(b, f) : b.wrap(ra(b, f));
    b.store(s, b.add(rb(b, f), f.i64('imm')), v);
  });
  def(`rmw${s}`, (b, f) => {
    const old = b.rmw(s as 8, rb(b, f), (o) =>
      s === 8 ? b.add(o, rc(b, f)) : b.add(o as never, b.wrap(rc(b, f)) as never),
    );
    b.set(f.slot('a'), wide(b, old));
  });
}
def('lds2', (b, f) => b.set(f.slot('a'), b.extS(b.load(2, rb(b, f), { signed: true }))));
def('ldal8', (b, f) => b.set(f.slot('a'), b.load(8, rb(b, f), { align: 8, cls: 5 })));
def('ldal4', (b, f) => {
  const [x, y] = b.loads(8, 2, rb(b, f), { align: 4 }) as [I64, I64];
  b.set(f.slot('a'), b.add(x, b.mul(y, b.c64(3))));
});
def('ldpost', (b, f) => {
  const at = b.let(rb(b, f));
  const v = b.load(8, at);
  b.set(f.slot('b'), b.add(at, f.i64('imm')));
  b.set(f.slot('a'), v);
});
def('stpost', (b, f) => {
  const at = b.let(rb(b, f));
  b.store(8, at, ra(b, f));
  b.set(f.slot('b'), b.add(at, f.i64('imm')));
});
def('ldp', (b, f) => {
  const [x, y] = b.loads(8, 2, rb(b, f)) as [I64, I64];
  b.set(f.slot('a'), x);
  b.set(f.slot('c'), y);
});
def('stp', (b, f) => b.stores(8, rb(b, f), [ra(b, f), rc(b, f)]));
def('st4x4', (b, f) => b.stores(4, rb(b, f), [b.wrap(ra(b, f)), b.c32(1), b.wrap(rc(b, f)), b.c32(2)]));
def('ldother', (b, f) => b.set(f.slot('a'), b.load(8, rb(b, f), { ctx: 1 })));
def('elem', (b, f) => {
  b.setElem('v', f.slot('a'), 8, 4, b.elem('v', f.slot('b'), 4, 4));
  b.setElem('v', f.slot('a'), 0, 8, b.add(b.elem('v', f.slot('b'), 8, 8), b.c64(7)));
});
def('tov', (b, f) => b.setElem('v', f.slot('a'), 4, 8, rb(b, f)));
def('abs', (b, f) => {
  const x = b.let(rb(b, f));
  b.when(
    b.ltS(x, b.c64(0)),
    () => b.set(f.slot('a'), b.sub(b.c64(0), x)),
    () => b.set(f.slot('a'), x),
  );
});
def('b', (b) => b.jump('off'), true);
def(
  'bl',
  (b) => {
    b.set(15, b.next());
    b.jump('off');
  },
  true,
);
def('bz', (b, f) => b.jumpIf(b.eqz(ra(b, f)), 'off'));
def('bnz', (b, f) => b.jumpIf(b.ne(ra(b, f), b.c64(0)), 'off'));
def('br', (b, f) => b.jumpTo(ra(b, f)), true);
def('slow', (b, f) => b.slow(7, ra(b, f), f.i32('c')), true);
def('guard', (b, f) => {
  b.guard(3);
  b.set(f.slot('a'), b.c64(1));
});
def('nop', () => undefined);

const handlers: readonly Handler[] = list.map((h) => ({ name: h.name, ends: h.ends ?? false, sem: h.sem }));
const signed8 = (n: number): number => (n << 24) >> 24;

/** The instruction set. */
export const mini: Isa = {
  name: 'mini',
  unit: 4,
  recordSize: 24,
  fields: {
    a: { at: 2, ty: 'u8' },
    b: { at: 3, ty: 'u8' },
    c: { at: 4, ty: 'u8' },
    imm: { at: 8, ty: 'i64' },
    off: { at: 16, ty: 'i64' },
  },
  files: { x: { count: 16, size: 8 }, v: { count: 16, size: 16 } },
  state: { last: { ty: 'i64', hot: true }, carry: { ty: 'i32', hot: true }, cold: { ty: 'i64' } },
  contexts: ['main', 'other'],
  handlers,
  undefinedHandler: 0,
  decode(site, out) {
    const { u8, i32, code, record } = site;
    const op = u8[code] ?? 0;
    out.handler = op < list.length ? op : 0;
    u8[record + 2] = (u8[code + 1] ?? 0) & 15;
    u8[record + 3] = (u8[code + 2] ?? 0) & 15;
    u8[record + 4] = (u8[code + 3] ?? 0) & 15;
    const imm = signed8(u8[code + 3] ?? 0);
    i32[(record + 8) >>> 2] = imm;
    i32[(record + 12) >>> 2] = imm >> 31;
    const off = (((u8[code + 2] ?? 0) | ((u8[code + 3] ?? 0) << 8)) << 16) >> 14;
    i32[(record + 16) >>> 2] = off;
    i32[(record + 20) >>> 2] = off >> 31;
    return 4;
  },
};
/** The same with 16-byte records, to see that nothing depends on the size: `off` and `imm` share their place. */
export const mini16: Isa = {
  ...mini,
  name: 'mini16',
  recordSize: 16,
  fields: { ...mini.fields, off: { at: 8, ty: 'i64' } },
  decode(site, out) {
    const n = decodeInto(site, out);
    return n;
  },
};
function decodeInto(site: Parameters<Isa['decode']>[0], out: { handler: number }): number {
  const { u8, i32, code, record } = site;
  const op = u8[code] ?? 0;
  out.handler = op < list.length ? op : 0;
  for (let i = 0; i < 3; i++) u8[record + 2 + i] = (u8[code + 1 + i] ?? 0) & 15;
  const branch = /^b/.test(list[out.handler]?.name ?? '');
  const off = branch
    ? (((u8[code + 2] ?? 0) | ((u8[code + 3] ?? 0) << 8)) << 16) >> 14
    : signed8(u8[code + 3] ?? 0);
  i32[(record + 8) >>> 2] = off;
  i32[(record + 12) >>> 2] = off >> 31;
  return 4;
}

/** With every other handler kept out of the fast loop. */
export const miniCold: Isa = {
  ...mini,
  name: 'mini, half of it cold',
  handlers: handlers.map((h, i) => ({ ...h, cold: i % 2 === 0 })),
};

/** Assembles one instruction. For branches `b` is the displacement in words. */
export function ins(name: string, a = 0, b = 0, c = 0): number {
  const op = OP[name];
  if (op === undefined) throw new Error(`no instruction ${name}`);
  if (['b', 'bl', 'bz', 'bnz'].includes(name)) return (op | (a << 8) | ((b & 0xffff) << 16)) >>> 0;
  return (op | (a << 8) | (b << 16) | ((c & 255) << 24)) >>> 0;
}
/** All names. */
export const names: readonly string[] = list.map((h) => h.name);

/** Encodes a module that imports one memory and some functions, and defines functions (core spec 5.5). */
import { Bytes } from './bytes.ts';
import type { FunctionWriter } from './function.ts';
import { Op } from './op.ts';

/** Parameter and result types. */
export interface Signature {
  readonly params: readonly number[];
  readonly results: readonly number[];
}
/** A function of the module; imports are numbered before definitions, both in their order. */
export interface Definition {
  readonly signature: Signature;
  readonly body: FunctionWriter;
  /** Exported under this name. */
  readonly export?: string;
}
/** What the module consists of. All imports come from the import object `e`; the memory is called `memory`. */
export interface ModuleParts {
  readonly imports: readonly { readonly name: string; readonly signature: Signature }[];
  readonly functions: readonly Definition[];
  /** Function indices of a table for `call_indirect`, if there is one; it is exported as `table`. */
  readonly table?: readonly number[];
}

/** The module's bytes. */
export function encodeModule(m: ModuleParts): Uint8Array<ArrayBuffer> {
  const out = new Bytes();
  out.bytes(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
  const section = (id: number, fill: (b: Bytes) => void): void => {
    const b = new Bytes();
    fill(b);
    out.u8(id);
    out.u32(b.length);
    out.bytes(b.view());
  };
  const all = [...m.imports.map((i) => i.signature), ...m.functions.map((f) => f.signature)];
  const types: Signature[] = [];
  const typeOf = all.map((s) => signatureIndex(types, s));
  section(1, (b) => {
    b.u32(types.length);
    for (const s of types) {
      b.u8(0x60);
      for (const types of [s.params, s.results]) {
        b.u32(types.length);
        for (const t of types) b.u8(t);
      }
    }
  });
  section(2, (b) => {
    b.u32(m.imports.length + 1);
    m.imports.forEach((f, i) => {
      b.name('e');
      b.name(f.name);
      b.u8(0);
      b.u32(typeOf[i] ?? 0);
    });
    b.name('e');
    b.name('memory');
    b.u8(2);
    b.u8(0);
    b.u32(1);
  });
  section(3, (b) => {
    b.u32(m.functions.length);
    m.functions.forEach((_, i) => {
      b.u32(typeOf[m.imports.length + i] ?? 0);
    });
  });
  const { table } = m;
  if (table)
    section(4, (b) => {
      b.u32(1);
      b.u8(0x70);
      b.u8(0);
      b.u32(table.length);
    });
  section(7, (b) => {
    const exported = m.functions.map((f, i) => [f.export, m.imports.length + i] as const).filter((e) => e[0]);
    b.u32(exported.length + (table ? 1 : 0));
    if (table) {
      b.name('table');
      b.u8(1);
      b.u32(0);
    }
    for (const [name, index] of exported) {
      b.name(name ?? '');
      b.u8(0);
      b.u32(index);
    }
  });
  if (table)
    section(9, (b) => {
      b.u32(1);
      b.u32(0);
      b.u8(Op.i32const);
      b.s32(0);
      b.u8(Op.end);
      b.u32(table.length);
      for (const f of table) b.u32(f);
    });
  section(10, (b) => {
    b.u32(m.functions.length);
    for (const f of m.functions) body(b, f.body);
  });
  return new Uint8Array(out.view());
}

/** Index of a signature among the types, added if it is new. Equal signatures share one: `call_indirect` wants that. */
export function signatureIndex(types: Signature[], s: Signature): number {
  const same = (a: readonly number[], c: readonly number[]): boolean =>
    a.length === c.length && a.every((t, i) => t === c[i]);
  const at = types.findIndex((t) => t === s || (same(t.params, s.params) && same(t.results, s.results)));
  return at >= 0 ? at : types.push(s) - 1;
}

function body(b: Bytes, f: FunctionWriter): void {
  const runs: { type: number; count: number }[] = [];
  for (const type of f.locals) {
    const last = runs.at(-1);
    if (last?.type === type) last.count++;
    else runs.push({ type, count: 1 });
  }
  const size = (n: number): number => (n < 128 ? 1 : n < 16384 ? 2 : 3);
  const head = runs.reduce((n, r) => n + size(r.count) + 1, size(runs.length));
  b.u32(head + f.code.length + 1);
  b.u32(runs.length);
  for (const r of runs) {
    b.u32(r.count);
    b.u8(r.type);
  }
  b.bytes(f.code.view());
  b.u8(Op.end);
}

/**
 * Instances of every form of the A64 table, for comparison with other implementations. A form is one row with its
 * addressing mode, size and width (`Form.split`); an instance is one word of it, biased to boundaries.
 */
import { extract, type Field, fieldMask, insert } from '../../src/isa/bits.ts';
import type { Bits } from '../../src/isa/form.ts';
import { type Row, type Table, witness } from '../../src/isa/table.ts';

/** One form: a row and the values of its split fields. */
export interface TestForm {
  /** Unique: `ADD (immediate) sf=1`. */
  readonly name: string;
  readonly row: Row;
  readonly values: Bits;
}

/** Fields that tell forms apart unless a row says otherwise. */
const SPLIT = new Set(['sf', 'size', 'sz', 'opc', 'A', 'R', 'L', 'V', 'Q']);

/** Every form of a table, in table order. */
export function formsOf(table: Table): TestForm[] {
  return table.rows.flatMap((row) => {
    const names = row.form.split ?? (row.form.spec ?? []).filter((name) => SPLIT.has(name));
    const fields = names.map((name) => {
      const f = row.pattern.fields.find((x) => x.name === name);
      if (!f) throw new Error(`row "${row.form.name}" splits by ${name}, which is not one of its fields`);
      return f;
    });
    return combinations(row, fields);
  });
}

function combinations(row: Row, fields: readonly Field[]): TestForm[] {
  const all: TestForm[] = [];
  const total = fields.reduce((n, f) => n * (fieldMask(f) + 1), 1);
  for (let k = 0; k < total; k++) {
    const values: Record<string, number> = {};
    let rest = k;
    let mask = row.pattern.mask;
    let word = row.pattern.value;
    for (const f of fields) {
      const v = rest & fieldMask(f);
      rest >>>= f.width;
      values[f.name] = v;
      mask |= fieldMask(f) << f.pos;
      word |= v << f.pos;
    }
    if (witness([{ row, test: row.form.when }], mask, word) === undefined) continue;
    const tail = fields.map((f) => `${f.name}=${values[f.name]}`);
    all.push({ name: [row.form.name, ...tail].join(' '), row, values });
  }
  return all;
}

/** A small seeded generator (mulberry32); each call gives an integer from 0 to 2^32 - 1. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** Seed that depends on a name. */
export function seedOf(name: string, seed: number): number {
  let h = 0x811c9dc5 ^ seed;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** Values worth trying first in a field: both ends, the sign edge, and for small fields all. */
function edges(f: Field): readonly number[] {
  const top = fieldMask(f);
  if (/^R[a-z]\d?$/.test(f.name)) return [31, 0, 1, 30, 2, 15, 16, 29];
  if (f.width <= 4) return Array.from({ length: top + 1 }, (_, i) => i);
  const half = 2 ** (f.width - 1);
  return [...new Set([0, top, 1, half, half - 1, top - 1, half + 1, 2, half >> 1, 0x15555555 & top])];
}

/**
 * At least `count` different words of a form where it has that many, else all of them; the same for the same seed.
 * Every value of small fields (conditions, shifts, extends) and every edge of wide ones comes up.
 */
export function instances(form: TestForm, seed: number, count = 50): number[] {
  const { row } = form;
  const free = row.pattern.fields.filter((f) => form.values[f.name] === undefined);
  const ignored = 32 - row.pattern.fields.reduce((n, f) => n + f.width, 0) - popcount(row.pattern.mask);
  const belongs = (word: number): boolean => {
    const { when } = row.form;
    return when === undefined || when(extract(row.pattern, word));
  };
  const width = free.reduce((n, f) => n + f.width, 0);
  const words = new Set<number>();
  if (width <= 8 && ignored === 0) {
    for (let k = 0; k < 2 ** width; k++) {
      const b: Record<string, number> = { ...form.values };
      let rest = k;
      for (const f of free) {
        b[f.name] = rest & fieldMask(f);
        rest >>>= f.width;
      }
      const word = insert(row.pattern, b);
      if (belongs(word)) words.add(word);
    }
    return spread([...words], Math.max(count, 64));
  }
  const next = random(seedOf(form.name, seed));
  const choices = free.map((f) => ({ f, edges: edges(f), start: next() }));
  for (let attempt = 0; attempt < count * 200 && words.size < count; attempt++) {
    const b: Record<string, number> = { ...form.values };
    for (const [i, { f, edges: list, start }] of choices.entries()) {
      // Edges in turn, at a pace of its own for each field so that they meet in ever new combinations.
      const turn = start + attempt * (2 * i + 1);
      b[f.name] = next() % 8 < 6 ? (list[turn % list.length] ?? 0) : next() & fieldMask(f);
    }
    const word = insert(row.pattern, b);
    if (belongs(word)) words.add(word);
  }
  return [...words];
}

/** At most `n` members of a list, evenly spread, both ends among them. */
function spread(list: readonly number[], n: number): number[] {
  if (list.length <= n) return [...list];
  return Array.from({ length: n }, (_, i) => list[Math.round((i * (list.length - 1)) / (n - 1))] ?? 0);
}

function popcount(n: number): number {
  let count = 0;
  for (let m = n >>> 0; m !== 0; m &= m - 1) count++;
  return count;
}

/** Register values worth computing with: zero, all ones, the edges of sign and carry in 32 and 64 bits. */
const VALUES: readonly bigint[] = [
  0n,
  0xffff_ffff_ffff_ffffn,
  1n,
  0x8000_0000_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000n,
  0x7fff_ffffn,
  0xffff_ffffn,
  0x1_0000_0000n,
  0xffff_ffff_8000_0000n,
  0x0123_4567_89ab_cdefn,
  0xaaaa_aaaa_5555_5555n,
];

/** Values for X0 to X30 before an instance runs: mostly {@link VALUES}, some random. */
export function registerInputs(seed: number): bigint[] {
  const next = random(seed);
  return Array.from({ length: 31 }, () => {
    if (next() % 4 !== 0) return VALUES[next() % VALUES.length] ?? 0n;
    return (BigInt(next()) << 32n) | BigInt(next());
  });
}

/** The decode tree: which words it calls allocated, against GNU binutils; and what it demands of rows. */
import { expect, it } from 'vitest';
import { extract, TableError } from '../src/isa/bits.ts';
import type { Form } from '../src/isa/form.ts';
import { FEATURES, FORMS, standardTable } from '../src/isa/forms.ts';
import { buildTable, variantOf } from '../src/isa/table.ts';
import { ALLOCATION, explained } from './support/differences.ts';
import { random } from './support/instances.ts';
import { readInstances, readSweep, SWEEP } from './support/recording.ts';
import { sweepWords } from './support/sweep.ts';

const table = standardTable();

const row = (name: string, bits: string, more: Partial<Form> = {}): Form => ({
  name,
  bits,
  ref: 'test',
  asm: [{ text: name.toLowerCase() }],
  record: () => ({}),
  sem: () => {},
  ...more,
});
const build = (...forms: Form[]): unknown => buildTable(forms, new Set());

it('two million words -> decode tree: allocated where GNU binutils know an Armv8.0 instruction, but for the explained', () => {
  const known = readSweep();
  const needed = new Set<unknown>();
  const wrong: string[] = [];
  for (const [i, word] of sweepWords(SWEEP.seed, SWEEP.count).entries()) {
    const theirs = (((known[i >> 3] ?? 0) >> (i & 7)) & 1) === 1;
    const found = table.find(word);
    if ((found !== undefined) === theirs) continue;
    const why = explained(found ? ALLOCATION.ours : ALLOCATION.theirs, word);
    if (why) needed.add(why);
    else wrong.push(`${word.toString(16).padStart(8, '0')}: ${found?.form.name ?? 'unallocated'}`);
  }
  expect(wrong.slice(0, 20)).toEqual([]);
  expect([...ALLOCATION.ours, ...ALLOCATION.theirs].filter((d) => !needed.has(d)).map((d) => d.why)).toEqual(
    [],
  );
});

it('random words -> decode tree: the same row as trying every row one by one', () => {
  const next = random(7);
  for (let i = 0; i < 20_000; i++) {
    const row = table.rows[next() % table.rows.length];
    if (!row) continue;
    const word = ((next() & ~row.pattern.mask) | row.pattern.value) ^ (i % 2 ? 1 << (next() % 32) : 0);
    const all = table.rows.filter((r) => {
      if (((word & r.pattern.mask) ^ r.pattern.value) !== 0) return false;
      const b = Object.fromEntries(
        r.pattern.fields.map((f) => [f.name, (word >>> f.pos) & (2 ** f.width - 1)]),
      );
      return r.form.when?.(b) ?? true;
    });
    expect(all.length).toBeLessThanOrEqual(1);
    expect(table.find(word)?.form.name).toBe(all[0]?.form.name);
  }
});

it("every recorded instance -> the decoder's shared fields: the record that the row's own fields give", () => {
  let common = 0;
  for (const { word } of readInstances()) {
    const row = table.find(word);
    if (!row) throw new Error(`${word.toString(16)} is unallocated`);
    if (row.common) common++;
    const own = extract(row.pattern, word);
    const fast = row.form.record(table.found(row));
    if (JSON.stringify(fast) !== JSON.stringify(row.form.record(own)))
      expect(fast).toEqual(row.form.record(own));
    if (variantOf(row, table.found(row)) !== variantOf(row, own)) expect(row.form.name).toBe('');
  }
  expect(common).toBeGreaterThan(10_000);
});

it('a row without its feature -> decode tree: unallocated', () => {
  const without = buildTable(FORMS, new Set(FEATURES.filter((f) => f !== 'lse')));
  const ldadd = 0xb8200000;
  expect(table.find(ldadd)?.form.feature).toBe('lse');
  expect(without.find(ldadd)).toBeUndefined();
});

it('two rows that share a word -> load: an error that names both and the word', () => {
  const a = row('FIRST', '0000 0000 n:8 0000 0000 0000 0000', { when: (b) => (b.n ?? 0) >= 0x80 });
  const b = row('SECOND', '0000 0000 1000 m:4 0000 0000 0000 0000', { when: (b) => b.m !== 0 });
  expect(() => build(a, b)).toThrow(TableError);
  expect(() => build(a, b)).toThrow(/^FY_PLUGIN_CLASH: instruction word 0x00810000 .*"SECOND".*"FIRST"/);
  const disjoint = { ...a, when: (bits: Readonly<Record<string, number>>) => (bits.n ?? 0) >= 0x90 };
  expect(() => build(disjoint, b)).not.toThrow();
});

it.each([
  ['31 bits', row('SHORT', '000 n:28'), /"SHORT".*31 bits, not 32/],
  ['a field twice', row('TWICE', 'n:16 n:16'), /"TWICE".*n appears twice/],
  ['a part that is no bits and no field', row('BAD', '0000 n=4 x:24'), /"BAD".*"n=4"/],
  ['a spec field that is missing', row('SPEC', 'n:31 0', { spec: ['m'] }), /"SPEC".*m is not in/],
  ['a condition on a missing field', row('WHEN', 'n:31 0', { when: (b) => b.m === 1 }), /"WHEN".*asks for m/],
  ['a condition that never holds', row('NEVER', 'n:31 0', { when: () => false }), /"NEVER".*allows no word/],
])('a row with %s -> load: an error that says so', (_, form, message) => {
  expect(() => build(form)).toThrow(message);
});

it('two rows of one name -> load: an error that says so', () => {
  expect(() => build(row('SAME', 'n:31 0'), row('SAME', 'n:31 1'))).toThrow(
    /^FY_PLUGIN_CLASH: instruction row SAME is defined by both/,
  );
});

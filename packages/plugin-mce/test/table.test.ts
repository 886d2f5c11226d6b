/** The decision table, run live: every driven cell, and the module made from the data. */
import { readFileSync } from 'node:fs';
import type { MatrixCell } from '@faultyard/testkit';
import { describe, expect, it } from 'vitest';
import { tableModule } from '../scripts/table-module.ts';
import { CODES } from '../src/scenarios/codes.ts';
import { TABLE } from '../src/scenarios/generated/table.ts';
import { scenarios } from '../src/scenarios/index.ts';
import { STORIES } from '../src/scenarios/stories.ts';

const cells = scenarios.matrix('mce');
const byRow = new Map<string, MatrixCell[]>();
for (const c of cells) byRow.set(c.row, [...(byRow.get(c.row) ?? []), c]);

describe('decision table', () => {
  it('every entry has a scenario, every scenario a story and an alias', () => {
    expect([...byRow.keys()]).toEqual(TABLE.rows.map((r) => r.id));
    expect(Object.keys(STORIES).sort()).toEqual(scenarios.scenarios.map((s) => s.id).sort());
    for (const s of scenarios.scenarios) expect(s.aliases, s.id).toHaveLength(1);
  });
  it('rows 3 to 32 and 34 to 38 of the sheet, and the crash, in four columns each', () => {
    const rows = new Set(TABLE.rows.map((r) => Number(r.row)));
    const wanted = Array.from({ length: 38 }, (_, n) => n + 1).filter((n) => n !== 33);
    expect([...rows].sort((a, b) => a - b)).toEqual(wanted);
    for (const r of TABLE.rows) expect(Object.keys(r.cells), r.id).toEqual(Object.keys(TABLE.columns));
  });
  it('the module is made from data/decision-table.json', () => {
    const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
    const made = read('../src/scenarios/generated/table.ts');
    expect(made).toBe(tableModule(read('../data/decision-table.json')));
  });
  it('every outcome code of it is explained, and no other', () => {
    const tokens = TABLE.rows.flatMap((r) => Object.values(r.cells)).flatMap((code) => code.split(' '));
    const used = new Set(tokens.filter((t) => t !== '|').map((t) => /^([A-Z]+\d?)/.exec(t)?.[0]));
    expect([...used].sort()).toEqual(Object.keys(CODES).sort());
  });
});

describe.each([...byRow])('row %s', (_, row) => {
  it.each(row.map((c) => [c.column, c.expected, c] as const))('%s -> %s', (_column, expected, cell) => {
    const r = cell.run();
    expect(r.actual, r.log.join('\n')).toBe(expected);
  });
});

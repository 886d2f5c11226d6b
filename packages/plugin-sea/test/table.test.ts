/** The decision table, run live: every driven cell, every alternative, and the module made from the data. */
import { readFileSync } from 'node:fs';
import { type MatrixCell, NOT_APPLICABLE } from '@faultyard/testkit';
import { describe, expect, it } from 'vitest';
import { tableModule } from '../scripts/table-module.ts';
import { CODES } from '../src/scenarios/codes.ts';
import { TABLE } from '../src/scenarios/generated/table.ts';
import { scenarios } from '../src/scenarios/index.ts';

const cells = scenarios.matrix('sea');
const byRow = new Map<string, MatrixCell[]>();
for (const c of cells) byRow.set(c.row, [...(byRow.get(c.row) ?? []), c]);

describe('decision table', () => {
  it('every entry that is not a gap has a scenario, and every scenario an alias that speaks', () => {
    const driven = TABLE.rows.filter((r) => !r.gap);
    expect([...byRow.keys()]).toEqual(driven.map((r) => r.id));
    expect(TABLE.rows.filter((r) => r.gap).map((r) => r.id)).toEqual(['19', '20']);
    for (const s of scenarios.scenarios) expect(s.aliases[0], s.id).toMatch(/^sea\/[a-z]/);
  });
  it('the module is made from data/decision-table.json', () => {
    const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
    const made = read('../src/scenarios/generated/table.ts');
    expect(made).toBe(tableModule(read('../data/decision-table.json')));
  });
  it('every outcome code of it is explained, and no other', () => {
    const codes = TABLE.rows
      .flatMap((r) => [r.cells, ...(r.alt ?? []).map((a) => a.cells)])
      .flatMap(Object.values);
    const tokens = codes.flatMap((code: string) =>
      code.split(' ').filter((t) => t !== '|' && t !== NOT_APPLICABLE),
    );
    const used = new Set(tokens.map((t) => /^([A-Z]+\d?|[a-z]+)/.exec(t)?.[0]));
    expect([...used].sort()).toEqual(Object.keys(CODES).sort());
  });
  it('a cell that does not apply is not run', () => {
    const applicable = TABLE.rows
      .filter((r) => !r.gap)
      .reduce((n, r) => n + Object.values(r.cells).filter((code) => code !== NOT_APPLICABLE).length, 0);
    expect(cells.length).toBe(applicable);
  });
});

describe.each([...byRow])('row %s', (_, row) => {
  it.each(row.map((c) => [c.column, c.expected, c] as const))('%s -> %s', (_column, _expected, cell) => {
    const r = cell.run();
    if (!r.ok) expect(r.actual, r.log.join('\n')).toBe(cell.expected);
  });
});

const alternatives = TABLE.rows
  .filter((r) => !r.gap)
  .flatMap((r) =>
    (r.alt ?? []).flatMap((a) =>
      a.knobs && a.kernel === undefined && a.reading === undefined
        ? Object.entries(a.cells).map(([column, code]) => ({ row: r, column, code, set: a.knobs ?? {} }))
        : [],
    ),
  );
describe('alternatives under other knobs', () => {
  it.each(alternatives.map((a) => [a.row.id, a.column, JSON.stringify(a.set), a.code, a] as const))(
    'row %s %s with %s -> %s',
    (_row, _column, _set, code, a) => {
      const r = scenarios.run(a.row.scenario, {
        column: a.column,
        set: a.set,
        ...(a.row.variant === undefined ? {} : { variant: a.row.variant }),
      });
      expect(r.expected).toBe(code);
      if (!r.ok) expect(r.outcome, r.log.join('\n')).toBe(code);
    },
  );
});

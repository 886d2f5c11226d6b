import { PassThrough } from 'node:stream';
import pc from 'picocolors';
import { describe, expect, test } from 'vitest';
import { runMatrix } from '../src/commands/matrix.ts';
import { Interrupted, uninterrupted } from '../src/interrupt/interrupts.ts';
import { type DrawnCell, headerLines, layoutMatrix, rowLines } from '../src/matrix-table.ts';

const plain = pc.createColors(false);
const CODES: Readonly<Record<string, string>> = {
  P0: 'SE(+580,BF000000)',
  P1: 'X(92000010) INJ(+400,92000010,V) L1',
  P2: 'X(92000010) CL(AR,12)',
  P3: 'LOOP',
};
const COLUMNS = Object.keys(CODES);

/** The table's lines at a width, one row with every cell done. */
function draw(width: number, cell: (column: string) => DrawnCell | undefined): string[] {
  const layout = layoutMatrix(['1', '7a'], COLUMNS, (c) => [CODES[c] ?? ''], width);
  return layout.bands.flatMap((band) => [
    ...headerLines(layout, band, plain),
    ...rowLines(layout, band, '7a', cell, plain),
  ]);
}
const done = (column: string): DrawnCell => ({
  expected: CODES[column] ?? '',
  state: 'done',
  actual: CODES[column] ?? '',
  ok: column !== 'P3',
});

describe('a decision table', () => {
  test.each([40, 60, 80, 100, 132, 200])('at %i columns -> no line is longer', (width) => {
    for (const l of draw(width, done)) expect(l.length).toBeLessThanOrEqual(width);
  });
  test('wide -> every code in full on one line', () => {
    const lines = draw(200, done);
    expect(lines).toHaveLength(3);
    for (const code of Object.values(CODES)) expect(lines[2]).toContain(code);
  });
  test('narrower -> codes wrap at blanks, nothing is lost', () => {
    const text = draw(90, done)
      .join(' ')
      .replace(/[│\s]+/g, ' ');
    for (const word of Object.values(CODES).join(' ').split(' ')) expect(text).toContain(word);
  });
  test('narrow -> the parts in parentheses go first', () => {
    const text = draw(60, done).join('\n');
    expect(text).toContain('INJ');
    expect(text).not.toContain('92000010');
  });
  test('narrower still -> the bars move together before the table is cut', () => {
    const widths = [24, 26, 28, 30, 32, 34, 36].map((w) =>
      layoutMatrix(['1', '7a'], COLUMNS, (c) => [CODES[c] ?? ''], w),
    );
    expect(widths.filter((l) => l.bands.length === 1 && l.separator === '│').length).toBeGreaterThan(0);
    for (const l of widths) if (l.separator === '│') expect(l.bands).toHaveLength(1);
  });
  test('too narrow for all columns -> cut into bands that each have the header', () => {
    const layout = layoutMatrix(['1'], COLUMNS, () => ['ABCDEFGHIJ KLMNOPQRST'], 44);
    expect(layout.bands.length).toBeGreaterThan(1);
    expect(layout.bands.flatMap((b) => b.columns)).toEqual(COLUMNS);
  });
  test('expected, not expected, running, waiting and n/a -> told apart without colours', () => {
    const states: Readonly<Record<string, DrawnCell | undefined>> = {
      P0: done('P0'),
      P1: { expected: 'A', state: 'running' },
      P2: undefined,
      P3: done('P3'),
    };
    const row = draw(200, (c) => states[c]).at(-1);
    expect(row).toMatch(/✓ SE.*▸ A.*n\/a.*✗ LOOP/);
    expect(draw(200, () => ({ expected: 'A', state: 'waiting' })).at(-1)).toContain('· A');
  });
});

test('Ctrl-C while a cell runs -> that cell ends, no other begins', () => {
  const ran: string[] = [];
  const cells = COLUMNS.map((column) => ({
    row: '1',
    column,
    scenario: 'x/1',
    title: 'a row',
    expected: 'OK',
    run: () => {
      ran.push(column);
      return { actual: 'OK', ok: true } as never;
    },
  }));
  const io = {
    out: new PassThrough(),
    live: false,
    progress: false,
    colors: plain,
    columns: () => 100,
  };
  const interrupts = { ...uninterrupted, requested: () => ran.includes('P1') };
  expect(() => runMatrix(io as never, cells, interrupts)).toThrow(Interrupted);
  expect(ran).toEqual(['P0', 'P1']);
});

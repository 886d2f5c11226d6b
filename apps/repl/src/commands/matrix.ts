/** `matrix`: a decision table, run live, one cell per policy; exit status 0 only if every cell is as expected. */
import { UserError } from '../errors.ts';
import { Interrupted, type Interrupts, uninterrupted } from '../interrupt/interrupts.ts';
import { type Io, line } from '../io.ts';
import { type DrawnCell, headerLines, layoutMatrix, rowLines } from '../matrix-table.ts';
import type { MatrixCell } from '../scenarios.ts';
import { type Command, writeJson } from './command.ts';

/** A cell that was run, as `--json` prints it. */
export interface MatrixResult {
  readonly row: string;
  readonly column: string;
  readonly expected: string;
  readonly actual: string;
  readonly ok: boolean;
}

/**
 * Runs a cell, unless the line is to end. It asks between cells because a line that is broken off while it writes to
 * the terminal can leave the stream unusable.
 */
function runCell(cell: MatrixCell, interrupts: Interrupts): MatrixResult {
  if (interrupts.requested()) throw new Interrupted();
  const { actual, ok } = cell.run();
  return { row: cell.row, column: cell.column, expected: cell.expected, actual, ok };
}

/** Says on standard error, if that is a terminal, which cell is run. */
function showProgress(io: Io, cell: MatrixCell, done: number, all: number): void {
  if (io.progress) io.err.write(`\r\x1b[K${done + 1}/${all} ${cell.row} ${cell.column}`);
}

function clearProgress(io: Io): void {
  if (io.progress) io.err.write('\r\x1b[K');
}

/** Names in the order in which they first appear. */
function distinct(names: readonly string[]): string[] {
  return [...new Set(names)];
}

/**
 * Runs cells and draws the table as they finish: on a terminal a row is redrawn with each of its cells, elsewhere it is
 * written once.
 */
function drawMatrix(io: Io, cells: readonly MatrixCell[], interrupts: Interrupts): MatrixResult[] {
  const rows = distinct(cells.map((c) => c.row));
  const columns = distinct(cells.map((c) => c.column));
  const codes = (column: string): string[] => cells.filter((c) => c.column === column).map((c) => c.expected);
  const layout = layoutMatrix(rows, columns, codes, io.columns());
  const results: MatrixResult[] = [];
  for (const band of layout.bands) {
    if (band !== layout.bands[0]) line(io.out);
    for (const text of headerLines(layout, band, io.colors)) line(io.out, text);
    for (const row of rows) {
      const mine = cells.filter((c) => c.row === row && band.columns.includes(c.column));
      const drawn = new Map<string, DrawnCell>(
        mine.map((c) => [c.column, { expected: c.expected, state: 'waiting' }]),
      );
      let height = 0;
      const draw = (): void => {
        const lines = rowLines(layout, band, row, (column) => drawn.get(column), io.colors);
        io.out.write(`${height > 0 ? `\x1b[${height}A\r\x1b[J` : ''}${lines.join('\n')}\n`);
        height = lines.length;
      };
      for (const cell of mine) {
        drawn.set(cell.column, { expected: cell.expected, state: 'running' });
        if (io.live) draw();
        else showProgress(io, cell, results.length, cells.length);
        const result = runCell(cell, interrupts);
        results.push(result);
        drawn.set(cell.column, {
          expected: cell.expected,
          state: 'done',
          actual: result.actual,
          ok: result.ok,
        });
      }
      if (!io.live) clearProgress(io);
      draw();
    }
  }
  return results;
}

/** Says what the columns stand for. */
function explainColumns(io: Io, cells: readonly MatrixCell[]): void {
  const titles = new Map(cells.flatMap((c) => (c.columnTitle ? [[c.column, c.columnTitle] as const] : [])));
  if (titles.size > 0) line(io.out);
  const room = Math.max(4, ...[...titles].map(([column]) => column.length + 1));
  for (const [column, title] of titles) line(io.out, io.colors.dim(`${column.padEnd(room)}${title}`));
}

/** Says how many cells are as expected, and shows those that are not in full. */
function summarizeMatrix(io: Io, results: readonly MatrixResult[]): void {
  const wrong = results.filter((r) => !r.ok);
  line(io.out);
  for (const r of wrong) {
    line(io.out, io.colors.red(`✗ ${r.row} ${r.column}`));
    line(io.out, `    expected ${r.expected}`);
    line(io.out, `    actual   ${r.actual}`);
  }
  const text = `${results.length} cells, ${results.length - wrong.length} as expected, ${wrong.length} not`;
  line(io.out, wrong.length > 0 ? io.colors.red(text) : io.colors.green(text));
}

/** Runs cells, draws them and sums up; whether all are as expected. */
export function runMatrix(
  io: Io,
  cells: readonly MatrixCell[],
  interrupts: Interrupts = uninterrupted,
): boolean {
  const results = drawMatrix(io, cells, interrupts);
  explainColumns(io, cells);
  summarizeMatrix(io, results);
  return results.every((r) => r.ok);
}

/** Runs cells for `--json`: progress on standard error where that is a terminal. */
function runQuietly(io: Io, cells: readonly MatrixCell[]): MatrixResult[] {
  const results: MatrixResult[] = [];
  for (const cell of cells) {
    showProgress(io, cell, results.length, cells.length);
    results.push(runCell(cell, uninterrupted));
  }
  clearProgress(io);
  return results;
}

/** The `matrix` command. */
export const matrix: Command = {
  name: 'matrix',
  help: 'run a decision table (`sea`) or one row of it (`sea/1`), one cell per policy',
  usage: 'matrix <path>',
  run({ words, options, io, scenarios, interrupts }) {
    const [path, ...rest] = words;
    if (path === undefined || rest.length > 0)
      throw new UserError(`matrix takes one path, e.g. \`matrix sea\`\nusage: ${matrix.usage}`);
    const cells = scenarios.matrix(path);
    if (!options['json']) return runMatrix(io, cells, interrupts) ? 0 : 1;
    const results = runQuietly(io, cells);
    writeJson(io, results);
    return results.every((r) => r.ok) ? 0 : 1;
  },
};

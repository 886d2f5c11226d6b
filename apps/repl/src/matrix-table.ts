/**
 * A decision table on a terminal of any width: rows and columns of cells that fill in as they are run.
 *
 * A cell shows its outcome code, wrapped at blanks; where that is too wide for the terminal, the code without the parts in
 * parentheses. A table that is still too wide is cut into bands of columns.
 */
import type { Colors } from './io.ts';

/** One cell while the table is drawn: nothing yet, running, or done. */
export interface DrawnCell {
  readonly expected: string;
  readonly state: 'waiting' | 'running' | 'done';
  readonly actual?: string;
  readonly ok?: boolean;
}

/** How much of an outcome code fits. */
type Detail = 'full' | 'heads';

/** A group of columns that fit side by side. */
interface Band {
  readonly columns: readonly string[];
  readonly widths: readonly number[];
  readonly detail: Detail;
}

/** A table's layout for one width. */
export interface MatrixLayout {
  readonly bands: readonly Band[];
  readonly labelWidth: number;
  /** What stands between two columns. */
  readonly separator: string;
}

const WIDE = ' │ ';
const NARROW = '│';
/** What is tried, the most readable first. */
const LAYOUTS: readonly { readonly detail: Detail; readonly separator: string }[] = [
  { detail: 'full', separator: WIDE },
  { detail: 'heads', separator: WIDE },
  { detail: 'heads', separator: NARROW },
];
/** A mark and a blank before the code. */
const MARK = 2;

function words(code: string, detail: Detail): string[] {
  const text = detail === 'heads' ? code.replace(/\([^)]*\)/g, '') : code;
  return text.split(/\s+/).filter(Boolean);
}

function wrap(code: string, detail: Detail, width: number): string[] {
  const lines: string[] = [];
  for (const word of words(code, detail)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word.length <= width ? word : `${word.slice(0, width - 1)}…`);
  }
  return lines.length > 0 ? lines : [''];
}

/** Gives what is left over to the columns that would wrap, one character at a time in turn. */
function widen(widths: number[], natural: readonly number[], spare: number): void {
  let left = spare;
  while (left > 0) {
    const before = left;
    for (let i = 0; i < widths.length && left > 0; i++)
      if (widths[i]! < natural[i]!) {
        widths[i]!++;
        left--;
      }
    if (left === before) return;
  }
}

/** Lays a table out for a width in columns. `codes` are the expected outcome codes of each column. */
export function layoutMatrix(
  rows: readonly string[],
  columns: readonly string[],
  codes: (column: string) => readonly string[],
  width: number,
): MatrixLayout {
  const labelWidth = Math.max(3, ...rows.map((r) => r.length));
  const room = Math.max(20, width) - labelWidth;
  const longest = (column: string, detail: Detail): number =>
    Math.max(
      column.length,
      ...codes(column).map((c) => MARK + Math.max(0, ...words(c, detail).map((w) => w.length))),
    );
  const natural = (column: string, detail: Detail): number =>
    Math.max(column.length, ...codes(column).map((c) => MARK + words(c, detail).join(' ').length));
  const total = (widths: readonly number[], separator: string): number =>
    widths.reduce((a, w) => a + w + separator.length, 0);
  for (const { detail, separator } of LAYOUTS) {
    const widths = columns.map((c) => longest(c, detail));
    const used = total(widths, separator);
    if (used > room) continue;
    widen(
      widths,
      columns.map((c) => natural(c, detail)),
      room - used,
    );
    return { bands: [{ columns, widths, detail }], labelWidth, separator };
  }
  const bands: Band[] = [];
  let at = 0;
  while (at < columns.length) {
    const widths: number[] = [];
    for (const column of columns.slice(at)) {
      const w = Math.min(longest(column, 'heads'), room - WIDE.length);
      if (widths.length > 0 && total([...widths, w], WIDE) > room) break;
      widths.push(w);
    }
    bands.push({ columns: columns.slice(at, at + widths.length), widths, detail: 'heads' });
    at += widths.length;
  }
  return { bands, labelWidth, separator: WIDE };
}

/** The header of a band: its columns' names and a rule. */
export function headerLines(layout: MatrixLayout, band: Band, colors: Colors): string[] {
  const names = band.columns.map((c, i) => colors.bold(c.slice(0, band.widths[i]).padEnd(band.widths[i]!)));
  const cross = layout.separator.replaceAll(' ', '─').replace('│', '┼');
  const rule = ['─'.repeat(layout.labelWidth), ...band.widths.map((w) => '─'.repeat(w))].join(cross);
  return [`${[' '.repeat(layout.labelWidth), ...names].join(layout.separator)}`.trimEnd(), colors.dim(rule)];
}

/** One row of a band, on as many lines as its widest cell needs. A missing cell is `n/a`. */
export function rowLines(
  layout: MatrixLayout,
  band: Band,
  row: string,
  cell: (column: string) => DrawnCell | undefined,
  colors: Colors,
): string[] {
  const drawn = band.columns.map((column, i) => drawCell(cell(column), band.detail, band.widths[i]!, colors));
  const height = Math.max(...drawn.map((d) => d.length));
  return Array.from({ length: height }, (_, k) => {
    const label = (k === 0 ? row : '').padEnd(layout.labelWidth);
    const cells = drawn.map((d, i) => d[k] ?? ' '.repeat(band.widths[i]!));
    return `${[label, ...cells].join(layout.separator)}`.trimEnd();
  });
}

function drawCell(cell: DrawnCell | undefined, detail: Detail, width: number, colors: Colors): string[] {
  if (!cell) return [colors.dim('n/a'.slice(0, width).padEnd(width))];
  const pending = cell.state !== 'done';
  const mark = pending ? (cell.state === 'running' ? '▸' : '·') : cell.ok ? '✓' : '✗';
  const color = pending ? colors.dim : cell.ok ? colors.green : colors.red;
  const lines = wrap(cell.actual ?? cell.expected, detail, Math.max(1, width - MARK));
  return lines.map((text, k) => color(`${k === 0 ? mark : ' '} ${text}`.padEnd(width).slice(0, width)));
}

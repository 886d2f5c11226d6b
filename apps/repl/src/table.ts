/** Tables that fit the width they are given and can be read without colours. */
import Table from 'cli-table3';
import type { Colors } from './io.ts';

const NO_BORDERS = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: ' ',
};

/** Plain columns under a header; the last column wraps so that the table fits `width`. */
export function listTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  width: number,
  colors: Colors,
): string {
  const natural = head.map((h, i) => Math.max(h.length, ...rows.map((r) => r[i]?.length ?? 0)) + 1);
  const last = natural.length - 1;
  const before = natural.slice(0, last).reduce((a, b) => a + b + 1, 0);
  natural[last] = Math.max(16, Math.min(natural[last]!, width - before));
  const table = new Table({
    chars: NO_BORDERS,
    style: { 'padding-left': 0, 'padding-right': 1, head: [], border: [] },
    colWidths: natural,
    wordWrap: true,
  });
  table.push(
    head.map((h) => colors.bold(h)),
    ...rows.map((r) => [...r]),
  );
  return table
    .toString()
    .split('\n')
    .map((l) => l.trimEnd())
    .join('\n');
}

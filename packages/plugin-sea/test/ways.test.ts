/** The table driven other ways: in slices, moved to another VM at every exit, both. Nothing may depend on it. */
import type { MatrixCell, Way } from '@faultyard/testkit';
import { describe, expect, it } from 'vitest';
import { scenarios } from '../src/scenarios/index.ts';

const WAYS: readonly ((seed: number) => Way)[] = [
  (seed) => ({ kind: 'slices', seed, most: 13 }),
  () => ({ kind: 'moves' }),
  (seed) => ({ kind: 'cuts', seed, most: 40, cuts: 8 }),
];
/** A loop of a thousand exits says nothing that one exit does not. */
const cells = scenarios.matrix('sea').filter((c) => c.expected !== 'LOOP' && !c.expected.endsWith('LOOP'));

function same(cell: MatrixCell, way: Way): void {
  const whole = cell.run();
  const other = cell.run({ way });
  expect(other.actual).toBe(whole.actual);
  expect(other.exits).toEqual(whole.exits);
  expect(other.instructions).toBe(whole.instructions);
  expect(other.stateHash).toBe(whole.stateHash);
}

describe('same outcome, exits, instructions and state hash', () => {
  it.each(cells.map((c, n) => [c.row, c.column, WAYS[n % 3]?.(n + 1) as Way, c] as const))(
    'row %s %s, driven %o',
    (_row, _column, way, cell) => same(cell, way),
  );
  it.each(['slices', 'moves', 'cuts'])(
    'rows 1, 4, 6, 14, 15 and 24 in every column, driven in %s',
    (kind) => {
      const way = (WAYS.find((w) => w(3).kind === kind) as (typeof WAYS)[number])(3);
      for (const c of cells) if (/^(1|4|6|14|15|24\/both)$/.test(c.row)) same(c, way);
    },
  );
});

/** Every entry has one state hash: in slices, from VM to VM, at 100 cuts, in other processes and Node versions. */
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Way } from '@faultyard/testkit';
import { output, run } from '@faultyard/testkit/oracle';
import { describe, expect, test } from 'vitest';
import { scenarios } from '../src/scenarios/index.ts';
import { COLUMN, hashes } from './support/hashes.ts';

const WAYS: readonly Way[] = [
  { kind: 'slices', seed: 1, most: 13 },
  { kind: 'moves' },
  { kind: 'cuts', seed: 2, most: 40, cuts: 100 },
];

const entries = scenarios.matrix('mce').filter((c) => c.column === COLUMN || c.row === '1' || c.row === '2');

describe.each(entries.map((c) => [c.row, c.column, c] as const))('row %s %s', (_row, _column, cell) => {
  test('in slices, moved at every exit, cut at up to 100 places -> as whole', { timeout: 60_000 }, () => {
    const whole = cell.run();
    for (const way of WAYS) expect(cell.run({ way })).toEqual(whole);
  });
});

const script = fileURLToPath(new URL('./support/hashes.ts', import.meta.url));
const elsewhere = (node: string): string[] => {
  const args = ['--import', 'tsx', '--conditions=@faultyard/source', script, '--print'];
  return new TextDecoder()
    .decode(output(node, args, { timeout: 120_000 }))
    .trim()
    .split('\n');
};
/** Node programs given in FAULTYARD_NODES, and `node22`, `node24` where they are on PATH. */
const others = [...(process.env['FAULTYARD_NODES'] ?? '').split(delimiter), 'node22', 'node24'].filter(
  (n) => n !== '' && run(n, ['--version']).status === 0,
);

describe('all entries', () => {
  const here = hashes();
  test('twice in this process -> equal', () => {
    expect(hashes()).toEqual(here);
  });
  test('in another process -> equal', { timeout: 120_000 }, () => {
    expect(elsewhere(process.execPath)).toEqual(here);
  });
  const why = others.length
    ? ''
    : ' (skipped: FAULTYARD_NODES is not set, and no node22 or node24 is installed)';
  test.skipIf(!others.length)(`in other versions of Node${why} -> equal`, { timeout: 240_000 }, () => {
    for (const node of others) expect(elsewhere(node)).toEqual(here);
  });
});

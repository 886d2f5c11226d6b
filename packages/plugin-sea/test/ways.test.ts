/** One cell driven many ways: in slices, moved to another VM at every exit, both. Nothing may depend on it. */
import type { Way } from '@faultyard/testkit';
import { describe, expect, it } from 'vitest';
import { scenarios } from '../src/scenarios/index.ts';

const WAYS: readonly Way[] = [
  { kind: 'slices', seed: 7, most: 13 },
  { kind: 'moves' },
  { kind: 'cuts', seed: 11, most: 40, cuts: 8 },
];
const CELLS = [
  ['sea/1', undefined, 'P0'],
  ['sea/1', undefined, 'P1'],
  ['sea/1', undefined, 'P2'],
  ['sea/1', 'ldp', 'P4'],
  ['sea/2', undefined, 'P4'],
  ['sea/3', undefined, 'P2r'],
  ['sea/4', 'fixup', 'P2'],
  ['sea/6', 'hole-l0', 'P4'],
  ['sea/7a', undefined, 'P2'],
  ['sea/8b', undefined, 'P2'],
  ['sea/9', undefined, 'P4'],
  ['sea/11', undefined, 'P2'],
  ['sea/13c', '2m', 'P4'],
  ['sea/15', 't2', 'P5'],
  ['sea/18', undefined, 'P2r'],
  ['sea/24', 'both', 'P2'],
] as const;

describe.each(CELLS)('%s %s %s', (id, variant, column) => {
  const options = { column, ...(variant === undefined ? {} : { variant }) };
  const whole = scenarios.run(id, options);
  it.each(WAYS.map((w) => [w.kind, w] as const))(
    'driven in %s -> same outcome, exits and state',
    (_, way) => {
      const r = scenarios.run(id, { ...options, way });
      expect(r.outcome).toBe(whole.outcome);
      expect(r.exits).toEqual(whole.exits);
      expect(r.stateHash).toBe(whole.stateHash);
      expect(r.instructions).toBe(whole.instructions);
    },
  );
});

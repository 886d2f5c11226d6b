/** Prints outcome, instructions and state hash of every scenario, one a line; a test runs it in other processes. */
import { scenarios } from '../../src/scenarios/index.ts';

/** Column in which the scenarios are run: the longest paths. */
export const COLUMN = 'P2';

/** One line a scenario. */
export function hashes(): string[] {
  return scenarios.scenarios.map((s) => {
    const r = scenarios.run(s.id, { column: COLUMN });
    return `${s.id} ${r.stateHash} ${r.instructions} ${r.outcome}`;
  });
}

if (process.argv.includes('--print')) console.log(hashes().join('\n'));

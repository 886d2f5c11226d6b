/** Prints outcome, instructions and state hash of every entry, one a line; a test runs it in other processes. */
import { scenarios } from '../../src/scenarios/index.ts';

/** Column in which the entries are run: the policy that keeps most. */
export const COLUMN = 'full';

/** One line an entry. */
export function hashes(): string[] {
  return scenarios
    .matrix('mce')
    .filter((c) => c.column === COLUMN)
    .map((c) => {
      const r = c.run();
      return `${c.row} ${r.stateHash} ${r.instructions} ${r.outcome}`;
    });
}

if (process.argv.includes('--print')) console.log(hashes().join('\n'));

/** The result of one scenario: for a reader, and as JSON. */
import { type Io, line } from '../io.ts';
import type { ScenarioResult } from '../scenarios.ts';

/** A result as `--json` prints it. */
export function contract(r: ScenarioResult): Omit<ScenarioResult, 'entry' | 'log'> {
  const { scenario, column, set, outcome, expected, ok, exits, instructions, stateHash } = r;
  return { scenario, column, set, outcome, expected, ok, exits, instructions, stateHash };
}

/** A result for a reader. */
export function printResult(io: Io, result: ScenarioResult): void {
  const { colors } = io;
  const verdict = result.ok ? colors.green('✓ as expected') : colors.red('✗ not as expected');
  const set = Object.entries(result.set).map(([k, v]) => `${k}=${v}`);
  line(io.out, `${colors.bold(result.scenario)} ${result.column}  ${verdict}`);
  const rows: [string, string][] = [
    ['outcome', result.outcome],
    ...(result.ok ? [] : ([['expected', result.expected]] as [string, string][])),
    ['exits', result.exits.join(' ') || 'none'],
    ['instructions', String(result.instructions)],
    ['state hash', result.stateHash],
    ...(set.length > 0 ? ([['set', set.join(' ')]] as [string, string][]) : []),
  ];
  for (const [name, text] of rows) line(io.out, `  ${colors.dim(name.padEnd(12))} ${text}`);
  for (const text of result.log) line(io.out, `  ${colors.dim('log'.padEnd(12))} ${text}`);
}

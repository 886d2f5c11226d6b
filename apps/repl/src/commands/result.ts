/** The result of one scenario: for a reader, and as JSON. */
import type { Colors } from '../io.ts';
import type { ScenarioResult } from '../scenarios.ts';

/** A result as `--json` prints it. */
export function contract(r: ScenarioResult): Omit<ScenarioResult, 'entry' | 'column' | 'log'> {
  const { scenario, set, outcome, expected, ok, exits, instructions, stateHash } = r;
  return { scenario, set, outcome, expected, ok, exits, instructions, stateHash };
}

/** A result for a reader. */
export function resultText(result: ScenarioResult, colors: Colors): string {
  const verdict = result.ok ? colors.green('✓ as expected') : colors.red('✗ not as expected');
  const set = Object.entries(result.set).map(([k, v]) => `${k}=${v}`);
  const rows: [string, string][] = [
    ['outcome', result.outcome],
    ...(result.ok ? [] : ([['expected', result.expected]] as [string, string][])),
    ['exits', result.exits.join(' ') || 'none'],
    ['instructions', String(result.instructions)],
    ['state hash', result.stateHash],
    ...(set.length > 0 ? ([['set', set.join(' ')]] as [string, string][]) : []),
    ...result.log.map((text): [string, string] => ['log', text]),
  ];
  const name = result.column
    ? `${colors.bold(result.scenario)} ${result.column}`
    : colors.bold(result.scenario);
  return [
    `${name}  ${verdict}`,
    ...rows.map(([name, text]) => `  ${colors.dim(name.padEnd(12))} ${text}`),
  ].join('\n');
}

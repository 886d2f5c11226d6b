/** Synchronous external aborts and SErrors as KVM on arm64 routes them, and what a VMM can answer. */
import { type ScenarioSet, scenarioSet } from '@faultyard/testkit';
import { sameCode } from './derive.ts';
import { el0Load } from './el0-load.ts';
import { TABLE } from './generated/table.ts';

/** Every driven row of the decision table. */
export const scenarios: ScenarioSet = scenarioSet({
  path: 'sea',
  table: TABLE,
  scenarios: [el0Load],
  same: (expected, actual, entry) =>
    sameCode(
      expected,
      actual,
      Number.parseInt(String((entry as { esrIgnore?: string }).esrIgnore ?? '0'), 16),
    ),
});

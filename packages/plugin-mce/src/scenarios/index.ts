/** Machine checks of x86 guests under KVM: what the guest sees, what the VMM relays, and the crash of Linux 6.19. */
import { defineScenario, type Scenario, type ScenarioSet, scenarioSet } from '@faultyard/testkit';
import { MCE_KNOBS } from '../knobs.ts';
import { CODES } from './codes.ts';
import { TABLE } from './generated/table.ts';
import { runCell } from './lab.ts';
import { SCENARIO_KNOBS } from './scenario-knobs.ts';
import { STORIES } from './stories.ts';

const all: readonly Scenario[] = [...new Set(TABLE.rows.map((r) => r.scenario))].map((id) => {
  const story = STORIES[id];
  const title = story?.title ?? TABLE.rows.find((r) => r.scenario === id)?.title ?? id;
  return defineScenario({
    id,
    ...(story?.aliases ? { aliases: story.aliases } : {}),
    title,
    prose: story?.prose ?? title,
    run: runCell,
  });
});

/** Every driven row of the decision table. */
export const scenarios: ScenarioSet = scenarioSet({
  path: 'mce',
  table: TABLE,
  codes: CODES,
  scenarios: all,
  knobs: { ...MCE_KNOBS, ...SCENARIO_KNOBS },
});

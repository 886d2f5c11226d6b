/**
 * Row 21: an error that the CPU calls restartable (SET=3), shown only to a VM with RAS.
 *
 * The architecture allows a plain re-run; whether the error is still there is up to the memory. An injected abort says
 * nothing of it, a replay by registers does.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/21`, `sea/restartable`. */
export const restartable: Scenario = defineScenario({
  id: 'sea/21',
  aliases: ['sea/restartable'],
  title: 'load that meets a restartable error',
  prose: 'Row 1 with SET=3. In column P3 the error is gone after the first exit, or stays.',
  run: (c) => runCell(c, planOf(c)),
});

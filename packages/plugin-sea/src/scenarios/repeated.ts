/**
 * Row 15: the same page again and again, by processes A, B and C.
 *
 * Every touch is an exit and an injection of its own; the set of bad pages does not grow. After a claim the host knows
 * the page, and the next touch is a stage 2 fault that ends in SIGBUS.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/15`, `sea/repeated`. */
export const repeated: Scenario = defineScenario({
  id: 'sea/15',
  aliases: ['sea/repeated'],
  title: 'three processes load from the same bad page',
  prose: 'A, B and C map D; each touches it once and dies. #D stays 1.',
  run: (c) => runCell(c, planOf(c)),
});

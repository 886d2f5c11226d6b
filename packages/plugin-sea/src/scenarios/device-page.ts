/**
 * Row 22: the page is not memory but a passed-through device's, which answers reads with an error.
 *
 * KVM exits as for memory. A VMM must look at its slots: no page of RAM is bad, nothing is to be cut out, and #D does
 * not move.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/22`, `sea/device-page`. */
export const devicePage: Scenario = defineScenario({
  id: 'sea/22',
  aliases: ['sea/device-page'],
  title: 'load from a passed-through device that answers with an error',
  prose: 'The slot is a PFNMAP mapping of a device; the VMM counts it apart.',
  run: (c) => runCell(c, planOf(c)),
});

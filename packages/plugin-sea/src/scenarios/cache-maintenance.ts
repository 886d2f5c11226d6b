/**
 * Row 9: cache maintenance by address, from EL0 (SCTLR_EL1.UCI) and EL1.
 *
 * ESR has CM=1 and WnR=1. A hole is no obstacle: KVM skips the instruction (H5), and the guest goes on behind it.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/9`, `sea/cache-maintenance`. */
export const cacheMaintenance: Scenario = defineScenario({
  id: 'sea/9',
  aliases: ['sea/cache-maintenance'],
  title: 'cache maintenance by address on a bad page',
  prose: 'DC CVAC, DC CIVAC, DC IVAC and IC IVAU meet the error; after the page was cut out they do nothing.',
  run: (c) => runCell(c, planOf(c)),
});

/**
 * Row 10: atomics, exclusives, and DC ZVA, which is a store that looks like maintenance.
 *
 * WnR is UNKNOWN for atomics and not compared. None of them has a valid syndrome, so a hole gives KVM_EXIT_ARM_NISV or
 * -ENOSYS. Memory is unchanged in every column. STXR needs its page to go bad after the LDXR.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/10`, `sea/atomics`. */
export const atomics: Scenario = defineScenario({
  id: 'sea/10',
  aliases: ['sea/atomics'],
  title: 'atomics and exclusives on a bad page',
  prose: 'LDADD, SWP, CAS, CASP, LDXR, STXR and DC ZVA by process A.',
  run: (c) => runCell(c, planOf(c)),
});

/**
 * Row 18: SCTLR2_EL1.EASE, which a guest with FEAT_DoubleFault2 may set.
 *
 * Synchronous external aborts then arrive at the SError vector, with the ESR of an abort and a valid FAR. KVM's software
 * entry follows the bit; a VMM that writes registers must do so itself.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/18`, `sea/ease`. */
export const ease: Scenario = defineScenario({
  id: 'sea/18',
  aliases: ['sea/ease'],
  title: 'external aborts at the SError vector',
  prose: 'Rows 1, 3, 4 and a hole in a table, with EASE=1. The handler reports and parks.',
  run: (c) => runCell(c, planOf(c)),
});

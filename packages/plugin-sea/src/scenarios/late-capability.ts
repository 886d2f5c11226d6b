/**
 * Row 24: the VMM enables the capability when the guest has run for a while.
 *
 * What came before was an SError (or a claim); what comes after exits. Nothing has to be done again, and nothing can be
 * undone: the capability is sticky. In the variant `both` the SError handler goes on, and the same load comes twice.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/24`, `sea/late-capability`. */
export const lateCapability: Scenario = defineScenario({
  id: 'sea/24',
  aliases: ['sea/late-capability'],
  title: 'capability enabled between two touches',
  prose: 'A touch before KVM_ENABLE_CAP and one after it.',
  run: (c) => runCell(c, planOf(c)),
});

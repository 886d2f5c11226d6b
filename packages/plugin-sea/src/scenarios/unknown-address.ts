/**
 * Row 11: the CPU says that FAR_EL2 is not valid (FnV=1).
 *
 * Then KVM cannot translate, the exit has neither gva nor gpa, and a replay through events tells the guest a wrong
 * address with FnV=0. Registers can say FnV=1, and leave FAR_EL1 alone.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/11`, `sea/unknown-address`. */
export const unknownAddress: Scenario = defineScenario({
  id: 'sea/11',
  aliases: ['sea/unknown-address'],
  title: 'load with an unknown fault address',
  prose: 'Row 1 on a CPU that reports FnV=1 and leaves a pattern in FAR_EL2.',
  run: (c) => runCell(c, planOf(c)),
});

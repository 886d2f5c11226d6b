/**
 * Row 16: a host CPU without FEAT_RAS.
 *
 * HCR_EL2.TEA does nothing there: the guest takes its abort itself, and KVM never sees it. Only errors on EL2's own
 * walks reach KVM, which then owns them.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/16`, `sea/no-host-ras`. */
export const noHostRas: Scenario = defineScenario({
  id: 'sea/16',
  aliases: ['sea/no-host-ras'],
  title: 'load from a bad page, host without FEAT_RAS',
  prose: 'The abort goes straight to the guest’s +400; the capability changes nothing.',
  run: (c) => runCell(c, planOf(c)),
});

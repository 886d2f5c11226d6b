/**
 * Row 12: the translation that the access used is gone from the tables, but not from the TLB.
 *
 * CPU 1 takes D's descriptor away and tells no TLB. Process A on CPU 0 still has the translation and touches D, which is
 * bad. KVM asks AT for the IPA, AT fails, and KVM enters the guest again at once: no claim, no exit, no injection, and
 * no progress. Only a timer interrupt shows that the guest lives; after a TLBI it is the guest's own translation fault.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/12`, `sea/stale-translation`. */
export const staleTranslation: Scenario = defineScenario({
  id: 'sea/12',
  aliases: ['sea/stale-translation'],
  title: 'load through a stale TLB entry',
  prose: 'Two vCPUs. KVM retries silently while its own walk of the guest’s tables fails.',
  run: (c) => runCell(c, planOf(c)),
});

/**
 * Row 25: no memory is bad at all; the address leads outside all memslots.
 *
 * KVM injects an abort by itself: an instruction abort for a fetch (H3), a data abort for a walk (H4). No column changes
 * anything, and the VMM never sees an event.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/25`, `sea/outside-slots`. */
export const outsideSlots: Scenario = defineScenario({
  id: 'sea/25',
  aliases: ['sea/outside-slots'],
  title: 'fetch or table outside all memslots',
  prose:
    'A branch to an address without memory, a level 3 table without memory, a root table without memory.',
  run: (c) => runCell(c, planOf(c)),
});

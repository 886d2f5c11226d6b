/**
 * Row 23: not the guest but the host reads the bad page.
 *
 * A load by the VMM gets SIGBUS: BUS_MCEERR_AR if firmware claims the error, BUS_OBJERR if not. A copy by the host
 * kernel on the VMM's behalf is an oops: do_sea asks firmware in user mode only. Neither is ever exit 41, and the VMM
 * counts it apart from what the guest meets.
 */
import { defineScenario, type Outcome, type Scenario, type ScenarioCase } from '@faultyard/testkit';
import type { SeaApi } from '../plugin.ts';
import { Lab } from './lab.ts';
import { planOf, type SetupFacts } from './plan.ts';

function run(c: ScenarioCase): Outcome {
  const by = ((c.entry.setup ?? {}) as SetupFacts).access;
  const lab = new Lab(c, planOf(c, { touches: [] }));
  lab.ready();
  lab.begin();
  const host = lab.vm.api<never, SeaApi>('sea');
  const got = by === 'kernel-copy' ? host.kernelCopy(lab.plan.i, 8) : host.vmmLoad(lab.plan.i, 8);
  lab.hostLoaded(got);
  return lab.outcome();
}

/** `sea/23`, `sea/host-load`. */
export const hostLoad: Scenario = defineScenario({
  id: 'sea/23',
  aliases: ['sea/host-load'],
  title: 'the host reads the bad page',
  prose: 'A load by the VMM, or a copy by the host kernel for it (DMA emulation, migration, dump).',
  run,
});

/**
 * Row 14: two vCPUs touch the same bad page.
 *
 * Both exit, with the same gpa; a VMM that stops all vCPUs for the one finds the other stopped already, by an exit of
 * its own. One page, two events, one injection each. The one whose page is a hole by then must not cut again. In the
 * staggered variant the first exit is handled to its end before the second CPU loads.
 */
import { defineScenario, type Outcome, type Scenario, type ScenarioCase } from '@faultyard/testkit';
import { Lab } from './lab.ts';
import { planOf } from './plan.ts';

function run(c: ScenarioCase): Outcome {
  const lab = new Lab(c, planOf(c));
  lab.ready();
  if (lab.plan.staggered) {
    lab.begin(0);
    lab.finish(0);
    if (!lab.stopped) lab.go(1);
    lab.finish(1);
    return lab.outcome();
  }
  lab.begin();
  const exits = [lab.next(0), lab.next(1)];
  for (const e of exits) lab.handle(e);
  lab.finish(0);
  lab.finish(1);
  return lab.outcome();
}

/** `sea/14`, `sea/two-vcpus`. */
export const twoVcpus: Scenario = defineScenario({
  id: 'sea/14',
  aliases: ['sea/two-vcpus'],
  title: 'two vCPUs load from the same bad page',
  prose: 'Process A on vCPU 0 and process A’ on vCPU 1 load from D, at once or one after the other.',
  run,
});

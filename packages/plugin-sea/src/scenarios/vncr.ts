/**
 * Rows 8a and 8b: the page that VNCR_EL2 names, which redirects EL2 registers of a guest hypervisor to memory.
 *
 * The CPU model has no FEAT_NV2, so the lab presents the abort itself (EC 0x25, VNCR=1) at the instruction that would
 * make it. In hypervisor context KVM keeps the abort. While an L2 guest runs it exits, with gva and gpa of an earlier
 * abort: a VMM must use neither, and does best to kill the VM.
 */
import { defineScenario, type Outcome, type Scenario, type ScenarioCase } from '@faultyard/testkit';
import { Lab } from './lab.ts';
import { planOf } from './plan.ts';

function run(c: ScenarioCase): Outcome {
  const lab = new Lab(c, planOf(c));
  lab.ready();
  lab.approach();
  lab.begin();
  lab.finish(0);
  return lab.outcome();
}

/** `sea/8a`, `sea/vncr`. */
export const vncr: Scenario = defineScenario({
  id: 'sea/8a',
  aliases: ['sea/vncr'],
  title: 'VNCR page bad, in hypervisor context',
  prose: 'Host owned: an SError, and no exit with the capability on.',
  run,
});
/** `sea/8b`, `sea/vncr-l2`. */
export const vncrL2: Scenario = defineScenario({
  id: 'sea/8b',
  aliases: ['sea/vncr-l2'],
  title: 'VNCR page bad, while L2 runs',
  prose: 'Exit 41 with EC 0x25; gva, gpa and flags are those of an earlier abort.',
  run,
});

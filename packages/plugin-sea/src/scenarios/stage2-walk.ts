/**
 * Rows 7a and 7b: the error is in a stage 2 table, which is the host's memory, not the guest's.
 *
 * With S1PTW clear the report cannot be told from row 6: KVM exits, and VMM and guest are blamed for a host page. The
 * next access hits it again. With S1PTW set KVM knows that it is its own table, and never exits.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/7a`, `sea/stage2-table`. */
export const stage2Table: Scenario = defineScenario({
  id: 'sea/7a',
  aliases: ['sea/stage2-table'],
  title: 'stage 2 table bad, S1PTW=0',
  prose: 'Process A loads from D, which is good; the host’s table that maps it is not. False blame.',
  run: (c) => runCell(c, planOf(c)),
});
/** `sea/7b`, `sea/stage2-table-s1ptw`. */
export const stage2TableS1ptw: Scenario = defineScenario({
  id: 'sea/7b',
  aliases: ['sea/stage2-table-s1ptw'],
  title: 'stage 2 table bad, met on a stage 1 walk, S1PTW=1',
  prose: 'The table that maps the guest’s own table page is bad, and the CPU says so: host owned, no exit.',
  run: (c) => runCell(c, planOf(c)),
});

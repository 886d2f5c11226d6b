/**
 * Rows 2 and 3: the other two things a process does with memory.
 *
 * A store need not meet the error at all; with `storeConsumes` it does, and the word in memory must not change,
 * whatever the column. A fetch reports an instruction abort, but KVM_SET_VCPU_EVENTS can only inject a data abort: the
 * guest is told a half-truth unless the VMM writes registers. The hole behind a fetch is KVM's own business (H3).
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/2`, `sea/el0-store`. */
export const el0Store: Scenario = defineScenario({
  id: 'sea/2',
  aliases: ['sea/el0-store'],
  title: 'EL0 store that meets the error',
  prose:
    'Process A stores to a bad page on a CPU whose stores consume poison. ESR.WnR is in the exit and lost in an ' +
    'injected abort. Memory is unchanged in every column.',
  run: (c) => runCell(c, planOf(c)),
});

/** `sea/3`, `sea/el0-fetch`. */
export const el0Fetch: Scenario = defineScenario({
  id: 'sea/3',
  aliases: ['sea/el0-fetch'],
  title: 'EL0 instruction fetch from a bad page',
  prose:
    'Process A branches into page F. The exit has EC 0x20; a replay through events is a data abort all the same. ' +
    'After the page was cut out KVM injects an instruction abort by itself.',
  run: (c) => runCell(c, planOf(c)),
});

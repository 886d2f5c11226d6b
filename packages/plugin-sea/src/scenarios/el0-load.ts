/**
 * Row 1: a process loads from a page that has gone bad.
 *
 * Process A loads a word of page D; the memory behind D answers with an error in-band. The CPU takes a synchronous
 * external abort to EL2, because KVM set HCR_EL2.TEA. Whoever feels responsible decides what becomes of it: host
 * firmware claims it (SIGBUS), an old KVM turns it into an SError that kills the whole VM, or the VMM gets exit 41 and
 * may hand the abort to the guest, whose kernel then kills process A only and goes on with B.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/1`, `sea/el0-load`. */
export const el0Load: Scenario = defineScenario({
  id: 'sea/1',
  aliases: ['sea/el0-load'],
  title: 'EL0 load from a bad page',
  prose:
    'Process A loads from page D, which is bad. SError, claim, exit 41 with replay, a hole, or a restart: the column ' +
    'decides. Variants load bytes, halfwords, words, pairs, SIMD registers, and with write-back.',
  run: (c) => runCell(c, planOf(c)),
});

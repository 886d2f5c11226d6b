/**
 * Row 17: PSTATE.A is set when the abort comes.
 *
 * A synchronous abort does not care. The SError that an old KVM makes of it does: it stays pending in HCR_EL2.VSE until
 * the guest unmasks, or an ESB defers it to DISR_EL1. Meanwhile the load is repeated, for as long as the page is bad;
 * the lab repairs it once it sees the SError pending.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/17`, `sea/masked`. */
export const masked: Scenario = defineScenario({
  id: 'sea/17',
  aliases: ['sea/masked'],
  title: 'EL1 load from a bad page with SErrors masked',
  prose: 'DAIFSet #4, load from K; then DAIFClr #4 or ESB.',
  run: (c) => runCell(c, planOf(c)),
});

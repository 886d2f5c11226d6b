/**
 * Rows 4 and 5: the kernel is at the bad page, for itself or on behalf of a process.
 *
 * Exit 41 looks the same as for EL0 (EC 0x24: EL2 sees both as a lower level); only PSTATE tells. The injected abort
 * arrives at +200 with EC 0x25. Linux dies of it, in copy_from_user as well; this guest can survive at a fixup label.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

/** `sea/4`, `sea/el1-load`. */
export const el1Load: Scenario = defineScenario({
  id: 'sea/4',
  aliases: ['sea/el1-load'],
  title: 'EL1 load from a bad page',
  prose:
    'The kernel loads from page K. Without a fixup it reports itself dead; with one armed it goes on there.',
  run: (c) => runCell(c, planOf(c)),
});

/** `sea/5`, `sea/el1-uaccess`. */
export const el1Uaccess: Scenario = defineScenario({
  id: 'sea/5',
  aliases: ['sea/el1-uaccess'],
  title: 'EL1 access to a user address',
  prose:
    'A process hands a pointer to D to the kernel, which reads it with LDTR. The abort is the kernel’s (+200), not the ' +
    'process’s: no -EFAULT for the caller.',
  run: (c) => runCell(c, planOf(c)),
});

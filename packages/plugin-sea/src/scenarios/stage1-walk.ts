/**
 * Rows 6, 6b and 6c: the error is in a page of the guest's own translation tables.
 *
 * The guest invalidates its TLB entry and touches D, K or F; the walk meets a bad descriptor at level 0, 1, 2 or 3. The
 * exit carries the level and the VA but no gpa: KVM may not translate where the tables are bad. A replay through events
 * loses the level, one through registers keeps it (the guest kills with SIGKILL, L2, rather than SIGBUS, L1). A VMM
 * that walks stage 1 itself can cut the table page out; what then happens is KVM's own abort (H3, H4).
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

const walk = (id: string, alias: string, title: string, prose: string): Scenario =>
  defineScenario({ id, aliases: [alias], title, prose, run: (c) => runCell(c, planOf(c)) });

/** `sea/6`, `sea/el0-walk`. */
export const el0Walk: Scenario = walk(
  'sea/6',
  'sea/el0-walk',
  'walk for an EL0 load, table page bad',
  'Process A loads from D; the level 3, 2, 1 or 0 table of TTBR0 is bad. The kernel runs from TTBR1.',
);
/** `sea/6b`, `sea/el1-walk`. */
export const el1Walk: Scenario = walk(
  'sea/6b',
  'sea/el1-walk',
  'walk for an EL1 load, table page bad',
  'The kernel loads from K, which lies under the bad table; its vectors and stack do not.',
);
/** `sea/6c`, `sea/fetch-walk`. */
export const fetchWalk: Scenario = walk(
  'sea/6c',
  'sea/fetch-walk',
  'walk for an EL0 fetch, table page bad',
  'Process A branches to F, which lies under the bad table: EC 0x20 with a walk level.',
);

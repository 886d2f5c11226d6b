/**
 * Rows 13a, 13b and 13c: what the host backs the page with.
 *
 * Exit 41 names a 4 KiB page whatever stands behind it. A claim does not: memory_failure splits a transparent huge page,
 * but a hugetlb page is lost whole (si_addr_lsb 21 or 30), and a touch anywhere in it is SIGBUS from then on.
 */
import { defineScenario, type Scenario } from '@faultyard/testkit';
import { runCell } from './lab.ts';
import { planOf } from './plan.ts';

const backed = (id: string, alias: string, by: string): Scenario =>
  defineScenario({
    id,
    aliases: [alias],
    title: `load from a page backed by ${by}`,
    prose: `Row 1 with the slot of D backed by ${by}; D is the first page of its block.`,
    run: (c) => runCell(c, planOf(c)),
  });

/** `sea/13a`, `sea/backing-4k`. */
export const backing4k: Scenario = backed('sea/13a', 'sea/backing-4k', '4 KiB pages');
/** `sea/13b`, `sea/backing-thp`. */
export const backingThp: Scenario = backed('sea/13b', 'sea/backing-thp', 'a transparent huge page');
/** `sea/13c`, `sea/backing-hugetlb`. */
export const backingHugetlb: Scenario = backed('sea/13c', 'sea/backing-hugetlb', 'hugetlb');

/**
 * Access contexts of the A64 engine: each has a fast TLB of its own, so that changing exception level moves a base
 * instead of flushing. PAN and UAO change what a context may reach: whoever changes them flushes it.
 */

/** Names of the contexts, in the order of the indices below (`Isa.contexts`). */
export const CONTEXTS: readonly string[] = ['el1', 'el0', 'unprivileged'];
/** Accesses and fetches of EL1. */
export const CONTEXT_EL1 = 0;
/** Accesses and fetches of EL0. */
export const CONTEXT_EL0 = 1;
/** LDTR and STTR of any level: EL0's permissions, or EL1's while PSTATE.UAO is 1. */
export const CONTEXT_UNPRIVILEGED = 2;

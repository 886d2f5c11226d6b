/** Every suite of bare-metal cases. */
import { pagingSuites } from './paging-cases.ts';
import type { Suite } from './suite.ts';

/** All of them. */
export const SUITES: readonly Suite[] = [...pagingSuites];

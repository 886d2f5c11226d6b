/** Every suite of bare-metal cases. */
import { exceptionSuites } from './exception-cases.ts';
import { pagingSuites } from './paging-cases.ts';
import type { Suite } from './suite.ts';

/** All of them. */
export const SUITES: readonly Suite[] = [...exceptionSuites, ...pagingSuites];

/** Every suite of bare-metal cases. */
import { callSuites } from './call-cases.ts';
import { controlSuites } from './control-cases.ts';
import { exceptionSuites } from './exception-cases.ts';
import { msrSuites } from './msr-cases.ts';
import { pagingSuites } from './paging-cases.ts';
import { sixteenSuites } from './sixteen-cases.ts';
import type { Suite } from './suite.ts';

/** All of them. */
export const SUITES: readonly Suite[] = [
  ...exceptionSuites,
  ...callSuites,
  ...controlSuites,
  ...msrSuites,
  ...pagingSuites,
  ...sixteenSuites,
];

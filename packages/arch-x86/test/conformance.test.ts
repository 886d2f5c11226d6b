import { conformance } from '@faultyard/testkit';
import { describe, test } from 'vitest';
import { x86Subject } from './support/subject.ts';

describe('x86', () => {
  for (const c of conformance(x86Subject)) test(c.name, () => c.run());
});

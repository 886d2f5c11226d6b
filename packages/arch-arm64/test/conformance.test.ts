import { conformance } from '@faultyard/testkit';
import { describe, test } from 'vitest';
import { arm64Subject } from './support/subject.ts';

describe('arm64', () => {
  for (const c of conformance(arm64Subject)) test(c.name, () => c.run());
});

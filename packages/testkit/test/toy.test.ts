import { describe, test } from 'vitest';
import { conformance } from '../src/conformance/index.ts';
import { toySubject } from '../src/toy/subject.ts';

describe('the toy architecture', () => {
  for (const c of conformance(toySubject)) test(c.name, () => c.run());
});

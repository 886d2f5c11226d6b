/** What `sea()` takes. */
import { expect, test } from 'vitest';
import { sea } from '../src/index.ts';

test('knobs given to sea() -> refused, with the place where they belong', () => {
  const untyped = sea as (knobs: object) => unknown;
  expect(() => untyped({ walkRule: 'v2' })).toThrow(/FY_ARGUMENT: .*"walkRule".*createVm\(\{ set: /);
});

/** What `arm64({ … })` takes. */
import { expect, test } from 'vitest';
import { arm64 } from '../src/index.ts';

test.each([
  [{ model: 'foo' }, /FY_ARGUMENT: model foo is not a model of arm64; take one of generic-v8\.0, /],
  [{ paBits: 41 }, /FY_ARGUMENT: paBits 41 .*; take one of 32, 36, 40/],
])('%o -> refused with what would be taken', (options, message) => {
  expect(() => arm64(options as never)).toThrow(message);
});

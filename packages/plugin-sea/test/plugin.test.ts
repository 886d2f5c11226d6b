/** What `sea()` and its scenarios take. */
import { expect, test } from 'vitest';
import { sea } from '../src/index.ts';
import { scenarios } from '../src/scenarios/index.ts';

test('knobs given to sea() -> refused, with the place where they belong', () => {
  const untyped = sea as (knobs: object) => unknown;
  expect(() => untyped({ walkRule: 'v2' })).toThrow(/FY_ARGUMENT: .*"walkRule".*createVm\(\{ set: /);
});

test.each([
  [{ hole: 'foo' }, /FY_KNOB_VALUE: knob sea\.hole .*memslot, userfault, none/],
  [{ threshold: 'abc' }, /FY_KNOB_VALUE: knob sea\.threshold .*1\.\.1000000/],
  [{ 'sea.walkRule': 'v9' }, /FY_KNOB_VALUE: knob sea\.walkRule .*merged, v2, rfc1, rfc3/],
  [{ nope: '1' }, /FY_KNOB_UNKNOWN: unknown knob nope; knobs here: /],
])('scenario with %o -> refused with what would be taken', (set, message) => {
  expect(() => scenarios.run('sea/1', { set })).toThrow(message);
});

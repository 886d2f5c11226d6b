import { describe, expect, test } from 'vitest';
import { program } from './commands.ts';

describe('mistakes that JavaScript reports in its own words', () => {
  test.each([
    ['a name that nobody knows', 'poisn(1)', 'ReferenceError: poisn is not defined', 'did you mean poison?'],
    [
      'a machine before there is one',
      'cpu.x0',
      /^TypeError: Cannot read properties of undefined/,
      'there is no machine yet; make one: const { vm, cpu, asm } = lab.arm64()',
    ],
    [
      'a register that does not exist',
      'lab.arm64().cpu.esr_el9 = 1n',
      /^TypeError: Cannot add property esr_el9/,
      /^did you mean esr_el1 or /,
    ],
  ])(
    '%s -> the session says what to do',
    async (_what, input, head, hint) => {
      const { err, status } = await program([], { input });
      const [first, ...rest] = err.trim().split('\n');
      expect(first).toEqual(typeof head === 'string' ? head : expect.stringMatching(head));
      expect(rest.at(-1)).toMatch(hint);
      expect(status).toBe(1);
    },
    30_000,
  );
});

/** Lengths of instructions: ours, those of the encoder that made them, and GNU objdump's. */

import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { missingBinutils } from './support/binutils.ts';
import { LengthDecoder, objdumpCode, objdumpStarts } from './support/decode-lengths.ts';
import { userCases } from './support/user-cases.ts';
import { userForms } from './support/user-forms.ts';
import type { UserCase } from './support/user-world.ts';

const hex = (c: UserCase): string => `${c.form} ${Buffer.from(c.bytes).toString('hex')}`;
/** The C library of Debian and its kin on this architecture: a million bytes of code that nobody here made. */
const LIBRARY = '/lib/x86_64-linux-gnu/libc.so.6';

describe('decoding', () => {
  const why = missingBinutils();
  const decoder = new LengthDecoder();

  for (const bits of [64, 32, 16] as const) {
    // to AMD, UD0 has no ModRM byte (APM volume 3, UD0); it ends with it all the same
    const forms = userForms().filter(
      (f) => f.bits === bits && !f.opcodes && !f.before && !f.sequence && !f.name.includes(' Ud0_'),
    );
    const cases = forms.filter((_, i) => i % 2 === 0).flatMap(userCases);

    it(`every second form of ${bits}-bit code -> decoder: the lengths that the encoder gave them`, () => {
      expect(cases.filter((c) => decoder.length(bits, c.bytes) !== c.bytes.length).map(hex)).toEqual([]);
      expect(cases.filter((c) => decoder.length(bits, c.bytes.subarray(0, -1)) !== 0).map(hex)).toEqual([]);
    });

    it.skipIf(why !== undefined)(
      `${bits}-bit code without gaps -> objdump: the same boundaries${why ? ` (${why})` : ''}`,
      () => {
        const starts = objdumpStarts(bits, Buffer.concat(cases.map((c) => c.bytes)));
        let at = 0;
        const expected = cases.map((c) => {
          at += c.bytes.length;
          return at - c.bytes.length;
        });
        expect(starts.length).toBe(cases.length);
        expect(cases.filter((_, i) => starts[i] !== expected[i]).map(hex)).toEqual([]);
      },
    );
  }

  const without = why ?? (existsSync(LIBRARY) ? undefined : 'no C library of x86-64');
  it.skipIf(without !== undefined)(
    `the C library's code -> decoder: objdump's lengths${without ? ` (${without})` : ''}`,
    () => {
      const code = objdumpCode(LIBRARY);
      expect(code.length).toBeGreaterThan(100_000);
      const wrong = code.filter((bytes) => decoder.length(64, bytes) !== bytes.length);
      expect(wrong.map((b) => Buffer.from(b).toString('hex'))).toEqual([]);
    },
  );
});

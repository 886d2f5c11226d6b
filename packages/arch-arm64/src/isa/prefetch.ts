/** The operation of PRFM: type, target cache level and policy (DDI 0487 C6.2, PRFM). */
import type { Operand } from './form.ts';
import { field } from './memory-form.ts';

const TYPES = ['pld', 'pli', 'pst'] as const;

/** Names by field `prfop`; values without a name are written as a number. */
const NAMES: readonly (string | undefined)[] = Array.from({ length: 32 }, (_, n) => {
  const type = TYPES[n >> 3];
  const level = (n >> 1) & 3;
  return type === undefined || level === 3
    ? undefined
    : `${type}l${level + 1}${(n & 1) === 0 ? 'keep' : 'strm'}`;
});

/** Operand `<prfop>`: `pldl1keep` … `pstl3strm`, or `#0` to `#31`. */
export const prefetchOperation: Operand = {
  expect: 'a prefetch operation such as pldl1keep, or a number from 0 to 31',
  print: (b) => NAMES[field(b, 'prfop')] ?? `#0x${field(b, 'prfop').toString(16).padStart(2, '0')}`,
  parse: (c) => {
    const word = c.word();
    if (word !== undefined) {
      const prfop = NAMES.indexOf(word);
      return prfop < 0 ? `${word} is not a prefetch operation` : { prfop };
    }
    const n = c.number();
    if (n === undefined) return undefined;
    return n < 0n || n > 31n ? 'a prefetch operation is a number from 0 to 31' : { prfop: Number(n) };
  },
};

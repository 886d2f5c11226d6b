/** Operands of LD1 to LD4 and ST1 to ST4: register lists, lanes, and the post-index amount. */
import type { Bits, Cursor, Operand } from './form.ts';
import { field } from './memory-form.ts';

/** Arrangement suffixes by size and Q. */
const ARRANGEMENTS: readonly string[] = ['8b', '16b', '4h', '8h', '2s', '4s', '1d', '2d'];
const LANES: readonly string[] = ['b', 'h', 's', 'd'];

/** `{v0.T}`, `{v0.T, v1.T}`, `{v0.T-v2.T}`; spelled out where the numbers wrap around. */
function printList(first: number, n: number, suffix: string): string {
  const name = (i: number): string => `v${(first + i) & 31}.${suffix}`;
  if (n > 2 && first + n <= 32) return `{${name(0)}-${name(n - 1)}}`;
  return `{${Array.from({ length: n }, (_, i) => name(i)).join(', ')}}`;
}

/** Reads a list of exactly `n` consecutive registers (modulo 32); a string says what is wrong with it. */
function parseList(c: Cursor, n: number): { first: number; suffix: string } | string | undefined {
  if (!c.take('{')) return undefined;
  const read = (): { number: number; suffix: string } | undefined => {
    const m = /^v(\d\d?)\.([0-9]*[bhsd])$/.exec(c.word() ?? '');
    return m?.[2] !== undefined && Number(m[1]) < 32 ? { number: Number(m[1]), suffix: m[2] } : undefined;
  };
  const first = read();
  if (!first) return 'a list of vector registers such as {v0.16b, v1.16b}';
  let count = 1;
  if (c.take('-')) {
    const last = read();
    if (last?.suffix !== first.suffix) return 'a range of vector registers of one arrangement';
    count = ((last.number - first.number) & 31) + 1;
  } else {
    while (c.take(',')) {
      const next = read();
      if (next?.suffix !== first.suffix || next.number !== ((first.number + count) & 31)) {
        return 'the registers of a list are consecutive and of one arrangement';
      }
      count++;
    }
  }
  if (!c.take('}')) return 'a list of vector registers ends with }';
  return count === n ? { first: first.number, suffix: first.suffix } : undefined;
}

/** `<list1>` … `<list4>`: whole registers, by fields Rt, size and Q. */
export function registerList(n: number): Operand {
  return {
    expect: `a list of ${n} vector register${n > 1 ? 's' : ''} such as ${printList(0, n, '16b')}`,
    print: (b) => printList(field(b, 'Rt'), n, ARRANGEMENTS[(field(b, 'size') << 1) | field(b, 'Q')] ?? ''),
    parse: (c) => {
      const list = parseList(c, n);
      if (list === undefined || typeof list === 'string') return list;
      const shape = ARRANGEMENTS.indexOf(list.suffix);
      return shape < 0 ? undefined : { Rt: list.first, size: shape >> 1, Q: shape & 1 };
    },
  };
}

/** Fields of lane `index` of size `log2`; `undefined` if the register has no such lane. */
function laneFields(log2: number, index: number): Bits | undefined {
  if (index >= 16 >> log2) return undefined;
  const place = log2 === 3 ? (index << 3) | 1 : index << log2;
  return { Q: place >> 3, S: (place >> 2) & 1, size: place & 3 };
}

/** `<lanes1>` … `<lanes4>`: one lane of each register, by fields Rt, opcode, Q, S and size. */
export function laneIndex(n: number): Operand {
  const log2Of = (b: Bits): number => {
    const scale = field(b, 'opcode') >> 1;
    return scale === 2 && (field(b, 'size') & 1) === 1 ? 3 : scale;
  };
  return {
    expect: `one lane of ${n} vector register${n > 1 ? 's' : ''} such as ${printList(0, n, 's')}[1]`,
    print: (b) => {
      const log2 = log2Of(b);
      const index = ((field(b, 'Q') << 3) | (field(b, 'S') << 2) | field(b, 'size')) >> log2;
      return `${printList(field(b, 'Rt'), n, LANES[log2] ?? '')}[${index}]`;
    },
    parse: (c, b) => {
      const list = parseList(c, n);
      if (list === undefined || typeof list === 'string') return list;
      const log2 = LANES.indexOf(list.suffix);
      if (log2 < 0 || Math.min(log2, 2) !== field(b, 'opcode') >> 1) return undefined;
      const index = c.take('[') ? c.number() : undefined;
      if (index === undefined || !c.take(']')) return 'a lane number in brackets';
      const fields = index < 0n ? undefined : laneFields(log2, Number(index));
      return fields ? { Rt: list.first, ...fields } : `a lane number here is 0 to ${(16 >> log2) - 1}`;
    },
  };
}

/** `<increment>`: the post-index amount, which can only be the number of bytes transferred. */
export function structureIncrement(bytes: (b: Bits) => number): Operand {
  return {
    expect: 'the number of bytes transferred',
    print: (b) => `${bytes(b)}`,
    parse: (c, b) => {
      const n = c.number();
      if (n === undefined) return undefined;
      return n === BigInt(bytes(b)) ? { Rm: 31 } : `the post-index amount here is ${bytes(b)}`;
    },
  };
}

/** Which encodings the rows cover. */
import { checkHandler } from '@faultyard/engine';
import { Code, CpuidFeature, EncodingKind, Instruction, Mnemonic } from 'iced-x86';
import { describe, expect, it } from 'vitest';
import { x86Isa } from '../src/isa/isa.ts';
import type { Operands, Row } from '../src/isa/row.ts';
import { Slow } from '../src/isa/slow.ts';
import { PAIRS, WEIGHED } from '../src/isa/weights.ts';
import { SYSTEM_MNEMONICS } from '../src/system/dispatch.ts';
import { ABSENT, ABSENT_CODES } from './support/absent-codes.ts';

const { table, handlers, ...isa } = x86Isa();

/** Every code of the kinds that rows are about, with its features joined by `+`. */
function codes(): { readonly name: string; readonly code: Code; readonly features: string }[] {
  const i = new Instruction();
  const all = Object.entries(Code as unknown as Record<string, unknown>)
    .filter((e): e is [string, Code] => typeof e[1] === 'number')
    .map(([name, code]) => {
      i.code = code;
      const features = [...i.cpuidFeatures()].map((f) => CpuidFeature[f]).join('+');
      return { name, code, features, encoding: i.encoding };
    });
  i.free();
  return all.filter((c) => c.encoding === EncodingKind.Legacy || /^BMI[12]$/.test(c.features));
}

/** The slow operation that a row without operands says first. */
function slowOf(row: Row): number | undefined {
  let op: number | undefined;
  const b = {
    guard: () => undefined,
    slow: (n: number) => {
      op ??= n;
    },
  };
  row.sem({ b } as unknown as Operands, 'none');
  return op;
}

describe('x86 encodings', () => {
  it('code of a feature that a model may have -> table: it has a row, or stands in the list with a reason', () => {
    const allowed = new Set(Object.values(ABSENT).flat());
    const single = new Set(Object.values(ABSENT_CODES).flat());
    const missing = codes().filter(
      (c) => !table.codes[c.code] && !allowed.has(c.features) && !single.has(c.name),
    );
    expect(missing.map((c) => `${c.name} (${c.features})`)).toEqual([]);
  });
  it('list of absent codes -> table: names no code that has a row', () => {
    const names = Object.values(ABSENT_CODES).flat();
    expect(
      names.filter((n) => table.codes[(Code as unknown as Record<string, number>)[n] as number]),
    ).toEqual([]);
  });
  it('integer features -> table: BMI1, BMI2, ADX, MOVBE, POPCNT, CMPXCHG16B have all their codes', () => {
    const wanted = ['BMI1', 'BMI2', 'ADX', 'MOVBE', 'POPCNT', 'CMPXCHG16B', 'CMOV', 'LZCNT', 'X64'];
    const of = codes().filter((c) => wanted.includes(c.features) && !c.name.startsWith('Ud'));
    expect(new Set(of.map((c) => c.features))).toEqual(new Set(wanted));
    expect(of.filter((c) => !table.codes[c.code]).map((c) => c.name)).toEqual([]);
  });
  it('rows that leave to system/dispatch.ts -> its table: knows their mnemonics, and no others', () => {
    const i = new Instruction();
    const left = table.rows.filter((row) => row.bare && [Slow.System, Slow.Port].includes(slowOf(row) as 1));
    const mnemonics = (rows: readonly Row[]): Set<Mnemonic> =>
      new Set(
        rows.flatMap((row) =>
          row.codes.map((name) => {
            i.code = (Code as unknown as Record<string, Code>)[name] as Code;
            return i.mnemonic;
          }),
        ),
      );
    expect([...mnemonics(left)].filter((m) => !SYSTEM_MNEMONICS.has(m)).map((m) => Mnemonic[m])).toEqual([]);
    const all = mnemonics(table.rows);
    expect([...SYSTEM_MNEMONICS].filter((m) => !all.has(m)).map((m) => Mnemonic[m])).toEqual([]);
    i.free();
  });
  it('every handler -> engine: its meaning keeps the rules of the builder', () => {
    const whole = { ...isa, handlers };
    expect(() => {
      for (const h of handlers) checkHandler(whole, h);
    }).not.toThrow();
  });
  it('counted weights and pairs -> table: every name is a handler', () => {
    const names = new Set(handlers.map((h) => h.name));
    expect([...WEIGHED, ...PAIRS.flat()].filter((n) => !names.has(n))).toEqual([]);
    expect(table.pairs).toHaveLength(PAIRS.length);
  });
});

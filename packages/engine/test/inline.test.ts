/** What goes into the fast loop. */
import { expect, test } from 'vitest';
import { record } from '../src/builder.ts';
import { recordFields } from '../src/fields.ts';
import { type Isa, SemanticsError } from '../src/index.ts';
import { chooseInline } from '../src/interpreter.ts';
import { mini } from './support/mini.ts';

const chosen = (isa: Isa): string[] => {
  const fields = recordFields(isa);
  const programs = isa.handlers.map((h) => record(isa, h.name, h.sem, fields));
  return chooseInline(isa, programs).map((i) => isa.handlers[i]?.name ?? '?');
};

test('a small instruction set -> all of it', () => {
  expect(chosen(mini)).toEqual(mini.handlers.map((h) => h.name));
});
test('cold handlers -> never', () => {
  const cold = { ...mini, handlers: mini.handlers.map((h) => ({ ...h, cold: h.name.startsWith('ld') })) };
  expect(chosen(cold).filter((n) => n.startsWith('ld'))).toEqual([]);
});
test('more handlers than fit -> the heaviest ones', () => {
  const many: Isa = {
    ...mini,
    handlers: Array.from({ length: 3000 }, (_, i) => {
      const h = mini.handlers[i % mini.handlers.length];
      return {
        name: `h${i}`,
        ends: h?.ends ?? false,
        weight: i >= 2900 ? 2 : 0,
        sem: (b, f) => h?.sem(b, f),
      };
    }),
  };
  const names = chosen(many);
  expect(names.length).toBeLessThan(1500);
  for (let i = 2900; i < 3000; i++) expect(names).toContain(`h${i}`);
});
test('semantics against the rules -> an error that names the handler', () => {
  const bad = (sem: Isa['handlers'][number]['sem']) => () => record(mini, 'bad', sem, recordFields(mini));
  for (const [sem, message] of [
    [(b) => b.put('carry', b.c64(0)), /handler bad: state variable "carry" is i32, not i64/],
    [(b) => void b.read64('nothing'), /no state variable "nothing"/],
    [(b) => b.jump('a'), /jump by field "a", which is not i64/],
    [(b) => void b.loads(8, 9, b.c64(0)), /an access of 72 bytes/],
    [(b) => void b.load(8, b.c64(0), { ctx: 2 }), /no access context 2/],
    [(b) => void b.elem('v', 0, 12, 8), /bytes 12..20 of a 16-byte register/],
    [(b) => void b.add(b.c64(0), b.c32(0) as never), /add of i64 and i32/],
    [(_, f) => void f.i32('nothing'), /no record field "nothing"/],
    [(b) => void b.rmw(8, b.c64(0), () => b.load(8, b.c64(0))), /an access inside a read-modify-write/],
  ] as readonly (readonly [Isa['handlers'][number]['sem'], RegExp])[]) {
    expect(bad(sem)).toThrow(SemanticsError);
    expect(bad(sem)).toThrow(message);
  }
});

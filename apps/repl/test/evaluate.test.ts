import { describe, expect, test } from 'vitest';
import { compile } from '../src/evaluate/compile.ts';
import { pipe } from './piped.ts';

/** Values printed by piped lines, one entry a line. */
async function values(lines: string): Promise<string[]> {
  const { out, err } = await pipe(lines);
  expect(err).toBe('');
  return out.trimEnd().split('\n');
}

describe('what a line may say', () => {
  test('type annotations, assertions and generics -> gone before the line runs', async () => {
    expect(
      await values('const a: number = 1\n(a as unknown as number)!\n[1].map<number>((n: number) => -n)'),
    ).toEqual(['1', '[ -1 ]']);
  });
  test('interface over three lines, type alias, import type -> print nothing, and the next line runs', async () => {
    expect(
      await values("interface P {\n  x: number\n}\ntype Q = P\nimport type { R } from './nowhere.ts'\n7"),
    ).toEqual(['7']);
  });
  test('const, let, class, function and enum again -> the later one holds', async () => {
    const lines = [
      'const v = 1',
      "const v: string = 'two'",
      'v',
      'class C { x = 1 }',
      'class C { x = 2 }',
      'new C().x',
      'function f() { return 3 }',
      'function f() { return 4 }',
      'f()',
      'enum E { A, B }',
      'enum E { B = 9 }',
      'E.B',
    ];
    expect(await values(lines.join('\n'))).toEqual(["'two'", '2', '4', '9']);
  });
  test('let without a value after let with one -> undefined, as a new variable is', async () => {
    expect(
      await values('let u = 1\nlet u\nString(u)\nawait 0; let u2 = 1\nawait 0; let u2\nString(u2)'),
    ).toEqual(["'undefined'", "'undefined'"]);
  });
  test('top-level await with declarations -> they are globals of later lines', async () => {
    const lines = [
      'const { x, y: [z = 7] } = await Promise.resolve<{ x: number; y: number[] }>({ x: 5, y: [] })',
      '[x, z]',
      'await 0; class D { k = 8 }',
      'new D().k',
      'await 0; function g() { return h() } function h() { return 6 }',
      'g()',
      'for await (const q of [1, 2]) var last = q',
      'last',
    ];
    expect(await values(lines.join('\n'))).toEqual(['[ 5, 7 ]', '8', '6', '2']);
  });
  test('imports in every form -> bound; an export that is not there -> says so', async () => {
    const lines = [
      "import { sep as s, posix } from 'node:path'",
      "import * as os from 'node:os'",
      "import path from 'node:path'",
      "import m, { posix as __m } from 'node:path'",
      '[s, posix === path.posix && m === path && __m === posix, typeof os.EOL]',
      "(await import('node:path')).sep",
      '"import(1)"',
    ];
    expect(await values(lines.join('\n'))).toEqual(["[ '/', true, 'string' ]", "'/'", "'import(1)'"]);
    const { err } = await pipe("import { nope } from 'node:path'");
    expect(err).toContain('has no export "nope"');
  });
  test('assignment to a new name -> declares it, chains and patterns too', async () => {
    expect(await values('n1 = n2 = 4\n[n1, n2];\n({ n3 } = { n3: 5 })\nn3')).toEqual([
      '4',
      '[ 4, 4 ]',
      '{ n3: 5 }',
      '5',
    ]);
  });
  test('a brace at the start of a line -> an object, unless it cannot be one', async () => {
    expect(await values('{ a: 1 }\n{ const q = 1; q + 1 }')).toEqual(['{ a: 1 }', '2']);
  });
  test('a write to a frozen object -> an error, as in a module', async () => {
    expect((await pipe('Object.freeze({ a: 1 }).a = 2')).err).toContain('read only');
  });
  test('export in front of a declaration -> only the declaration counts', async () => {
    expect(await values('export const e1 = 3\ne1\nexport class K { y = 1 }\nnew K().y')).toEqual(['3', '1']);
  });
  test('imports, awaits and loops in one input -> each keeps its place', async () => {
    const lines = [
      "import { sep as one } from 'node:path'; const eol = (await import('node:os')).EOL; one + eol",
      "for (const n of ['node:path']) void import(n)",
      'label: for (const a of [1]) { for (;;) { await 0; break label } }',
      'var k = 0; while (k < 3) await k++; k',
      'if (await true) { var inner = [1, 2], other } else { function never() {} }',
      '[inner, other]',
      'do { var { length: len } = await "four" } while (len < 4); len',
    ];
    expect(await values(lines.join('\n'))).toEqual(["'/\\n'", '3', '[ [ 1, 2 ], undefined ]', '4']);
  });
  test('__proto__, closures and loops after an await -> untouched by the loop check', async () => {
    const lines = [
      'await 0; let sum = 0; for (let i = 0; i < 3; i++) for (const j of [1, 2]) sum += i * j',
      'sum',
      'const af = async () => { let k = 0; do k++; while (k < 5) return k }',
      'await af()',
    ];
    expect(await values(lines.join('\n'))).toEqual(['9', '5']);
  });
});

describe('lines that are not finished', () => {
  const unfinished = [
    'function f() {',
    'foo(',
    'const a = [1,',
    '`text',
    ['`text $', '{a} more'].join(''),
    '/* comment',
    'interface P',
    'a +',
    'if (x)',
    'try {}',
    'class A {',
    'x =>',
    'asm`ldr x1, [x2]',
  ];
  test.each(unfinished)('%j -> waits for more', (text) => {
    expect(compile(`${text}\n`).kind).toBe('incomplete');
  });
  test.each(['"text', "'text", 'x = = 3', ')', 'a b', 'foo)('])('%j -> an error now', (text) => {
    expect(compile(`${text}\n`).kind).toBe('error');
  });
  test('a syntax error -> shows the place', () => {
    const compiled = compile('x = = 3');
    expect(compiled.kind === 'error' && compiled.error.message).toMatch(/Unexpected token\n.*x = = 3\n.*\^/);
  });
});

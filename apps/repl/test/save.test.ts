import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { asModule } from '../src/lab/save.ts';

const globals = new Set(['vm', 'run', 'Object', 'globalThis']);

describe('the lines of a session as a module', () => {
  test('a name declared twice -> let once, assigned after', () => {
    expect(asModule(['const e = run()', 'let e: Exit = run()', 'e.gpa'], globals)).toEqual([
      'let e = run();',
      'e = run();',
      'e.gpa;',
    ]);
  });
  test('patterns, classes, functions and imports again -> assignments', () => {
    expect(
      asModule(
        [
          'const { a, b } = x()',
          'const { a, c } = y()',
          'class K { v = 1 }',
          'class K { v = 2 }',
          'function f() { return 1 }',
          'function f() { return 2 }',
          "import { sep } from 'node:path'",
          "import { sep, posix as p } from 'node:path'",
        ],
        globals,
      ).join('\n'),
    ).toBe(
      [
        'let { a, b } = x();',
        'let c;',
        '({ a, c } = y());',
        'let K = class K { v = 1 }',
        'K = class K { v = 2 }',
        'let f = function f() { return 1 }',
        'f = function f() { return 2 }',
        "import { sep } from 'node:path'",
        "let p;\n(sep = (await import('node:path'))['sep']); (p = (await import('node:path'))['posix']);",
      ].join('\n'),
    );
  });
  test('an assignment to a new name -> declared; to a global -> left alone', () => {
    expect(asModule(['zz = 4', 'vm = 5', 'zz = 6'], globals)).toEqual([
      'let zz; zz = 4;',
      'vm = 5;',
      'zz = 6;',
    ]);
  });
  test('a global that lines used before they declared it -> stays that global', () => {
    expect(asModule(['vm.poison(1n)', 'const { vm, cpu } = make()'], globals)).toEqual([
      'vm.poison(1n);',
      'let cpu;\n({ vm, cpu } = make());',
    ]);
    expect(asModule(['const { vm } = make()'], globals)).toEqual(['const { vm } = make();']);
  });
  test('a member of the same name as a later variable -> not a use of it', () => {
    expect(asModule(['e.zz', 'const zz = 1'], globals)).toEqual(['e.zz;', 'const zz = 1;']);
  });
  test('an object on a line of its own -> in parentheses', () => {
    expect(asModule(['{ a: 1 }'], globals)).toEqual(['({ a: 1 });']);
  });
  test('a session full of repetitions -> a module that runs', async () => {
    const lines = asModule(
      [
        'const log: number[] = []',
        'let e = 1',
        'let e: number = 2',
        'log.push(e)',
        'const { e, g } = { e: 3, g: 4 }',
        'log.push(e, g)',
        'q = 5',
        'log.push(q)',
        'class C { v = 6 }',
        'class C { v = 7 }',
        'log.push(new C().v)',
        'await Promise.resolve()',
        '[8].forEach((n) => log.push(n))',
        'export { log }',
      ],
      globals,
    );
    const file = join(mkdtempSync(join(tmpdir(), 'faultyard-save-')), 'saved.ts');
    writeFileSync(file, `${lines.join('\n')}\n`);
    const { log } = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as { log: number[] };
    expect(log).toEqual([2, 3, 4, 5, 7, 8]);
  });
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { checkExamples } from '../scripts/examples/check.ts';

// Inside the workspace, so that examples find its packages.
let root: string | undefined;
afterEach(() => root && rmSync(root, { recursive: true, force: true }));

function check(files: Readonly<Record<string, string>>): ReturnType<typeof checkExamples> {
  root = mkdtempSync(join(import.meta.dirname, '.tmp-'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return checkExamples(root);
}

const block = (code: string, word = ''): string => `# A page\n\n\`\`\`ts${word}\n${code}\n\`\`\`\n`;

describe('examples', () => {
  test('values, declarations, printed lines and nested statements that are as shown -> all run', async () => {
    const page = block(
      [
        "import * as core from '@faultyard/core';",
        'typeof core; //=> object',
        'const sum: number = 1 + 1; //=> 2',
        "console.log('%s is', sum, { a: 5n }); //=> 2 is { a: 5n }",
        "const hash = ['a', 'b'];",
        'hash',
        "  .join('-') //=> a…",
        'for (const one of [1]) {',
        '  one + 1; //=> 2',
        '}',
        "await Promise.resolve('done');",
        "//=> 'done'",
      ].join('\n'),
    );
    expect(await check({ 'README.md': page, 'docs/b.md': block('const a: number = 1;', ' no-run') })).toEqual(
      {
        ran: 1,
        typeCheckedOnly: 1,
        problems: [],
      },
    );
  });

  test('a block that continues the one before -> sees its names', async () => {
    const page = `${block('const a = 2;')}\nand\n${block('a * 2; //=> 4', ' continue')}`;
    expect(await check({ 'README.md': page })).toEqual({ ran: 1, typeCheckedOnly: 0, problems: [] });
  });

  const refused: [name: string, files: Record<string, string>, problem: RegExp][] = [
    [
      'another value',
      { 'README.md': block('1 + 1; //=> 3') },
      /^README\.md:4: .*line 4 says 3\n {2}but it is 2/,
    ],
    [
      'another printed line',
      { 'docs/a.md': block('console.log(7n); //=> 7') },
      /^docs\/a\.md:4: [\s\S]*but it is 7n/,
    ],
    ['a type error', { 'README.md': block("\nconst a: number = '';") }, /^README\.md:5: TS2322/],
    ['a type error in no-run', { 'README.md': block('nothing();', ' no-run') }, /^README\.md:4: TS2304/],
    ['a throw', { 'README.md': block("throw new Error('broken');") }, /^README\.md:4: Error: broken/],
    [
      'an exit',
      { 'README.md': block("import process from 'node:process';\nprocess.exit(3);") },
      /ended with 3/,
    ],
    ['a //=> behind nothing', { 'README.md': block('function f() {} //=> 1') }, /of 1 \/\/=> only 0/],
    [
      'a wrong value in a doc comment',
      {
        'packages/p/src/a.ts':
          '/**\n * Adds.\n *\n * @example\n * ```ts\n * 1 + 1; //=> 11\n * ```\n */\nexport {};',
      },
      /^packages\/p\/src\/a\.ts:6: .*says 11/,
    ],
  ];
  test.each(refused)('%s -> refused at its line', async (_name, files, problem) => {
    const { problems } = await check(files);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(problem);
  });
});

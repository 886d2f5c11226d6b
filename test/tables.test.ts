import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { pagesOf, withTables } from '../scripts/tables/page.ts';
import { TABLES } from '../scripts/tables/tables.ts';
import { root } from './packed-project.ts';

const pages = pagesOf(root).map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

describe('tables in pages', () => {
  test.each(pages.filter(({ text }) => text.includes('<!-- table ')))(
    '$path -> its tables are those that `npm run tables` makes of the data',
    ({ path, text }) => {
      expect(text).toBe(withTables(path, text));
    },
  );

  test.each(Object.keys(TABLES))('%s -> stands in a page, and no cell of it is empty by mistake', (name) => {
    expect(pages.filter(({ text }) => text.includes(`<!-- table ${name} -->`))).toHaveLength(1);
    const meanings = (TABLES[name]?.() ?? '').split('\n').map((row) =>
      row
        .split(/(?<!\\)\|/)
        .at(-2)
        ?.trim(),
    );
    expect(meanings.length).toBeGreaterThan(2);
    expect(meanings).not.toContain('');
  });

  test('a table that was changed by hand -> is found', () => {
    const text = '<!-- table core.errors -->\n| code |\n<!-- end of table -->';
    expect(withTables('a.md', text)).not.toBe(text);
    expect(() => withTables('a.md', '<!-- table x -->\n<!-- end of table -->')).toThrow(/no table x/);
  });
});

test.each(pages)('$path -> every link to a file leads to one', ({ path, text }) => {
  const links = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, to]) => to ?? '');
  const files = links.filter((to) => !/^\w+:/.test(to));
  expect(files.filter((to) => !existsSync(join(root, dirname(path), to)))).toEqual([]);
});

test('typedoc.json -> demands documentation of every package', () => {
  const { packagesRequiringDocumentation } = JSON.parse(readFileSync(join(root, 'typedoc.json'), 'utf8'));
  const packages = readdirSync(join(root, 'packages')).map((name) => `@faultyard/${name}`);
  expect(packagesRequiringDocumentation).toEqual(packages.sort());
});

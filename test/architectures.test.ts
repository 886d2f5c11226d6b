/** Both architectures have the files of docs/adding-an-architecture.md. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(`${root}docs/adding-an-architecture.md`, 'utf8');
const table = /<!-- architecture files -->([\s\S]*?)<!-- end -->/.exec(page)?.[1] ?? '';
const files = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map((m) => m[1] as string);
const packages = readdirSync(`${root}packages`).filter((name) => name.startsWith('arch-'));

test('the page names files, and there is more than one architecture', () => {
  expect(files.length).toBeGreaterThan(20);
  expect(packages.length).toBeGreaterThan(1);
});
describe.each(packages)('%s', (name) => {
  test('has every file that the page names', () => {
    expect(files.filter((f) => !existsSync(`${root}packages/${name}/${f}`))).toEqual([]);
  });
});

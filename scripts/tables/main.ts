// `npm run tables`: writes the tables of READMEs and docs anew from the data of the packages.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pagesOf, withTables } from './page.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
for (const path of pagesOf(root)) {
  const text = readFileSync(join(root, path), 'utf8');
  const fresh = withTables(path, text);
  if (fresh === text) continue;
  writeFileSync(join(root, path), fresh);
  console.log(path);
}

/** Pages with tables between `<!-- table <name> -->` and `<!-- end of table -->`. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { TABLES } from './tables.ts';

/** A page with its tables made anew. @throws Error for a table that nobody makes. */
export function withTables(path: string, text: string): string {
  return text.replace(
    /<!-- table (\S+) -->\n[\s\S]*?<!-- end of table -->/g,
    (_, name: string) => `<!-- table ${name} -->\n${make(path, name)}\n<!-- end of table -->`,
  );
}

function make(path: string, name: string): string {
  const table = TABLES[name];
  if (!table) throw new Error(`${path}: there is no table ${name}; tables: ${Object.keys(TABLES).join(' ')}`);
  return table();
}

/** The pages of a workspace: README files and docs, as paths from its root. */
export function pagesOf(root: string): string[] {
  const below = (folder: string): string[] => readdirSync(join(root, folder)).map((n) => `${folder}/${n}`);
  const readmes = ['.', ...below('packages'), ...below('apps')].map((folder) => join(folder, 'README.md'));
  return [...readmes, ...below('docs')].filter((p) => p.endsWith('.md') && existsSync(join(root, p)));
}

/** Writes src/scenarios/generated/table.ts from data/decision-table.json: a package must not read files to know it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { tableModule } from './table-module.ts';

const at = (path: string): URL => new URL(path, import.meta.url);
writeFileSync(
  at('../src/scenarios/generated/table.ts'),
  tableModule(readFileSync(at('../data/decision-table.json'), 'utf8')),
);

// `npm run edges`: prints every import and manifest entry that crosses a line of docs/architecture.md.
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkEdges } from './check.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const problems = checkEdges(root);
for (const { at, what } of problems) console.error(`${at}: ${what}`);
console.log(`edges: ${problems.length} problem${problems.length === 1 ? '' : 's'}`);
process.exitCode = problems.length ? 1 : 0;

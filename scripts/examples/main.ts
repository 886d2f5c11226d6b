// `npm run examples`: type-checks and runs the examples of READMEs, docs and doc comments.
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkExamples } from './check.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { ran, typeCheckedOnly, problems } = await checkExamples(root);
for (const problem of problems) console.error(problem);
console.log(`examples: ${ran} ran, ${typeCheckedOnly} only type-checked, ${problems.length} problems`);
process.exitCode = problems.length ? 1 : 0;

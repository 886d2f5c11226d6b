/**
 * Records what the host's processor does in every case of `support/user-cases.ts`. Linux on x86-64 with gcc.
 * Run in this folder's package: `node --import tsx --conditions=@faultyard/source test/tools/record-user-vectors.ts`.
 */
import { writeFileSync } from 'node:fs';
import { userCases } from '../support/user-cases.ts';
import { userForms } from '../support/user-forms.ts';
import { askProcessor } from '../support/user-oracle.ts';
import { hashCases, writeVectors } from '../support/user-vectors.ts';

const forms = userForms().map((form) => ({ form: form.name, cases: userCases(form) }));
const results = askProcessor(forms.flatMap((f) => f.cases));
let at = 0;
const vectors = forms.map((f) => {
  at += f.cases.length;
  return { ...f, hash: hashCases(f.cases), results: results.slice(at - f.cases.length, at) };
});
const bytes = writeVectors(vectors);
const report = forms.map((f) => `${f.cases.length}\t${f.form}`).join('\n');
writeFileSync(new URL('../data/user-vectors.report.tsv', import.meta.url), `instances\tform\n${report}\n`);
console.log(`${at} cases of ${forms.length} forms, ${bytes} bytes`);

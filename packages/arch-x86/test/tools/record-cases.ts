/** Records what QEMU answers to every set of cases, and says what is different here. */
import { recordCases } from '../support/case-recording.ts';
import { differences, runHere, runQemu } from '../support/case-runner.ts';
import { CASE_SETS } from '../system/case-sets.ts';
import { uncompared } from '../system/qemu-differs.ts';

const only = process.argv.slice(2);
for (const set of CASE_SETS) {
  if (only.length && !only.includes(set.name)) continue;
  const cases = set.cases();
  const image = set.image(cases);
  const there = runQemu(image, cases.length, set.vendor);
  const size = recordCases(set.name, there);
  const found = differences(
    runHere(image, cases.length, set.vendor),
    there,
    (n) => JSON.stringify(cases[n]),
    (n, field, row) => uncompared(cases[n] ?? { code: '' }, field, row, set.vendor),
  );
  console.log(`${set.name}: ${cases.length} cases, ${size} bytes, ${found.length} different`);
  for (const line of found.slice(0, 12)) console.log(`  ${line}`);
}

/** The decision table as a module: one row a line. */
export function tableModule(json: string): string {
  const table = JSON.parse(json) as { rows: readonly unknown[] };
  const { rows, ...head } = table;
  const lines = rows.map((r) => `    ${JSON.stringify(r)},`);
  return `/** Made from data/decision-table.json by scripts/table.ts; a test compares them. Do not edit. */
import type { DecisionTable } from '@faultyard/testkit';

const table = {
  ...${JSON.stringify(head)},
  rows: [
${lines.join('\n')}
  ],
};

/** Section 7 of the fact sheet. */
export const TABLE: DecisionTable = table;
`;
}

/** The decision table as a module: one row a line; an id `row/variant` says the variant. */
export function tableModule(json: string): string {
  const { rows, ...head } = JSON.parse(json) as { rows: readonly { id: string; row: string }[] };
  const lines = rows.map((r) => {
    const variant = r.id === r.row ? {} : { variant: r.id.slice(r.row.length + 1) };
    return `    ${JSON.stringify({ ...r, ...variant })},`;
  });
  return `/** Made from data/decision-table.json by scripts/table.ts; a test compares them. Do not edit. */
import type { DecisionTable } from '@faultyard/testkit';

const table = {
  ...${JSON.stringify(head)},
  rows: [
${lines.join('\n')}
  ],
};

/** Section 6 of the fact sheet. */
export const TABLE: DecisionTable = table;
/** Facts of every setup that does not say otherwise. */
export const BASE: Readonly<Record<string, unknown>> = table.base;
/** STATUS by the name of an error. */
export const VALUES: Readonly<Record<string, string>> = table.values;
/** MCG_STATUS by the name of an error. */
export const MCG: Readonly<Record<string, number>> = table.mcg;
`;
}

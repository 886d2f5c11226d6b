/** Decision tables: what must happen, as committed data, one outcome code per row, variant and column. */
import { FaultyardError, type KnobValue } from '@faultyard/core';

/** Knob values by id, in full (`sea.walkRule`) or bare (`walkRule`), as `--set` or a table gives them. */
export type KnobSet = Readonly<Record<string, KnobValue>>;

/** A column: a policy, as a named set of knob values. */
export interface TableColumn {
  readonly title: string;
  readonly knobs?: KnobSet | undefined;
}

/** Other codes for the same entry under other knobs, another kernel, or another reading of the source. */
export interface TableAlternative {
  readonly knobs?: KnobSet | undefined;
  readonly kernel?: string | undefined;
  readonly reading?: string | undefined;
  readonly cells: Readonly<Record<string, string>>;
}

/** One row of the table, or one variant of it. */
export interface TableEntry {
  /** `row`, or `row/variant`. */
  readonly id: string;
  readonly row: string;
  readonly variant?: string | undefined;
  readonly title: string;
  /** Id of the scenario that produces it. */
  readonly scenario: string;
  /** Facts of guest and harness, for the scenario. */
  readonly setup?: Readonly<Record<string, unknown>> | undefined;
  readonly knobs?: KnobSet | undefined;
  /** Outcome codes by column; `n/a` where the source has none. */
  readonly cells: Readonly<Record<string, string>>;
  readonly alt?: readonly TableAlternative[] | undefined;
  /** Words of the source by column. */
  readonly why?: Readonly<Record<string, string>> | undefined;
  /** Described, but not driven: a fidelity gap of the package. */
  readonly gap?: boolean | undefined;
}

/** A decision table. */
export interface DecisionTable {
  /** Document and section it is transcribed from. */
  readonly source: string;
  /** Columns in order. */
  readonly columns: Readonly<Record<string, TableColumn>>;
  /** Knobs pinned for every entry that does not say otherwise. */
  readonly knobs?: KnobSet | undefined;
  readonly rows: readonly TableEntry[];
}

/** Code of a cell without outcome. */
export const NOT_APPLICABLE = 'n/a';

/** The last part of a knob's id: `sea.vmm.threshold` and `threshold` are the same knob. */
export function bareKnob(id: string): string {
  return id.slice(id.lastIndexOf('.') + 1);
}

/** Knob values of a cell, by bare name: pinned, then the column's, the entry's, and those set by hand. */
export function cellKnobs(
  table: DecisionTable,
  entry: TableEntry,
  column: string,
  set: KnobSet = {},
): KnobSet {
  const out: Record<string, KnobValue> = {};
  for (const knobs of [table.knobs, table.columns[column]?.knobs, entry.knobs, set])
    for (const [id, v] of Object.entries(knobs ?? {})) out[bareKnob(id)] = v;
  return out;
}

/** The alternative of a cell that matches `knobs` with the most of its own, if any. */
function alternative(entry: TableEntry, column: string, knobs: KnobSet): TableAlternative | undefined {
  let best: TableAlternative | undefined;
  let most = 0;
  for (const a of entry.alt ?? []) {
    const wants = Object.entries(a.knobs ?? {});
    if (a.cells[column] === undefined || a.kernel !== undefined || a.reading !== undefined) continue;
    if (wants.length <= most || !wants.every(([id, v]) => String(knobs[bareKnob(id)]) === String(v)))
      continue;
    best = a;
    most = wants.length;
  }
  return best;
}

/**
 * The column that knob values set by hand amount to: `capEnabled=on` in the legacy column is the column with the
 * capability on. Columns are judged by how many of their own knobs the values contradict (without an alternative that
 * speaks of it), then by how many they confirm, then by their order.
 * @param from column that is meant where the values say nothing; default: the first.
 */
export function columnOf(table: DecisionTable, entry: TableEntry, set: KnobSet, from?: string): string {
  const names = Object.keys(table.columns).filter((c) => entry.cells[c] !== undefined);
  const start = from ?? (names[0] as string);
  const given = new Map(Object.entries(set).map(([id, v]) => [bareKnob(id), String(v)]));
  const own = (c: string): [string, string][] =>
    Object.entries(table.columns[c]?.knobs ?? {}).map(([id, v]) => [bareKnob(id), String(v)]);
  const values = new Map([...own(start), ...given]);
  if (own(start).every(([id, v]) => values.get(id) === v)) return start;
  const judge = (c: string): readonly [against: number, confirmed: number] => {
    const a = alternative(entry, c, cellKnobs(table, entry, c, set));
    const spoken = new Set(Object.keys(a?.knobs ?? {}).map(bareKnob));
    const against = own(c).filter(([id, v]) => values.has(id) && values.get(id) !== v && !spoken.has(id));
    return [against.length, own(c).filter(([id, v]) => given.get(id) === v).length];
  };
  let best = start;
  let score = judge(start);
  for (const c of names) {
    const s = judge(c);
    if (s[0] < score[0] || (s[0] === score[0] && s[1] > score[1])) {
      best = c;
      score = s;
    }
  }
  return best;
}

/**
 * What a cell must give under `set`: the code of the alternative that matches with the most knobs, else the cell's own.
 * @throws FaultyardError FY_SCENARIO for a column that the table does not have.
 */
export function expectedCode(
  table: DecisionTable,
  entry: TableEntry,
  column: string,
  set: KnobSet = {},
): string {
  if (entry.cells[column] === undefined)
    throw new FaultyardError('FY_SCENARIO', {
      scenario: entry.scenario,
      why: `row ${entry.id} has no column ${column}`,
      fix: `columns: ${Object.keys(entry.cells).join(', ')}`,
    });
  const meant = columnOf(table, entry, set, column);
  const other = alternative(entry, meant, cellKnobs(table, entry, meant, set));
  return (other?.cells[meant] ?? entry.cells[meant]) as string;
}

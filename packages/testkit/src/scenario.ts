/**
 * Scenarios: a fault path written once, with its story, and driven many ways — alone, as a cell of a decision table, in
 * slices, moved to another VM at every exit — by the command line, the session and the tests alike.
 */
import { FaultyardError, type KnobDef, resolveKnobs } from '@faultyard/core';
import { type Machine, Ride, type Way } from './ride.ts';
import {
  bareKnob,
  cellKnobs,
  columnOf,
  type DecisionTable,
  expectedCode,
  type KnobSet,
  NOT_APPLICABLE,
  type TableEntry,
} from './table.ts';

/** What a scenario is asked to produce. */
export interface ScenarioCase {
  /** Row or variant of the decision table. */
  readonly entry: TableEntry;
  readonly column: string;
  /** Every knob value that is not a default, by bare name: pinned, the column's, the entry's, and `set`. */
  readonly knobs: KnobSet;
  /** What was set by hand, as it was given. */
  readonly set: KnobSet;
  /**
   * Puts a machine on its way. `make` may be called again, to move the state into a new VM: it must build the same
   * machine every time, and whatever changes later must live in cells (`vm.keep`).
   */
  ride<M extends Machine>(make: () => M): Ride<M>;
}

/** What a scenario saw. */
export interface Outcome {
  /** In the outcome codes of the table, from the guest's own records and KVM_RUN's results only. */
  readonly actual: string;
  /** The ride it was seen on: exits, instructions and the state hash are taken from it. */
  readonly ride: Ride<Machine>;
  /** The guest's trap records and the like, one line each. */
  readonly log?: readonly string[];
}

/** A fault path. */
export interface Scenario {
  /** `sea/1`. */
  readonly id: string;
  readonly aliases?: readonly string[];
  readonly title: string;
  /** What happens and why, for a reader who has not seen the sheet. */
  readonly prose: string;
  /** Drives the fault path under one case and says what was seen. */
  run(c: ScenarioCase): Outcome;
}

/** Makes a scenario; `id` is `<path>/<name>`. @throws FaultyardError FY_SCENARIO. */
export function defineScenario(s: Scenario): Scenario {
  for (const id of [s.id, ...(s.aliases ?? [])])
    if (!/^[a-z][a-z0-9-]*\/[a-z0-9][a-z0-9.-]*$/.test(id))
      throw new FaultyardError('FY_SCENARIO', {
        scenario: id,
        why: 'is not named <path>/<name> in lower case',
        fix: 'name it like sea/1 or sea/el0-load',
      });
  return s;
}

/** A scenario as `list` shows it. */
export interface ScenarioInfo {
  readonly id: string;
  readonly title: string;
  readonly prose: string;
  /** Name of the plugin whose fault path it shows. */
  readonly plugin: string;
  readonly aliases: readonly string[];
  /** Columns it can be run in; the first is the default. */
  readonly columns: readonly string[];
  /** Ids of the table's rows and variants that it produces; the first is the default. */
  readonly entries: readonly string[];
}

/** How to run a scenario. */
export interface RunOptions {
  /** Knob values by id, in full or bare. */
  readonly set?: KnobSet;
  /** Default: the one that `set` amounts to; the first when it says nothing ({@link columnOf}). */
  readonly column?: string;
  /** Variant of the row; default: the plain row. */
  readonly variant?: string;
  /** How the machine is driven; the outcome and the state hash must not depend on it. Default: whole. */
  readonly way?: Way;
}

/** What one run of a scenario gave. */
export interface ScenarioResult {
  readonly scenario: string;
  /** Row or variant of the table. */
  readonly entry: string;
  readonly column: string;
  readonly set: KnobSet;
  /** What happened, in the outcome codes of the decision table. */
  readonly outcome: string;
  /** What should have, in the same codes. */
  readonly expected: string;
  readonly ok: boolean;
  /** Kinds of exit, in order. */
  readonly exits: readonly string[];
  /** Guest instructions retired, all vCPUs together. */
  readonly instructions: number;
  /** Hash of the final state, 16 hexadecimal digits. */
  readonly stateHash: string;
  readonly log: readonly string[];
}

/** One cell of a decision table. */
export interface MatrixCell {
  /** Id of the entry: `1`, `1/ldp`. */
  readonly row: string;
  readonly column: string;
  /** What the column stands for. */
  readonly columnTitle?: string;
  readonly scenario: string;
  readonly variant?: string;
  readonly title: string;
  readonly expected: string;
  /** Words of the source. */
  readonly why?: string;
  /** Runs the cell live; `actual` is the outcome. */
  run(o?: Pick<RunOptions, 'set' | 'way'>): ScenarioResult & { readonly actual: string };
}

/** A set of scenarios and their decision table, as a package offers it (`export const scenarios`). */
export interface ScenarioSet {
  /** First part of its scenarios' ids, and the path of its matrix: `sea`. */
  readonly path: string;
  readonly scenarios: readonly ScenarioInfo[];
  /** What the words of its table mean: columns by name, outcome codes by the letters they begin with. */
  readonly glossary?: Readonly<Record<string, string>>;
  /** Every knob that its scenarios can be run with, by bare name. */
  readonly knobs?: Readonly<Record<string, KnobDef>>;
  /** By id or alias, with or without a variant: `sea/1`, `sea/el0-load`, `sea/1/ldp`. */
  find(id: string): ScenarioInfo | undefined;
  /** @throws FaultyardError FY_SCENARIO for an unknown scenario, column or variant. */
  run(id: string, o?: RunOptions): ScenarioResult;
  /**
   * The cells of the whole table (`sea`), of one row with its variants (`sea/1`), or of one variant (`sea/1/ldp`), row
   * by row. Cells without outcome (`n/a`) and gaps are not among them.
   * @throws FaultyardError FY_SCENARIO for an unknown path.
   */
  matrix(path?: string): readonly MatrixCell[];
}

/** What a set is made of. */
export interface ScenarioSetOptions {
  readonly path: string;
  /** Name of the plugin; default: `path`. */
  readonly plugin?: string;
  readonly table: DecisionTable;
  readonly scenarios: readonly Scenario[];
  /** What the outcome codes mean, by the letters they begin with. */
  readonly codes?: Readonly<Record<string, string>>;
  /** Every knob that can be set, by bare name; absent: what is set is not checked. */
  readonly knobs?: Readonly<Record<string, KnobDef>>;
  /** Whether two codes are the same for this entry (bits not compared, …). Default: equal text. */
  readonly same?: (expected: string, actual: string, entry: TableEntry) => boolean;
}

/** Joins scenarios and the table they produce. @throws FaultyardError FY_SCENARIO when they do not fit together. */
export function scenarioSet(o: ScenarioSetOptions): ScenarioSet {
  const refuse = (scenario: string, why: string, fix: string): never => {
    throw new FaultyardError('FY_SCENARIO', { scenario, why, fix });
  };
  const { path, table } = o;
  const driven = table.rows.filter((e) => !e.gap);
  const same = o.same ?? ((a, b) => a === b);
  const byName = new Map<string, Scenario>();
  for (const s of o.scenarios)
    for (const id of [s.id, ...(s.aliases ?? [])]) {
      if (!id.startsWith(`${path}/`)) refuse(id, `does not belong to ${path}`, `name it ${path}/…`);
      if (byName.has(id)) refuse(id, 'is defined twice', 'rename one');
      byName.set(id, s);
    }
  const entriesOf = (s: Scenario): readonly TableEntry[] => driven.filter((e) => e.scenario === s.id);
  const infos = new Map<Scenario, ScenarioInfo>();
  for (const s of o.scenarios) {
    const entries = entriesOf(s);
    if (!entries.length) refuse(s.id, 'is in no row of the table', 'add the row first');
    infos.set(s, {
      id: s.id,
      title: s.title,
      prose: s.prose,
      plugin: o.plugin ?? path,
      aliases: s.aliases ?? [],
      columns: Object.keys(table.columns),
      entries: entries.map((e) => e.id),
    });
  }
  const all = [...infos.values()];

  /** The scenario, and the entry when the name ends in a variant. */
  const locate = (name: string): { s: Scenario; entry?: TableEntry } | undefined => {
    const s = byName.get(name);
    if (s) return { s };
    const cut = name.lastIndexOf('/');
    const t = byName.get(name.slice(0, cut));
    const entry = t && entriesOf(t).find((e) => e.variant === name.slice(cut + 1));
    return entry && { s: t, entry };
  };
  const unknown = (name: string): never =>
    refuse(name, 'is not known', `scenarios of ${path}: ${all.map((i) => i.id).join(' ')}`);

  const known =
    o.knobs && new Map(Object.entries(o.knobs).map(([name, def]) => [`${o.plugin ?? path}.${name}`, def]));
  /** @throws FaultyardError FY_KNOB_UNKNOWN, FY_KNOB_VALUE. */
  const checkKnobs = (set: KnobSet): void => {
    if (!known) return;
    for (const [id, v] of Object.entries(set)) resolveKnobs(known, { [bareKnob(id)]: v });
  };

  const runCell = (s: Scenario, entry: TableEntry, column: string, r: RunOptions): ScenarioResult => {
    const set = r.set ?? {};
    checkKnobs(set);
    const expected = expectedCode(table, entry, column, set);
    const knobs = cellKnobs(table, entry, column, set);
    const ride = <M extends Machine>(make: () => M): Ride<M> => new Ride(make, r.way);
    const out = s.run({ entry, column, knobs, set, ride });
    const result: ScenarioResult = {
      scenario: s.id,
      entry: entry.id,
      column,
      set,
      outcome: out.actual,
      expected,
      ok: same(expected, out.actual, entry),
      exits: out.ride.exits,
      instructions: out.ride.instructions,
      stateHash: out.ride.vm.stateHash(),
      log: out.log ?? [],
    };
    // nobody can reach the machine any more
    out.ride.vm.dispose();
    return result;
  };

  return {
    path,
    scenarios: all,
    glossary: {
      ...Object.fromEntries(Object.entries(table.columns).map(([name, { title }]) => [name, title])),
      ...o.codes,
    },
    ...(o.knobs ? { knobs: o.knobs } : {}),
    find(id) {
      const found = locate(id);
      return found && infos.get(found.s);
    },
    run(id, r = {}) {
      const { s, entry: named } = locate(id) ?? unknown(id);
      const entries = entriesOf(s);
      const entry =
        named ??
        (r.variant === undefined
          ? (entries.find((e) => e.variant === undefined) ?? entries[0])
          : entries.find((e) => e.variant === r.variant));
      if (!entry)
        return refuse(
          id,
          `has no variant ${r.variant}`,
          `variants: ${entries.flatMap((e) => e.variant ?? []).join(' ') || 'none'}`,
        );
      const column = r.column ?? columnOf(table, entry, r.set ?? {});
      return runCell(s, entry, column, r);
    },
    matrix(at = path) {
      const found = at === path ? undefined : (locate(at) ?? unknown(at));
      const rows = found ? (found.entry ? [found.entry] : entriesOf(found.s)) : driven;
      return rows.flatMap((entry) => {
        const s = byName.get(entry.scenario);
        if (!s) return [];
        return Object.entries(entry.cells)
          .filter(([, code]) => code !== NOT_APPLICABLE)
          .map(([column, expected]): MatrixCell => {
            const why = entry.why?.[column];
            const columnTitle = table.columns[column]?.title;
            return {
              row: entry.id,
              column,
              ...(columnTitle === undefined ? {} : { columnTitle }),
              scenario: s.id,
              ...(entry.variant === undefined ? {} : { variant: entry.variant }),
              title: entry.title,
              expected,
              ...(why === undefined ? {} : { why }),
              run: (r = {}) => {
                const result = runCell(s, entry, column, r);
                return { ...result, actual: result.outcome };
              },
            };
          });
      });
    },
  };
}

/** The scenarios of all loaded packages as one: a plugin's `./scenarios` entry exports one `scenarios` value. */

import type { KnobDef } from '@faultyard/core';
import type {
  KnobSet,
  MatrixCell,
  RunOptions,
  ScenarioInfo,
  ScenarioResult,
  ScenarioSet,
} from '@faultyard/testkit';
import { UserError } from './errors.ts';

export type { KnobSet, MatrixCell, RunOptions, ScenarioInfo, ScenarioResult, ScenarioSet };

/** All scenarios a session knows. */
export interface Scenarios {
  readonly all: readonly ScenarioInfo[];
  /** By id or alias, with or without a variant. */
  find(id: string): ScenarioInfo | undefined;
  /** The knobs that the scenarios of a set can be run with, by bare name. */
  knobs(path: string): Readonly<Record<string, KnobDef>>;
  /** Paths of the sets. */
  readonly paths: readonly string[];
  /** What the words of the tables mean: path of the table, word, meaning. */
  readonly glossary: readonly (readonly [path: string, word: string, meaning: string])[];
  /** @throws UserError for an unknown scenario or column, with the nearest names. */
  run(id: string, options?: RunOptions): ScenarioResult;
  /** The cells below a path: a table (`sea`), a row of it, or a variant. @throws UserError for an unknown path. */
  matrix(path: string): readonly MatrixCell[];
}

/** Whether a value is a set of scenarios. */
export function isScenarioSet(value: unknown): value is ScenarioSet {
  const set = value as Partial<ScenarioSet> | null;
  return (
    typeof set === 'object' &&
    set !== null &&
    typeof set.path === 'string' &&
    typeof set.matrix === 'function'
  );
}

/** Joins the sets of all loaded packages. */
export function joinScenarios(sets: readonly ScenarioSet[]): Scenarios {
  const all = sets.flatMap((s) => s.scenarios);
  const names = all.flatMap((s) => [s.id, ...s.aliases]);
  const owner = (id: string): ScenarioSet | undefined => sets.find((s) => s.find(id) !== undefined);
  return {
    all,
    glossary: sets.flatMap((s) =>
      Object.entries(s.glossary ?? {}).map(([word, meaning]) => [s.path, word, meaning] as const),
    ),
    paths: sets.map((s) => s.path),
    knobs: (path) => sets.find((s) => s.path === path)?.knobs ?? {},
    find: (id) => owner(id)?.find(id),
    run(id, options = {}) {
      const set = owner(id);
      if (!set) throw UserError.unknown('scenario', id, names, '`list` shows them all');
      const columns = set.find(id)?.columns ?? [];
      if (options.column !== undefined && !columns.includes(options.column))
        throw UserError.unknown('column', options.column, columns, `columns of ${id}: ${columns.join(' ')}`);
      return set.run(id, options);
    },
    matrix(path) {
      const set = sets.find((s) => s.path === path) ?? owner(path);
      const paths = sets.map((s) => s.path);
      if (!set)
        throw UserError.unknown(
          'matrix',
          path,
          [...paths, ...names],
          `tables: ${paths.join(' ')}; a row is named like its scenario`,
        );
      return set.matrix(path);
    },
  };
}

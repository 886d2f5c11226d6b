/** `list`: every scenario of the loaded plugins. */
import { UserError } from '../errors.ts';
import { type Io, line } from '../io.ts';
import type { ScenarioInfo } from '../scenarios.ts';
import { listTable } from '../table.ts';
import { type Command, writeJson } from './command.ts';

/** Scenarios as a table. */
export function scenarioTable(scenarios: readonly ScenarioInfo[], io: Io): string {
  const rows = scenarios.map((s) => [[s.id, ...s.aliases].join(' '), s.title]);
  return listTable(['scenario', 'what it shows'], rows, io.columns(), io.colors);
}

/** The `list` command. */
export const list: Command = {
  name: 'list',
  help: 'list the scenarios of all loaded plugins',
  usage: 'list [<prefix>]',
  run({ words, options, io, scenarios }) {
    const [prefix = '', ...rest] = words;
    if (rest.length > 0)
      throw new UserError(`list takes one prefix, not ${words.length} words\nusage: ${list.usage}`);
    const chosen = scenarios.all.filter((s) => [s.id, ...s.aliases].some((n) => n.startsWith(prefix)));
    if (chosen.length === 0)
      throw UserError.unknown(
        'scenario',
        prefix,
        scenarios.all.map((s) => s.id),
        '`list` alone shows them all',
      );
    if (options['json']) writeJson(io, chosen);
    else {
      line(io.out, scenarioTable(chosen, io));
    }
    return 0;
  },
};

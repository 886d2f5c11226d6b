/** `list`: every scenario of the loaded plugins. */
import { UserError } from '../errors.ts';
import { line } from '../io.ts';
import { listTable } from '../table.ts';
import { type Command, writeJson } from './command.ts';

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
      const rows = chosen.map((s) => [[s.id, ...s.aliases].join(' '), s.title]);
      line(io.out, listTable(['scenario', 'what it shows'], rows, io.columns(), io.colors));
    }
    return 0;
  },
};

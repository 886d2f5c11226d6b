/** The command line: finds the command, parses its words, loads plugins, and turns mistakes into exit status 2. */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import type { LoadedPackage } from './builtin.ts';
import { COMMANDS } from './commands/all.ts';
import type { Command } from './commands/command.ts';
import { describeError, isExplained, nearest, UserError } from './errors.ts';
import { commandTopic, optionLine } from './help/topics.ts';
import { type Io, line } from './io.ts';
import type { Importer } from './modules/importer.ts';
import { loadPackage, setsOf } from './packages.ts';
import { repl } from './repl.ts';
import { joinScenarios } from './scenarios.ts';

/** How the program is called; its words start after this. */
const PROGRAM = 'npm start --silent --';

const COMMON = {
  json: { type: 'boolean' },
  plugin: { type: 'string', multiple: true },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const satisfies ParseArgsConfig['options'];

const COMMON_HELP = [
  ['--plugin <path | package>', 'load a plugin of yours, repeatable'],
  ['--json', 'print the result as JSON on standard output, and nothing else there'],
  ['--help', 'show this, or the help of a command'],
  ['--version', 'print the version'],
] as const;

function generalHelp(): string {
  const rows = [...COMMANDS.map((c) => [c.usage, c.help] as const), ...COMMON_HELP];
  const width = 30;
  return [
    'Faultyard: a laboratory for hypervisor fault paths',
    '',
    `usage: ${PROGRAM} [<command>] [options]`,
    '',
    'Without a command: a session in TypeScript, from a terminal or a pipe; `help()` there says more.',
    '',
    ...rows.map(([name, about]) =>
      name.length < width ? `  ${name.padEnd(width)} ${about}` : `  ${name}\n  ${' '.repeat(width)} ${about}`,
    ),
    '',
    'Exit status: 0 when all is as expected, 1 when not, 2 when a word was not understood.',
  ].join('\n');
}

function commandHelp(command: Command): string {
  const { lines } = commandTopic(command);
  return [
    `usage: ${PROGRAM} ${lines[0]}`,
    ...lines.slice(1),
    ...COMMON_HELP.map(([o, about]) => optionLine(o, about)),
  ].join('\n');
}

/** Parses words; parseArgs' own complaints become ours, with what is allowed. */
function parse(args: readonly string[], command: Command | undefined): ReturnType<typeof parseArgs> {
  const options = { ...COMMON, ...command?.options };
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    if (!String((error as { code?: unknown }).code).startsWith('ERR_PARSE_ARGS')) throw error;
    const message = (error as Error).message.split(/\. To specify|\n/)[0];
    const known = Object.keys(options).map((o) => `--${o}`);
    throw new UserError(`${message}\noptions here: ${known.join(' ')}`);
  }
}

/** Splits off the command: the first word that is not an option or an option's value. */
function findCommand(args: readonly string[]): { command: Command | undefined; rest: readonly string[] } {
  for (let i = 0; i < args.length; i++) {
    const word = args[i] as string;
    if (word === '--plugin') i++;
    else if (!word.startsWith('-')) {
      const command = COMMANDS.find((c) => c.name === word);
      if (!command) {
        const names = COMMANDS.map((c) => c.name);
        const near = nearest(word, names);
        const guess = near.length > 0 ? `; did you mean ${near.join(' or ')}?` : '';
        throw new UserError(
          `unknown command ${JSON.stringify(word)}${guess}\ncommands: ${names.join(', ')}; ${PROGRAM} --help says more`,
        );
      }
      return { command, rest: [...args.slice(0, i), ...args.slice(i + 1)] };
    }
  }
  return { command: undefined, rest: args };
}

/** What the command line runs with. */
export interface Surroundings {
  readonly io: Io;
  readonly version: string;
  /** The packages that are always there. */
  readonly builtin: readonly LoadedPackage[];
  /** Imports what the user names, from where the user stands. */
  readonly load: Importer;
}

/** Runs a command line; returns the exit status. */
export async function cli(
  args: readonly string[],
  { io, version, builtin, load }: Surroundings,
): Promise<number> {
  try {
    const { command, rest } = findCommand(args[0] === 'help' ? [...args.slice(1), '--help'] : args);
    const { values, positionals } = parse(rest, command);
    if (values['help']) {
      line(io.out, command ? commandHelp(command) : generalHelp());
      return 0;
    }
    if (values['version']) {
      line(io.out, version);
      return 0;
    }
    const plugins = (values['plugin'] as string[] | undefined) ?? [];
    const packages = [...builtin];
    for (const specifier of plugins) packages.push(await loadPackage(specifier, load));
    const scenarios = joinScenarios(packages.flatMap(setsOf));
    if (command)
      return await command.run({
        words: positionals,
        options: values as never,
        commands: COMMANDS,
        runs: new Map(),
        io,
        packages,
        scenarios,
        plugins,
      });
    if (values['json'])
      throw new UserError(`--json needs a command: ${COMMANDS.map((c) => c.name).join(', ')}`);
    return await repl({
      io,
      commands: COMMANDS,
      runs: new Map(),
      packages,
      scenarios,
      plugins,
      load,
      version,
    });
  } catch (error) {
    line(io.err, describeError(error));
    return isExplained(error) ? 2 : 1;
  }
}

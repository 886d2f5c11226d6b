/** `run`: one scenario, with any knobs set; exit status 0 only if its outcome is the expected one. */
import { UserError } from '../errors.ts';
import { line } from '../io.ts';
import type { KnobSet } from '../scenarios.ts';
import { type Command, writeJson } from './command.ts';
import { contract, resultText } from './result.ts';
import { isScenarioFile, runFile } from './script.ts';

/** `--set` texts as knob values. @throws UserError for a text without `=`, and for a knob set twice. */
function parseSet(texts: readonly string[]): KnobSet {
  const set: Record<string, string> = {};
  for (const text of texts) {
    const [, knob, value] = /^([^=\s]+)=(.*)$/.exec(text) ?? [];
    if (knob === undefined || value === undefined)
      throw new UserError(`--set takes knob=value, not ${JSON.stringify(text)}\ne.g. --set sea.walkRule=v2`);
    if (knob in set) throw new UserError(`knob ${knob} is set twice: ${set[knob]} and ${value}`);
    set[knob] = value;
  }
  return set;
}

/** The `run` command. */
export const run: Command = {
  name: 'run',
  help: 'run one scenario, or a scenario file saved from a session',
  usage: 'run <scenario | file.ts> [--column <name>] [--set <knob>=<value> …]',
  options: { set: { type: 'string', multiple: true }, column: { type: 'string' } },
  about: {
    '--set <knob>=<value>': 'choose a knob, by its id or its bare name where that is unique; repeatable',
    '--column <name>': 'the column of the decision table (policy and capability) to run it in',
  },
  async run(invocation) {
    const { words, options, io, scenarios } = invocation;
    const [id, ...rest] = words;
    if (id === undefined || rest.length > 0)
      throw new UserError(
        `run takes one scenario${rest.length > 0 ? `, not ${words.length}` : ''}\nusage: ${run.usage}`,
      );
    const set = parseSet((options['set'] as readonly string[] | undefined) ?? []);
    const column = options['column'] as string | undefined;
    if (isScenarioFile(id)) return runFile(invocation, id, set);
    const result = scenarios.run(id, { set, ...(column === undefined ? {} : { column }) });
    if (options['json']) writeJson(io, contract(result));
    else line(io.out, resultText(result, io.colors));
    return result.ok ? 0 : 1;
  },
};

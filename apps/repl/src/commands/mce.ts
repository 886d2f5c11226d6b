/** `mce`: the word of a VMM's monitor that gives a vCPU a machine check, in a session. */
import { MCE_USAGE, monitorMce } from '@faultyard/plugin-mce/vmm';
import { UserError } from '../errors.ts';
import { line } from '../io.ts';
import type { Command } from './command.ts';

/** The `mce` command. */
export const mce: Command = {
  name: 'mce',
  help: "inject a machine check into the session's machine, as a VMM's monitor does",
  usage: MCE_USAGE,
  options: { broadcast: { type: 'boolean', short: 'b' } },
  about: { '-b': 'every other vCPU gets a machine check too, where the guest CPU broadcasts them' },
  statement: (words) => `policy.mce.monitorMce(vm, ${JSON.stringify(words)});`,
  run({ words, vm, io }) {
    if (!vm)
      throw new UserError(
        `mce needs a machine, and there is none here\nin a session: lab.x86({ plugins: [mce()] }), then .${MCE_USAGE}`,
      );
    const said = monitorMce(vm, words);
    for (const text of said) line(io.out, text);
    return said.length ? 1 : 0;
  },
};

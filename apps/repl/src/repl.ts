/** The interactive side: a lab, a session over it, and what a terminal adds. */
import type { Vm } from '@faultyard/core';
import type { LoadedPackage } from './builtin.ts';
import type { Command } from './commands/command.ts';
import { completer } from './complete.ts';
import { describeError } from './errors.ts';
import { createEvaluator } from './evaluate/evaluator.ts';
import { hintFor } from './hints.ts';
import { historyFile, openHistory } from './history.ts';
import { type Interrupts, signalInterrupts } from './interrupt/interrupts.ts';
import { terminalInterrupts } from './interrupt/terminal.ts';
import { type Io, line } from './io.ts';
import { offeredPlugins, openLab } from './lab/open.ts';
import type { Importer } from './modules/importer.ts';
import type { Scenarios } from './scenarios.ts';
import { type Session, startSession } from './session.ts';
import { isExit } from './show/exits.ts';
import { showValue } from './show/value.ts';

/** What a session is started with. */
export interface ReplOptions {
  readonly io: Io;
  readonly runs: Map<string, number>;
  readonly commands: readonly Command[];
  readonly packages: readonly LoadedPackage[];
  readonly scenarios: Scenarios;
  readonly plugins: readonly string[];
  readonly load: Importer;
  readonly version: string;
}

/** Runs a session to its end; returns the exit status. */
export async function repl(options: ReplOptions): Promise<number> {
  const { io } = options;
  const { terminal } = io;
  const interrupts = terminal ? terminalInterrupts((keys) => io.input.unshift(keys)) : signalInterrupts();
  const { journal, desk, globals } = openLab({ ...options, interrupts });
  const file = terminal ? historyFile(io.env) : undefined;
  if (terminal)
    line(io.out, io.colors.dim(`Faultyard ${options.version}: help() says what there is, .exit leaves`));
  const session = startSession({
    input: io.input,
    output: io.out,
    errors: io.err,
    terminal,
    interrupts,
    evaluate: createEvaluator(interrupts, options.load),
    prompt: terminal ? 'fy> ' : '',
    history: file === undefined ? undefined : openHistory(file, (message) => line(io.err, message)),
    show: (value) => showValue(value, { colors: io.colors.isColorSupported, columns: io.columns() }),
    showError: (error) => {
      const hint = hintFor(error, {
        vm: globals.vm,
        example: `const { vm, cpu, asm } = lab.${Object.keys(globals.lab)[0] ?? 'arm64'}()`,
        names: () => Object.getOwnPropertyNames(globalThis),
        architectures: Object.keys(globals.lab),
        plugins: () => offeredPlugins(options.packages),
      });
      return io.colors.red([describeError(error), ...(hint ? [hint] : [])].join('\n'));
    },
    announces: isExit,
    complete: completer(
      () => globals.vm,
      desk,
      () => (globals.vm ? (globals.inject() ?? []) : []),
    ),
    onInput: (input) => journal.inputs.push(input),
  });
  defineDotCommands(
    session,
    { ...options, interrupts },
    {
      vm: () => globals.vm,
      done: (statement) => journal.inputs.push(statement),
    },
  );
  session.server.defineCommand('save', {
    help: 'save this session as a scenario file, as save() does',
    action(name: string) {
      const save = (): number => {
        line(io.out, globals.save(name.trim()));
        return 0;
      };
      void session.work(save);
    },
  });
  return session.done;
}

/** `.list`, `.run sea/1` …: the commands of the command line, in a session. */
function defineDotCommands(
  session: Session,
  options: ReplOptions & { readonly interrupts: Interrupts },
  about: { readonly vm: () => Vm | undefined; readonly done: (statement: string) => void },
): void {
  for (const command of options.commands)
    session.server.defineCommand(command.name, {
      help: command.help,
      action(text: string) {
        const words = text.split(/\s+/).filter(Boolean);
        void session.work(async () => {
          const status = await command.run({ ...options, words, options: {}, vm: about.vm() });
          if (command.statement) about.done(command.statement(words));
          return status;
        });
      },
    });
}

/** What a command is: one object in one file of this folder, the same on the command line and in a session. */
import type { ParseArgsConfig } from 'node:util';
import type { Vm } from '@faultyard/core';
import type { LoadedPackage } from '../builtin.ts';
import type { Interrupts } from '../interrupt/interrupts.ts';
import type { Io } from '../io.ts';
import type { Scenarios } from '../scenarios.ts';

/** What a command is run with. */
export interface Invocation {
  /** Words after the command's name. */
  readonly words: readonly string[];
  readonly options: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
  readonly io: Io;
  /** How Ctrl-C reaches what the command runs; a program of its own needs none. */
  readonly interrupts?: Interrupts;
  /** The machine of a session, if there is one. */
  readonly vm?: Vm | undefined;
  /** How often files were run by this program, by URL. */
  readonly runs: Map<string, number>;
  /** All commands, for help. */
  readonly commands: readonly Command[];
  readonly packages: readonly LoadedPackage[];
  readonly scenarios: Scenarios;
  /** Plugins named with `--plugin`, as given. */
  readonly plugins: readonly string[];
}

/** A command. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly help: string;
  /** How it is written, without the program's name: `run <scenario> [--set knob=value …]`. */
  readonly usage: string;
  /** Its own options, beyond `--json`, `--plugin` and `--help`. */
  readonly options?: NonNullable<ParseArgsConfig['options']>;
  /** What its options mean, for `help`. */
  readonly about?: Readonly<Record<string, string>>;
  /** The statement that does the same in a saved session, where the command changes the session's machine. */
  readonly statement?: (words: readonly string[]) => string;
  /** Runs it; returns the exit status. @throws UserError for words it does not understand. */
  run(invocation: Invocation): number | Promise<number>;
}

/** Writes a value as JSON, the only thing on standard output under `--json`. */
export function writeJson(io: Io, value: unknown): void {
  io.out.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** The commands, in the order in which help shows them. A new one is a file here and a line in this table. */
import type { Command } from './command.ts';
import { list } from './list.ts';
import { matrix } from './matrix.ts';
import { mce } from './mce.ts';
import { run } from './run.ts';
import { script } from './script.ts';

/** All commands. */
export const COMMANDS: readonly Command[] = [list, run, matrix, script, mce];

/** How a session prints the value of a line. */
import { inspect } from 'node:util';
import { isPlugin } from '@faultyard/core';
import { exitText, isExit } from './exits.ts';
import { hex, PRINT } from './text.ts';

/** What the place it is printed to can show. */
export interface ShowOptions {
  readonly colors: boolean;
  readonly columns: number;
}

/** A value as text: integers of 64 bits in hexadecimal, exits on one line, the rest as Node does. */
export function showValue(value: unknown, { colors, columns }: ShowOptions): string {
  if (typeof value === 'bigint') return value < 0n ? `-${hex(-value)}n` : `${hex(value)}n`;
  if (isExit(value) && !(PRINT in value)) return exitText(value, undefined, undefined, {});
  if (isPlugin(value)) return `plugin ${value.def.name}: ${value.def.summary ?? 'no summary'}`;
  return inspect(value, { colors, depth: 3, breakLength: columns, maxArrayLength: 64 });
}

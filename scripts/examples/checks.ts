/** What a rewritten example calls: compares what it shows with what its page says. */
import { format, inspect } from 'node:util';

function matches(printed: string, expected: string): boolean {
  const parts = expected.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[\\s\\S]*')}$`).test(printed);
}

function refuse(printed: string, expected: string, line: number): never {
  throw new Error(`line ${line} says ${expected}\n  but it is ${printed}`);
}

/** Compares a value, as Node prints it on one line, with the comment on line `line`; returns the value. */
export function shows(expected: string, line: number): <T>(value: T) => T {
  return (value) => {
    const printed = inspect(value, { breakLength: Number.POSITIVE_INFINITY, compact: true, depth: 4 });
    const isText = typeof value === 'string' && matches(value, expected);
    if (!isText && !matches(printed, expected)) refuse(printed, expected, line);
    return value;
  };
}

/** Stands in for `console.log`: compares the line it would print with the comment on line `line`. */
export function prints(expected: string, line: number): (...values: readonly unknown[]) => void {
  return (...values) => {
    const printed = format(...values);
    if (!matches(printed, expected)) refuse(printed, expected, line);
  };
}

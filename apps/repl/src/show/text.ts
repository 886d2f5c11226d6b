/** How values of the lab look as text: addresses in hexadecimal, fields by name. */
import { type InspectOptions, inspect } from 'node:util';
import type { RegisterInfo } from '@faultyard/core';

/** The key under which an object prints itself. */
export const PRINT: symbol = inspect.custom;

/** What `inspect` passes to an object that prints itself. */
export type Stylize = (text: string, style: 'number' | 'special' | 'string' | 'name' | 'undefined') => string;

/** Options of a custom inspect function, with the colouring function in it. */
export interface PrintOptions extends InspectOptions {
  readonly stylize: Stylize;
}

/** Makes an object print itself as `text` gives it, without changing what it is made of. */
export function printsAs<T extends object>(value: T, text: (options: PrintOptions) => string): T {
  if (Object.isExtensible(value))
    Object.defineProperty(value, PRINT, {
      value: (_depth: number, options: PrintOptions) => text(options),
      configurable: true,
      enumerable: false,
    });
  return value;
}

/** `0x` and hexadecimal digits, at least `digits` of them. */
export function hex(value: bigint | number, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

/** A value of a field: integers of 64 bits in hexadecimal, the rest as JavaScript writes it. */
export function fieldText(value: unknown): string {
  if (typeof value === 'bigint') return hex(value);
  if (Array.isArray(value)) return `[${value.map(fieldText).join(' ')}]`;
  if (value instanceof Uint8Array)
    return `[${Array.from(value, (b) => b.toString(16).padStart(2, '0')).join(' ')}]`;
  return typeof value === 'object' && value !== null
    ? inspect(value, { depth: 1, breakLength: Infinity })
    : String(value);
}

/** The fields of a register that are not zero, `EC=0x25 IL=1`. */
export function registerFields(info: RegisterInfo, value: bigint): string {
  const parts = (info.fields ?? []).flatMap(([name, high, low]) => {
    const field = (value >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
    return field === 0n ? [] : [high === low ? name : `${name}=${hex(field)}`];
  });
  return parts.join(' ');
}

/** Parsing of the bit patterns of table rows, and extraction and insertion of their fields. */
import { FaultyardError } from '@faultyard/core';
import type { Bits } from './form.ts';

/** A named field of an instruction word. */
export interface Field {
  readonly name: string;
  /** Bit number of its least significant bit. */
  readonly pos: number;
  /** Width in bits, 1..31. */
  readonly width: number;
  /** Largest value. */
  readonly mask: number;
}

/** A parsed pattern: the word matches where `(word & mask) === value` (both as int32). */
export interface Pattern {
  readonly mask: number;
  readonly value: number;
  /** Ignored bits that assembly sets. */
  readonly shouldBeOne: number;
  /** From bit 31 down. */
  readonly fields: readonly Field[];
}

/** Two rows that claim the same: a word, or a name. */
export interface RowClash {
  /** `instruction word`, `instruction row`. */
  readonly what: string;
  readonly name: string;
  /** The later row and its owner, then the earlier one. */
  readonly plugin: string;
  readonly other: string;
  readonly fix: string;
}

/**
 * Thrown at load for a row that cannot be part of the table (its author has a bug): FY_INSTRUCTION for a malformed one,
 * FY_PLUGIN_CLASH for two that claim the same word or name.
 */
export class TableError extends FaultyardError {
  constructor(why: string | RowClash, fix: string = 'correct the row') {
    if (typeof why === 'string') super('FY_INSTRUCTION', { why, fix });
    else super('FY_PLUGIN_CLASH', { ...why });
  }
}

/**
 * Parses the pattern language of `Form.bits`.
 * @throws TableError naming `row` if the parts do not add up to 32 bits or a field is named twice.
 */
export function parsePattern(text: string, row: string): Pattern {
  let at = 32;
  let mask = 0;
  let value = 0;
  let shouldBeOne = 0;
  const fields: Field[] = [];
  const parts = text.trim().split(/\s+/);
  for (const part of parts) {
    if (/^[01xo]+$/.test(part)) {
      for (const bit of part) {
        at--;
        if (bit === 'o') shouldBeOne |= 1 << at;
        if (bit === 'x' || bit === 'o') continue;
        mask |= 1 << at;
        if (bit === '1') value |= 1 << at;
      }
      continue;
    }
    const m = /^([A-Za-z][A-Za-z0-9]*):(\d+)$/.exec(part);
    if (!m?.[1])
      throw new TableError(`row "${row}": "${part}" is neither bits (0, 1, x, o) nor a field (name:width)`);
    const name = m[1];
    const width = Number(m[2]);
    if (width < 1 || width > 31) throw new TableError(`row "${row}": field ${name} is ${width} bits wide`);
    if (fields.some((f) => f.name === name))
      throw new TableError(`row "${row}": field ${name} appears twice`);
    at -= width;
    fields.push({ name, pos: at, width, mask: 2 ** width - 1 });
  }
  if (at !== 0) throw new TableError(`row "${row}": the pattern "${text}" has ${32 - at} bits, not 32`);
  return { mask: mask | 0, value: value | 0, shouldBeOne: shouldBeOne | 0, fields };
}

/** Value of a field in a word. */
export function fieldOf(word: number, f: Field): number {
  return (word >>> f.pos) & f.mask;
}

/** Largest value of a field. */
export function fieldMask(f: Field): number {
  return f.mask;
}

/** Writes the fields of `word` into `into` (one property per field) and returns it. */
export function extract(p: Pattern, word: number, into: Record<string, number> = {}): Record<string, number> {
  for (const f of p.fields) into[f.name] = (word >>> f.pos) & f.mask;
  return into;
}

/** The word (as uint32) with the given fields; fields not named are 0. Values are cut to their width. */
export function insert(p: Pattern, b: Bits): number {
  let word = p.value | p.shouldBeOne;
  for (const f of p.fields) word |= ((b[f.name] ?? 0) & fieldMask(f)) << f.pos;
  return word >>> 0;
}

/** Sign-extends the low `width` bits of `n` to an int32. */
export function signed(n: number, width: number): number {
  return (n << (32 - width)) >> (32 - width);
}

/** An integer below 2^53 in magnitude as two int32 halves. */
export function pair(n: number): readonly [lo: number, hi: number] {
  return [n | 0, Math.floor(n / 4294967296) | 0];
}

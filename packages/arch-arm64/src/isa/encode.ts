/** One instruction statement to a word. */

import type { Statement } from '../asm/expression.ts';
import { extract, fieldMask, insert } from './bits.ts';
import type { Bits } from './form.ts';
import { byMnemonic, isMismatch, type Mismatch, matchSyntax, type Syntax } from './syntax.ts';
import type { Table } from './table.ts';

/** Why a statement has no encoding; `position` is an offset in its text. */
export interface Refusal {
  readonly position: number;
  readonly message: string;
}

/** By rows: tables that differ in names of registers only share them. */
const indexes = new WeakMap<Table['rows'], ReturnType<typeof byMnemonic>>();

/** Mnemonics with their syntax lines. */
function mnemonics(table: Table): ReturnType<typeof byMnemonic> {
  let known = indexes.get(table.rows);
  if (!known) {
    known = byMnemonic(table);
    indexes.set(table.rows, known);
  }
  return known;
}

/** Encodes the statement under the cursor (mnemonic and operands). */
export function encode(table: Table, c: Statement): number | Refusal {
  c.atEnd();
  const at = c.position;
  const mnemonic = c.word();
  const lines = mnemonic === undefined ? undefined : mnemonics(table).get(mnemonic);
  if (!lines) {
    const near = nearest([...mnemonics(table).keys()], mnemonic ?? '');
    return { position: at, message: `unknown instruction "${mnemonic ?? c.text.slice(at)}"${near}` };
  }
  const start = c.position;
  const misses: Mismatch[] = [];
  for (const { syntax, fixed } of lines) {
    c.position = start;
    c.missing = undefined;
    c.divided = false;
    const found = matchSyntax(syntax, fixed, c);
    if (isMismatch(found)) {
      misses.push(unresolved(c) ?? found);
      continue;
    }
    const word = finish(syntax, found);
    if (typeof word === 'number') return word;
    misses.push({ position: start, expect: word, reason: true });
  }
  return explain(misses);
}

/** A mismatch that is really an unknown symbol. */
function unresolved(c: Statement): Mismatch | undefined {
  if (c.divided) return { position: c.position, expect: 'division by zero', reason: true };
  if (!c.missing) return undefined;
  return { position: c.missing.position, expect: `"${c.missing.name}" is not defined`, reason: true };
}

/** The word, or why these operands do not go together. */
function finish(s: Syntax, b: Bits): number | string {
  for (const f of s.row.pattern.fields) {
    const value = b[f.name] ?? 0;
    if (value < 0 || value > fieldMask(f)) return `field ${f.name} cannot hold ${value}`;
  }
  const word = insert(s.row.pattern, b);
  if (s.line.binding && !s.line.if?.(b)) return 'these operands do not go together in this instruction';
  const { when } = s.row.form;
  if (when && !when(extract(s.row.pattern, word)))
    return 'these operands do not go together in this instruction';
  return word;
}

/** One message from all the ways a statement failed: those that came furthest count. */
function explain(misses: readonly Mismatch[]): Refusal {
  const position = Math.max(...misses.map((m) => m.position));
  const here = misses.filter((m) => m.position === position);
  const reasons = [...new Set(here.filter((m) => m.reason).map((m) => m.expect))];
  const expected = [...new Set(here.filter((m) => !m.reason).map((m) => m.expect))];
  const wanted = expected.length > 0 ? `expected ${expected.slice(0, 5).join(', or ')}` : '';
  const message = [...reasons.slice(0, 3), ...(reasons.length === 0 || expected.length > 0 ? [wanted] : [])];
  return { position, message: message.filter((x) => x).join('; ') };
}

/** `: did you mean …` for the closest names. */
function nearest(names: readonly string[], wrong: string): string {
  const close = names.filter((n) => distance(n, wrong) <= 1).slice(0, 3);
  return close.length > 0 ? `: did you mean ${close.join(', ')}?` : '';
}

/** Edit distance, exact up to 1 and at least 2 beyond. */
function distance(a: string, b: string): number {
  if (a === b) return 0;
  if (Math.abs(a.length - b.length) > 1) return 2;
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  const tails = [
    a.slice(i + 1) === b.slice(i + 1),
    a.slice(i + 1) === b.slice(i),
    a.slice(i) === b.slice(i + 1),
  ];
  return tails.includes(true) ? 1 : 2;
}

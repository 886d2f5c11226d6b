/** Syntax lines of the table compiled once, for printing and for matching. */
import { TableError } from './bits.ts';
import type { AsmLine, Bits, Cursor } from './form.ts';
import { CONDITIONS, conditionNumber, type Placed, placeOperand } from './operands.ts';
import type { SysregNames } from './sysreg-names.ts';
import type { Row, Table } from './table.ts';

/** A part of a syntax line. */
type Piece =
  | { readonly kind: 'text'; readonly text: string; readonly tokens: readonly (string | bigint)[] }
  | { readonly kind: 'operand'; readonly placed: Placed }
  | { readonly kind: 'optional'; readonly pieces: readonly Piece[]; readonly field: string | undefined };

/** One syntax line of a row. */
export interface Syntax {
  readonly row: Row;
  readonly line: AsmLine;
  /** As in the table; may hold `<cond>`. */
  readonly mnemonic: string;
  readonly pieces: readonly Piece[];
}

/** A cursor that can go back, as {@link matchSyntax} needs it. */
export interface BackCursor extends Cursor {
  /** Position in the statement. */
  position: number;
  /** Skips white space and tells whether nothing is left. */
  atEnd(): boolean;
}

/** Why a statement is not an instance of a syntax. */
export interface Mismatch {
  readonly position: number;
  /** What would have been accepted there, or a reason why the value is not. */
  readonly expect: string;
  readonly reason: boolean;
}

const compiled = new WeakMap<Row, readonly Syntax[]>();

/** The syntax lines of a row. */
export function syntaxOf(row: Row): readonly Syntax[] {
  const known = compiled.get(row);
  if (known) return known;
  const lines = row.form.asm.map((line): Syntax => {
    const m = /^(\S+)\s*(.*)$/.exec(line.text);
    if (!m?.[1]) throw new TableError(`row "${row.form.name}": empty syntax line`);
    return { row, line, mnemonic: m[1], pieces: compile(row, m[2] ?? '') };
  });
  compiled.set(row, lines);
  return lines;
}

function compile(row: Row, text: string, outer = 0): Piece[] {
  const pieces: Piece[] = [];
  let depth = outer;
  for (const part of text.match(/<[^>]+>|\{[^}]*\}|[^<{]+/g) ?? []) {
    if (part.startsWith('<')) {
      pieces.push({ kind: 'operand', placed: placeOperand(row, part.slice(1, -1), depth > 0) });
    } else if (part.startsWith('{')) {
      const m = /^\{(.*?)(?: if (\w+))?\}$/.exec(part);
      pieces.push({ kind: 'optional', pieces: compile(row, m?.[1] ?? '', depth), field: m?.[2] });
    } else {
      for (const ch of part) depth += ch === '[' ? 1 : ch === ']' ? -1 : 0;
      pieces.push(textPiece(part));
    }
  }
  return pieces;
}

function textPiece(text: string): Piece {
  const tokens: (string | bigint)[] = [];
  for (const t of text.match(/[A-Za-z_.][\w.]*|#-?\d+|[^\s]/g) ?? []) {
    if (t === '#') continue;
    tokens.push(t.startsWith('#') ? BigInt(t.slice(1)) : t);
  }
  return { kind: 'text', text, tokens };
}

/** The text of an instruction with fields `b` at `pc` in this syntax. */
export function printSyntax(s: Syntax, b: Bits, pc: bigint, registers: SysregNames): string {
  const mnemonic = s.mnemonic.replace('<cond>', CONDITIONS[b.cond ?? 0] ?? '');
  const operands = print(s.pieces, b, pc, registers).trimEnd();
  return operands === '' ? mnemonic : `${mnemonic} ${operands}`;
}

function print(pieces: readonly Piece[], b: Bits, pc: bigint, registers: SysregNames): string {
  let text = '';
  for (const p of pieces) {
    if (p.kind === 'text') text += p.text;
    else if (p.kind === 'operand') text += p.placed.operand.print(b, pc, registers);
    else if (!isOmitted(p, b)) text += print(p.pieces, b, pc, registers);
  }
  return text;
}

function isOmitted(p: Extract<Piece, { kind: 'optional' }>, b: Bits): boolean {
  if (p.field !== undefined) return (b[p.field] ?? 0) === 0;
  return p.pieces.every((x) => x.kind !== 'operand' || x.placed.omitted(b));
}

/** Whether disassembly may use this syntax for fields `b`. */
export function applies(s: Syntax, b: Bits): boolean {
  const { line } = s;
  if (line.asmOnly) return false;
  for (const name in line.with) if (b[name] !== line.with[name]) return false;
  return line.if === undefined || line.if(b);
}

/** Every mnemonic of the table (conditions spelled out) with its syntax lines in table order. */
export function byMnemonic(table: Table): ReadonlyMap<string, readonly { syntax: Syntax; fixed: Bits }[]> {
  const all = new Map<string, { syntax: Syntax; fixed: Bits }[]>();
  const add = (mnemonic: string, syntax: Syntax, fixed: Bits): void => {
    const list = all.get(mnemonic);
    if (list) list.push({ syntax, fixed });
    else all.set(mnemonic, [{ syntax, fixed }]);
  };
  for (const row of table.rows) {
    for (const syntax of syntaxOf(row)) {
      const fixed = syntax.line.with ?? {};
      if (!syntax.mnemonic.includes('<cond>')) add(syntax.mnemonic, syntax, fixed);
      else {
        for (const name of [...CONDITIONS, 'hs', 'lo']) {
          const cond = conditionNumber(name) ?? 0;
          add(syntax.mnemonic.replace('<cond>', name), syntax, { ...fixed, cond });
        }
      }
    }
  }
  return all;
}

/** Matches the operands of a statement; the fields, or where and why it does not match. */
export function matchSyntax(s: Syntax, fixed: Bits, c: BackCursor): Record<string, number> | Mismatch {
  const fields: Record<string, number> = { ...fixed };
  let furthest: Mismatch | undefined;
  const fail = (position: number, expect: string, reason = false): false => {
    if (!furthest || position > furthest.position) furthest = { position, expect, reason };
    return false;
  };
  const match = (pieces: readonly Piece[], into: Record<string, number>): boolean => {
    for (const p of pieces) {
      if (p.kind === 'text') {
        for (const t of p.tokens) {
          c.atEnd();
          const start = c.position;
          const ok = typeof t === 'string' ? c.take(t) : c.number() === t;
          if (!ok) return fail(start, typeof t === 'string' ? `"${t}"` : `#${t}`);
        }
      } else if (p.kind === 'operand') {
        c.atEnd();
        const start = c.position;
        const found = p.placed.operand.parse(c, into);
        if (found === undefined) return fail(start, p.placed.operand.expect);
        if (typeof found === 'string') return fail(start, found, true);
        for (const name in found) {
          const value = found[name] ?? 0;
          const before = fixed[name];
          if (before !== undefined && before !== value) return fail(start, p.placed.operand.expect);
          into[name] = value;
        }
      } else {
        const start = c.position;
        const attempt = { ...into };
        if (match(p.pieces, attempt)) {
          Object.assign(into, attempt);
          if (p.field !== undefined) into[p.field] = 1;
        } else c.position = start;
      }
    }
    return true;
  };
  if (match(s.pieces, fields)) {
    if (c.atEnd()) return { ...fields, ...s.line.complete?.(fields) };
    fail(c.position, 'the end of the statement');
  }
  return furthest ?? { position: c.position, expect: 'another operand', reason: false };
}

/** Tells a mismatch from fields. */
export function isMismatch(m: Record<string, number> | Mismatch): m is Mismatch {
  return 'expect' in m;
}

/** The source as statements, and a cursor over one: words, punctuation, strings and expressions. */
import { type Expression, LEVELS } from './expression.ts';
import { isRegister } from './registers.ts';

/** A statement with its place in the source. */
export interface Line {
  readonly text: string;
  /** From 1. */
  readonly line: number;
  /** Column of the text's first character, from 1. */
  readonly column: number;
}

/** Splits the source at newlines and `;`, dropping comments: `#` and `//` to the end of the line, and those of C. */
export function statements(source: string): Line[] {
  const lines: Line[] = [];
  const code = source.replace(
    /\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:\\.|[^\\\n])'|(?:#|\/\/)[^\n]*/g,
    (m) => (/^["']/.test(m) ? m : m.replace(/[^\n]/g, ' ')),
  );
  for (const [i, whole] of code.split('\n').entries()) {
    let column = 1;
    for (const text of whole.split(/;(?=(?:"(?:[^"\\]|\\.)*"|'(?:\\.|[^\\])'|[^"'])*$)/)) {
      if (text.trim() !== '') lines.push({ text, line: i + 1, column });
      column += text.length + 1;
    }
  }
  return lines;
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  b: '\b',
  f: '\f',
  0: '\0',
  '\\': '\\',
  "'": "'",
  '"': '"',
};

/** Cursor over one statement. */
export class Statement {
  position = 0;
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** Skips white space and tells whether nothing is left. */
  atEnd(): boolean {
    while (/\s/.test(this.text[this.position] ?? '')) this.position++;
    return this.position >= this.text.length;
  }

  /** The match of a sticky pattern here, after white space; the cursor moves behind it. */
  scan(pattern: RegExp): string | undefined {
    this.atEnd();
    pattern.lastIndex = this.position;
    const m = pattern.exec(this.text);
    if (!m) return undefined;
    this.position += m[0].length;
    return m[0];
  }

  /** Whether this text stands here (a word as a whole, in either case); the cursor moves behind it. */
  take(text: string): boolean {
    this.atEnd();
    const end = this.position + text.length;
    if (this.text.slice(this.position, end).toLowerCase() !== text) return false;
    if (/\w$/.test(text) && /[\w.$]/.test(this.text[end] ?? '')) return false;
    this.position = end;
    return true;
  }

  /** A word in lower case. */
  word(): string | undefined {
    return this.symbol()?.toLowerCase();
  }

  /** A word as it is written: symbols tell upper from lower case. */
  symbol(): string | undefined {
    return this.scan(/[A-Za-z_.$][\w.$]*/y);
  }

  /** A quoted string with C escapes, as bytes of UTF-8; `undefined` if none stands here. */
  quoted(): Uint8Array | undefined {
    const text = this.scan(/"(?:[^"\\]|\\.)*"/y);
    if (text === undefined) return undefined;
    return new TextEncoder().encode(
      text
        .slice(1, -1)
        .replace(/\\x([0-9a-fA-F]{2})|\\(.)/g, (_, hex: string | undefined, c: string) =>
          hex === undefined ? (ESCAPES[c] ?? c) : String.fromCharCode(Number.parseInt(hex, 16)),
        ),
    );
  }

  /** An expression; `undefined`, with the cursor where it broke off, if none stands here. */
  expression(): Expression | undefined {
    return this.#binary(0);
  }

  #binary(level: number): Expression | undefined {
    const operators = LEVELS[level];
    if (!operators) return this.#unary();
    let left = this.#binary(level + 1);
    while (left !== undefined) {
      this.atEnd();
      const { position } = this;
      const operator = operators.find((o) => this.take(o));
      if (operator === undefined) return left;
      const right = this.#binary(level + 1);
      if (right === undefined) return undefined;
      left = { kind: 'binary', operator, left, right, position };
    }
    return left;
  }

  #unary(): Expression | undefined {
    if (this.take('+')) return this.#unary();
    for (const operator of ['-', '~'] as const) {
      if (!this.take(operator)) continue;
      const operand = this.#unary();
      return operand && { kind: 'unary', operator, operand };
    }
    if (this.take('(')) {
      const inner = this.#binary(0);
      return inner !== undefined && this.take(')') ? inner : undefined;
    }
    return this.#number() ?? this.#name();
  }

  #number(): Expression | undefined {
    const hex = this.scan(/0[xX][0-9a-fA-F_]+(?!\w)/y);
    if (hex !== undefined) return { kind: 'number', value: BigInt(hex.replaceAll('_', '')) };
    const suffixed = this.scan(/\d[0-9a-fA-F]*[hH](?!\w)/y);
    if (suffixed !== undefined) return { kind: 'number', value: BigInt(`0x${suffixed.slice(0, -1)}`) };
    const plain = this.scan(/0[bB][01_]+(?!\w)|\d[\d_]*(?!\w)/y);
    if (plain !== undefined) return { kind: 'number', value: BigInt(plain.replaceAll('_', '')) };
    this.atEnd();
    const { position } = this;
    const near = this.scan(/\d+[bf](?![\w.])/y);
    if (near !== undefined) return { kind: 'symbol', name: near, position };
    const quoted = this.scan(/'(?:\\.|[^\\])'/y);
    if (quoted === undefined) return undefined;
    const c = quoted[1] === '\\' ? (ESCAPES[quoted[2] ?? ''] ?? quoted[2]) : quoted[1];
    return { kind: 'number', value: BigInt(c?.codePointAt(0) ?? 0) };
  }

  #name(): Expression | undefined {
    this.atEnd();
    const { position } = this;
    const name = this.symbol();
    if (name === undefined) return undefined;
    if (!isRegister(name)) return { kind: 'symbol', name, position };
    // `st(1)` is one name
    const stack = /^st$/i.test(name) ? this.scan(/\(\s*[0-7]\s*\)/y) : undefined;
    return {
      kind: 'register',
      name: `${name}${stack?.replaceAll(/[\s()]/g, '') ?? ''}`.toLowerCase(),
      position,
    };
  }
}

/** One assembly statement as a cursor over its text: words, punctuation, and constant expressions. */
import { isRegister } from '../isa/operands.ts';
import type { BackCursor } from '../isa/syntax.ts';
import type { SysregNames } from '../isa/sysreg-names.ts';

/** What an expression can refer to. */
export interface Scope {
  readonly registers: SysregNames;
  /** Address of the statement (`.`). */
  readonly pc: bigint;
  /** Value of a symbol; `undefined` if it has none (yet). Numeric labels come as `1b`, `1f`. */
  lookup(name: string): bigint | undefined;
}

/** Binary operators by precedence, weakest first (those of C; GNU as puts | & ^ above + -, so use parentheses). */
const LEVELS: readonly (readonly string[])[] = [
  ['|'],
  ['^'],
  ['&'],
  ['<<', '>>'],
  ['+', '-'],
  ['*', '/', '%'],
];

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  0: '\0',
  '\\': '\\',
  "'": "'",
  '"': '"',
};

/** Cursor over one statement. */
export class Statement implements BackCursor {
  position = 0;
  /** Set when a symbol without a value was met: its name and where. */
  missing: { readonly name: string; readonly position: number } | undefined;
  /** Whether an expression divided by zero. */
  divided = false;
  readonly text: string;
  readonly #scope: Scope;

  constructor(text: string, scope: Scope) {
    this.text = text;
    this.#scope = scope;
  }

  get pc(): bigint {
    return this.#scope.pc;
  }
  get registers(): SysregNames {
    return this.#scope.registers;
  }

  atEnd(): boolean {
    while (this.position < this.text.length && /\s/.test(this.text[this.position] ?? '')) this.position++;
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

  take(text: string): boolean {
    this.atEnd();
    const end = this.position + text.length;
    if (this.text.slice(this.position, end).toLowerCase() !== text) return false;
    if (/\w$/.test(text) && /[\w.]/.test(this.text[end] ?? '')) return false;
    this.position = end;
    return true;
  }

  word(): string | undefined {
    return this.scan(/[A-Za-z_.$][\w.$]*/y)?.toLowerCase();
  }

  /** A word as it is written (symbols tell upper from lower case). */
  symbol(): string | undefined {
    return this.scan(/[A-Za-z_.$][\w.$]*/y);
  }

  number(): bigint | undefined {
    const start = this.position;
    this.take('#');
    const value = this.#binary(0);
    if (value === undefined) this.position = start;
    return value;
  }

  /** A quoted string with C escapes, as bytes of UTF-8; `undefined` if none stands here. */
  quoted(): number[] | undefined {
    const text = this.scan(/"(?:[^"\\]|\\.)*"/y);
    if (text === undefined) return undefined;
    const plain = text.slice(1, -1).replace(/\\(.)/g, (_, c: string) => ESCAPES[c] ?? c);
    return utf8(plain);
  }

  #binary(level: number): bigint | undefined {
    const operators = LEVELS[level];
    if (!operators) return this.#unary();
    let left = this.#binary(level + 1);
    while (left !== undefined) {
      const operator = operators.find((o) => this.take(o));
      if (operator === undefined) return left;
      const right = this.#binary(level + 1);
      if (right === undefined) return undefined;
      left = this.#apply(operator, left, right);
    }
    return left;
  }

  #apply(operator: string, a: bigint, b: bigint): bigint | undefined {
    switch (operator) {
      case '|':
        return a | b;
      case '^':
        return a ^ b;
      case '&':
        return a & b;
      case '<<':
        return b >= 0n && b < 128n ? a << b : 0n;
      case '>>':
        return b >= 0n ? a >> b : 0n;
      case '+':
        return a + b;
      case '-':
        return a - b;
      case '*':
        return a * b;
      default:
        this.divided ||= b === 0n;
        if (b === 0n) return undefined;
        return operator === '/' ? a / b : a % b;
    }
  }

  #unary(): bigint | undefined {
    if (this.take('-')) return negate(this.#unary());
    if (this.take('+')) return this.#unary();
    if (this.take('~')) {
      const v = this.#unary();
      return v === undefined ? undefined : ~v;
    }
    if (this.take(':lo12:')) {
      const v = this.#unary();
      return v === undefined ? undefined : v & 0xfffn;
    }
    if (this.take('(')) {
      const v = this.#binary(0);
      return v !== undefined && this.take(')') ? v : undefined;
    }
    const near = this.scan(/\d+[bf](?![\w.])/y);
    // `0b` and `0f` are labels only where a label 0 exists; `0b1` is a binary number.
    if (near !== undefined) return this.#look(near);
    const digits = this.scan(/0[xX][0-9a-fA-F_]+|0[bB][01_]+|\d[\d_]*(?![\w.])/y);
    if (digits !== undefined) return BigInt(digits.replaceAll('_', ''));
    const quoted = this.scan(/'(?:\\.|[^\\])'?/y);
    if (quoted !== undefined) {
      const c = quoted[1] === '\\' ? (ESCAPES[quoted[2] ?? ''] ?? quoted[2]) : quoted[1];
      return BigInt(c?.codePointAt(0) ?? 0);
    }
    const start = this.position;
    const name = this.symbol();
    if (name === '.') return this.pc;
    if (name === undefined) return undefined;
    if (isRegister(name.toLowerCase())) {
      this.position = start;
      return undefined;
    }
    return this.#look(name);
  }

  #look(name: string): bigint | undefined {
    const value = this.#scope.lookup(name);
    if (value === undefined) this.missing ??= { name, position: this.position - name.length };
    return value;
  }
}

function negate(v: bigint | undefined): bigint | undefined {
  return v === undefined ? undefined : -v;
}

function utf8(text: string): number[] {
  const out: number[] = [];
  for (const ch of text) {
    const c = ch.codePointAt(0) ?? 0;
    if (c < 0x80) out.push(c);
    else if (c < 0x800) out.push(0xc0 | (c >> 6), 0x80 | (c & 63));
    else if (c < 0x10000) out.push(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
    else out.push(0xf0 | (c >> 18), 0x80 | ((c >> 12) & 63), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
  }
  return out;
}

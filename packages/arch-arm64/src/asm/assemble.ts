/**
 * A two-pass assembler for A64 in GNU syntax, from the instruction table. Labels (`name:`, `1:` with `1b`/`1f`),
 * expressions, `ldr x0, =value` with literal pools, and the directives of directives.ts.
 */

import { encode } from '../isa/encode.ts';
import { standardTable } from '../isa/forms.ts';
import type { Table } from '../isa/table.ts';
import { AssemblyError, type Diagnostic } from './assembly-error.ts';
import { DIRECTIVES, type Layout, littleEndian } from './directives.ts';
import { Statement } from './expression.ts';

/** How to assemble. */
export interface AssembleOptions {
  /** Address of the first byte. Default 0. */
  readonly origin?: bigint | number;
  /** Symbols that exist from the start. */
  readonly symbols?: Readonly<Record<string, bigint | number>>;
  /** Instruction table; default: all rows of this package. */
  readonly table?: Table;
}

/** Assembled code. */
export interface Assembled {
  readonly bytes: Uint8Array;
  /** Address of every label, value of every `.equ`. */
  readonly symbols: Readonly<Record<string, bigint>>;
}

/** A statement with its place in the source. */
interface Line {
  readonly text: string;
  readonly line: number;
  /** Column of the text's first character, from 1. */
  readonly column: number;
}

/** What a statement becomes in the second pass: its bytes, at its address. */
interface Item {
  readonly at: bigint;
  readonly size: number;
  emit(at: bigint): Uint8Array;
}

/**
 * Assembles `text`.
 * @throws AssemblyError with every mistake's line, column and what would have been accepted.
 */
export function assemble(text: string, options: AssembleOptions = {}): Assembled {
  return new Job(text, options).run();
}

/** A value that `ldr` with `=` loads. */
interface Literal {
  readonly size: 4 | 8;
  readonly text: string;
  readonly line: Line;
  at: bigint;
}

class Job implements Layout {
  readonly origin: bigint;
  here: bigint;
  readonly #table: Table;
  readonly #source: string;
  readonly #constants = new Map<string, bigint>();
  readonly #labels = new Map<string, bigint>();
  readonly #numeric = new Map<string, bigint[]>();
  readonly #items: Item[] = [];
  readonly #pool: Literal[] = [];
  #poolsDone = 0;
  readonly #errors: Diagnostic[] = [];
  #line: Line = { text: '', line: 1, column: 1 };
  #second = false;

  constructor(text: string, options: AssembleOptions) {
    this.#source = text;
    this.#table = options.table ?? standardTable();
    this.origin = BigInt(options.origin ?? 0);
    this.here = this.origin;
    for (const [name, value] of Object.entries(options.symbols ?? {}))
      this.#constants.set(name, BigInt(value));
  }

  run(): Assembled {
    for (const line of statements(this.#source)) {
      this.#line = line;
      this.#first(line);
    }
    this.flushPool();
    this.#second = true;
    const bytes = new Uint8Array(Number(this.here - this.origin));
    for (const item of this.#items) bytes.set(item.emit(item.at), Number(item.at - this.origin));
    if (this.#errors.length > 0) throw new AssemblyError(this.#source, this.#errors);
    return { bytes, symbols: Object.fromEntries([...this.#constants, ...this.#labels]) };
  }

  fail(position: number, message: string, line: Line = this.#line): void {
    this.#errors.push({ line: line.line, column: line.column + position, message });
  }

  place(size: number, emit: (at: bigint) => Uint8Array): void {
    const line = this.#line;
    this.#items.push({
      at: this.here,
      size,
      emit: (at) => {
        this.#line = line;
        return emit(at);
      },
    });
    this.here += BigInt(size);
  }

  statement(text: string, offset: number, pc: bigint): Statement {
    const c = new Statement(text, {
      pc,
      registers: this.#table.registers,
      lookup: (name) => this.#lookup(name, pc),
    });
    c.position = offset;
    return c;
  }

  define(name: string, value: bigint): void {
    this.#constants.set(name, value);
  }

  flushPool(): void {
    const open = this.#pool.slice(this.#poolsDone);
    this.#poolsDone = this.#pool.length;
    for (const entry of open.sort((a, b) => a.size - b.size)) {
      while (this.here % BigInt(entry.size) !== 0n) this.place(1, () => new Uint8Array(1));
      entry.at = this.here;
      const { text, line, size } = entry;
      this.place(size, (at) => {
        const c = this.statement(text, 0, at);
        const value = c.number();
        if (value === undefined || !c.atEnd()) {
          this.fail(0, c.missing ? `"${c.missing.name}" is not defined` : 'expected a value after "="', line);
          return new Uint8Array(size);
        }
        return littleEndian(value, size);
      });
    }
  }

  #lookup(name: string, pc: bigint): bigint | undefined {
    const near = /^(\d+)([bf])$/.exec(name);
    if (near?.[1]) {
      const places = this.#numeric.get(near[1]) ?? [];
      if (near[2] === 'b') return places.filter((p) => p <= pc).at(-1);
      return this.#second ? places.find((p) => p > pc) : undefined;
    }
    return this.#constants.get(name) ?? this.#labels.get(name);
  }

  /** First pass over one statement: labels, sizes. */
  #first(line: Line): void {
    const c = this.statement(line.text, 0, this.here);
    for (;;) {
      const label = c.scan(/(?:[A-Za-z_.$][\w.$]*|\d+)\s*:/y);
      if (label === undefined) break;
      this.#label(label.slice(0, -1).trim(), c.position - label.length);
    }
    if (c.atEnd()) return;
    const start = c.position;
    const assignment = c.scan(/[A-Za-z_.$][\w.$]*\s*=/y);
    if (assignment !== undefined) {
      this.#assign(assignment.slice(0, -1).trim(), c, start);
      return;
    }
    c.position = start;
    const word = c.word() ?? '';
    const directive = DIRECTIVES[word];
    if (directive) directive(this, c, word);
    else if (word.startsWith('.')) this.fail(start, `unknown directive "${word}"`);
    else this.#instruction(line, start);
  }

  #label(name: string, position: number): void {
    if (/^\d+$/.test(name)) {
      this.#numeric.set(name, [...(this.#numeric.get(name) ?? []), this.here]);
    } else if (this.#labels.has(name)) this.fail(position, `label "${name}" is defined twice`);
    else this.#labels.set(name, this.here);
  }

  #assign(name: string, c: Statement, start: number): void {
    const value = c.number();
    if (value !== undefined && c.atEnd()) this.define(name, value);
    else this.fail(start, `expected a value for "${name}" that is known here`);
  }

  #instruction(line: Line, start: number): void {
    if (this.here % 4n !== 0n)
      this.fail(start, 'an instruction must be at a multiple of 4: put ".align 2" before it');
    const literal = /^(ldr|ldrsw)\s+(\w+)\s*,\s*=(.*)$/is.exec(line.text.slice(start));
    const text = literal ? this.#literal(literal, start) : undefined;
    this.place(4, (at) => {
      const replaced = text?.();
      const again = this.statement(replaced ?? line.text, replaced === undefined ? start : 0, at);
      const word = encode(this.#table, again);
      if (typeof word === 'number') return littleEndian(BigInt(word), 4);
      this.fail(replaced === undefined ? word.position : start, word.message, line);
      return new Uint8Array(4);
    });
  }

  /** `ldr x0, =value`: a load from the next literal pool. */
  #literal(m: RegExpExecArray, start: number): () => string {
    const [, mnemonic = '', register = '', value = ''] = m;
    const size = /^(x|lr|fp|ip)/i.test(register) && mnemonic.toLowerCase() === 'ldr' ? 8 : 4;
    const wanted = value.trim();
    const column = this.#line.column + start + m[0].length - value.length;
    let slot = this.#pool.slice(this.#poolsDone).find((p) => p.size === size && p.text === wanted);
    if (!slot) {
      slot = { size, text: wanted, line: { ...this.#line, column }, at: 0n };
      this.#pool.push(slot);
    }
    const place = slot;
    return () => `${mnemonic} ${register}, ${place.at}`;
  }
}

/** Code written as a template: assembled where it is loaded, or at 0 if its bytes are asked for as they are. */
export interface AssemblyText extends Assembled {
  readonly text: string;
  /** The text assembled at an address. */
  at(origin: bigint | number, symbols?: Readonly<Record<string, bigint | number>>): Assembled;
}

/**
 * A template of code: ``asm`ldr x1, [x2]; wfi` ``. Interpolated numbers and strings become part of the text. Mistakes
 * are found when it is assembled: by `at`, `bytes` or `symbols`, which throw {@link AssemblyError}.
 */
export function asm(
  strings: TemplateStringsArray,
  ...values: readonly (bigint | number | string)[]
): AssemblyText {
  const text = String.raw({ raw: strings.raw }, ...values);
  let here: Assembled | undefined;
  const atZero = (): Assembled => {
    here ??= assemble(text);
    return here;
  };
  return {
    text,
    at: (origin, symbols = {}) => assemble(text, { origin, symbols }),
    get bytes() {
      return atZero().bytes;
    },
    get symbols() {
      return atZero().symbols;
    },
  };
}

/** Splits the source at newlines and `;`, dropping comments: `//`, C comments, `#` at the start of a line. */
function statements(source: string): Line[] {
  const lines: Line[] = [];
  const blank = source.replace(/\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|\/\/[^\n]*/g, (m) =>
    m.startsWith('"') ? m : m.replace(/[^\n]/g, ' '),
  );
  for (const [i, whole] of blank.split('\n').entries()) {
    if (/^\s*#(?!\d)/.test(whole)) continue;
    let column = 1;
    for (const text of whole.match(/(?:"(?:[^"\\]|\\.)*"|'(?:\\.|[^\\])'?|[^;"'])+|;/g) ?? []) {
      if (text !== ';' && text.trim() !== '') lines.push({ text, line: i + 1, column });
      column += text.length;
    }
  }
  return lines;
}

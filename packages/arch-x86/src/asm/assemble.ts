/**
 * An assembler for x86 in Intel syntax, over iced-x86's encoder. Labels (`name:`, `1:` with `1b`/`1f`), expressions, the
 * directives of directives.ts, and the shortest form of every instruction: passes go on until no address moves.
 *
 * A symbol outside of brackets is a number, as in NASM (`mov eax, table` loads its address, with or without `offset`);
 * `[table]` is memory at it. `[rip + label]` reaches the label, `[rip + 8]` counts from the next instruction.
 */
import { AssemblyError, type Diagnostic } from './assembly-error.ts';
import { DIRECTIVES, type Layout } from './directives.ts';
import { Encoders, encode } from './encode.ts';
import { evaluate, type Scope, type Value } from './expression.ts';
import type { Bits } from './forms.ts';
import { type Parsed, parseInstruction } from './instruction.ts';
import type { Mistake } from './operands.ts';
import { isRegister } from './registers.ts';
import { type Line, Statement, statements } from './statement.ts';

/** How to assemble. */
export interface AssembleOptions {
  /** Address of the first byte. Default 0. */
  readonly origin?: bigint | number;
  /** Symbols that exist from the start. */
  readonly symbols?: Readonly<Record<string, bigint | number>>;
  /** Size of the code until a `.code16`, `.code32` or `.code64`. Default 64. */
  readonly bits?: Bits;
}

/** Assembled code. */
export interface Assembled {
  readonly bytes: Uint8Array;
  /** Address of every label, value of every `.equ`. */
  readonly symbols: Readonly<Record<string, bigint>>;
}

/**
 * Assembles `text`.
 * @throws AssemblyError with every mistake's line, column and what would have been accepted.
 */
export function assemble(text: string, options: AssembleOptions = {}): Assembled {
  const encoders = new Encoders();
  try {
    return new Job(text, options, encoders).run();
  } finally {
    encoders.free();
  }
}

/** Passes after which a layout whose directives contradict each other is given up. */
const MOST_PASSES = 200;

/** An instruction with what it became. */
interface Site {
  readonly parsed: Parsed | Mistake;
  bytes: Uint8Array | undefined;
  /** Its longest length so far: it never gets shorter, so that passes come to an end. */
  length: number;
}

class Job implements Layout, Scope {
  bits: Bits;
  here: bigint;
  readonly #source: string;
  readonly #options: AssembleOptions;
  readonly #lines: readonly Line[];
  readonly #encoders: Encoders;
  readonly #sites = new Map<Line, Site>();
  #before = new Map<string, Value>();
  #now = new Map<string, Value>();
  #labels = new Set<string>();
  #numericBefore = new Map<string, bigint[]>();
  #numeric = new Map<string, bigint[]>();
  #chunks: Uint8Array[] = [];
  #errors: Diagnostic[] = [];
  #line: Line = { text: '', line: 1, column: 1 };
  #passes = 0;
  /** A symbol was taken for something it need not be. */
  #guessed = false;

  constructor(source: string, options: AssembleOptions, encoders: Encoders) {
    this.#source = source;
    this.#options = options;
    this.#encoders = encoders;
    this.#lines = statements(source);
    this.bits = options.bits ?? 64;
    this.here = 0n;
  }

  run(): Assembled {
    while (this.#pass() || this.#guessed) {
      if (this.#passes < MOST_PASSES) continue;
      this.#errors.push({
        line: 1,
        column: 1,
        message: 'the layout never settles: a size depends on itself',
      });
      break;
    }
    if (this.#errors.length > 0) throw new AssemblyError(this.#source, this.#errors);
    const bytes = new Uint8Array(this.#chunks.reduce((n, c) => n + c.length, 0));
    let at = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return { bytes, symbols: Object.fromEntries([...this.#now].map(([name, v]) => [name, v.value])) };
  }

  /** Lays everything out once; tells whether a symbol is not where it was. */
  #pass(): boolean {
    const { origin = 0, symbols = {}, bits = 64 } = this.#options;
    this.#passes++;
    this.#before = this.#now;
    this.#numericBefore = this.#numeric;
    this.#now = new Map(Object.entries(symbols).map(([n, v]) => [n, { value: BigInt(v), label: true }]));
    this.#numeric = new Map();
    this.#labels = new Set();
    this.#chunks = [];
    this.#errors = [];
    this.#guessed = false;
    this.bits = bits;
    this.here = BigInt(origin);
    for (const line of this.#lines) {
      this.#line = line;
      this.#statement(line);
    }
    const moved = [...this.#now].some(([name, v]) => this.#before.get(name)?.value !== v.value);
    const numeric = [...this.#numeric].some(([name, all]) =>
      all.some((at, i) => this.#numericBefore.get(name)?.[i] !== at),
    );
    return moved || numeric;
  }

  fail(position: number, message: string): void {
    const { line, column } = this.#line;
    this.#errors.push({ line, column: column + position, message });
  }

  emit(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.here += BigInt(bytes.length);
  }

  value(c: Statement, what: string): Value | undefined {
    const e = c.expression();
    if (e) return evaluate(e, this);
    this.fail(c.position, `expected ${what}`);
    return undefined;
  }

  define(name: string, value: Value): void {
    this.#now.set(name, value);
  }

  lookup(name: string): Value | undefined {
    if (name === '.' || name === '$') return { value: this.here, label: true };
    const near = /^(\d+)([bf])$/.exec(name);
    const found = near?.[1]
      ? this.#near(near[1], near[2] === 'f')
      : (this.#now.get(name) ?? this.#before.get(name));
    if (found || this.#passes > 1) return found;
    this.#guessed = true;
    return { value: this.here, label: true };
  }

  #near(number: string, forward: boolean): Value | undefined {
    const passed = this.#numeric.get(number) ?? [];
    const value = forward ? this.#numericBefore.get(number)?.[passed.length] : passed.at(-1);
    return value === undefined ? undefined : { value, label: true };
  }

  #statement(line: Line): void {
    const c = new Statement(line.text);
    for (;;) {
      c.atEnd();
      const { position } = c;
      const label = c.scan(/(?:[A-Za-z_.$][\w.$]*|\d+)\s*:(?!\s*\[)/y);
      if (label === undefined) break;
      this.#label(label.slice(0, -1).trim(), position);
    }
    if (c.atEnd()) return;
    const { position } = c;
    const assigned = c.scan(/[A-Za-z_.$][\w.$]*\s*=(?!=)/y);
    if (assigned !== undefined) {
      const value = this.value(c, 'a value');
      if (value && c.atEnd()) this.define(assigned.slice(0, -1).trim(), value);
      else if (value) this.fail(c.position, 'expected the end of the statement');
      return;
    }
    const word = c.word() ?? '';
    const directive = DIRECTIVES[word];
    c.position = directive ? c.position : position;
    if (directive) directive(this, c);
    else if (word.startsWith('.')) this.fail(position, `unknown directive "${word}"`);
    else this.#instruction(line, c);
  }

  #label(name: string, position: number): void {
    const value = { value: this.here, label: true };
    if (/^\d+$/.test(name)) this.#numeric.set(name, [...(this.#numeric.get(name) ?? []), this.here]);
    else if (isRegister(name)) this.fail(position, `"${name}" is a register and cannot be a label`);
    else if (this.#labels.has(name)) this.fail(position, `label "${name}" is defined twice`);
    else {
      this.#labels.add(name);
      this.define(name, value);
    }
  }

  #instruction(line: Line, c: Statement): void {
    let site = this.#sites.get(line);
    if (!site) {
      site = { parsed: parseInstruction(c, this.bits), bytes: undefined, length: 0 };
      this.#sites.set(line, site);
    }
    const { parsed } = site;
    if ('message' in parsed) {
      this.fail(parsed.position, parsed.message);
      return;
    }
    const place = { ip: this.here, minimum: site.length, scope: this };
    const encoded = encode(parsed, place, this.#encoders);
    if (encoded && 'message' in encoded) this.fail(encoded.position, encoded.message);
    else if (encoded) {
      site.bytes = encoded;
      site.length = Math.max(site.length, encoded.length);
    }
    this.emit(site.bytes ?? new Uint8Array(site.length));
  }
}

/** Code written as a template: assembled where it is loaded, or at 0 if its bytes are asked for as they are. */
export interface AssemblyText extends Assembled {
  readonly text: string;
  /** The text assembled at an address. */
  at(origin: bigint | number, symbols?: Readonly<Record<string, bigint | number>>): Assembled;
}

/** A template of code: what ``asm`…` `` is. */
export type AsmTemplate = (
  strings: TemplateStringsArray,
  ...values: readonly (bigint | number | string)[]
) => AssemblyText;

const template =
  (bits: Bits): AsmTemplate =>
  (strings, ...values) => {
    const text = String.raw({ raw: strings.raw }, ...values);
    let here: Assembled | undefined;
    const atZero = (): Assembled => {
      here ??= assemble(text, { bits });
      return here;
    };
    return {
      text,
      at: (origin, symbols = {}) => assemble(text, { origin, symbols, bits }),
      get bytes() {
        return atZero().bytes;
      },
      get symbols() {
        return atZero().symbols;
      },
    };
  };

/**
 * A template of code: ``asm`mov rax, [rbx + 8]; hlt` ``. Interpolated numbers and strings become part of the text.
 * It is 64-bit code until a `.code16` or `.code32`; {@link asm32} and {@link asm16} begin as those. Mistakes are found
 * when it is assembled: by `at`, `bytes` or `symbols`, which throw {@link AssemblyError}.
 */
export const asm: AsmTemplate = template(64);
/** As {@link asm}, for 32-bit code. */
export const asm32: AsmTemplate = template(32);
/** As {@link asm}, for 16-bit code. */
export const asm16: AsmTemplate = template(16);

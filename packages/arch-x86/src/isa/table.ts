/** The instruction table: rows made into handlers, and for each iced-x86 code which handler it has in which variant. */
import type { Handler, HandlerPair } from '@faultyard/engine';
import { Code } from 'iced-x86';
import { FORMS, Form } from './address.ts';
import { overlap, type ParsedEncoding, parseEncoding } from './encodings.ts';
import { MODES, type Variant, type VariantOperand, VariantOperands } from './operands.ts';
import type { Repeat, Row, Width } from './row.ts';
import { NO_OPERANDS, type OperandShape, type Shape, shapeOf } from './shapes.ts';
import { Slow } from './slow.ts';
import { TableError } from './table-error.ts';
import { PAIRS, weightOf } from './weights.ts';

/** A code with its handlers. */
export interface CodeEntry {
  readonly row: Row;
  readonly shape: Shape;
  /** Handler by {@link variantIndex}; -1 where there is none. */
  readonly handlers: Int32Array;
  readonly repeats: number;
  readonly modes: number;
}

/** An encoding of a row's own with its handlers. */
export interface EncodingEntry {
  readonly encoding: ParsedEncoding;
  readonly entry: CodeEntry;
}

/** The table. */
export interface Table {
  readonly rows: readonly Row[];
  readonly handlers: readonly Handler[];
  /** Handlers that often follow each other, by index. */
  readonly pairs: readonly HandlerPair[];
  /** By `Code`. */
  readonly codes: readonly (CodeEntry | undefined)[];
  /** Encodings that are looked for first. */
  readonly encodings: readonly EncodingEntry[];
  readonly undefinedHandler: number;
  /** Of instructions longer than 15 bytes. */
  readonly tooLongHandler: number;
}

/** Prefixes in the order of {@link variantIndex}. */
const REPEATS: readonly Repeat[] = ['none', 'rep', 'repne'];

/** Position of a variant in {@link CodeEntry.handlers}: `form` from -1 (none), `repeat` and `mode` from 0. */
export function variantIndex(e: CodeEntry, form: number, repeat: number, mode: number): number {
  const r = e.repeats === 1 ? 0 : repeat;
  const m = e.modes === 1 ? 0 : mode;
  return ((form + 1) * e.repeats + r) * e.modes + m;
}

/** What a table is made from. */
export interface TableOptions {
  /** Features present; absent: all. Rows that need another are left out. */
  readonly features?: ReadonlySet<string> | undefined;
  /** Rows beyond the given ones, of plugins: codes that both list are theirs. */
  readonly added?: readonly Row[];
  /** Who brought a row, for errors. */
  readonly owner?: ((row: Row) => string) | undefined;
}

const CODES = Code as unknown as Readonly<Record<string, Code | undefined>>;

/**
 * Makes rows into a table.
 * @throws TableError for a row that names an unknown code, for two rows of one name, and for two that claim one code or
 * encoding where neither is ours or both are.
 */
export function buildTable(rows: readonly Row[], options: TableOptions = {}): Table {
  const owner = options.owner ?? ((): string => 'x86');
  const handlers: Handler[] = [
    { name: 'undefined', ends: true, cold: true, sem: (b) => b.slow(Slow.Undefined) },
    { name: 'too-long', ends: true, cold: true, sem: (b) => b.slow(Slow.GeneralProtection) },
  ];
  const builder = new Builder(handlers, options.features?.has('la57') ? 57 : 48);
  const codes: (CodeEntry | undefined)[] = [];
  const encodings: EncodingEntry[] = [];
  const names = new Map<string, Row>();
  const added = new Set(options.added);
  const kept: Row[] = [];
  for (const row of [...rows, ...added]) {
    if (row.feature !== undefined && options.features && !options.features.has(row.feature)) continue;
    const clash = (what: string, name: string, other: Row, fix: string): never => {
      throw new TableError({ what, name, plugin: owner(row), other: owner(other), fix });
    };
    const codeOf = (name: string): Code => {
      const code = CODES[name];
      if (typeof code === 'number') return code;
      throw new TableError(`row "${row.name}": iced-x86 has no code ${name}`);
    };
    const namesake = names.get(row.name);
    if (namesake) clash('instruction row', row.name, namesake, 'rename one');
    names.set(row.name, row);
    kept.push(row);
    for (const name of row.codes) {
      const code = codeOf(name);
      const had = codes[code];
      if (had && added.has(had.row) === added.has(row))
        clash('instruction code', name, had.row, 'leave it to one of them');
      codes[code] = builder.entry(row, shapeOf(code));
    }
    for (const text of row.encodings ?? []) {
      const encoding = parseEncoding(row, text, codeOf);
      const had = encodings.find((e) => overlap(e.encoding, encoding));
      if (had) clash('instruction encoding', encoding.text, had.entry.row, 'move one to bytes of its own');
      const shape = encoding.like ? shapeOf(encoding.like.code) : NO_OPERANDS;
      encodings.push({ encoding, entry: builder.entry(row, shape) });
    }
  }
  return {
    rows: kept,
    handlers,
    pairs: pairsOf(handlers),
    codes,
    encodings,
    undefinedHandler: 0,
    tooLongHandler: 1,
  };
}

function pairsOf(handlers: readonly Handler[]): HandlerPair[] {
  const index = new Map(handlers.map((h, i) => [h.name, i]));
  return PAIRS.flatMap(([a, b]): HandlerPair[] => {
    const [first, second] = [index.get(a), index.get(b)];
    return first === undefined || second === undefined ? [] : [[first, second]];
  });
}

class Builder {
  readonly #handlers: Handler[];
  readonly #linearBits: 48 | 57;
  readonly #known: Map<string, number> = new Map();

  constructor(handlers: Handler[], linearBits: 48 | 57) {
    this.#handlers = handlers;
    this.#linearBits = linearBits;
  }
  entry(row: Row, shape: Shape): CodeEntry {
    const repeats = row.repeats && !row.bare ? REPEATS.length : 1;
    const modes = row.modes && !row.bare ? MODES.length : 1;
    const count = (FORMS.length + 1) * repeats * modes;
    const e: CodeEntry = { row, shape, handlers: new Int32Array(count).fill(-1), repeats, modes };
    // a bare meaning has no operands, whatever the encoding has
    for (const form of row.bare ? [Form.None] : formsOf(shape))
      for (let r = 0; r < repeats; r++)
        for (let m = 0; m < modes; m++) {
          if (modes > 1 && !possible(shape, form, m)) continue;
          e.handlers[variantIndex(e, form, r, m)] = this.#handler(row, shape, form, r, modes > 1 ? m : -1);
        }
    return e;
  }
  #handler(row: Row, shape: Shape, form: number, repeat: number, mode: number): number {
    const operands = row.bare ? [] : shape.operands.map((o, i) => operandOf(o, i === shape.memory, form));
    const signature = [
      row.name,
      operands.map((o) => `${LETTERS[o.kind]}${o.size}`).join('') + (row.width ? `w${row.width}` : ''),
      row.bare ? '' : (FORMS[form]?.name ?? (shape.addressSize ? `a${shape.addressSize}` : '')),
      repeat > 0 ? (REPEATS[repeat] as string) : '',
      mode >= 0 ? (MODES[mode]?.name as string) : '',
    ];
    const name = signature.filter((x) => x).join('.');
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const v: Variant = {
      row: row.name,
      operands,
      width: row.width ?? (operands[0]?.size as Width | undefined) ?? 8,
      form: row.bare ? Form.None : form,
      repeat: REPEATS[repeat] ?? 'none',
      mode: MODES[mode],
      addressSize: shape.addressSize,
      linearBits: this.#linearBits,
    };
    const weight = weightOf(row, name);
    this.#handlers.push({
      name,
      ends: row.ends ?? false,
      cold: weight === undefined,
      weight: weight ?? 0,
      sem: (b, f) => row.sem(new VariantOperands(b, f, v), v.repeat),
    });
    this.#known.set(name, this.#handlers.length - 1);
    return this.#handlers.length - 1;
  }
}

const LETTERS: Readonly<Record<VariantOperand['kind'], string>> = {
  register: 'r',
  vector: 'v',
  memory: 'm',
  implied: 'e',
  immediate: 'i',
  other: 'o',
};

function operandOf(o: OperandShape, primary: boolean, form: number): VariantOperand {
  switch (o.kind) {
    case 'either':
      if (form !== Form.None) return { kind: 'memory', size: o.memory };
      return { kind: o.vector ? 'vector' : 'register', size: o.size };
    case 'memory':
      return { kind: primary ? 'memory' : 'implied', size: o.size };
    case 'branch':
      return { kind: 'immediate', size: o.size };
    default:
      return { kind: o.kind, size: o.size };
  }
}

/** Forms that an encoding can have, `Form.None` included. */
function formsOf(s: Shape): number[] {
  const o = s.operands[s.memory];
  if (!o) return [Form.None];
  const forms: number[] = o.kind === 'either' ? [Form.None] : [];
  FORMS.forEach((f, i) => {
    if (f.code === 'long' ? !s.code64 : !(s.code16 || s.code32)) return;
    if (f.parts === 'absolute' && !o.absolute) return;
    if (o.absolute && f.code === 'long' && f.parts !== 'absolute' && i !== Form.Address32) return;
    if (o.implied && (f.parts === 'next' || (f.parts === 'index' && f.size === 8))) return;
    forms.push(i);
  });
  return forms;
}

/** Whether the form occurs in the mode. */
function possible(s: Shape, form: number, mode: number): boolean {
  const m = MODES[mode];
  if (!m || (m.code === 8 ? !s.code64 : m.code === 4 ? !s.code32 : !s.code16)) return false;
  const f = FORMS[form];
  if (!f) return true;
  if ((f.code === 'long') !== (m.code === 8)) return false;
  return form !== Form.Flat || m.flat;
}

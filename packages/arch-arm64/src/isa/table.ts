/**
 * The instruction table: all rows compiled into a decode tree, with a proof at load that no word belongs to two rows.
 */
import { FaultyardError } from '@faultyard/core';
import { extract, type Field, fieldMask, fieldOf, type Pattern, parsePattern, TableError } from './bits.ts';
import { CommonFields, isCommon } from './common-fields.ts';
import type { Bits, Derived, Feature, Form } from './form.ts';
import { STANDARD_NAMES, type SysregNames } from './sysreg-names.ts';

/** A row with its pattern and its handlers. */
export interface Row {
  readonly form: Form;
  readonly pattern: Pattern;
  /** The fields of {@link Form.spec}, as they lie in the word. */
  readonly spec: readonly Field[];
  /** The entries of {@link Form.derive}. */
  readonly derived: readonly (readonly [name: string, rule: Derived])[];
  /** Every combination of spec and derived values that some word of the row has. */
  readonly variants: readonly Variant[];
  /** Index into {@link variants} by packed spec values (first field highest), then derived ones; -1 where none. */
  readonly variantOf: Int16Array;
  /** Whether its fields are read from the table's one object of common fields. */
  readonly common: boolean;
  /** Else: scratch object of the decoder, reused for each word. */
  readonly scratch: Record<string, number>;
}

/** One handler of a row. */
export interface Variant {
  readonly row: Row;
  /** Spec and derived values. */
  readonly values: Bits;
  /** Unique over the table: `add_immediate.sf1`. */
  readonly name: string;
  /** Position in {@link Table.variants}. */
  readonly index: number;
}

/** All rows, and how to find the one of a word. */
export interface Table {
  readonly rows: readonly Row[];
  /** Every handler, in table order. */
  readonly variants: readonly Variant[];
  /** How assembly writes system registers. */
  readonly registers: SysregNames;
  /** The row a word belongs to, or `undefined` if the word is unallocated. */
  find(word: number): Row | undefined;
  /**
   * The fields of the word that {@link find} has just placed in `row`, in an object that the next search overwrites;
   * it may have further properties.
   */
  found(row: Row): Bits;
}

/** The handler of a word that belongs to `row` and has the fields `b`. */
export function variantOf(row: Row, b: Bits): Variant | undefined {
  let packed = 0;
  for (let i = 0; i < row.spec.length; i++) {
    const f = row.spec[i] as Field;
    packed = (packed << f.width) | (b[f.name] as number);
  }
  for (let i = 0; i < row.derived.length; i++) {
    const rule = (row.derived[i] as Row['derived'][number])[1];
    packed = packed * rule.values.length + rule.values.indexOf(rule.of(b));
  }
  return row.variants[row.variantOf[packed] as number];
}

/** Who brought a row, for error messages: a plugin's name. */
export type Owner = (form: Form) => string;

/**
 * Compiles rows into a table. Rows whose feature is not in `features` are left out.
 * @throws TableError naming the row, or both rows of an overlap and a word that belongs to both.
 */
export function buildTable(
  forms: readonly Form[],
  features: ReadonlySet<Feature>,
  owner: Owner = () => 'arm64',
): Table {
  const rows: Row[] = [];
  const variants: Variant[] = [];
  const names = new Map<string, Form>();
  for (const form of forms) {
    if (form.feature && !features.has(form.feature)) continue;
    const namesake = names.get(form.name);
    if (namesake) {
      const [plugin, other] = [owner(form), owner(namesake)];
      throw new TableError({ what: 'instruction row', name: form.name, plugin, other, fix: 'rename one' });
    }
    names.set(form.name, form);
    rows.push(blaming(owner(form), form, () => compileRow(form, variants)));
  }
  checkOverlaps(rows, owner);
  const root = grow(rows, 0);
  const common = new CommonFields();
  const shared = common as unknown as Record<string, number>;
  return {
    rows,
    variants,
    registers: STANDARD_NAMES,
    find(word) {
      const w = word | 0;
      common.load(w);
      let node = root;
      while (node !== undefined && 'next' in node)
        node = node.next[(w >>> node.pos) & ((1 << node.width) - 1)];
      if (node === undefined) return undefined;
      for (let i = 0; i < node.rows.length; i++) {
        const row = node.rows[i] as Row;
        if ((w & row.pattern.mask) !== row.pattern.value) continue;
        const b = row.common ? shared : extract(row.pattern, w, row.scratch);
        if (row.form.when === undefined || row.form.when(b)) return row;
      }
      return undefined;
    },
    found: (row) => (row.common ? shared : row.scratch),
  };
}

/** Does `f`, which looks at a row of `plugin`: a mistake in it is that plugin's (FY_PLUGIN_INVALID). */
export function blaming<T>(plugin: string, form: Form, f: () => T): T {
  try {
    return f();
  } catch (e) {
    if (plugin === 'arm64' || !(e instanceof FaultyardError && e.code === 'FY_INSTRUCTION')) throw e;
    const row = `row "${form.name}"`;
    const said = String(e.fields.why);
    throw new FaultyardError('FY_PLUGIN_INVALID', {
      plugin,
      why: said.startsWith(row) ? said : `${row}: ${said}`,
    });
  }
}

/** Most handlers one row may have. */
const handlerLimit = 4096;

function compileRow(form: Form, all: Variant[]): Row {
  const pattern = parsePattern(form.bits, form.name);
  const spec = (form.spec ?? []).map((name) => {
    const f = pattern.fields.find((x) => x.name === name);
    if (!f) throw new TableError(`row "${form.name}": spec field ${name} is not in "${form.bits}"`);
    return f;
  });
  const derived = Object.entries(form.derive ?? {});
  const width = spec.reduce((n, f) => n + f.width, 0);
  const combinations = derived.reduce((n, [, rule]) => n * rule.values.length, 2 ** width);
  if (combinations > handlerLimit) {
    throw new TableError(`row "${form.name}": up to ${combinations} handlers, at most ${handlerLimit}`);
  }
  const variants: Variant[] = [];
  const row: Row = {
    form,
    pattern,
    spec,
    derived,
    variants,
    variantOf: new Int16Array(combinations).fill(-1),
    common: isCommon(form, pattern),
    scratch: extract(pattern, 0),
  };
  const slug = form.name
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, '_')
    .replace(/_$/, '');
  for (let packed = 0; packed < combinations; packed++) {
    const values: Record<string, number> = {};
    let word = pattern.value;
    let mask = pattern.mask;
    let rest = packed;
    for (const [name, rule] of [...derived].reverse()) {
      values[name] = rule.values[rest % rule.values.length] ?? 0;
      rest = Math.floor(rest / rule.values.length);
    }
    for (const f of [...spec].reverse()) {
      const v = rest & fieldMask(f);
      rest >>>= f.width;
      values[f.name] = v;
      word |= v << f.pos;
      mask |= fieldMask(f) << f.pos;
    }
    const picks = (b: Bits): boolean => derived.every(([name, rule]) => rule.of(b) === values[name]);
    const conditions = derived.length > 0 ? [condition(row), { row, test: picks }] : [condition(row)];
    if (witness(conditions, mask, word) === undefined) continue;
    const tail = [...spec.map((f) => f.name), ...derived.map(([name]) => name)];
    const name = [slug, tail.map((n) => `${n}${values[n]}`).join('_')].filter((x) => x).join('.');
    const variant: Variant = { row, values, name, index: all.length };
    row.variantOf[packed] = variants.length;
    variants.push(variant);
    all.push(variant);
  }
  if (variants.length === 0) throw new TableError(`row "${form.name}": its condition allows no word`);
  return row;
}

/** A test on the fields of one row; none means always true. */
interface Condition {
  readonly row: Row;
  readonly test: ((b: Bits) => boolean) | undefined;
}

function condition(row: Row): Condition {
  return { row, test: row.form.when };
}

/** How many evaluations of conditions a proof may take; more means the condition looks at too many bits. */
const proofLimit = 1 << 18;

/**
 * A word that satisfies all `conditions`, with the bits of `mask` fixed to those of `word`; `undefined` if there is
 * none. Only fields the conditions look at are tried.
 */
export function witness(conditions: readonly Condition[], mask: number, word: number): number | undefined {
  let left = proofLimit;
  const search = (known: number, value: number): number | undefined => {
    for (const { row, test } of conditions) {
      if (!test) continue;
      if (left-- === 0) {
        const names = [...new Set(conditions.map((c) => `"${c.row.form.name}"`))].join(' and ');
        throw new TableError(`the condition of ${names} looks at too many bits to be checked`);
      }
      let open: Field | undefined;
      const view = new Proxy(row.scratch, {
        get(_, name): number | undefined {
          const f = row.pattern.fields.find((x) => x.name === name);
          if (!f)
            throw new TableError(
              `row "${row.form.name}": its condition asks for ${String(name)}, not a field`,
            );
          if (((known >>> f.pos) & fieldMask(f)) !== fieldMask(f)) open ??= f;
          return fieldOf(value, f);
        },
      });
      const holds = test(view);
      if (open) return branch(open, known, value);
      if (!holds) return undefined;
    }
    return value >>> 0;
  };
  const branch = (f: Field, known: number, value: number): number | undefined => {
    const bits = fieldMask(f) << f.pos;
    const fixed = fieldOf(known, f);
    for (let v = 0; v <= fieldMask(f); v++) {
      if ((v & fixed) !== (fieldOf(value, f) & fixed)) continue;
      const found = search(known | bits, (value & ~bits) | (v << f.pos));
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return search(mask, word);
}

function checkOverlaps(rows: readonly Row[], owner: Owner): void {
  const of = ({ form }: Row): string => `${owner(form)} (row "${form.name}", ${form.bits})`;
  for (const [i, a] of rows.entries()) {
    for (let j = i + 1; j < rows.length; j++) {
      const b = rows[j];
      if (!b || (a.pattern.value ^ b.pattern.value) & a.pattern.mask & b.pattern.mask) continue;
      const word = witness(
        [condition(a), condition(b)],
        a.pattern.mask | b.pattern.mask,
        a.pattern.value | b.pattern.value,
      );
      if (word === undefined) continue;
      throw new TableError({
        what: 'instruction word',
        name: `0x${word.toString(16).padStart(8, '0')}`,
        plugin: of(b),
        other: of(a),
        fix: 'move one to words of its own, or give it a condition that leaves this one out',
      });
    }
  }
}

/** Inner node: select `width` bits at `pos`. Leaf: candidates in order. */
type Node =
  | { readonly pos: number; readonly width: number; readonly next: readonly (Node | undefined)[] }
  | { readonly rows: readonly Row[] };

/** Grows the tree over `rows`, whose words agree in the bits of `used`. */
function grow(rows: readonly Row[], used: number): Node | undefined {
  if (rows.length === 0) return undefined;
  if (rows.length === 1) return { rows };
  const window = widestCommon(rows, used) ?? bestBit(rows, used);
  if (!window) return { rows: [...rows].sort((a, b) => ones(b.pattern.mask) - ones(a.pattern.mask)) };
  const { pos, width } = window;
  const bits = (2 ** width - 1) << pos;
  const next: (Node | undefined)[] = [];
  for (let v = 0; v < 1 << width; v++) {
    const here = rows.filter((r) => (((v << pos) ^ r.pattern.value) & r.pattern.mask & bits) === 0);
    next.push(grow(here, used | bits));
  }
  return { pos, width, next };
}

/** The widest run of at most 8 bits that all rows fix and that tells some of them apart. */
function widestCommon(rows: readonly Row[], used: number): { pos: number; width: number } | undefined {
  let common = ~used;
  let differ = 0;
  const first = rows[0]?.pattern.value ?? 0;
  for (const r of rows) {
    common &= r.pattern.mask;
    differ |= r.pattern.value ^ first;
  }
  const useful = common & differ;
  let best: { pos: number; width: number } | undefined;
  for (let pos = 0; pos < 32; pos++) {
    if (!((useful >>> pos) & 1)) continue;
    let width = 1;
    while (width < 8 && pos + width < 32 && (common >>> (pos + width)) & 1) width++;
    while (!((useful >>> (pos + width - 1)) & 1)) width--;
    if (!best || width > best.width) best = { pos, width };
  }
  return best;
}

/** The single bit whose larger half is smallest, if it separates anything. */
function bestBit(rows: readonly Row[], used: number): { pos: number; width: number } | undefined {
  let best: { pos: number; width: number } | undefined;
  let least = rows.length;
  for (let pos = 0; pos < 32; pos++) {
    if ((used >>> pos) & 1) continue;
    let zero = 0;
    let one = 0;
    for (const { pattern } of rows) {
      const fixed = (pattern.mask >>> pos) & 1;
      const set = (pattern.value >>> pos) & 1;
      if (!fixed || !set) zero++;
      if (!fixed || set) one++;
    }
    const larger = Math.max(zero, one);
    if (larger < least) {
      least = larger;
      best = { pos, width: 1 };
    }
  }
  return best;
}

function ones(n: number): number {
  let count = 0;
  for (let m = n >>> 0; m !== 0; m &= m - 1) count++;
  return count;
}

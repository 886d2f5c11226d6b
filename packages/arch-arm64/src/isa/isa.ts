/** The A64 instruction set as the engine takes it: registers, flags, record layout, handlers, decoder. */
import type { DecodeSite, Handler, Isa, StateVar } from '@faultyard/engine';
import { CONTEXTS } from './contexts.ts';
import { EXCLUSIVE_STATE } from './exclusive.ts';
import type { Feature, Form } from './form.ts';
import { FEATURES, FORMS, standardTable } from './forms.ts';
import type { MemoryForm } from './memory-form.ts';
import { memoryForms } from './memory-rows.ts';
import { Slow } from './slow.ts';
import { addStrictHandlers, MODE_STRICT } from './strict.ts';
import { type FactsOf, factsOf } from './syndrome.ts';
import { SYSTEM_STATE } from './system.ts';
import { buildTable, type Owner, type Table, variantOf } from './table.ts';
import { weightOf } from './weights.ts';

/** What an A64 instruction set is made from. */
export interface A64Options {
  /** Rows beyond {@link FORMS} (a plugin's instructions). */
  readonly forms?: readonly Form[];
  /** Who brought a row, for errors. Default: `arm64` for all. */
  readonly owner?: Owner;
  /** Features present; default {@link FEATURES}. */
  readonly features?: readonly Feature[];
  /** Further state variables that added rows use. */
  readonly state?: Readonly<Record<string, StateVar>>;
}

/** The engine's view of A64 with the table behind it. */
export interface A64Isa extends Isa {
  readonly table: Table;
  /** What an abort needs to know of an instruction's access; `undefined` if it makes none. */
  readonly facts: FactsOf;
}

/** Byte offsets of the record's fields; bytes 0 and 1 are the engine's. */
const at = { rd: 2, rn: 3, rm: 4, ra: 5, x: 6, y: 7, imm: 8 } as const;

/** The condition flags, see flags.ts. */
const FLAGS: Readonly<Record<string, StateVar>> = {
  fn: { ty: 'i64', hot: true },
  fz: { ty: 'i64', hot: true },
  fc: { ty: 'i32', hot: true },
  fv: { ty: 'i64', hot: true },
};

/**
 * Builds the instruction set.
 * @throws TableError if an added row is malformed or overlaps another row.
 */
export function a64(options: A64Options = {}): A64Isa {
  const added = options.forms ?? [];
  const memory = [...memoryForms, ...added.filter((f): f is MemoryForm => 'access' in f)];
  const table =
    options.forms || options.features
      ? buildTable([...FORMS, ...added], new Set(options.features ?? FEATURES), options.owner)
      : standardTable();
  const undefinedInstruction: Handler = {
    name: 'undefined',
    ends: true,
    sem: (b) => b.slow(Slow.Undefined),
  };
  const handlers: Handler[] = table.variants.map((variant) => ({
    name: variant.name,
    ends: variant.row.form.ends ?? false,
    cold: variant.row.form.cold ?? false,
    weight: weightOf(variant.name),
    sem: (b, f) => variant.row.form.sem(b, f, variant.values),
  }));
  const undefinedHandler = handlers.push(undefinedInstruction) - 1;
  const strict = addStrictHandlers(table.variants, memory, handlers);
  return {
    name: 'a64',
    unit: 4,
    recordSize: 16,
    fields: {
      rd: { at: at.rd, ty: 'u8' },
      rn: { at: at.rn, ty: 'u8' },
      rm: { at: at.rm, ty: 'u8' },
      ra: { at: at.ra, ty: 'u8' },
      x: { at: at.x, ty: 'u8' },
      y: { at: at.y, ty: 'u8' },
      imm: { at: at.imm, ty: 'i64' },
    },
    files: { x: { count: 34, size: 8 }, v: { count: 32, size: 16 } },
    state: { ...FLAGS, ...EXCLUSIVE_STATE, ...SYSTEM_STATE, ...options.state },
    contexts: CONTEXTS,
    handlers,
    undefinedHandler,
    table,
    facts: factsOf(memory),
    decode(site: DecodeSite, out: { handler: number }): number {
      out.handler = undefinedHandler;
      const word = site.dv.getInt32(site.code, true);
      const row = table.find(word);
      if (!row) return 4;
      const b = table.found(row);
      const variant = variantOf(row, b);
      if (!variant) return 4;
      out.handler = site.mode === MODE_STRICT ? (strict[variant.index] as number) : variant.index;
      const record = row.form.record(b);
      const { u8, i32, record: to } = site;
      if (record.rd !== undefined) u8[to + at.rd] = record.rd;
      if (record.rn !== undefined) u8[to + at.rn] = record.rn;
      if (record.rm !== undefined) u8[to + at.rm] = record.rm;
      if (record.ra !== undefined) u8[to + at.ra] = record.ra;
      if (record.x !== undefined) u8[to + at.x] = record.x;
      if (record.y !== undefined) u8[to + at.y] = record.y;
      if (record.imm !== undefined) {
        i32[(to + at.imm) >> 2] = record.imm[0];
        i32[(to + at.imm + 4) >> 2] = record.imm[1];
      }
      return 4;
    },
  };
}

/** Knobs: choices that hardware, host or KVM could have made; fixed when a VM is made (architecture: decision 8). */
import { FaultyardError } from './errors.ts';

/** A knob's value. */
export type KnobValue = string | number | boolean;

/** Knob ids and their value types; plugins add theirs by declaration merging. */
export interface KnobMap {}

/** What a plugin declares of a knob. */
export interface KnobDef<V extends KnobValue = KnobValue> {
  /** All values; for a free integer give `range` instead. */
  readonly values?: readonly V[];
  /** Inclusive bounds of an integer knob. */
  readonly range?: readonly [min: number, max: number];
  /** Value when nothing is set: newest upstream behaviour. */
  readonly default: V;
  /** One sentence: what choosing differently changes. */
  readonly meaning: string;
  /** Manual section or kernel file that knows the alternatives. */
  readonly source: string;
}

/** Resolved values by knob id. */
export type Knobs = Readonly<Record<string, KnobValue>>;

/** Reads `true`, `false`, a number or a word, as `--set` gives it. */
export function parseKnobValue(text: string, def: KnobDef): KnobValue {
  if (typeof def.default === 'boolean')
    return text === 'true' || text === 'on' || text === '1'
      ? true
      : text === 'false' || text === 'off' || text === '0'
        ? false
        : text;
  if (typeof def.default === 'number' && /^(0x[0-9a-f]+|-?\d+)$/i.test(text)) return Number(text);
  return text;
}

/** Whether a knob takes a value. */
export const allows = (d: KnobDef, v: KnobValue): boolean =>
  d.values
    ? d.values.includes(v)
    : d.range
      ? typeof v === 'number' && Number.isInteger(v) && v >= d.range[0] && v <= d.range[1]
      : typeof v === typeof d.default;

/**
 * Resolves `set` against the definitions. An id may be written bare (`walkRule`) where that is unique.
 * @throws FaultyardError FY_KNOB_UNKNOWN, FY_KNOB_AMBIGUOUS, FY_KNOB_VALUE.
 */
export function resolveKnobs(
  defs: ReadonlyMap<string, KnobDef>,
  set: Readonly<Record<string, KnobValue | undefined>>,
): Knobs {
  const out: Record<string, KnobValue> = {};
  for (const [id, d] of defs) out[id] = d.default;
  for (const [name, raw] of Object.entries(set)) {
    if (raw === undefined) continue;
    const id = knobId(defs, name);
    const d = defs.get(id) as KnobDef;
    const v = typeof raw === 'string' ? parseKnobValue(raw, d) : raw;
    if (!allows(d, v))
      throw new FaultyardError('FY_KNOB_VALUE', {
        knob: id,
        value: JSON.stringify(raw),
        known: d.values
          ? d.values.join(', ')
          : d.range
            ? `${d.range[0]}..${d.range[1]}`
            : `a ${typeof d.default}`,
      });
    out[id] = v;
  }
  return Object.freeze(out);
}

/** Full id of a knob written in full or bare. */
export function knobId(defs: ReadonlyMap<string, KnobDef>, name: string): string {
  if (defs.has(name)) return name;
  const ids = [...defs.keys()].filter((k) => k.endsWith(`.${name}`));
  if (ids.length === 1) return ids[0] as string;
  if (ids.length > 1) throw new FaultyardError('FY_KNOB_AMBIGUOUS', { knob: name, known: ids.join(', ') });
  throw new FaultyardError('FY_KNOB_UNKNOWN', {
    knob: name,
    known: [...defs.keys()].sort().join(', ') || 'none',
  });
}

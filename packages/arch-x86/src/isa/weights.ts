/**
 * How often handlers run in what compilers and kernels are made of: the engine puts the heaviest into its fast loop.
 * 64-bit code without segment override is meant to be fast; everything else is made when it first runs.
 */
import { Form } from './address.ts';
import type { Variant } from './operands.ts';
import type { Row } from './row.ts';

const FORM_SHARE: { readonly [form: number]: number } = {
  [Form.None]: 1,
  [Form.Base]: 0.8,
  [Form.Index]: 0.25,
  [Form.Rip]: 0.2,
};
const WIDTH_SHARE = { 1: 0.2, 2: 0.05, 4: 1, 8: 1 } as const;

/** Weight of a variant; undefined: cold. */
export function weightOf(row: Row, v: Variant): number | undefined {
  if (row.weight === undefined) return undefined;
  if (v.mode && v.mode.code !== 8) return undefined;
  const share = FORM_SHARE[v.form];
  if (share === undefined) return undefined;
  return row.weight * share * WIDTH_SHARE[v.width];
}

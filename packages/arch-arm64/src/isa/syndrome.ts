/**
 * What an abort needs to know of the instruction and cannot see in the access: derived from the same rows that decode
 * and run it, by decoding the word once more. Used at aborts only.
 */
import { extract, parsePattern } from './bits.ts';
import type { AccessFacts, MemoryForm, Syndrome } from './memory-form.ts';

/** Facts about the access that instruction `word` makes; `undefined` if it makes none. */
export type FactsOf = (word: number) => AccessFacts | undefined;

/** Looks words up in rows that access memory. */
export function factsOf(forms: readonly MemoryForm[]): FactsOf {
  const rows = forms.map((form) => ({ form, pattern: parsePattern(form.bits, form.name) }));
  return (word) => {
    for (const { form, pattern } of rows) {
      if ((word & pattern.mask) !== pattern.value) continue;
      const bits = extract(pattern, word);
      if (form.when === undefined || form.when(bits)) return form.access(bits);
    }
    return undefined;
  };
}

/** ISS bits 24 (ISV) to 14 of a stage 2 data abort. */
export interface AbortSyndrome extends Syndrome {
  readonly isv: boolean;
}

const INVALID: AbortSyndrome = { isv: false, sas: 0, sse: false, srt: 0, sf: false, ar: false };

/**
 * The access syndrome of a stage 2 data abort on an instruction with these facts. ISV is set for loads and stores of one
 * general-purpose register without writeback, also unprivileged, with acquire or release; not for pairs, exclusives,
 * atomics, SIMD&FP registers, DC ZVA, nor for cache maintenance (DDI 0487 D24.2.40, ISS of a Data Abort).
 */
export function syndrome(facts: AccessFacts | undefined): AbortSyndrome {
  return facts?.syndrome ? { isv: true, ...facts.syndrome } : INVALID;
}

/** A syndrome as ISS bits 24 to 14. */
export function syndromeBits(s: AbortSyndrome): number {
  if (!s.isv) return 0;
  const flag = (on: boolean, bit: number): number => (on ? 1 << bit : 0);
  return (1 << 24) | (s.sas << 22) | flag(s.sse, 21) | (s.srt << 16) | flag(s.sf, 15) | flag(s.ar, 14);
}

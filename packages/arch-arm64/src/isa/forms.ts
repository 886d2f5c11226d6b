/** Every row of the A64 table, chapter by chapter. */
import { atomicForms } from './atomics.ts';
import { branchForms } from './branches.ts';
import { dataBitsForms } from './data-bits.ts';
import { dataImmediateForms } from './data-immediate.ts';
import { dataMultiplyForms } from './data-multiply.ts';
import { dataRegisterForms } from './data-register.ts';
import { exclusiveForms } from './exclusive.ts';
import type { Feature, Form } from './form.ts';
import { hintForms } from './hints.ts';
import { literalForms } from './loads-stores-literal.ts';
import { pairForms } from './loads-stores-pair.ts';
import { registerForms } from './loads-stores-register.ts';
import { unprivilegedForms } from './loads-stores-unprivileged.ts';
import { simdRegisterForms } from './simd-registers.ts';
import { simdStructureForms } from './simd-structures.ts';
import { systemForms } from './system.ts';
import { buildTable, type Table } from './table.ts';

/** The rows of Armv8.0 and of every {@link Feature}. */
export const FORMS: readonly Form[] = [
  ...dataImmediateForms,
  ...dataRegisterForms,
  ...dataMultiplyForms,
  ...dataBitsForms,
  ...branchForms,
  ...literalForms,
  ...pairForms,
  ...registerForms,
  ...unprivilegedForms,
  ...exclusiveForms,
  ...atomicForms,
  ...simdRegisterForms,
  ...simdStructureForms,
  ...systemForms,
  ...hintForms,
];

/** Features of the default CPU model: Armv8.0 with LSE, CRC32, PAN and RAS; SIMD registers can be moved only. */
export const FEATURES: readonly Feature[] = ['lse', 'crc32', 'pan', 'ras', 'fpsimd'];

/** Built on first use: the proof that rows do not overlap takes some tens of milliseconds. */
let standard: Table | undefined;

/** The instruction table of the default CPU model: Armv8.0 with LSE, CRC32, PAN and RAS. */
export function standardTable(): Table {
  standard ??= buildTable(FORMS, new Set(FEATURES));
  return standard;
}

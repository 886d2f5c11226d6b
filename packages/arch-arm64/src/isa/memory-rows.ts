/** Every row that accesses memory, and every row of the chapters on branches, memory and system. */
import { atomicForms } from './atomics.ts';
import { branchForms } from './branches.ts';
import { exclusiveAccesses, exclusiveForms } from './exclusive.ts';
import type { Form } from './form.ts';
import { literalAccesses, literalForms } from './loads-stores-literal.ts';
import { pairForms } from './loads-stores-pair.ts';
import { registerAccesses, registerForms } from './loads-stores-register.ts';
import { unprivilegedForms } from './loads-stores-unprivileged.ts';
import type { MemoryForm } from './memory-form.ts';
import { simdRegisterForms } from './simd-registers.ts';
import { simdStructureForms } from './simd-structures.ts';
import { systemAccesses, systemForms } from './system.ts';

/** Rows that access memory, with the facts an abort needs. */
export const memoryForms: readonly MemoryForm[] = [
  ...registerAccesses,
  ...pairForms,
  ...literalAccesses,
  ...unprivilegedForms,
  ...exclusiveAccesses,
  ...atomicForms,
  ...simdRegisterForms,
  ...simdStructureForms,
  ...systemAccesses,
];

/** Rows of branches, loads and stores, exclusives, atomics, SIMD register transfers and system instructions. */
export const controlAndMemoryForms: readonly Form[] = [
  ...branchForms,
  ...registerForms,
  ...pairForms,
  ...literalForms,
  ...unprivilegedForms,
  ...exclusiveForms,
  ...atomicForms,
  ...simdRegisterForms,
  ...simdStructureForms,
  ...systemForms,
];

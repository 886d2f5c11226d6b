/** Every row that accesses memory. */
import { atomicForms } from './atomics.ts';
import { exclusiveAccesses } from './exclusive.ts';
import { literalAccesses } from './loads-stores-literal.ts';
import { pairForms } from './loads-stores-pair.ts';
import { registerAccesses } from './loads-stores-register.ts';
import { unprivilegedForms } from './loads-stores-unprivileged.ts';
import type { MemoryForm } from './memory-form.ts';
import { simdRegisterForms } from './simd-registers.ts';
import { simdStructureForms } from './simd-structures.ts';
import { systemAccesses } from './system.ts';

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

/** Interrupt vectors 0 to 31 and their classes (AMD64 APM volume 2, 8.2; Intel SDM volume 3, 7.3 and 7.15). */

/** Vectors of exceptions and the NMI. */
export const Vector = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
  CP: 21,
  HV: 28,
  VC: 29,
  SX: 30,
} as const;

const set = (...v: readonly number[]): number => v.reduce((m, n) => m | (1 << n), 0);
const has = (mask: number, v: number): boolean => v < 32 && (mask & (1 << v)) !== 0;

const WITH_ERROR_CODE = set(8, 10, 11, 12, 13, 14, 17, 21, 29, 30);
const CONTRIBUTORY = set(0, 10, 11, 12, 13, 21);

/** Whether an exception pushes an error code (outside real mode). */
export function pushesErrorCode(vector: number): boolean {
  return has(WITH_ERROR_CODE, vector);
}

/**
 * Class by which two exceptions in a row are combined (APM volume 2, table 8-4; KVM: `exception_class`). #VC, #HV and
 * #SX do not come up in the guests modelled here and count as benign.
 */
function combinationClass(vector: number): 'benign' | 'contributory' | 'page-fault' {
  if (vector === Vector.PF) return 'page-fault';
  return has(CONTRIBUTORY, vector) ? 'contributory' : 'benign';
}

/** What becomes of a second exception while a first is being delivered (APM volume 2, table 8-4). */
export function combine(first: number, second: number): 'serial' | 'double-fault' | 'shutdown' {
  const b = combinationClass(second);
  // a second fault of the benign kind is taken alone even here: KVM shuts down for any, and so do we (x86.c)
  if (first === Vector.DF) return 'shutdown';
  const a = combinationClass(first);
  if (a === 'contributory' && b === 'contributory') return 'double-fault';
  return a === 'page-fault' && b !== 'benign' ? 'double-fault' : 'serial';
}

/**
 * Type of an exception: faults point at the instruction and may be taken again, traps behind it, aborts nowhere certain.
 * #DB is either (DR6 tells), hence a type of its own (KVM: `exception_type`).
 */
export function exceptionType(vector: number): 'fault' | 'trap' | 'abort' | 'debug' | 'interrupt' {
  if (vector > 31 || vector === Vector.NMI) return 'interrupt';
  if (vector === Vector.DB) return 'debug';
  if (vector === Vector.BP || vector === Vector.OF) return 'trap';
  return vector === Vector.DF || vector === Vector.MC ? 'abort' : 'fault';
}

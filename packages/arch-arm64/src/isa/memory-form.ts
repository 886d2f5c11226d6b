/** What the rows of loads and stores share: register slots, immediates, the stack pointer check, access facts. */
import type { AccessOptions, Builder, Expr, Fields, I64, Size } from '@faultyard/engine';
import { pair, signed } from './bits.ts';
import type { Bits, Derived, Form } from './form.ts';
import { SINK, ZR } from './form.ts';
import { GUARD_SP } from './guards.ts';

/** Access syndrome of an abort with ISV=1: ESR ISS bits 23 to 14 (DDI 0487 D24.2.40, ISS of a Data Abort). */
export interface Syndrome {
  /** Log2 of the bytes accessed. */
  readonly sas: number;
  /** Whether a load sign-extends. */
  readonly sse: boolean;
  /** Register number, 31 = XZR. */
  readonly srt: number;
  /** Whether the register is a 64-bit one. */
  readonly sf: boolean;
  /** Acquire or release semantics. */
  readonly ar: boolean;
}

/** What an abort needs to know about an instruction's access and cannot see in `AccessInfo`. */
export interface AccessFacts {
  /** Bytes an element must be aligned to while SCTLR_EL1.A is 1 (1: never checked). */
  readonly align: number;
  /** Present if a stage 2 abort of this instruction has ISV=1. */
  readonly syndrome?: Syndrome;
  /** Slot of the register whose value FAR must hold where that is not the address accessed (DC ZVA). */
  readonly far?: number;
}

/** A row that accesses memory. */
export interface MemoryForm extends Form {
  /** Facts about the access of the instruction with these fields. */
  readonly access: (b: Bits) => AccessFacts;
}

/** Value of field `name`; 0 if the row has no such field. */
export function field(b: Bits, name: string): number {
  return b[name] ?? 0;
}

/** Slot from which register `r` is read when 31 means zero. */
export function source(r: number): number {
  return r === 31 ? ZR : r;
}

/** Slot to which register `r` is written when 31 means nowhere. */
export function target(r: number): number {
  return r === 31 ? SINK : r;
}

/** A signed field of `width` bits times `scale`, as the halves of a record's `imm`. */
export function signedImmediate(value: number, width: number, scale: number): readonly [number, number] {
  return pair(signed(value, width) * scale);
}

/** Handler constant `sp`: 1 if the base register is the stack pointer, so that only those handlers check it. */
export const baseIsSp: Readonly<Record<string, Derived>> = {
  sp: { values: [0, 1], of: (b) => (b.Rn === 31 ? 1 : 0) },
};

/**
 * Value of the base register in record field `rn`, evaluated once. Forms that name {@link baseIsSp} check the stack
 * pointer's alignment (DDI 0487 D1.3.8.3): with another base the check is not there at all, with an aligned SP it is
 * one test, and only a misaligned SP asks the guard whether SCTLR_EL1.SA or SA0 wants the exception.
 */
export function base(b: Builder, f: Fields, v: Bits): I64 {
  const address = b.let(b.get(f.slot('rn')));
  if (v.sp === 1) b.when(b.and(b.wrap(address), b.c32(15)), () => b.guard(GUARD_SP));
  return address;
}

/** {@link base} plus the immediate of the record, evaluated once. */
export function baseOffset(b: Builder, f: Fields, v: Bits): I64 {
  return b.let(b.add(base(b, f, v), f.i64('imm')));
}

/** Loads one element into 64 bits: zero-extended, or sign-extended to `wide ? 64 : 32` bits. */
export function loadElement(
  b: Builder,
  log2: number,
  sign: 'zero' | 'sign32' | 'sign64',
  address: I64,
  o: AccessOptions,
): I64 {
  if (log2 === 3) return b.load(8, address, o);
  const value = b.load(log2 === 0 ? 1 : log2 === 1 ? 2 : 4, address, { ...o, signed: sign !== 'zero' });
  return sign === 'sign64' ? b.extS(value) : b.extU(value);
}

/** Bytes of an element from its log2. */
export function bytes(log2: number): Size {
  return log2 === 0 ? 1 : log2 === 1 ? 2 : log2 === 2 ? 4 : 8;
}

/** Any element as 64 bits, zero-extended. */
export function wide(b: Builder, e: Expr): I64 {
  return e.ty === 'i64' ? (e as I64) : b.extU(e as Expr<'i32'>);
}

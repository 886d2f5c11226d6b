/** Checks that several MSRs share. */
import { type MsrAccess, MsrResult, type MsrResultCode } from './def.ts';

/** Whether an address is canonical for the host's linear address width (x86.c, is_noncanonical_msr_address). */
function canonical(a: MsrAccess): boolean {
  return canonicalHigh(a) === a.hi;
}
/** High half of the address made canonical. */
export function canonicalHigh(a: MsrAccess): number {
  const shift = 64 - a.vcpu.model.linearBits;
  return (a.hi << shift) >> shift;
}
/** Refuses addresses that are not canonical. */
export function canonicalOnly(a: MsrAccess): MsrResultCode {
  return canonical(a) ? MsrResult.Ok : MsrResult.Refused;
}
/** Bits of the low half at and above MAXPHYADDR, as high-half mask, that must be 0. */
export function beyondPhysical(a: MsrAccess): boolean {
  const bits = a.vcpu.model.physicalBits;
  return a.hi >>> Math.max(0, bits - 32) !== 0;
}
/** Reads as a constant. */
export function constant(lo: number, hi: number = 0): (a: MsrAccess) => MsrResultCode {
  return (a) => {
    a.lo = lo | 0;
    a.hi = hi | 0;
    return MsrResult.Ok;
  };
}
/** Writes change nothing. */
export function ignored(): MsrResultCode {
  return MsrResult.Ok;
}
/** Writes are refused: #GP whatever the value. */
export function refused(): MsrResultCode {
  return MsrResult.Refused;
}
/** KVM knows the register for the other direction only. */
export function unsupported(): MsrResultCode {
  return MsrResult.Unsupported;
}
/** Only 0 may be written; other values are refused. */
export function zeroOnly(a: MsrAccess): MsrResultCode {
  return (a.lo | a.hi) === 0 ? MsrResult.Ok : MsrResult.Refused;
}

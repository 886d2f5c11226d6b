/** Stacks as system instructions see them: pushes and pops within a transaction, on the current or another stack. */
import { FL } from '../isa/flags.ts';
import { CTX_SUPERVISOR, CTX_SUPERVISOR_AC, CTX_USER, R, Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { Attr, CR0, type Segment, type X86State } from '../state.ts';
import { isCanonical } from '../system/operand.ts';
import { type Fault, ss } from './fault.ts';

/** A stack in use: pushes and pops move `lo` and `hi`, nothing else. */
export interface Stack {
  /** SS. */
  readonly segment: Segment;
  /** Width of the stack pointer in bytes. */
  readonly size: 2 | 4 | 8;
  /** RSP. */
  lo: number;
  hi: number;
  /** Error code of #SS. */
  readonly code: number;
}

/** Access context of explicit accesses at a privilege level. */
export function contextAt(s: X86State, cpl: number): number {
  if (cpl === 3) return CTX_USER;
  return s.flag(FL.AC) ? CTX_SUPERVISOR_AC : CTX_SUPERVISOR;
}

/** The current stack. */
export function currentStack(m: Machine): Stack {
  const s = m.state;
  return {
    segment: s.segment(Seg.SS),
    size: s.stack,
    lo: s.lo(R.RSP),
    hi: s.hi(R.RSP),
    code: 0,
  };
}

/** Width of a stack pointer: of 64-bit code 8, else by SS.B. */
export const stackSize = (ssAttr: number, long: boolean): 2 | 4 | 8 => (long ? 8 : ssAttr & Attr.DB ? 4 : 2);

/** Sets RSP to where the stack's pointer is: all of it, EFLAGS-like in 16 bits only SP. */
export function setStackPointer(s: X86State, stack: Stack): void {
  if (stack.size === 2) s.setSized(R.RSP, 2, stack.lo, 0);
  else s.set(R.RSP, stack.lo, stack.size === 8 ? stack.hi : 0);
}

/** Whether bits 63 to `bits`-1 are equal: what linear addresses must be in 64-bit mode. */
export const canonical = (hi: number, bits: number): boolean => (hi << (64 - bits)) >> (64 - bits) === hi;

/**
 * Whether `bytes` at an offset lie within a segment outside 64-bit mode. `protectedMode` false: only the limit counts.
 */
function within(s: Segment, offset: number, bytes: number, write: boolean, protectedMode: boolean): boolean {
  const first = offset >>> 0;
  const last = first + bytes - 1;
  const limit = s.limit >>> 0;
  if (!protectedMode) return last <= limit;
  if (s.attr & Attr.Unusable || !(s.attr & Attr.P)) return false;
  if (s.attr & Attr.Code) return !write && (s.attr & Attr.Readable) !== 0 && last <= limit;
  if (write && !(s.attr & Attr.Writable)) return false;
  if (!(s.attr & Attr.ExpandDown)) return last <= limit;
  return first > limit && last <= (s.attr & Attr.DB ? 0xffff_ffff : 0xffff);
}

/** Linear address of `bytes` at the stack's offset, or #SS. */
function stackAddress(
  m: Machine,
  k: Stack,
  offLo: number,
  offHi: number,
  bytes: number,
  write: boolean,
): { readonly lo: number; readonly hi: number } | Fault {
  if (k.size === 8) {
    const end = (offLo >>> 0) + bytes - 1 > 0xffff_ffff ? offHi + 1 : offHi;
    if (!isCanonical(m.state, offHi) || !isCanonical(m.state, end | 0)) return ss(k.code);
    return { lo: offLo, hi: offHi };
  }
  if (!within(k.segment, offLo, bytes, write, (m.state.cr0 & CR0.PE) !== 0)) return ss(k.code);
  return { lo: (offLo + k.segment.baseLo) | 0, hi: 0 };
}

/** Pushes `bytes` (2, 4, 8). `written`: how many of them are stored, the low ones. */
export function push(
  m: Machine,
  t: Transaction,
  k: Stack,
  bytes: number,
  lo: number,
  hi = 0,
  written: number = bytes,
): Fault | undefined {
  const sub = (k.lo - bytes) | 0;
  const newHi = k.size === 8 && k.lo >>> 0 < bytes ? (k.hi - 1) | 0 : k.hi;
  const newLo = k.size === 2 ? (k.lo & ~0xffff) | (sub & 0xffff) : sub;
  const at = stackAddress(m, k, k.size === 2 ? sub & 0xffff : sub, newHi, bytes, true);
  if ('vector' in at) return at;
  t.write(at.lo, at.hi, written, lo, hi);
  k.lo = newLo;
  k.hi = newHi;
  return undefined;
}

/** What {@link peek} read. */
export interface Popped {
  lo: number;
  hi: number;
}

/** Reads `bytes` at `above` bytes over the stack pointer, without moving it. */
export function peek(
  m: Machine,
  t: Transaction,
  k: Stack,
  bytes: number,
  above: number,
  to: Popped,
): Fault | undefined {
  const sum = (k.lo >>> 0) + above;
  const lo = k.size === 2 ? sum & 0xffff : sum | 0;
  const hi = k.size === 8 && sum > 0xffff_ffff ? (k.hi + 1) | 0 : k.hi;
  const at = stackAddress(m, k, lo, hi, bytes, false);
  if ('vector' in at) return at;
  to.lo = t.read(at.lo, at.hi, bytes);
  to.hi = bytes === 8 ? t.hi : 0;
  return undefined;
}

/** Moves the stack pointer up. */
export function release(k: Stack, bytes: number): void {
  const sum = (k.lo >>> 0) + bytes;
  if (k.size === 2) k.lo = (k.lo & ~0xffff) | (sum & 0xffff);
  else {
    if (k.size === 8 && sum > 0xffff_ffff) k.hi = (k.hi + 1) | 0;
    k.lo = sum | 0;
  }
}

/** Pops `bytes`. */
export function pop(m: Machine, t: Transaction, k: Stack, bytes: number, to: Popped): Fault | undefined {
  const f = peek(m, t, k, bytes, 0, to);
  if (!f) release(k, bytes);
  return f;
}

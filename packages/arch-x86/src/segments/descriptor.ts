/** Segment descriptors and gates of 8 and 16 bytes (AMD64 APM volume 2, 4.7 and 4.8). */
import { Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { Attr, type Segment, SR } from '../state.ts';

/** System types: type field of descriptors with S = 0 (4.8.3). */
export const SystemType = {
  Tss16: 1,
  Ldt: 2,
  Tss16Busy: 3,
  CallGate16: 4,
  TaskGate: 5,
  InterruptGate16: 6,
  TrapGate16: 7,
  /** 32 bits wide; 64 in long mode. */
  Tss: 9,
  TssBusy: 11,
  CallGate: 12,
  InterruptGate: 14,
  TrapGate: 15,
} as const;

/** A descriptor where it lies. */
export interface Descriptor {
  /** Its first two doublewords. */
  readonly low: number;
  readonly high: number;
  /** Linear address. */
  readonly atLo: number;
  readonly atHi: number;
  /** Type field; {@link SystemType} if not {@link code} or data. */
  readonly type: number;
  /** S = 1: code or data. */
  readonly user: boolean;
  readonly code: boolean;
  readonly conforming: boolean;
  readonly present: boolean;
  readonly dpl: number;
}

/** A gate's own fields. */
export interface Gate {
  readonly selector: number;
  readonly offsetLo: number;
  readonly offsetHi: number;
  /** Parameters to copy (call gates), 0 to 31. */
  readonly count: number;
  /** Interrupt stack table entry (64-bit gates), 0 to 7. */
  readonly ist: number;
}

/** Whether a selector is null. */
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;

const sumHi = (aLo: number, aHi: number, add: number): number =>
  ((aLo >>> 0) + add > 0xffff_ffff ? aHi + 1 : aHi) | 0;

/** Base of the selector's table, or where its last byte's offset ends; undefined outside the table. */
function tablePlace(
  m: Machine,
  selector: number,
  bytes: number,
): { readonly lo: number; readonly hi: number } | undefined {
  const s = m.state;
  const offset = selector & 0xfff8;
  const last = offset + bytes - 1;
  if (selector & 4) {
    const ldt = s.segment(Seg.LDTR);
    if (ldt.attr & Attr.Unusable || last > ldt.limit >>> 0) return undefined;
    return { lo: (ldt.baseLo + offset) | 0, hi: s.lma ? sumHi(ldt.baseLo, ldt.baseHi, offset) : 0 };
  }
  if (last > (s.sysLo(SR.GDTR_LIMIT) & 0xffff)) return undefined;
  const lo = s.sysLo(SR.GDTR_BASE);
  return { lo: (lo + offset) | 0, hi: s.lma ? sumHi(lo, s.sysHi(SR.GDTR_BASE), offset) : 0 };
}

/** The descriptor of two doublewords at an address. */
export function descriptor(low: number, high: number, atLo: number, atHi: number): Descriptor {
  const user = (high & 0x1000) !== 0;
  const code = user && (high & 0x800) !== 0;
  return {
    low,
    high,
    atLo,
    atHi,
    type: (high >>> 8) & 15,
    user,
    code,
    conforming: code && (high & 0x400) !== 0,
    present: (high & 0x8000) !== 0,
    dpl: (high >>> 13) & 3,
  };
}

/**
 * Reads the 8 bytes that a selector names, from GDT or LDT. Undefined: outside the table. The transaction's context
 * must be CTX_SUPERVISOR; after a failure of the transaction the descriptor is all zeroes.
 */
export function readDescriptor(m: Machine, t: Transaction, selector: number): Descriptor | undefined {
  const at = tablePlace(m, selector, 8);
  if (!at) return undefined;
  const low = t.read(at.lo, at.hi, 8);
  return descriptor(low, t.hi, at.lo, at.hi);
}

/**
 * The upper half of a 16-byte descriptor in long mode: bits 63:32 of base or offset. Undefined: outside the table, or
 * the type field of the upper half is not 0 (4.8.3).
 */
export function readUpper(m: Machine, t: Transaction, selector: number): number | undefined {
  const at = tablePlace(m, selector, 16);
  if (!at) return undefined;
  const lo = (at.lo + 8) | 0;
  const upper = t.read(lo, sumHi(at.lo, at.hi, 8), 8);
  return t.hi & 0x1f00 ? undefined : upper;
}

/** Attributes as {@link Attr} has them. */
export const attributes = (high: number): number => ((high >>> 8) & 0xff) | ((high >>> 12) & 0xf00);

/** Base, low half. */
const baseOf = (d: Descriptor): number => (d.low >>> 16) | ((d.high & 0xff) << 16) | (d.high & 0xff00_0000);

/** Offset of the last byte, scaled by G, as int32. */
export function limitOf(low: number, high: number): number {
  const limit = (low & 0xffff) | (high & 0xf_0000);
  return high & 0x80_0000 ? (limit << 12) | 0xfff : limit;
}

/** The segment register that a descriptor gives. `upper`: bits 63:32 of the base. */
export function segmentOf(d: Descriptor, selector: number, upper = 0): Segment {
  return {
    selector,
    attr: attributes(d.high),
    limit: limitOf(d.low, d.high),
    baseLo: baseOf(d),
    baseHi: upper,
  };
}

/** Sets the accessed bit of a code or data descriptor in its table, unless it is set. */
export function setAccessed(t: Transaction, d: Descriptor, s: Segment): void {
  if (d.high & 0x100) return;
  t.write((d.atLo + 5) | 0, sumHi(d.atLo, d.atHi, 5), 1, ((d.high >>> 8) & 0xff) | 1);
  s.attr |= Attr.Accessed;
}

/** Sets or clears the busy bit of a TSS descriptor in its table. */
export function setBusy(t: Transaction, d: Descriptor, busy: boolean): void {
  const byte = (d.high >>> 8) & 0xff;
  t.write((d.atLo + 5) | 0, sumHi(d.atLo, d.atHi, 5), 1, busy ? byte | 2 : byte & ~2);
}

/** The fields of a gate. `upper`: bits 63:32 of the offset, for 16-byte gates. */
export function gateOf(d: Descriptor, upper = 0): Gate {
  const wide = d.type & 8;
  return {
    selector: d.low >>> 16,
    offsetLo: wide ? (d.low & 0xffff) | (d.high & 0xffff_0000) : d.low & 0xffff,
    offsetHi: upper,
    count: d.high & 0x1f,
    ist: d.high & 7,
  };
}

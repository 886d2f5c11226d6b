/** Operands of instructions that TypeScript performs: registers, and memory with its segment checks. */
import { type Instruction, OpKind, Register } from 'iced-x86';
import { SEG_BASE, SEG_FIRST, SEG_LAST_READ, SEG_LAST_WRITE, Seg, type SegNumber } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { type Fault, gp, MEMORY_FAULT, ss } from '../segments/fault.ts';
import { CR4, type X86State } from '../state.ts';

/** Where a memory operand lies. */
export interface Place {
  readonly seg: SegNumber;
  /** Offset in the segment; moved by {@link moved}. */
  readonly offLo: number;
  readonly offHi: number;
  /** Linear address. */
  readonly lo: number;
  readonly hi: number;
}

/** Whether the register is ES to GS. */
export const isSegmentRegister = (r: Register): boolean => r >= Register.ES && r <= Register.GS;
/** Segment number of ES to GS. */
export const segmentNumber = (r: Register): SegNumber => (r - Register.ES) as SegNumber;

/** Size of a general register in bytes; 0 for others. */
export function registerSize(r: Register): 0 | 1 | 2 | 4 | 8 {
  if (r >= Register.RAX && r <= Register.R15) return 8;
  if (r >= Register.EAX && r <= Register.R15D) return 4;
  if (r >= Register.AX && r <= Register.R15W) return 2;
  return r >= Register.AL && r <= Register.R15L ? 1 : 0;
}

/** Slot of file `r` for a register of 2, 4 or 8 bytes. */
export function registerSlot(r: Register): number {
  if (r >= Register.RAX) return r - Register.RAX;
  return r >= Register.EAX ? r - Register.EAX : r - Register.AX;
}

/** Writes a register of 2, 4 or 8 bytes as an instruction does. */
export function setRegister(s: X86State, r: Register, lo: number, hi = 0): void {
  s.setSized(registerSlot(r), registerSize(r), lo, hi);
}

/** Whether addresses of this many significant bits are in force: 57 with CR4.LA57, else 48. */
const linearBits = (s: X86State): 48 | 57 => (s.cr4 & CR4.LA57 ? 57 : 48);
/** Whether a linear address is canonical. */
export function isCanonical(s: X86State, hi: number): boolean {
  const shift = 64 - linearBits(s);
  return (hi << shift) >> shift === hi;
}

/** Address size of an instruction with a memory operand, in bytes. */
function addressSize(i: Instruction): 2 | 4 | 8 {
  const base = i.memoryBase;
  if (base === Register.RIP) return 8;
  if (base === Register.EIP) return 4;
  const r = base !== Register.None ? base : i.memoryIndex;
  const size = r === Register.None ? i.memoryDisplSize : registerSize(r);
  return size === 8 ? 8 : size === 2 ? 2 : 4;
}

/** Low and high half of a displacement. */
const half = (v: bigint): number => Number(BigInt.asIntN(32, v));

/** The ModRM memory operand, without any check. */
export function effective(m: Machine, i: Instruction): Place {
  const s = m.state;
  const size = addressSize(i);
  const base = i.memoryBase;
  let lo: number;
  let hi: number;
  if (base === Register.RIP || base === Register.EIP) {
    // iced gives the target; its distance from the next instruction does not depend on the IP it was told
    const d = i.ipRelMemoryAddress - i.nextIP;
    lo = half(d);
    hi = lo >> 31;
    [lo, hi] = sum(lo, hi, i.length, 0);
    [lo, hi] = sum(lo, hi, s.ipLo, s.ipHi);
  } else {
    const d = i.memoryDisplacement;
    lo = half(d);
    hi = half((d - BigInt.asUintN(32, d)) / 0x1_0000_0000n);
    if (base !== Register.None) [lo, hi] = sum(lo, hi, s.lo(registerSlot(base)), s.hi(registerSlot(base)));
    const index = i.memoryIndex;
    if (index !== Register.None) {
      const slot = registerSlot(index);
      for (let n = 0; n < i.memoryIndexScale; n++) [lo, hi] = sum(lo, hi, s.lo(slot), s.hi(slot));
    }
  }
  if (size === 2) lo &= 0xffff;
  return placed(s, segmentNumber(i.memorySegment), lo, size === 8 ? hi : 0);
}

/** An operand `bytes` further on, in the same segment; outside 64-bit mode offsets wrap at 4 GiB. */
export function moved(s: X86State, p: Place, bytes: number): Place {
  const [lo, hi] = sum(p.offLo, p.offHi, bytes, 0);
  return placed(s, p.seg, lo, s.code === 8 ? hi : 0);
}

/** The place of an offset in a segment. */
export function placed(s: X86State, seg: SegNumber, offLo: number, offHi: number): Place {
  const [lo, hi] = sum(offLo, offHi, s.lo(SEG_BASE + seg), s.hi(SEG_BASE + seg));
  return { seg, offLo, offHi, lo, hi: s.code === 8 ? hi : 0 };
}

/** 64-bit sum of two pairs. */
export function sum(aLo: number, aHi: number, bLo: number, bHi: number): readonly [lo: number, hi: number] {
  const lo = (aLo + bLo) | 0;
  return [lo, (aHi + bHi + (lo >>> 0 < aLo >>> 0 ? 1 : 0)) | 0];
}

/**
 * #SS or #GP if `bytes` at a place leave its segment, or, in 64-bit mode, are not canonical. Wrapping around the end of
 * a segment of 4 GiB counts as leaving it.
 */
export function reach(m: Machine, p: Place, bytes: number, write: boolean): Fault | undefined {
  const s = m.state;
  const bad = p.seg === Seg.SS ? ss : gp;
  if (s.code === 8) {
    const [, endHi] = sum(p.lo, p.hi, bytes - 1, 0);
    return isCanonical(s, p.hi) && isCanonical(s, endHi) ? undefined : bad(0);
  }
  const lastSlot = (write ? SEG_LAST_WRITE : SEG_LAST_READ) + p.seg;
  const first = p.offLo >>> 0;
  const last = first + bytes - 1;
  if (s.hi(lastSlot) < 0 || first < s.lo(SEG_FIRST + p.seg) >>> 0 || last > s.lo(lastSlot) >>> 0)
    return bad(0);
  return undefined;
}

/** The first operand if it is a register, else undefined: it is memory. */
function registerOperand(i: Instruction, n: number): Register | undefined {
  return i.opKind(n) === OpKind.Register ? i.opRegister(n) : undefined;
}

/** Reads an `r/m16` operand. The instruction's own transaction comes after it. */
export function readWord(m: Machine, i: Instruction, n: number): number | Fault {
  const r = registerOperand(i, n);
  if (r !== undefined) return m.state.lo(registerSlot(r)) & 0xffff;
  const p = effective(m, i);
  const f = reach(m, p, 2, false);
  if (f) return f;
  const t = m.memory.begin();
  const v = t.read(p.lo, p.hi, 2);
  return t.failed ? MEMORY_FAULT : v;
}

/** Writes operand 0: to a register of its size, zero-extended; to memory always 16 bits (SLDT, STR, SMSW). */
export function writeWord(m: Machine, i: Instruction, lo: number, hi = 0): Fault | undefined {
  const r = registerOperand(i, 0);
  if (r !== undefined) {
    setRegister(m.state, r, lo, hi);
    return undefined;
  }
  const p = effective(m, i);
  const f = reach(m, p, 2, true);
  if (f) return f;
  const t = m.memory.begin();
  t.write(p.lo, p.hi, 2, lo & 0xffff);
  if (t.failed) return MEMORY_FAULT;
  t.commit();
  return undefined;
}

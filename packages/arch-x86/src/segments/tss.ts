/** The current task-state segment: inner stacks and the I/O permission map (AMD64 APM volume 2, 12.2). */
import { FL } from '../isa/flags.ts';
import { CTX_SUPERVISOR, Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { CR0, type X86State } from '../state.ts';
import { sum } from '../system/operand.ts';
import { type Fault, gp, MEMORY_FAULT, selectorCode, ts } from './fault.ts';

/** Whether the TSS in TR is of the 32-bit kind (or 64-bit); else it is a 16-bit one. */
const isWideTss = (s: X86State): boolean => (s.segment(Seg.TR).attr & 8) !== 0;

/** Reads at an offset of the TSS; the high half of 8 bytes is in `t.hi`. */
function readTss(s: X86State, t: Transaction, offset: number, size: number): number {
  const tr = s.segment(Seg.TR);
  const [lo, hi] = sum(tr.baseLo, tr.baseHi, offset, 0);
  return t.read(lo, s.lma ? hi : 0, size);
}

/** Stack of an inner privilege level. */
export interface InnerStack {
  /** Selector of SS; in long mode there is none. */
  readonly selector: number;
  readonly lo: number;
  readonly hi: number;
}

/** SS and (E)SP of level `cpl` from a 16- or 32-bit TSS: #TS(TR) beyond its limit. */
export function legacyInnerStack(m: Machine, t: Transaction, cpl: number): InnerStack | Fault {
  const s = m.state;
  const wide = isWideTss(s);
  const at = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
  const tr = s.segment(Seg.TR);
  if (at + (wide ? 5 : 3) > tr.limit >>> 0) return ts(selectorCode(tr.selector));
  t.ctx = CTX_SUPERVISOR;
  const lo = readTss(s, t, at, wide ? 4 : 2);
  const selector = readTss(s, t, at + (wide ? 4 : 2), 2);
  return t.failed ? MEMORY_FAULT : { selector, lo, hi: 0 };
}

/** RSP of level `cpl` from a 64-bit TSS: #TS(TR) beyond its limit. */
export function longInnerStack(m: Machine, t: Transaction, cpl: number): InnerStack | Fault {
  const s = m.state;
  const at = 4 + 8 * cpl;
  const tr = s.segment(Seg.TR);
  if (at + 7 > tr.limit >>> 0) return ts(selectorCode(tr.selector));
  t.ctx = CTX_SUPERVISOR;
  const lo = readTss(s, t, at, 8);
  const { hi } = t;
  return t.failed ? MEMORY_FAULT : { selector: cpl, lo, hi };
}

/** Offset of the I/O map's offset. */
const IO_MAP = 0x66;

/**
 * Whether `bytes` ports from `port` on may be used: CPL <= IOPL, else the I/O permission map of a 32- or 64-bit TSS must
 * have all bits clear (APM volume 2, 12.2.4; the processor always reads two bytes of it). In virtual-8086 mode only the
 * map counts.
 */
export function portPermitted(m: Machine, port: number, bytes: number): Fault | undefined {
  const s = m.state;
  if (!(s.cr0 & CR0.PE)) return undefined;
  if (!s.flag(FL.VM) && s.cpl <= s.iopl) return undefined;
  const tr = s.segment(Seg.TR);
  const limit = tr.limit >>> 0;
  if (!isWideTss(s) || limit < IO_MAP + 1) return gp();
  const t = m.memory.begin(CTX_SUPERVISOR);
  const at = readTss(s, t, IO_MAP, 2) + (port >>> 3);
  if (t.failed) return MEMORY_FAULT;
  if (at + 1 > limit) return gp();
  const bits = readTss(s, t, at, 2);
  if (t.failed) return MEMORY_FAULT;
  return (bits >>> (port & 7)) & ((1 << bytes) - 1) ? gp() : undefined;
}

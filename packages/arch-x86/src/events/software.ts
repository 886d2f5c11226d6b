/** INT n, INT3, INTO, INT1 (AMD64 APM volume 3; virtual-8086 rules and CR4.VME: volume 2, 8.10 and 8.11). */
import { type Instruction, Mnemonic } from 'iced-x86';
import { FL } from '../isa/flags.ts';
import { CTX_SUPERVISOR, Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { type Fault, gp, MEMORY_FAULT, raiseFault } from '../segments/fault.ts';
import { realSegment, setSegment } from '../segments/load.ts';
import { currentStack, push, setStackPointer } from '../segments/stack.ts';
import { CR4 } from '../state.ts';
import type { Operations } from '../system/operation.ts';
import { Vector } from './vectors.ts';

/** Offset of the I/O map base in a 32-bit TSS (APM volume 2, 12.2.4). */
const IO_MAP_BASE = 0x66;

function intN(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const vector = i.immediate8;
  if (s.mode === 'virtual-8086') {
    const way = s.cr4 & CR4.VME ? redirection(m, vector) : 'monitor';
    if (way === 'failed') return m.faulted();
    // #GP lets a monitor at CPL 0 decide
    if (way === 'monitor' && s.iopl < 3) return raiseFault(m, gp());
    const taken = m.intercepted('int-n', vector);
    if (taken !== undefined) return taken;
    if (way === 'redirect') {
      const fault = throughVirtualIvt(m, vector, i.length);
      return fault ? raiseFault(m, fault) : Next.Run;
    }
  } else {
    const taken = m.intercepted('int-n', vector);
    if (taken !== undefined) return taken;
  }
  return m.events.softwareInterrupt(vector, 'software', i.length);
}

function int3(m: Machine, i: Instruction): NextStep {
  const stop = m.events.debug.softwareBreakpoint();
  if (stop !== undefined) return stop;
  return m.events.softwareInterrupt(Vector.BP, 'software', i.length, true);
}

function into(m: Machine, i: Instruction): NextStep {
  if (m.state.flags & FL.OF) return m.events.softwareInterrupt(Vector.OF, 'software', i.length, true);
  m.state.advance(i.length);
  return Next.Run;
}

/** INT1 (ICEBP): #DB as an event from outside would be; no DPL check, DR6 stays. */
function int1(m: Machine, i: Instruction): NextStep {
  const taken = m.intercepted('icebp');
  if (taken !== undefined) return taken;
  return m.events.softwareInterrupt(Vector.DB, 'int1', i.length);
}

/** Software interrupts. */
export const SOFTWARE_OPERATIONS: Operations = new Map([
  [Mnemonic.Int, intN],
  [Mnemonic.Int3, int3],
  [Mnemonic.Into, into],
  [Mnemonic.Int1, int1],
]);

/**
 * CR4.VME: the 32 bytes below the I/O map say, a bit for each vector, whether INT n stays in virtual-8086 mode (0). An
 * I/O map base that leaves no room for them, or bytes beyond the TSS, count as 1.
 */
function redirection(m: Machine, vector: number): 'redirect' | 'monitor' | 'failed' {
  const tr = m.state.segment(Seg.TR);
  const limit = tr.limit >>> 0;
  if (limit < IO_MAP_BASE + 1) return 'monitor';
  const t = m.memory.begin(CTX_SUPERVISOR);
  const base = t.read((tr.baseLo + IO_MAP_BASE) | 0, 0, 2);
  if (t.failed) return 'failed';
  const at = base - 32 + (vector >>> 3);
  if (at < 0 || at > limit) return 'monitor';
  const byte = t.read((tr.baseLo + at) | 0, 0, 1);
  if (t.failed) return 'failed';
  return byte & (1 << (vector & 7)) ? 'monitor' : 'redirect';
}

/** INT n as an 8086 does it, with VIF in the place of IF while IOPL < 3. */
function throughVirtualIvt(m: Machine, vector: number, length: number): Fault | undefined {
  const s = m.state;
  const open = s.iopl === 3;
  const t = m.memory.begin();
  const entry = t.read(vector * 4, 0, 4);
  const k = currentStack(m);
  let pushed = s.flags;
  if (!open) pushed = (pushed & ~FL.IF) | FL.IOPL | (s.flag(FL.VIF) ? FL.IF : 0);
  const fault =
    push(m, t, k, 2, pushed) ??
    push(m, t, k, 2, s.segment(Seg.CS).selector) ??
    push(m, t, k, 2, (s.ipLo + length) & 0xffff);
  if (fault) return fault;
  if (t.failed) return MEMORY_FAULT;
  t.commit();
  setStackPointer(s, k);
  setSegment(s, Seg.CS, realSegment(entry >>> 16, 3));
  s.other &= ~(FL.TF | FL.RF | FL.NT | (open ? FL.IF : FL.VIF));
  s.setIp(entry & 0xffff, 0);
  m.events.taken = 'software';
  m.modeChanged();
  return undefined;
}

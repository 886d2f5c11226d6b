/**
 * PAUSE, MONITOR, MWAIT. KVM intercepts the latter two and does nothing, whether CPUID shows them or not
 * (KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS, on unless a VMM turns it off); exceptions come before the intercept.
 */
import { Code, type Instruction, Mnemonic } from 'iced-x86';
import { R, Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { raiseFault } from '../segments/fault.ts';
import { placed, reach, segmentNumber } from './operand.ts';
import type { Operations } from './operation.ts';

function pause(m: Machine, i: Instruction): NextStep {
  const step = m.intercepted('pause');
  if (step !== undefined) return step;
  m.state.advance(i.length);
  return Next.Run;
}

function monitor(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (s.cpl !== 0) return m.raise(6);
  if (s.lo(R.RCX) !== 0) return m.raise(13, 0);
  // the address in rAX is checked like a load of one byte; its segment may be overridden
  const size = i.code === Code.Monitorw ? 2 : i.code === Code.Monitord ? 4 : 8;
  const seg = i.segmentPrefix ? segmentNumber(i.segmentPrefix) : Seg.DS;
  const lo = size === 2 ? s.lo(R.RAX) & 0xffff : s.lo(R.RAX);
  const p = placed(s, seg, lo, size === 8 ? s.hi(R.RAX) : 0);
  const f = reach(m, p, 1, false);
  if (f) return raiseFault(m, f);
  const t = m.memory.begin();
  t.read(p.lo, p.hi, 1);
  if (t.failed) return m.faulted();
  const step = m.intercepted('monitor');
  if (step !== undefined) return step;
  s.advance(i.length);
  return Next.Run;
}

function mwait(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (s.cpl !== 0) return m.raise(6);
  if (s.lo(R.RCX) & ~1) return m.raise(13, 0);
  const step = m.intercepted('mwait');
  if (step !== undefined) return step;
  s.advance(i.length);
  return Next.Run;
}

/** This chapter's instructions. */
export const WAITING_OPERATIONS: Operations = new Map([
  [Mnemonic.Pause, pause],
  [Mnemonic.Monitor, monitor],
  [Mnemonic.Mwait, mwait],
]);

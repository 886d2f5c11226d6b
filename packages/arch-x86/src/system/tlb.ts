/** INVLPG and INVPCID (AMD64 APM volume 2, 5.5; Intel SDM volume 2). */
import { type Instruction, Mnemonic } from 'iced-x86';
import type { Machine } from '../machine.ts';
import { pcidOf } from '../memory/paging.ts';
import { Next, type NextStep } from '../next.ts';
import { raiseFault } from '../segments/fault.ts';
import { CR4 } from '../state.ts';
import { effective, isCanonical, moved, reach, registerSlot } from './operand.ts';
import type { Operations } from './operation.ts';

function invlpg(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (s.cpl !== 0) return m.raise(13, 0);
  const p = effective(m, i);
  const step = m.intercepted('invlpg', p.lo);
  if (step !== undefined) return step;
  // an address that is not canonical has no translation, and no fault
  if (isCanonical(s, p.hi)) m.tlb.dropPage(p.lo & ~0xfff, p.hi, pcidOf(s));
  s.advance(i.length);
  return Next.Run;
}

/** What INVPCID does, by type. */
const Invpcid = { Address: 0, Context: 1, All: 2, NonGlobal: 3 } as const;

function invpcid(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (!m.cpuid.has('invpcid')) return m.raise(6);
  if (s.cpl !== 0) return m.raise(13, 0);
  const step = m.intercepted('invpcid');
  if (step !== undefined) return step;
  const slot = registerSlot(i.op0Register);
  const type = s.lo(slot) >>> 0;
  const wide = s.code === 8 && s.hi(slot) !== 0;
  const p = effective(m, i);
  const f = reach(m, p, 16, false);
  if (f) return raiseFault(m, f);
  const t = m.memory.begin();
  const pcid = t.read(p.lo, p.hi, 8);
  const reserved = t.hi;
  const at = moved(s, p, 8);
  const lo = t.read(at.lo, at.hi, 8);
  const { hi } = t;
  if (t.failed) return m.faulted();
  if (wide || type > Invpcid.NonGlobal || reserved !== 0 || pcid & ~0xfff) return m.raise(13, 0);
  const named = type === Invpcid.Address || type === Invpcid.Context;
  if (named && pcid !== 0 && !(s.cr4 & CR4.PCIDE)) return m.raise(13, 0);
  if (type === Invpcid.Address && !isCanonical(s, hi)) return m.raise(13, 0);
  if (type === Invpcid.Address) m.tlb.dropPage(lo & ~0xfff, hi, pcid, false);
  else if (type === Invpcid.Context) m.tlb.dropNonGlobal(pcid);
  else if (type === Invpcid.All) m.tlb.dropAll();
  else m.tlb.dropNonGlobal();
  s.advance(i.length);
  return Next.Run;
}

/** This chapter's instructions. */
export const TLB_OPERATIONS: Operations = new Map([
  [Mnemonic.Invlpg, invlpg],
  [Mnemonic.Invpcid, invpcid],
]);

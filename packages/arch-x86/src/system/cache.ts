/** Cache instructions. There are no caches: what stays of them is their checks, and the zeroes of CLZERO. */
import { Code, type Instruction, Mnemonic } from 'iced-x86';
import { R, Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { raiseFault } from '../segments/fault.ts';
import { effective, placed, reach, segmentNumber } from './operand.ts';
import type { Operation, Operations } from './operation.ts';

/** Bytes of a cache line, as CPUID says. */
const LINE = 64;

function whole(intercept: 'invd' | 'wbinvd'): Operation {
  return (m, i) => {
    if (m.state.cpl !== 0) return m.raise(13, 0);
    const step = m.intercepted(intercept);
    if (step !== undefined) return step;
    m.state.advance(i.length);
    return Next.Run;
  };
}

/** CLFLUSH and its kin are checked like a load of one byte (APM volume 3, CLFLUSH). */
function line(feature: string): Operation {
  return (m, i) => {
    if (!m.model.features.has(feature)) return m.raise(6);
    const p = effective(m, i);
    const f = reach(m, p, 1, false);
    if (f) return raiseFault(m, f);
    const t = m.memory.begin();
    t.read(p.lo, p.hi, 1);
    if (t.failed) return m.faulted();
    m.state.advance(i.length);
    return Next.Run;
  };
}

/** CLZERO writes a line of zeroes at rAX (APM volume 3). */
function clzero(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (!m.model.features.has('clzero')) return m.raise(6);
  const size = i.code === Code.Clzerow ? 2 : i.code === Code.Clzerod ? 4 : 8;
  const seg = i.segmentPrefix ? segmentNumber(i.segmentPrefix) : Seg.DS;
  const lo = (size === 2 ? s.lo(R.RAX) & 0xffff : s.lo(R.RAX)) & ~(LINE - 1);
  const p = placed(s, seg, lo, size === 8 ? s.hi(R.RAX) : 0);
  const f = reach(m, p, LINE, true);
  if (f) return raiseFault(m, f);
  const t = m.memory.begin();
  for (let n = 0; n < LINE; n += 8) {
    const at = placed(s, seg, (lo + n) | 0, p.offHi);
    t.write(at.lo, at.hi, 8, 0, 0);
  }
  if (t.failed) return m.faulted();
  t.commit();
  s.advance(i.length);
  return Next.Run;
}

/** This chapter's instructions. */
export const CACHE_OPERATIONS: Operations = new Map([
  [Mnemonic.Invd, whole('invd')],
  [Mnemonic.Wbinvd, whole('wbinvd')],
  [Mnemonic.Wbnoinvd, whole('wbinvd')],
  [Mnemonic.Clflush, line('clflush')],
  [Mnemonic.Clflushopt, line('clflushopt')],
  [Mnemonic.Clwb, line('clwb')],
  [Mnemonic.Clzero, clzero],
]);

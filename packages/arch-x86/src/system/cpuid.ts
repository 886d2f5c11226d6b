/** The CPUID instruction; its table is in `src/cpuid/`. */
import { type Instruction, Mnemonic } from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { cpuidFaults } from '../msr/platform.ts';
import { Next, type NextStep } from '../next.ts';
import { traceCpuid } from '../tracing.ts';
import type { Operations } from './operation.ts';

function cpuid(m: Machine, i: Instruction): NextStep {
  const step = m.intercepted('cpuid');
  if (step !== undefined) return step;
  const s = m.state;
  if (s.cpl > 0 && cpuidFaults(m)) return m.raise(13, 0);
  m.cpuid.query(s.lo(R.RAX), s.lo(R.RCX));
  if (m.vm.traced) traceCpuid(m, s.lo(R.RAX), s.lo(R.RCX) >>> 0);
  const [eax = 0, ebx = 0, ecx = 0, edx = 0] = m.cpuid.regs;
  s.set(R.RAX, eax | 0, 0);
  s.set(R.RBX, ebx | 0, 0);
  s.set(R.RCX, ecx | 0, 0);
  s.set(R.RDX, edx | 0, 0);
  s.advance(i.length);
  return Next.Run;
}

/** This chapter's instruction. */
export const CPUID_OPERATIONS: Operations = new Map([[Mnemonic.Cpuid, cpuid]]);

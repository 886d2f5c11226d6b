/** RDTSC, RDTSCP, RDPID, RDPMC (AMD64 APM volume 3; Intel SDM volume 2). */
import { type Instruction, Mnemonic } from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { CR4, SR } from '../state.ts';
import { registerSlot } from './operand.ts';
import type { Operations } from './operation.ts';

/** EDX:EAX = TSC. */
function readTsc(m: Machine): void {
  const { lo, hi } = m.tsc.read();
  m.state.set(R.RAX, lo, 0);
  m.state.set(R.RDX, hi, 0);
}

function rdtsc(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (s.cr4 & CR4.TSD && s.cpl > 0) return m.raise(13, 0);
  const step = m.intercepted('rdtsc');
  if (step !== undefined) return step;
  readTsc(m);
  s.advance(i.length);
  return Next.Run;
}

function rdtscp(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (!m.cpuid.has('rdtscp')) return m.raise(6);
  if (s.cr4 & CR4.TSD && s.cpl > 0) return m.raise(13, 0);
  const step = m.intercepted('rdtscp');
  if (step !== undefined) return step;
  readTsc(m);
  s.set(R.RCX, s.sysLo(SR.TSC_AUX), 0);
  s.advance(i.length);
  return Next.Run;
}

function rdpid(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (!m.model.features.has('rdpid')) return m.raise(6);
  s.set(registerSlot(i.op0Register), s.sysLo(SR.TSC_AUX), 0);
  s.advance(i.length);
  return Next.Run;
}

/** There are no performance counters (CPUID has none): every index is #GP (arch/x86/kvm/pmu.c, kvm_pmu_rdpmc). */
function rdpmc(m: Machine): NextStep {
  const s = m.state;
  if (!(s.cr4 & CR4.PCE) && s.cpl > 0) return m.raise(13, 0);
  return m.intercepted('rdpmc') ?? m.raise(13, 0);
}

/** This chapter's instructions. */
export const TIME_OPERATIONS: Operations = new Map([
  [Mnemonic.Rdtsc, rdtsc],
  [Mnemonic.Rdtscp, rdtscp],
  [Mnemonic.Rdpid, rdpid],
  [Mnemonic.Rdpmc, rdpmc],
]);

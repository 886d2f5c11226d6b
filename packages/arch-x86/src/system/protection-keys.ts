/** RDPKRU and WRPKRU (AMD64 APM volume 2, 5.6.6; Intel SDM volume 2). Any CPL may use them. */
import { type Instruction, Mnemonic } from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { CR4, SR } from '../state.ts';
import type { Operations } from './operation.ts';

function rdpkru(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (!(s.cr4 & CR4.PKE)) return m.raise(6);
  if (s.lo(R.RCX) !== 0) return m.raise(13, 0);
  s.set(R.RAX, s.sysLo(SR.PKRU), 0);
  s.set(R.RDX, 0, 0);
  s.advance(i.length);
  return Next.Run;
}

function wrpkru(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (!(s.cr4 & CR4.PKE)) return m.raise(6);
  if (s.lo(R.RCX) !== 0 || s.lo(R.RDX) !== 0) return m.raise(13, 0);
  s.setSys(SR.PKRU, s.lo(R.RAX), 0);
  s.advance(i.length);
  m.translationChanged();
  return Next.Run;
}

/** This chapter's instructions. */
export const PROTECTION_KEY_OPERATIONS: Operations = new Map([
  [Mnemonic.Rdpkru, rdpkru],
  [Mnemonic.Wrpkru, wrpkru],
]);

/**
 * RDRAND and RDSEED (Intel SDM volume 2; AMD64 APM volume 3). The numbers are a function of virtual time and of the vCPU, so
 * that a run repeats; they never run out.
 */
import { type Instruction, Mnemonic } from 'iced-x86';
import { ARITHMETIC, FL } from '../isa/flags.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { registerSize, registerSlot } from './operand.ts';
import type { Operations } from './operation.ts';

/** Mixes 32 bits (the finalizer of MurmurHash3, which is in the public domain). */
function mix(v: number): number {
  let h = v;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return h ^ (h >>> 16);
}

function random(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const now = m.now();
  const seed = mix(mix(now | 0) ^ Math.floor(now / 0x1_0000_0000) ^ Math.imul(m.id + 1, 0x9e37_79b9));
  const other = i.mnemonic === Mnemonic.Rdseed ? 1 : 2;
  const r = i.op0Register;
  s.setSized(registerSlot(r), registerSize(r), mix(seed + other), mix(seed - other));
  // CF = 1: a number is there; the other arithmetic flags are cleared
  s.flags = (s.flags & ~ARITHMETIC) | FL.CF;
  s.advance(i.length);
  return Next.Run;
}

/** This chapter's instructions. */
export const RANDOM_OPERATIONS: Operations = new Map([
  [Mnemonic.Rdrand, random],
  [Mnemonic.Rdseed, random],
]);

/** MOV to and from debug registers (AMD64 APM volume 2, 13.1.1; Intel SDM volume 3, 18.2). */
import { type Instruction, Register } from 'iced-x86';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { CR4, SR } from '../state.ts';
import { registerSlot } from './operand.ts';

/** DR6: bits that a write changes (B0 to B3, BD, BS, BT), and those that read 1 (KVM: DR6_FIXED_1 without RTM). */
const DR6_WRITABLE = 0xe00f;
const DR6_ONES = 0xffff_0ff0 | 0;
/** DR7: bits that a write changes, and bit 10, which reads 1 (KVM: DR7_VOLATILE, DR7_FIXED_1). */
const DR7_WRITABLE = 0xffff_2bff | 0;
const DR7_ONES = 0x400;

/** Whether a register is DR0 to DR15. */
export const isDebugRegister = (r: Register): boolean => r >= Register.DR0 && r <= Register.DR15;

const SLOTS = { 0: SR.DR0, 1: SR.DR1, 2: SR.DR2, 3: SR.DR3, 6: SR.DR6, 7: SR.DR7 } as const;
type DebugRegister = keyof typeof SLOTS;

/** MOV with a debug register: #UD, #GP and general detect, then an intercept, then reserved bits. */
export function movDebug(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const reads = isDebugRegister(i.op1Register);
  const encoded = (reads ? i.op1Register : i.op0Register) - Register.DR0;
  if (encoded > 7) return m.raise(6);
  if (s.cpl !== 0) return m.raise(13, 0);
  const alias = encoded === 4 || encoded === 5;
  if (alias && s.cr4 & CR4.DE) return m.raise(6);
  const n = (alias ? encoded + 2 : encoded) as DebugRegister;
  const trap = m.events.debug.generalDetect();
  if (trap !== undefined) return trap;
  const wide = s.code === 8;
  const gpr = registerSlot(reads ? i.op0Register : i.op1Register);
  const hi = wide ? s.hi(gpr) : 0;
  if (!reads && n >= 6 && hi !== 0) return m.raise(13, 0);
  const step = m.intercepted(reads ? `dr${n}-read` : `dr${n}-write`, gpr);
  if (step !== undefined) return step;
  const slot = SLOTS[n];
  if (reads) s.set(gpr, s.sysLo(slot), wide ? s.sysHi(slot) : 0);
  else {
    const lo = s.lo(gpr);
    if (n === 6) s.setSys(slot, (lo & DR6_WRITABLE) | DR6_ONES, 0);
    else if (n === 7) s.setSys(slot, (lo & DR7_WRITABLE) | DR7_ONES, 0);
    else s.setSys(slot, lo, hi);
  }
  s.advance(i.length);
  if (!reads) m.events.debug.follow();
  return Next.Run;
}

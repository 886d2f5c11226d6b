/** The architecture's guard bits as the state has them (`isa/guards.ts` says what each means). */
import { GUARD_EL0, GUARD_FP, GUARD_SP, GUARD_SP_EL0, GUARD_ZVA } from './isa/guards.ts';
import { SR } from './state.ts';
import type { SysregContext } from './sysregs/def.ts';
import { fpTrapped } from './system-registers.ts';

/** Bits of the guard word that are the architecture's; the others are plugins'. */
export const OWN_GUARDS = 0xffff;

/** Bits of SCTLR_EL1. */
const SA = 1 << 3;
const SA0 = 1 << 4;
const DZE = 1 << 14;

/** Guard bits for the current state. */
export function guardBits(c: Pick<SysregContext, 'state'>): number {
  const s = c.state;
  const el0 = s.el === 0;
  const sctlr = s.lo(SR.SCTLR_EL1);
  let g = 0;
  if (fpTrapped(c)) g |= 1 << GUARD_FP;
  if (sctlr & (el0 ? SA0 : SA)) g |= 1 << GUARD_SP;
  if (el0) g |= 1 << GUARD_EL0;
  if (el0 || (s.ps & 1) === 0) g |= 1 << GUARD_SP_EL0;
  if (el0 && (sctlr & DZE) === 0) g |= 1 << GUARD_ZVA;
  return g;
}

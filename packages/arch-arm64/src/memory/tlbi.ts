/**
 * TLB maintenance (DDI 0487, C5.5 TLBI). KVM sets HCR_EL2.FB, so every TLBI of a guest is broadcast within the inner
 * shareable domain: the local forms reach all vCPUs too.
 */

import type { Arm64State } from '../state.ts';
import { SR } from '../state.ts';
import { sysregKey } from '../sysregs/def.ts';
import type { Tlb } from './tlb.ts';

const key = (crm: number, op2: number): number => sysregKey([1, 0, 8, crm, op2]);
const OP = { vmalle1: 0, vae1: 1, aside1: 2, vaae1: 3, vale1: 5, vaale1: 7 } as const;

/** Whether the key (op0 = 1) names a TLBI of EL1. */
export function isTlbi(k: number): boolean {
  for (const op2 of Object.values(OP)) if (k === key(3, op2) || k === key(7, op2)) return true;
  return false;
}

/** Carries a TLBI out on every vCPU's TLB. `lo`, `hi`: the register argument. */
export function tlbi(k: number, lo: number, hi: number, s: Arm64State, tlbs: readonly Tlb[]): void {
  const wide = (s.hi(SR.TCR_EL1) & (1 << 4)) !== 0;
  const asid = (hi >>> 16) & (wide ? 0xffff : 0xff);
  for (const t of tlbs)
    switch (k & 7) {
      case OP.vmalle1:
        t.dropAll();
        break;
      case OP.aside1:
        t.dropAll(asid);
        break;
      case OP.vae1:
      case OP.vale1:
        t.dropPage(lo, hi & 0xfff, asid);
        break;
      default:
        t.dropPage(lo, hi & 0xfff, -1);
    }
}

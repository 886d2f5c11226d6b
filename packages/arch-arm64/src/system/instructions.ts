/** SYS: cache maintenance, address translation, TLB maintenance (DDI 0487, C5.3 to C5.5). */
import { Access, type AccessInfo, type Resolution, Resolved } from '@faultyard/engine';
import { EC, sysregIss, takeSync } from '../events/exceptions.ts';
import { AccessClass } from '../memory/access-class.ts';
import { isAt, translateAddress } from '../memory/at.ts';
import { isTlbi, tlbi } from '../memory/tlbi.ts';
import { WalkEnd, walkResult } from '../memory/walk.ts';
import { Next, type NextStep } from '../next.ts';
import { SR } from '../state.ts';
import { sysregKey } from '../sysregs/def.ts';
import type { Arm64Vcpu } from '../vcpu.ts';

const key = (op1: number, crm: number, op2: number): number => sysregKey([1, op1, 7, crm, op2]);
const IC_IALLUIS = key(0, 1, 0);
const IC_IALLU = key(0, 5, 0);
const IC_IVAU = key(3, 5, 1);
const DC_IVAC = key(0, 6, 1);
/** Set/way forms: nothing to do without caches. */
const SET_WAY: readonly number[] = [key(0, 6, 2), key(0, 10, 2), key(0, 14, 2)];
/** DC CVAC, CVAU, CIVAC: EL0 may use them with SCTLR_EL1.UCI. */
const CLEAN: readonly number[] = [key(3, 10, 1), key(3, 11, 1), key(3, 14, 1)];
const UCI = 1 << 26;

const access: AccessInfo = {
  lo: 0,
  hi: 0,
  size: 1,
  kind: Access.Read,
  ctx: 0,
  cls: AccessClass.NoIsv | AccessClass.Cm,
  ordinal: 0,
  align: 1,
};
const resolution: Resolution = { frame: 0, cache: false, gpa: 0 };
const walked = walkResult();

/** Performs the instruction with this key and operand. */
export function systemInstruction(v: Arm64Vcpu, k: number, lo: number, hi: number, rt: number): NextStep {
  const s = v.state;
  const el0 = s.el === 0;
  if (CLEAN.includes(k) || k === IC_IVAU) {
    if (el0 && (s.lo(SR.SCTLR_EL1) & UCI) === 0) {
      takeSync(v, EC.Sysreg, sysregIss(k, rt, false));
      return Next.Run;
    }
    return byAddress(v, lo, hi, false);
  }
  if (el0) return undefinedHere(v);
  if (k === DC_IVAC) return byAddress(v, lo, hi, true);
  if (isTlbi(k)) {
    tlbi(
      k,
      lo,
      hi,
      s,
      v.siblings.map((x) => x.tlb),
    );
  } else if (isAt(k)) {
    const end = translateAddress(v.probe, k, lo, hi, walked);
    if (end === WalkEnd.Stage2 || end === WalkEnd.External) {
      v.walkFault(lo, hi, walked, end === WalkEnd.External);
      return Next.Handle;
    }
  } else if (k !== IC_IALLU && k !== IC_IALLUIS && !SET_WAY.includes(k)) return undefinedHere(v);
  s.advance();
  return Next.Run;
}

function undefinedHere(v: Arm64Vcpu): NextStep {
  takeSync(v, EC.Unknown, 0);
  return Next.Run;
}

/** Maintenance by address: translated like a load (DC IVAC: like a store), with no effect on memory. */
function byAddress(v: Arm64Vcpu, lo: number, hi: number, write: boolean): NextStep {
  access.lo = lo;
  access.hi = hi;
  access.ctx = v.context;
  access.kind = write ? Access.Write : Access.Read;
  if (v.port.resolve(access, resolution) === Resolved.Fault) return v.faulted();
  v.state.advance();
  return Next.Run;
}

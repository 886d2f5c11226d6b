/**
 * Slow operations: what generated code leaves to the vCPU. Each either retires the instruction (pc behind it), takes an
 * exception, or asks for work outside generated code.
 */
import type { Exit } from '@faultyard/core';
import { EC, esr, exceptionReturn, sysregIss, takeSync } from './events/exceptions.ts';
import { GUARD_FP, GUARD_SP, GUARD_ZVA } from './isa/guards.ts';
import { Slow } from './isa/slow.ts';
import { Next, type NextStep } from './next.ts';
import { intercept } from './points.ts';
import { PS, SR } from './state.ts';
import { sysregKey } from './sysregs/def.ts';
import { writePs } from './sysregs/exceptions.ts';
import { SysAccess, type SysAccessResult } from './sysregs/system-registers.ts';
import { systemInstruction } from './system/instructions.ts';
import type { Arm64Vcpu } from './vcpu.ts';

/** ISS of EC 0x07 in AArch64: CV = 1, COND = 0b1110. */
const FP_ISS = 0x1e0_0000;
const DC_ZVA = sysregKey([1, 3, 7, 4, 1]);

/** ZR and SINK are register 31 in a syndrome. */
const rt = (slot: number): number => Math.min(slot, 31);

/** Performs slow operation `op`; its arguments are in the vCPU's slow argument area. */
export function slow(v: Arm64Vcpu, op: number): NextStep {
  const s = v.state;
  switch (op) {
    case Slow.Undefined:
      takeSync(v, EC.Unknown, 0);
      return Next.Run;
    case Slow.Mrs: {
      const key = v.slowLo(0);
      const slot = v.slowLo(1);
      const r = v.sysregs.read(v, key, v.pair);
      if (r !== SysAccess.Ok) return refuse(v, r, key, rt(slot), true);
      s.setX(slot, v.pair.lo, v.pair.hi);
      s.advance();
      return Next.Run;
    }
    case Slow.Msr: {
      const key = v.slowLo(0);
      const r = v.sysregs.write(v, key, v.slowLo(1), v.slowHi(1));
      if (r !== SysAccess.Ok) return refuse(v, r, key, rt(v.slowLo(2)), false);
      s.advance();
      return v.takeYield() ? Next.Yield : Next.Run;
    }
    case Slow.MsrImm:
      return stateField(v, v.slowLo(0), v.slowLo(1));
    case Slow.Sys:
      return systemInstruction(v, v.slowLo(0), v.slowLo(1), v.slowHi(1), rt(v.slowLo(2)));
    case Slow.Sysl:
      takeSync(v, EC.Unknown, 0);
      return Next.Run;
    case Slow.Svc:
      s.advance();
      takeSync(v, EC.Svc, v.slowLo(0) & 0xffff);
      return Next.Run;
    case Slow.Hvc:
    case Slow.Smc:
      return call(v, op === Slow.Smc);
    case Slow.Brk:
      takeSync(v, EC.Brk, v.slowLo(0) & 0xffff);
      return Next.Run;
    case Slow.Hlt:
    case Slow.Dcps:
    case Slow.Drps:
      // without halting debug (EDSCR.HDE = 0) HLT is UNDEFINED
      takeSync(v, EC.Unknown, 0);
      return Next.Run;
    case Slow.Eret:
      if (s.el === 0) takeSync(v, EC.Unknown, 0);
      else {
        exceptionReturn(v);
        // an exception return sets the event register (DDI 0487, D1.16.1)
        v.eventRegister = true;
      }
      return Next.Run;
    case Slow.Wfi:
      return wait(v, 0);
    case Slow.Wfe:
      return wait(v, 1);
    case Slow.Sev:
      for (const other of v.siblings) other.eventRegister = true;
      s.advance();
      return Next.Run;
    case Slow.Sevl:
      v.eventRegister = true;
      s.advance();
      return Next.Run;
    case Slow.Esb:
      if (v.model.ras > 0) v.errorSynchronization();
      s.advance();
      return Next.Run;
    case Slow.PcAlignment:
      v.pcAlignmentFault();
      return Next.Run;
    default:
      // ISB, YIELD: order is program order here
      s.advance();
      return Next.Run;
  }
}

/** Exception of a set guard bit. */
export function guard(v: Arm64Vcpu, n: number): NextStep {
  switch (n) {
    case GUARD_FP:
      takeSync(v, EC.Fp, FP_ISS);
      break;
    case GUARD_SP:
      takeSync(v, EC.SpAlignment, 0);
      break;
    case GUARD_ZVA:
      takeSync(v, EC.Sysreg, sysregIss(DC_ZVA, v.instructionWord() & 31, false));
      break;
    default:
      if (n >= 16) {
        v.request('intercept', n);
        return Next.Handle;
      }
      takeSync(v, EC.Unknown, 0);
  }
  return Next.Run;
}

/** What a plugin makes of an instruction or register whose guard is set. */
export function intercepted(v: Arm64Vcpu, n: number): Exit | undefined {
  const answer = v.vm.ask(intercept)({ vcpu: v, guard: n, word: v.instructionWord() >>> 0 });
  if (typeof answer === 'object') return answer;
  v.owe(1);
  if (answer === 'skip') v.state.advance();
  else takeSync(v, EC.Unknown, 0);
  return undefined;
}

/** An access that the register table refused. */
function refuse(v: Arm64Vcpu, r: SysAccessResult, key: number, reg: number, read: boolean): NextStep {
  if (r === SysAccess.Guard) {
    v.request('intercept', v.sysregs.find(key)?.def.guard);
    return Next.Handle;
  }
  if (r === SysAccess.Trap) takeSync(v, EC.Sysreg, sysregIss(key, reg, read));
  else if (r === SysAccess.Fp) takeSync(v, EC.Fp, FP_ISS);
  else takeSync(v, EC.Unknown, 0);
  return Next.Run;
}

/** MSR (immediate): op1:op2 and CRm. */
function stateField(v: Arm64Vcpu, field: number, value: number): NextStep {
  const s = v.state;
  const el0 = s.el === 0;
  if (field === 0x1e || field === 0x1f) {
    if (el0 && (s.lo(SR.SCTLR_EL1) & (1 << 9)) === 0) {
      const key = sysregKey([0, 3, 4, value, field & 7]);
      takeSync(v, EC.Sysreg, sysregIss(key, 31, false));
      return Next.Run;
    }
    const bits = (value & 15) << 6;
    writePs(v, bits, field === 0x1e ? bits : 0);
  } else if (el0) {
    takeSync(v, EC.Unknown, 0);
    return Next.Run;
  } else if (field === 5) writePs(v, 1, value);
  else if (field === 4) writePs(v, PS.PAN, value & 1 ? PS.PAN : 0);
  else writePs(v, PS.UAO, value & 1 ? PS.UAO : 0);
  s.advance();
  return v.takeYield() ? Next.Yield : Next.Run;
}

/** WFI (`event` 0) and WFE (1). */
function wait(v: Arm64Vcpu, event: 0 | 1): NextStep {
  const s = v.state;
  if (event && v.eventRegister) {
    v.eventRegister = false;
    s.advance();
    return Next.Run;
  }
  const enabled = s.lo(SR.SCTLR_EL1) & (event ? 1 << 18 : 1 << 16);
  if (s.el === 0 && !enabled) {
    takeSync(v, EC.Wfx, (1 << 24) | (0xe << 20) | event);
    return Next.Run;
  }
  s.advance();
  // WFE may complete at any time; it gives the slice up to whoever will send the event
  if (event) return Next.Yield;
  if (v.wakes()) return Next.Run;
  v.waiting = true;
  return Next.Wait;
}

/** HVC and SMC: KVM takes both as SMCCC calls; it skips the SMC itself, HVC returns behind itself anyway. */
function call(v: Arm64Vcpu, smc: boolean): NextStep {
  const s = v.state;
  if (s.el === 0) {
    takeSync(v, EC.Unknown, 0);
    return Next.Run;
  }
  const immediate = v.slowLo(0) & 0xffff;
  s.advance();
  if (smc && immediate !== 0) {
    s.setX(0, -1, -1);
    return Next.Run;
  }
  v.trappedEsr = esr(smc ? EC.Smc : EC.Hvc, immediate);
  v.request('smccc');
  return Next.Handle;
}

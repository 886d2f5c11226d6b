/** RDMSR and WRMSR (AMD64 APM volume 3; arch/x86/kvm/x86.c, kvm_emulate_rdmsr and kvm_emulate_wrmsr). */
import type { Plain } from '@faultyard/core';
import { R } from '../isa/layout.ts';
import { Next, type NextStep } from '../next.ts';
import { join } from '../state.ts';
import { traceMsr } from '../tracing.ts';
import type { X86Vcpu } from '../vcpu.ts';
import { MsrResult, type MsrResultCode } from './def.ts';
import { MSR_DATA, MSR_ERROR, MsrExitReason } from './exits.ts';

/** Both instructions are two bytes long, but for prefixes, which count. */
const lengthOf = (v: X86Vcpu): number => v.instruction().length;

/** RDMSR, privilege checked: EDX:EAX, #GP(0), or an exit. */
export function rdmsr(v: X86Vcpu): NextStep {
  const index = v.state.lo(R.RCX) >>> 0;
  const step = v.intercepted('msr', 0);
  if (step !== undefined) return step;
  const r = v.msrs.read(index);
  const { lo, hi } = v.msrs.value;
  if (v.vm.traced) traceMsr(v, false, index, r === MsrResult.Ok ? join(lo, hi) : 0n, r !== MsrResult.Ok);
  if (r !== MsrResult.Ok) return refuse(v, r, index, false);
  const length = lengthOf(v);
  put(v, lo, hi);
  v.state.advance(length);
  return Next.Run;
}

function put(v: X86Vcpu, lo: number, hi: number): void {
  v.state.set(R.RAX, lo, 0);
  v.state.set(R.RDX, hi, 0);
}

/** An open exit as it is saved: its instruction's length, and what the VMM wrote to kvm_run. */
export function saveMsrExit(v: X86Vcpu): Plain {
  if (v.msrExit === 'none') return [];
  const run = v.core.kvmRun;
  return [
    v.msrLength,
    run.getUint8(MSR_ERROR),
    run.getInt32(MSR_DATA, true),
    run.getInt32(MSR_DATA + 4, true),
  ];
}

/** Puts it back; core has its last exit again. */
export function restoreMsrExit(v: X86Vcpu, saved: readonly number[]): void {
  const [length = 0, error = 0, lo = 0, hi = 0] = saved;
  v.msrLength = length;
  if (v.msrExit === 'none') return;
  const run = v.core.kvmRun;
  run.setUint8(MSR_ERROR, error);
  run.setInt32(MSR_DATA, lo, true);
  run.setInt32(MSR_DATA + 4, hi, true);
}

/** WRMSR, privilege checked. */
export function wrmsr(v: X86Vcpu): NextStep {
  const { state } = v;
  const index = state.lo(R.RCX) >>> 0;
  const step = v.intercepted('msr', 1);
  if (step !== undefined) return step;
  const lo = state.lo(R.RAX);
  const hi = state.lo(R.RDX);
  const length = lengthOf(v);
  const r = v.msrs.write(index, lo, hi);
  if (v.vm.traced) traceMsr(v, true, index, join(lo, hi), r !== MsrResult.Ok);
  if (r !== MsrResult.Ok) return refuse(v, r, index, true);
  state.advance(length);
  return Next.Run;
}

const REASONS: Readonly<Record<MsrResultCode, number>> = {
  [MsrResult.Ok]: 0,
  [MsrResult.Refused]: MsrExitReason.Inval,
  [MsrResult.Unsupported]: MsrExitReason.Unknown,
  [MsrResult.Filtered]: MsrExitReason.Filter,
};

/** #GP(0), or the exit that KVM_CAP_X86_USER_SPACE_MSR asks for. */
function refuse(v: X86Vcpu, r: MsrResultCode, index: number, write: boolean): NextStep {
  const reason = REASONS[r];
  if (!(v.userSpaceMsrs & reason)) return v.raise(13, 0);
  const of = { vcpu: v.id, ret: 0, reason, index } as const;
  const data = write ? join(v.state.lo(R.RAX), v.state.lo(R.RDX)) : 0n;
  v.msrExit = write ? 'write' : 'read';
  // a restored VM has not fetched it
  v.msrLength = lengthOf(v);
  return v.later(write ? { ...of, kind: 'x86-wrmsr', data } : { ...of, kind: 'x86-rdmsr' });
}

/** KVM_RUN again after such an exit: kvm_run.msr.error says #GP; else a read takes kvm_run.msr.data. */
export function completeMsr(v: X86Vcpu): void {
  const write = v.msrExit === 'write';
  v.msrExit = 'none';
  const run = v.core.kvmRun;
  v.owe(1);
  if (run.getUint8(MSR_ERROR) !== 0) {
    v.raise(13, 0);
    return;
  }
  if (!write) put(v, run.getInt32(MSR_DATA, true), run.getInt32(MSR_DATA + 4, true));
  v.state.advance(v.msrLength);
}

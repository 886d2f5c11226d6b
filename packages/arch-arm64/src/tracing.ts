/** What an arm64 vCPU tells the trace while `vm.traced` is set. */
import { Stop, type StopReason } from '@faultyard/core';
import { join, SR } from './state.ts';
import type { Arm64Vcpu } from './vcpu.ts';

declare module '@faultyard/core' {
  interface TraceMap {
    /** The guest took an exception to EL1: offset from VBAR_EL1, and the registers it left. */
    arm64_exception: {
      readonly pc: bigint;
      readonly offset: number;
      readonly esr: bigint;
      readonly far: bigint;
      readonly elr: bigint;
    };
  }
}

/** Why the guest was left, in words. */
const REASONS: Readonly<Record<StopReason, string>> = {
  [Stop.Slice]: 'slice',
  [Stop.Handle]: 'handle',
  [Stop.Device]: 'device',
  [Stop.Wait]: 'wait',
};

/** Traces an exception entry. */
export function traceException(v: Arm64Vcpu, offset: number): void {
  const s = v.state;
  v.vm.trace.emit({
    name: 'arm64_exception',
    time: v.core.now,
    vcpu: v.id,
    pc: v.pc,
    offset,
    esr: join(s.lo(SR.ESR_EL1), s.hi(SR.ESR_EL1)),
    far: join(s.lo(SR.FAR_EL1), s.hi(SR.FAR_EL1)),
    elr: join(s.lo(SR.ELR_EL1), s.hi(SR.ELR_EL1)),
  });
}

/** Traces an entry of the guest. */
export function traceEntry(v: Arm64Vcpu): void {
  v.vm.trace.emit({ name: 'kvm_entry', time: v.core.now, vcpu: v.id, pc: v.pc });
}

/** Traces that the guest was left. */
export function traceExit(v: Arm64Vcpu, why: StopReason): void {
  v.vm.trace.emit({ name: 'kvm_exit', time: v.core.now, vcpu: v.id, reason: REASONS[why], pc: v.pc });
}

/** Traces a stage 2 fault. */
export function traceFault(v: Arm64Vcpu, gpa: number, write: boolean): void {
  v.vm.trace.emit({
    name: 'kvm_guest_fault',
    time: v.core.now,
    vcpu: v.id,
    pc: v.pc,
    gpa: BigInt(gpa),
    write,
  });
}

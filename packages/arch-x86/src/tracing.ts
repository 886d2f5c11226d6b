/** What an x86 vCPU tells the trace while `vm.traced` is set, under the names of KVM's tracepoints. */
import { Stop, type StopReason } from '@faultyard/core';
import { join, SR } from './state.ts';
import type { X86Vcpu } from './vcpu.ts';

declare module '@faultyard/core' {
  interface TraceMap {
    /** The guest took an exception: vector, error code (0 where there is none), CR2. */
    kvm_inj_exception: {
      readonly pc: bigint;
      readonly vector: number;
      readonly errorCode: number;
      readonly cr2: bigint;
    };
    /** An external interrupt or an NMI was delivered. */
    kvm_inj_virq: { readonly pc: bigint; readonly vector: number };
    /** A stage 2 fault: guest physical address, KVM's error code (bit 1 write, bit 4 fetch). */
    kvm_page_fault: { readonly pc: bigint; readonly gpa: bigint; readonly errorCode: number };
    /** An MSR was accessed; `exception`: the access was refused. */
    kvm_msr: {
      readonly write: boolean;
      readonly ecx: number;
      readonly data: bigint;
      readonly exception: boolean;
    };
    /** CPUID was executed. */
    kvm_cpuid: {
      readonly function: number;
      readonly index: number;
      readonly rax: number;
      readonly rbx: number;
      readonly rcx: number;
      readonly rdx: number;
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

/** Time, vCPU and pc of a trace event. */
const where = (v: X86Vcpu): { readonly time: number; readonly vcpu: number; readonly pc: bigint } => ({
  time: v.core.now,
  vcpu: v.id,
  pc: v.pc,
});

/** Traces an entry of the guest. */
export function traceEntry(v: X86Vcpu): void {
  v.vm.trace.emit({ name: 'kvm_entry', ...where(v) });
}
/** Traces that the guest was left. */
export function traceExit(v: X86Vcpu, why: StopReason): void {
  v.vm.trace.emit({ name: 'kvm_exit', ...where(v), reason: REASONS[why] });
}
/** Traces a stage 2 fault. */
export function traceFault(v: X86Vcpu, gpa: number, write: boolean, fetch: boolean): void {
  const errorCode = (write ? 2 : 0) | (fetch ? 16 : 0);
  v.vm.trace.emit({ name: 'kvm_page_fault', ...where(v), gpa: BigInt(gpa), errorCode });
}
/** Traces an exception that the guest takes. */
export function traceException(v: X86Vcpu, vector: number, errorCode: number): void {
  const { state } = v;
  const cr2 = join(state.sysLo(SR.CR2), state.sysHi(SR.CR2));
  v.vm.trace.emit({ name: 'kvm_inj_exception', ...where(v), vector, errorCode, cr2 });
}
/** Traces an MSR access. */
export function traceMsr(v: X86Vcpu, write: boolean, ecx: number, data: bigint, exception: boolean): void {
  v.vm.trace.emit({ name: 'kvm_msr', time: v.core.now, vcpu: v.id, write, ecx, data, exception });
}
/** Traces a CPUID. */
export function traceCpuid(v: X86Vcpu, leaf: number, index: number): void {
  const [rax = 0, rbx = 0, rcx = 0, rdx = 0] = v.cpuid.regs;
  const of = { time: v.core.now, vcpu: v.id };
  v.vm.trace.emit({ name: 'kvm_cpuid', ...of, function: leaf, index, rax, rbx, rcx, rdx });
}

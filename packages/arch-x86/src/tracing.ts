/** What an x86 vCPU tells the trace while `vm.traced` is set, under the names of KVM's tracepoints. */
import { Stop, type StopReason } from '@faultyard/core';
import { Access } from '@faultyard/engine';
import type { EventInfo } from './events/points.ts';
import type { Machine } from './machine.ts';
import type { AccessFault } from './memory/access-fault.ts';
import { join, SR } from './state.ts';

declare module '@faultyard/core' {
  interface TraceMap {
    /** An exception or INT n was delivered: vector, error code (0 where there is none), CR2. */
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

/** Time, vCPU and RIP of a trace event. */
const where = (m: Machine): { readonly time: number; readonly vcpu: number; readonly pc: bigint } => ({
  time: m.core.now,
  vcpu: m.id,
  pc: join(m.state.ipLo, m.state.ipHi),
});

/** Traces an entry of the guest. */
export function traceEntry(m: Machine): void {
  m.vm.trace.emit({ name: 'kvm_entry', ...where(m) });
}
/** Traces that the guest was left. */
export function traceExit(m: Machine, why: StopReason): void {
  m.vm.trace.emit({ name: 'kvm_exit', ...where(m), reason: REASONS[why] });
}
/** Traces a stage 2 fault. */
export function traceFault(m: Machine, f: Readonly<AccessFault>): void {
  const errorCode = (f.write ? 2 : 0) | (f.kind === Access.Exec && !f.walk ? 16 : 0);
  m.vm.trace.emit({ name: 'kvm_page_fault', ...where(m), gpa: BigInt(f.gpa), errorCode });
}
/** Traces an event that was delivered: RIP is at its handler. */
export function traceEvent(m: Machine, e: EventInfo): void {
  const { vector, errorCode = 0 } = e;
  if (e.kind === 'interrupt' || e.kind === 'nmi') {
    m.vm.trace.emit({ name: 'kvm_inj_virq', ...where(m), vector });
    return;
  }
  const cr2 = join(m.state.sysLo(SR.CR2), m.state.sysHi(SR.CR2));
  m.vm.trace.emit({ name: 'kvm_inj_exception', ...where(m), vector, errorCode, cr2 });
}
/** Traces an MSR access. */
export function traceMsr(m: Machine, write: boolean, ecx: number, data: bigint, exception: boolean): void {
  const of = { time: m.core.now, vcpu: m.id };
  m.vm.trace.emit({ name: 'kvm_msr', ...of, write, ecx, data, exception });
}
/** Traces a CPUID; its answer stands in `Machine.cpuid`. */
export function traceCpuid(m: Machine, leaf: number, index: number): void {
  const [rax = 0, rbx = 0, rcx = 0, rdx = 0] = m.cpuid.regs;
  const of = { time: m.core.now, vcpu: m.id };
  m.vm.trace.emit({ name: 'kvm_cpuid', ...of, function: leaf >>> 0, index, rax, rbx, rcx, rdx });
}

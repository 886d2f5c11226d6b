/**
 * What a failed access becomes: the guest's own fault, or KVM's fault path for an access that stage 2 does not serve
 * (arch/x86/kvm/mmu/mmu.c kvm_mmu_page_fault, kvm_tdp_page_fault, kvm_mmu_faultin_pfn).
 */
import {
  type Exit,
  gpa,
  hva,
  hvaToPfn,
  PAGE_SIZE,
  type Stage2Outcome,
  type Stop,
  type Task,
} from '@faultyard/core';
import { Access } from '@faultyard/engine';
import { deliveryFailure, hardwareExit } from '../emulator/failure.ts';
import { Vector } from '../events/vectors.ts';
import { CTX_USER } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { NextStep } from '../next.ts';
import { Next } from '../next.ts';
import { type AccessFault, Cause } from './access-fault.ts';
import { PF } from './page.ts';
import { errorPfn, type MemoryRules, poisonConsumed } from './points.ts';
import type { X86Port } from './port.ts';
import { throughStack } from './stack-access.ts';

/** What handling a fault, or an emulation, comes to: an exit, a device access in `Vcpu.device`, or the guest goes on. */
export type Outcome = Exit | typeof Stop.Device | undefined;

/** A vCPU as the fault path sees it. */
export interface FaultVcpu extends Machine {
  readonly port: X86Port;
  readonly memoryRules: MemoryRules;
  /** Set when the fault was served by mapping a page, which is derived state and costs no budget. */
  mapped: boolean;
  /** KVM's emulator takes the instruction at pc over, because of this access (EMULATE of the fault path). */
  emulate(f: Readonly<AccessFault>): Task<Outcome>;
  /** A nested guest's host has to be told of the access in the port; what it is to see, its nested stage has kept. */
  nestedFault(f: Readonly<AccessFault>): Task<Exit | undefined>;
}

/**
 * The access recorded in the port failed: the guest's own fault is raised, all else is work for {@link hostFault}.
 */
export function guestFault(v: Machine & { readonly port: X86Port }): NextStep {
  const f = v.port.fault;
  switch (f.cause) {
    case Cause.PageFault:
      return v.events.pageFault(f.lo, f.hi, f.errorCode);
    case Cause.NonCanonical:
      return v.raise(throughStack(v, f) ? Vector.SS : Vector.GP, 0);
    case Cause.Alignment:
      return v.raise(Vector.AC, 0);
    case Cause.FetchLimit:
      return v.raise(Vector.GP, 0);
    default:
      return Next.Handle;
  }
}

/** Deals with the access recorded in the port that is not the guest's own fault. */
export function* hostFault(v: FaultVcpu): Task<Outcome> {
  const f: AccessFault = { ...v.port.fault };
  if (f.cause === Cause.External) return yield* v.vm.ask(poisonConsumed)({ vcpu: v, fault: f });
  if (f.cause === Cause.Nested) return yield* v.nestedFault(f);
  const vectoring = v.events.vectoring;
  const served = yield* serve(v, f, f.walk ? 'walk' : vectoring ? 'vectoring' : 'hardware');
  if (served !== 'emulate') return served;
  // KVM gives up on events whose delivery would need its emulator
  if (vectoring) return deliveryFailure(v.id, hardwareExit(v.model.vendor, f), f.gpa);
  return yield* v.emulate(f);
}

/**
 * Stage 2 for one access. `undefined`: mapped, or to be tried again. `emulate`: there is no memory for it, or none that
 * may be written.
 */
export function* serve(
  v: FaultVcpu,
  f: Readonly<AccessFault>,
  origin: 'hardware' | 'walk' | 'emulator' | 'vectoring',
): Task<Exit | 'emulate' | undefined> {
  const { stage2 } = v.port;
  if (f.walk && v.memoryRules.paging === 'shadow' && unreadable(v, f)) {
    softwareWalkFault(v, f);
    return undefined;
  }
  const q = { gpa: f.gpa, write: f.write, exec: f.kind === Access.Exec && !f.walk, origin };
  let out: Stage2Outcome = yield* stage2.fault({ ...q, nowait: true });
  if (out.kind === 'error-pfn' && out.pfn === 'needs-io') {
    if (canWaitAsync(v)) return yield* asyncPageFault(v, out.hva);
    out = yield* stage2.fault(q);
  }
  switch (out.kind) {
    case 'mapped':
      v.mapped = true;
      return undefined;
    case 'retry':
      // an invalidation or a change of slots is under way: whoever makes it goes on first
      yield { at: 'x86.retry', spins: true };
      return undefined;
    case 'noslot':
    case 'readonly-slot':
      return 'emulate';
    case 'gmem-error':
      return memoryFault(v, f, out.errno as 'EFAULT' | 'EHWPOISON', 0n);
    case 'userfault':
      return memoryFault(v, f, 'EFAULT', 1n << 4n);
    case 'error-pfn':
      return failedPfn(v, f, out);
    case 'exec-device':
      // KVM/x86 maps device memory for fetches; its rules never give this outcome
      return { kind: 'run-error', vcpu: v.id, ret: -1, errno: 'EFAULT' };
  }
}

/** kvm_handle_error_pfn, with what plugins make of it (memfault.md 2.3). */
function failedPfn(
  v: FaultVcpu,
  f: Readonly<AccessFault>,
  out: Extract<Stage2Outcome, { kind: 'error-pfn' }>,
): Exit | 'emulate' | undefined {
  const decided = v.vm.ask(errorPfn)({
    vcpu: v,
    pfn: out.pfn,
    gpa: f.gpa - (f.gpa % PAGE_SIZE),
    write: f.write,
    fetch: f.kind === Access.Exec && !f.walk,
    walk: f.walk,
    pfnmap: out.vma === 'io',
  });
  if (decided === 'mmio') return 'emulate';
  if (decided) return decided;
  switch (out.pfn) {
    case 'ro-fault':
    case 'noslot':
      return 'emulate';
    case 'sigpending':
      return { kind: 'intr', vcpu: v.id, ret: -1, errno: 'EINTR' };
    case 'hwpoison':
      v.vm.signals.send({
        signal: 'SIGBUS',
        code: 'BUS_MCEERR_AR',
        addr: hva(out.hva),
        lsb: 12,
        to: { vcpu: v.id },
      });
      return undefined;
    default:
      return { kind: 'run-error', vcpu: v.id, ret: -1, errno: 'EFAULT' };
  }
}

/** kvm_can_do_async_pf: an interrupt controller in the kernel, nothing half delivered, interrupts open. */
function canWaitAsync(v: FaultVcpu): boolean {
  const { events } = v;
  if (!v.memoryRules.asyncPf || events.source === undefined) return false;
  return !events.reinjects && !events.exception.pending && events.interruptAllowed();
}
/** The vCPU sleeps until a worker has touched the page, whatever came of it (virt/kvm/async_pf.c). */
function* asyncPageFault(v: FaultVcpu, address: number): Task<undefined> {
  yield { at: 'x86.async-pf', spins: true };
  yield* hvaToPfn(v.vm.mm, { page: Math.floor(address / PAGE_SIZE), write: true });
  return undefined;
}

/** Whether KVM's walk in software cannot read the table: no slot, one that is going, or memory that the host cannot read. */
function unreadable(v: FaultVcpu, f: Readonly<AccessFault>): boolean {
  const { stage2 } = v.port;
  const slot = stage2.slots.find(Math.floor(f.gpa / PAGE_SIZE), stage2.asId);
  if (!slot || slot.invalid) return true;
  return !(v.vm.memory.load(f.gpa, 8) instanceof Uint8Array);
}
/** The guest's #PF of a walk that could not read a table: not present, and what the access was. */
function softwareWalkFault(v: FaultVcpu, f: Readonly<AccessFault>): void {
  const { paging } = v.port;
  const fetch = f.kind === Access.Exec && (paging.nx || paging.smep);
  const write = f.kind === Access.Write || f.kind === Access.ReadWrite;
  const user = f.ctx === CTX_USER;
  const code = (write ? PF.W : 0) | (user ? PF.U : 0) | (fetch ? PF.I : 0);
  v.events.queueException(Vector.PF, code, { lo: f.lo, hi: f.hi });
}

/** kvm_mmu_prepare_memory_fault_exit: KVM_EXIT_MEMORY_FAULT for the page. */
function memoryFault(
  v: FaultVcpu,
  f: Readonly<AccessFault>,
  errno: 'EFAULT' | 'EHWPOISON',
  flags: bigint,
): Exit {
  const page = gpa(f.gpa - (f.gpa % PAGE_SIZE));
  return { kind: 'memory-fault', vcpu: v.id, ret: -1, errno, flags, gpa: page, size: BigInt(PAGE_SIZE) };
}

/**
 * Accesses that could not be served: the guest's own faults, and KVM's fault path for the others (arch/x86/kvm/mmu/mmu.c;
 * memfault.md 2.1 to 2.3).
 */
import { gpa as brandGpa, type Exit, hva, PAGE_SIZE, type Stage2Outcome, type Task } from '@faultyard/core';
import { Access } from '@faultyard/engine';
import { OpKind, Register } from 'iced-x86';
import { deliveryFailure, hardwareExit } from './emulator/failure.ts';
import { Vector } from './events/vectors.ts';
import { R } from './isa/layout.ts';
import { type AccessFault, Cause } from './memory/access-fault.ts';
import { Next, type NextStep } from './next.ts';
import { errorPfn } from './points.ts';
import { traceFault } from './tracing.ts';
import type { X86Vcpu } from './vcpu.ts';

/** The fault that the port recorded: an exception of the guest at once, or work for {@link hostFault}. */
export function guestFault(v: X86Vcpu): NextStep {
  const f = v.port.fault;
  switch (f.cause) {
    case Cause.PageFault:
      return v.events.pageFault(f.lo, f.hi, f.errorCode);
    case Cause.NonCanonical:
      return v.raise(f.kind !== Access.Exec && throughStack(v, f) ? Vector.SS : Vector.GP, 0);
    case Cause.Alignment:
      return v.raise(Vector.AC, 0);
    case Cause.FetchLimit:
      return v.raise(Vector.GP, 0);
    default:
      return Next.Handle;
  }
}

/** Whether the instruction at pc made this access through SS: by its operand, or as a push or pop. */
function throughStack(v: X86Vcpu, f: AccessFault): boolean {
  const i = v.instruction();
  let memory = false;
  for (let n = 0; n < i.opCount; n++) if (i.opKind(n) === OpKind.Memory) memory = true;
  if (i.isStackInstruction) {
    // a push or pop with a memory operand: which of the two it was
    const d = (f.lo - v.state.lo(R.RSP)) | 0;
    if (!memory || (d >= -64 && d <= 64)) return true;
  }
  return memory && i.memorySegment === Register.SS;
}

/** Handles the fault recorded in the vCPU's port. */
export function* hostFault(v: X86Vcpu): Task<Exit | undefined> {
  const f: AccessFault = { ...v.port.fault };
  if (f.cause === Cause.External) {
    yield* machineCheck(v, f);
    return undefined;
  }
  if (f.cause === Cause.Nested && v.nestedFault) return yield* v.nestedFault();
  const exec = f.kind === Access.Exec && !f.walk;
  if (v.vm.traced) traceFault(v, f.gpa, f.write, exec);
  if (f.cause === Cause.Device) return yield* outside(v, f);
  const out: Stage2Outcome = yield* v.vm.stage2.fault({
    gpa: f.gpa,
    write: f.write,
    exec,
    origin: f.walk ? 'walk' : v.events.vectoring ? 'vectoring' : 'hardware',
  });
  switch (out.kind) {
    case 'mapped':
      v.mapped = true;
      return undefined;
    case 'retry':
      // an invalidation is under way: whoever makes it goes on first
      yield { at: 'x86.retry', spins: true };
      return undefined;
    case 'noslot':
    case 'readonly-slot':
    case 'exec-device':
      return yield* outside(v, f);
    case 'gmem-error':
      return memoryFault(v, f, out.errno as 'EFAULT' | 'EHWPOISON', 0n);
    case 'userfault':
      return memoryFault(v, f, 'EFAULT', 1n << 4n);
    case 'error-pfn':
      return yield* unresolved(v, f, out);
  }
}

/**
 * Poison was consumed: the host takes the machine check, loses the page and sends SIGBUS to the vCPU's thread
 * (arch/x86/kvm/x86.c, kvm_machine_check: mce.md 3.8 and 4.1).
 */
function* machineCheck(v: X86Vcpu, f: AccessFault): Task<void> {
  yield* v.vm.memory.memoryFailure(f.gpa, { vcpu: v.id }, (s) => v.vm.signals.send(s));
}

/** No memslot, or a write to a read-only one: emulation; an event on its way ends in KVM_INTERNAL_ERROR_DELIVERY_EV. */
function* outside(v: X86Vcpu, f: AccessFault): Task<Exit | undefined> {
  if (v.events.vectoring) return deliveryFailure(v.id, hardwareExit(v.model.vendor, f), f.gpa);
  return yield* v.emulate(f);
}

function* unresolved(
  v: X86Vcpu,
  f: AccessFault,
  out: Extract<Stage2Outcome, { kind: 'error-pfn' }>,
): Task<Exit | undefined> {
  const decided = v.vm.ask(errorPfn)({
    vcpu: v,
    pfn: out.pfn,
    gpa: f.gpa - (f.gpa % PAGE_SIZE),
    write: f.write,
    fetch: f.kind === Access.Exec,
    walk: f.walk,
  });
  if (decided) return decided;
  if (out.pfn === 'ro-fault') return yield* outside(v, f);
  if (out.pfn === 'sigpending') return { kind: 'intr', vcpu: v.id, ret: -1, errno: 'EINTR' };
  if (out.pfn === 'hwpoison') {
    v.vm.signals.send({
      signal: 'SIGBUS',
      code: 'BUS_MCEERR_AR',
      addr: hva(out.hva),
      lsb: 12,
      to: { vcpu: v.id },
    });
    return undefined;
  }
  return { kind: 'run-error', vcpu: v.id, ret: -1, errno: 'EFAULT' };
}

function memoryFault(v: X86Vcpu, f: AccessFault, errno: 'EFAULT' | 'EHWPOISON', flags: bigint): Exit {
  const page = brandGpa(f.gpa - (f.gpa % PAGE_SIZE));
  return { kind: 'memory-fault', vcpu: v.id, ret: -1, errno, flags, gpa: page, size: BigInt(PAGE_SIZE) };
}

/** Points of guest memory: what KVM makes of what the host cannot serve. `src/points.ts` exports them again. */
import {
  definePoint,
  type Exit,
  frameFailure,
  gpa,
  PAGE_SIZE,
  type Point,
  type Task,
  type Vcpu,
  type Vm,
} from '@faultyard/core';
import type { AccessFault, PoisonRules } from './access-fault.ts';
import { POISON_RULES } from './access-fault.ts';

/** Behaviour of host CPU and KVM that differs between hosts and versions; resolved once per VM. */
export interface MemoryRules {
  /**
   * `tdp`: the CPU walks the guest's tables through EPT or NPT. `shadow`: KVM walks them in software, so tables that the
   * host cannot read are the guest's #PF.
   */
  readonly paging: 'tdp' | 'shadow';
  /** Async page faults (async_pf): needs an interrupt controller in the kernel. */
  readonly asyncPf: boolean;
  /** By which accesses the CPU consumes poison. */
  readonly poison: PoisonRules;
  /**
   * A walk reaches the guest's tables for writing even where it sets nothing: nested paging of AMD, EPT with A and D bits.
   */
  readonly walksWrite: boolean;
  /**
   * KVM takes the gpa of a walk that failed for the operand's where both have the same offset in their pages, and so
   * reads or writes the table (arch/x86/kvm/x86.c emulator_read_write_onepage).
   */
  readonly walkGpaReuseQuirk: boolean;
}

/** What KVM does by itself on a CPU of today. */
export const MEMORY_RULES: MemoryRules = {
  paging: 'tdp',
  asyncPf: true,
  poison: POISON_RULES,
  walksWrite: true,
  walkGpaReuseQuirk: true,
};

/** Rules of this VM: later contributions override earlier ones; what nobody says is {@link MEMORY_RULES}. */
export const memoryRules: Point<void, Partial<MemoryRules>> & {
  /** Joins contributions over {@link MEMORY_RULES}. */
  combine(f: readonly (() => Partial<MemoryRules>)[]): () => MemoryRules;
} = {
  id: 'x86.memory-rules',
  combine: (fns) => () => {
    const r = Object.assign({}, MEMORY_RULES, ...fns.map((f) => f())) as MemoryRules;
    // a walk in software asks for A and D alone
    return r.paging === 'shadow' ? { ...r, walksWrite: false } : r;
  },
};

/** What the points below are told of a vCPU (`X86Vcpu` is one). */
export interface FaultingVcpu {
  readonly vm: Vm;
  readonly core: Vcpu;
  readonly id: number;
}

/** Question of {@link errorPfn}. */
export interface ErrorPfnQuestion {
  readonly vcpu: FaultingVcpu;
  readonly pfn: 'fault' | 'hwpoison' | 'ro-fault' | 'sigpending' | 'needs-io' | 'noslot';
  /** Page of the guest physical address. */
  readonly gpa: number;
  readonly write: boolean;
  readonly fetch: boolean;
  /** The page walk met it, not the access itself. */
  readonly walk: boolean;
  /** The host mapping is one of device memory (VM_IO | VM_PFNMAP). */
  readonly pfnmap: boolean;
}
/**
 * What becomes of a guest access that the host could not resolve (an error pfn). The first answer counts: an exit, or
 * `mmio`, as if there were no memslot. Default: SIGBUS and EINTR for poison, emulation for a read-only mapping, EFAULT
 * for the rest.
 */
export const errorPfn: Point<ErrorPfnQuestion, Exit | 'mmio' | undefined> = definePoint(
  'x86.error-pfn',
  (fns) => (q) => {
    for (const f of fns) {
      const e = f(q);
      if (e) return e;
    }
    return undefined;
  },
);

/** Question of {@link poisonConsumed}. */
export interface PoisonQuestion {
  readonly vcpu: FaultingVcpu;
  /** The access; `gpa` is where the poison is, of a page table when `walk` is set. */
  readonly fault: Readonly<AccessFault>;
}
/**
 * The guest consumed poison: the CPU raises #MC in the host. The first contribution decides alone. Default: the host's
 * memory_failure() takes the page, and the vCPU's thread gets SIGBUS, action required, before the guest goes on.
 */
export const poisonConsumed: Point<PoisonQuestion, Task<Exit | undefined>> = definePoint(
  'x86.poison-consumed',
  (fns) => fns[0] ?? hostMachineCheck,
);

function* hostMachineCheck(q: PoisonQuestion): Task<Exit | undefined> {
  const { vm, id } = q.vcpu;
  const pfn = vm.stage2.frameOf(Math.floor(q.fault.gpa / PAGE_SIZE));
  if (pfn === 0) return undefined;
  const hva = vm.memory.hvaOf(gpa(q.fault.gpa - (q.fault.gpa % PAGE_SIZE)));
  const reports = (yield* frameFailure(vm.mm, pfn)).filter((r) => r.signal);
  const mine = reports.find((r) => Number(r.addr) === hva) ?? reports[0];
  if (mine)
    vm.signals.send({
      signal: 'SIGBUS',
      code: 'BUS_MCEERR_AR',
      addr: mine.addr,
      lsb: mine.lsb,
      to: { vcpu: id },
    });
  return undefined;
}

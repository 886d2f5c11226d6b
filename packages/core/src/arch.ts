/** What an architecture package gives to core: how to make a vCPU, and what core asks of it. */
import type { Cell } from './cell.ts';
import type { Exit } from './exit.ts';
import type { MemslotRules } from './memslot.ts';
import type { Stage2Rules } from './stage2.ts';
import type { Task } from './task.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/** A register as sessions and debuggers know it. */
export interface RegisterInfo {
  readonly name: string;
  /** Width in bits. */
  readonly bits: 32 | 64 | 128;
  /** `general`, `system`, `vector`, … */
  readonly group: string;
  /** One line: what it holds. */
  readonly doc: string;
  /** Named fields `[name, high bit, low bit]`, for printing. */
  readonly fields?: readonly (readonly [name: string, high: number, low: number])[];
  readonly readOnly?: boolean;
}

/** One step of a stage-1 walk. */
export interface WalkStep {
  readonly level: number;
  /** gpa of the descriptor. */
  readonly gpa: bigint;
  readonly descriptor: bigint;
  readonly note?: string;
}
/** Result of a stage-1 translation made for an observer: nothing is changed by it. */
export interface Walk {
  readonly steps: readonly WalkStep[];
  /** Where the address leads; absent when it faults. */
  readonly gpa?: bigint;
  /** Why not, in the architecture's words. */
  readonly fault?: string;
  readonly attributes?: Readonly<Record<string, string | number | boolean>>;
}

/** Why guest execution stopped, as core needs to know it. */
export const Stop: {
  /** The slice is used up. */
  readonly Slice: 0;
  /** The arch has something to do outside generated code: call {@link ArchVcpu.handle}. */
  readonly Handle: 1;
  /** A device load or store without in-kernel device: {@link Vcpu.device} is filled, exit mmio or io. */
  readonly Device: 2;
  /** Waiting for an interrupt (WFI, HLT): not runnable until {@link ArchVcpu.runnable}. */
  readonly Wait: 3;
} = { Slice: 0, Handle: 1, Device: 2, Wait: 3 };
/** One of {@link Stop}. */
export type StopReason = 0 | 1 | 2 | 3;

/** The architecture's part of a vCPU. */
export interface ArchVcpu {
  /** Program counter. */
  pc: bigint;
  readonly registers: readonly RegisterInfo[];
  /** Reads a register by name; `undefined` when there is none of that name. */
  read(name: string): bigint | undefined;
  /** Writes a register by name (masked as the hardware would); `false` when there is none of that name. */
  write(name: string, value: bigint): boolean;
  /** Name of the register behind a KVM_SET_ONE_REG id; `undefined` (and ENOENT) for an id it does not know. */
  oneReg?(id: bigint): string | undefined;
  /** Runs guest code for at most `slice` (>= 1) instructions; {@link retired} tells how many completed. */
  enter(slice: number): StopReason;
  /** Instructions completed by the last {@link enter}. */
  readonly retired: number;
  /**
   * After {@link Stop.Handle}: KVM's and the CPU's work outside generated code (slow instructions, aborts, page
   * faults, host errors). Returns an exit for the VMM, `Stop.Device` with a device access in `Vcpu.device`, or nothing
   * to go on.
   */
  handle(): Task<Exit | typeof Stop.Device | undefined>;
  /** KVM_RUN begins: completes what the last exit left open beside device accesses. */
  begin?(): void;
  /**
   * Completes a pending device access with `Vcpu.device` (its value for a load), before the next entry. May return an
   * exit, or `Stop.Device` when the instruction needs another device access, which then stands in `Vcpu.device`.
   */
  complete(): Exit | typeof Stop.Device | undefined;
  /** Whether the vCPU may execute now: powered on and not waiting, or something wakes it. */
  runnable(): boolean;
  /** Powered on at all (PSCI, INIT); an `off` vCPU is not waited for. */
  readonly power: 'on' | 'off';
  /** Virtual time at which the vCPU's own timers want attention; Infinity for none. */
  deadline(): number;
  /** Called before an entry: recompute pending interrupts and deliver them. May return an exit. */
  prepare(): Exit | undefined;
  /**
   * kvm_run's members beside the exit that KVM fills on every return (x86: if_flag, cr8, …). Asked when somebody looks at
   * the page.
   */
  fillRunPage?(page: DataView): void;
  /**
   * KVM_RUN begins: what userspace wrote to those members. `shown`: it has seen what {@link fillRunPage} filled in; else
   * only members that are userspace's own count. An exit ends KVM_RUN at once.
   */
  takeRunPage?(page: DataView, shown: boolean): Exit | undefined;
  /** Drops every derived translation (after restore, slot changes). */
  flush(): void;
  /**
   * Stage 2 changed its mappings of `count` guest frames from `gfn` on: drop what was derived from them. `pfn`: the
   * frame concerned when it is exactly one, else -1.
   */
  zapped(gfn: number, count: number, pfn: number): void;
  /** Observer's walk of stage 1: changes nothing, not even access flags. */
  walk(gva: bigint, access: 'read' | 'write' | 'exec'): Walk;
  /** One line of assembly per instruction from guest memory; length in bytes. Unreadable memory says so. */
  disassemble(
    gva: bigint,
    count: number,
  ): readonly { readonly pc: bigint; readonly bytes: Uint8Array; readonly text: string }[];
  /** State. */
  readonly cells: readonly Cell[];
  /** Gives back what the vCPU holds in host memory. */
  dispose(): void;
}

/** An architecture as core sees it. */
export interface ArchDef {
  /** `arm64`, `x86`. */
  readonly name: string;
  /** Rules of KVM_SET_USER_MEMORY_REGION that differ between architectures. */
  readonly memslots: MemslotRules;
  /** Rules of KVM's fault path that differ between architectures. */
  readonly stage2: Stage2Rules;
  /** End of the user half of the VMM's address space, in bytes. */
  readonly taskSize: number;
  /**
   * What KVM_GET_VCPU_MMAP_SIZE says, in bytes. From 8192 on the second page holds the data of port accesses
   * (KVM_PIO_PAGE_OFFSET). Default: the structure alone.
   */
  readonly runBytes?: number;
  /** Makes the architecture's part of a vCPU; called once for each, when the VM is made. */
  createVcpu(vm: Vm, vcpu: Vcpu): ArchVcpu;
}

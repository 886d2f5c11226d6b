/** What slow instructions, event delivery and the rest of the package see of a vCPU. `X86Vcpu` implements it. */
import type { Vcpu, Vm } from '@faultyard/core';
import type { Cpu } from '@faultyard/engine';
import type { Instruction } from 'iced-x86';
import type { Cpuid } from './cpuid/cpuid.ts';
import type { Events } from './events/events.ts';
import type { LocalApic } from './irqchip/local-apic.ts';
import type { LinearMemory } from './memory/linear.ts';
import type { Tlb } from './memory/tlb.ts';
import type { Model } from './model.ts';
import type { Msrs } from './msr/msrs.ts';
import type { NextStep } from './next.ts';
import type { InterceptName, Work } from './points.ts';
import type { X86State } from './state.ts';
import type { Tsc } from './tsc.ts';
import type { X87State } from './x87.ts';

/** A vCPU from inside the package. */
export interface Machine {
  readonly vm: Vm;
  readonly core: Vcpu;
  readonly id: number;
  readonly cpu: Cpu;
  readonly state: X86State;
  /** x87, MMX and MXCSR; XMM registers through it. */
  readonly x87: X87State;
  readonly model: Model;
  readonly memory: LinearMemory;
  /** The architectural TLB. */
  readonly tlb: Tlb;
  /** Pending and injected events, interrupt windows and shadows, NMI blocking, SMM. */
  readonly events: Events;
  /** CPUID as this vCPU shows it: `has(feature)` for what depends on the guest's CPUID (reserved bits of CR4 …). */
  readonly cpuid: Cpuid;
  /** The local APIC, with interrupt controllers in the kernel. */
  readonly apic?: LocalApic | undefined;
  /** Model-specific registers. RDMSR and WRMSR are `rdmsr(m)` and `wrmsr(m)` of `msr/instructions.ts`. */
  readonly msrs: Msrs;
  /** The time-stamp counter: `tsc.read()`. */
  readonly tsc: Tsc;

  /**
   * The instruction at pc, decoded again (one object, reused until the next call). Its bytes are fetched through the
   * current translation; a fetch that fails gives an instruction of code INVALID.
   */
  instruction(): Instruction;
  /**
   * The current instruction, or the delivery of an event, raises an exception. It is delivered at once (pc stays at the
   * instruction for faults); what cannot be delivered becomes #DF, then a triple fault. Returns what the run loop does.
   */
  raise(vector: number, errorCode?: number): NextStep;
  /** A transaction or access failed: the guest's #PF (or #GP, #SS, #AC), or work for `handle`. */
  faulted(): NextStep;
  /** CPL, CR0, CR4, EFER, EFLAGS.VM/AC/IF, segments: brings contexts, decode mode and guards up to date. */
  modeChanged(): void;
  /** Paging registers changed: as the write to them demands, flushes are already made in {@link tlb}. */
  translationChanged(): void;
  /**
   * Whether a plugin intercepts this: then it has been dealt with, and the answer is what the run loop does. To be asked at
   * the place that AMD64 APM volume 2, table 15-7 gives among the instruction's own exceptions; costs nothing while nobody
   * wants to see it.
   */
  intercepted(what: InterceptName, info?: number): NextStep | undefined;
  /**
   * Work for `handle`, outside generated code (a task, an exit); returns `Next.Handle`. `done`: the instruction has
   * completed, state and pc are changed; else it happens again.
   */
  later(work: Work, done?: boolean): NextStep;
  /** HLT is done, pc behind it: exit `hlt`, or with an interrupt controller in the kernel waiting for an interrupt. */
  halt(): NextStep;
  /** Looks at events and deadlines before the next instruction. */
  attend(): void;
  /** RESET, or INIT, which keeps FPU and MSRs (KVM: `kvm_vcpu_reset`); `events.reset()` is part of it. */
  reset(init: boolean): void;
  /** SMM was entered or left (`events.smi.smm`): memory is address space 1 or 0 from now on. */
  smmChanged(): void;
  /** Virtual time now, in nanoseconds, within a slice too. */
  now(): number;

  /**
   * IN, OUT, INS, OUTS after the permission check: KVM's port I/O. `string`: INS or OUTS, with its prefix and memory
   * operand. Registers, pc and the rest of the instruction are this call's.
   */
  portIo(i: Instruction, port: number, size: 1 | 2 | 4, write: boolean, string: boolean): NextStep;
}

/**
 * The places where plugins add to an x86 CPU. The architecture adds its own part first, through the same points where
 * several contributions can stand side by side; each point says how contributions combine.
 */
import { definePoint, type Exit, listOf, type Point, type Stop, type Task } from '@faultyard/core';
import type { Instruction } from 'iced-x86';
import type { Encoding, Operands, Repeat } from './isa/row.ts';
import type { Model } from './model.ts';
import type { MsrDef } from './msr/def.ts';
import type { NextStep } from './next.ts';
import type { Intercept } from './system/intercepts.ts';
import type { X86Vcpu } from './vcpu.ts';

/**
 * An instruction that a plugin adds. With `sem` it runs in generated code; with `run` it leaves to TypeScript, which
 * carries it out as the package's own slow instructions do: everything that can fault first, then state, then
 * `state.advance(i.length)`. Its encodings are those iced-x86 knows (names of `Code`; rows of the package that list the
 * same code give way to it), or its own.
 */
export interface InstructionDef {
  /** Unique and readable: `vmrun`. */
  readonly name: string;
  /** Names of iced-x86 `Code` values; may be empty beside `encodings`. */
  readonly codes: readonly string[];
  /**
   * Encodings that iced-x86 does not know. `run` gets an instruction of the code each is like, else of code UD2, with
   * its own length.
   */
  readonly encodings?: readonly Encoding[];
  /** Feature it needs; where the model lacks it, it is #UD. */
  readonly feature?: string;
  /** What it does, in generated code. */
  sem?(o: Operands, rep: Repeat): void;
  /** Carries it out, pc at it; says what the run loop does next. */
  run?(v: X86Vcpu, i: Instruction): NextStep;
}

/**
 * Instructions, before the interpreter is emitted. Two plugins with one code are a FY_PLUGIN_CLASH. Give the same objects
 * every time: VMs with the same ones share their compiled interpreter.
 */
export const instructions: Point<void, readonly InstructionDef[]> = listOf('x86.instructions');

/** What a plugin says of a CPUID leaf. */
export interface CpuidDef {
  readonly leaf: number;
  /** Default 0. */
  readonly subleaf?: number;
  /** Bits set in EAX, EBX, ECX, EDX, over what the others say; a leaf that nobody had is added. */
  readonly set?: readonly [eax: number, ebx: number, ecx: number, edx: number];
  /** Bits cleared before that. */
  readonly clear?: readonly [eax: number, ebx: number, ecx: number, edx: number];
  /** Changes the registers as the guest reads them: bits that follow the vCPU's state (OSXSAVE, the APIC's id). */
  readonly now?: (v: X86Vcpu, regs: Uint32Array) => void;
}
/** What a CPUID contribution is asked: for which CPU. */
export interface CpuidQuestion {
  readonly model: Model;
}
/**
 * CPUID: lists joined in plugin order, each over the ones before. The model's rows come first. What comes out is what
 * KVM_GET_SUPPORTED_CPUID gives, and what vCPUs show until KVM_SET_CPUID2.
 */
export const cpuid: Point<CpuidQuestion, readonly CpuidDef[]> = definePoint(
  'x86.cpuid',
  (fns) => (q) => fns.flatMap((f) => f(q)),
);

/** What an MSR contribution is asked: for which CPU. */
export interface MsrQuestion {
  readonly model: Model;
}
/**
 * MSRs: lists joined in plugin order. A plugin's row replaces the architecture's row for the same index; two plugins'
 * rows for one index are a FY_PLUGIN_CLASH. Rows without `read` and `write` are stored, saved, hashed and named.
 */
export const msr: Point<MsrQuestion, readonly MsrDef[]> = definePoint(
  'x86.msr',
  (fns) => (q) => fns.flatMap((f) => f(q)),
);

/** Question of {@link unknownMsr}. */
export interface UnknownMsrQuestion {
  readonly vcpu: X86Vcpu;
  readonly index: number;
  readonly write: boolean;
  /** By KVM_GET_MSRS or KVM_SET_MSRS, not by the guest. */
  readonly host: boolean;
}
/**
 * An access to an MSR that KVM does not know. True: it reads 0, what is written vanishes (ignore_msrs). False from all: it
 * fails.
 */
export const unknownMsr: Point<UnknownMsrQuestion, boolean> = definePoint(
  'x86.unknown-msr',
  (fns) => (q) => fns.some((f) => f(q)),
);

/** A guard bit that a plugin claims: one condition under which its instructions leave generated code. */
export interface GuardDef {
  /** 16 to 31. */
  readonly bit: number;
  /** One line: when it is set. */
  readonly doc: string;
}
/** Guard bits by plugin; `X86Vcpu.setGuard` takes only these. Two claims of one bit are a FY_PLUGIN_CLASH. */
export const guards: Point<void, readonly GuardDef[]> = listOf('x86.guards');

/**
 * What can be intercepted: actions of system instructions (`system/intercepts.ts`), and guard bits of plugins. Exceptions
 * of the instruction that the manual puts before the intercept (AMD64 APM volume 2, table 15-7) have been looked at when
 * it is asked. Exceptions themselves are intercepted at `x86.events`.
 */
export type InterceptName = Intercept | 'guard';

/** Question of {@link intercept}. */
export interface InterceptQuestion {
  readonly vcpu: X86Vcpu;
  readonly what: InterceptName;
  /** What exactly: the index of an MSR, a port, the value to be written, the guard's number; as the asker says. */
  readonly info: number;
}
/**
 * An instruction or event that a plugin asked to see (`X86Vcpu.intercepts`) is about to happen: nothing of it is done.
 * The first contribution that answers has dealt with it: it changed state, or asked for work with `X86Vcpu.later`, and
 * says what the run loop does next. Nobody: it happens.
 */
export const intercept: Point<InterceptQuestion, NextStep | undefined> = definePoint(
  'x86.intercept',
  (fns) => (q) => {
    for (const f of fns) {
      const next = f(q);
      if (next !== undefined) return next;
    }
    return undefined;
  },
);

/** What a slow instruction or an intercept leaves to `X86Vcpu.handle`: an exit, or work that takes several steps. */
export type Work = Exit | (() => Task<Exit | typeof Stop.Device | undefined>);

export {
  type EventInfo,
  type EventKind,
  type EventRules,
  events,
  type OuterEvent,
  type SmmRules,
  smm,
} from './events/points.ts';

export {
  type ErrorPfnQuestion,
  errorPfn,
  type FaultingVcpu,
  MEMORY_RULES,
  type MemoryRules,
  memoryRules,
  type PoisonQuestion,
  poisonConsumed,
} from './memory/points.ts';
export { type WalkGround, walk } from './memory/walks.ts';
export {
  type ControlRegister,
  type ControlRegisterRules,
  controlRegisters,
  type ResetQuestion,
  reset,
} from './system/points.ts';
export { type TscQuestion, tsc } from './tsc.ts';

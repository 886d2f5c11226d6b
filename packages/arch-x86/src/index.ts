/** An x86-64 vCPU for Faultyard: registers, instructions, segments, paging, exceptions, CPUID, MSRs and KVM's emulator. */

export {
  type AsmTemplate,
  type Assembled,
  type AssembleOptions,
  type AssemblyText,
  asm,
  asm16,
  asm32,
  assemble,
} from './asm/assemble.ts';
export { AssemblyError, type Diagnostic } from './asm/assembly-error.ts';
export { type Disassembled, type DisassembleOptions, disassemble } from './asm/disassemble.ts';
export { type Bits, type InstructionForm, instructionForms } from './asm/forms.ts';
export type { CpuidEntry } from './cpuid/cpuid.ts';
export { GuestDebugControl } from './events/debug.ts';
export { type InterruptSource, Shadow } from './events/events.ts';
// declarations only: what is not named here is not among the types of the built package
export type {} from './events/exits.ts';
export { EventsValid, type X86VcpuEvents } from './events/ops.ts';
export { Vector } from './events/vectors.ts';
export { Apic, ApicBase, type ApicMessage, Delivery, type Destination } from './irqchip/apic-registers.ts';
export type { X86IrqChip } from './irqchip/irq-chip.ts';
export type { LocalApic } from './irqchip/local-apic.ts';
export type { GsiRoute } from './irqchip/routing.ts';
export type { Operands, Repeat, Row, Width } from './isa/row.ts';
export type { Machine } from './machine.ts';
export type { CpuidRow, Feature, Model, ModelName, X86Options } from './model.ts';
export { type FieldDef, type MsrAccess, type MsrDef, MsrResult, type MsrResultCode } from './msr/def.ts';
export { answerMsr, MsrExitReason } from './msr/exits.ts';
export type { MsrFilterRange, MsrFilterSetting } from './msr/filter.ts';
export { Next, type NextStep } from './next.ts';
export type { KvmDebugregs, KvmTranslation } from './ops/control.ts';
export type {} from './ops/cpuid.ts';
export type { KvmFpu, KvmXcr } from './ops/fpu.ts';
export type { KvmIrqchip } from './ops/irqchip.ts';
export type { KvmMsr } from './ops/msrs.ts';
export type { KvmRegs } from './ops/registers.ts';
export type { KvmSegment, KvmSregs, KvmSregs2, KvmSregsCommon, KvmTable } from './ops/sregs.ts';
export { type X86Api, type X86Exit, type X86PluginOptions, x86 } from './plugin.ts';
export * from './points.ts';
export { Attr, CR0, CR4, EFER, type Pair, type Segment, SR, type X86State } from './state.ts';
export type {} from './system/exits.ts';
export type {} from './tracing.ts';
export { X86Vcpu } from './vcpu.ts';

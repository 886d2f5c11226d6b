/** An AArch64 vCPU for Faultyard: registers, instructions, stage 1 walks, exceptions, timers and PSCI. */

export type { VcpuEvents } from './events.ts';
export { EC, esr } from './exceptions.ts';
export { AccessClass } from './isa/access-class.ts';
export {
  type Assembled,
  type AssembleOptions,
  type AssemblyText,
  asm,
  assemble,
} from './isa/assemble.ts';
export { AssemblyError, type Diagnostic } from './isa/assembly-error.ts';
export { disassemble } from './isa/disassemble.ts';
export {
  type AsmLine,
  type Bits,
  type Cursor,
  type Derived,
  type Feature,
  type Form,
  type Operand,
  type Rec,
  SINK,
  SP,
  ZR,
} from './isa/form.ts';
export { standardTable } from './isa/forms.ts';
export { type A64Isa, a64 } from './isa/isa.ts';
export {
  type AccessFacts,
  field,
  type MemoryForm,
  type Syndrome,
  source,
  target,
} from './isa/memory-form.ts';
export type { SysregNames } from './isa/sysreg-names.ts';
export type { Row, Table, Variant } from './isa/table.ts';
export type { Arm64Options, Model, ModelName } from './model.ts';
export { type Arm64Api, type Arm64PluginOptions, arm64 } from './plugin.ts';
export * from './points.ts';
export type { PresentedAbort } from './presented.ts';
export type { Arm64State, Pair } from './state.ts';
export type { FieldDef, SysregContext, SysregDef } from './sysregs/def.ts';
export { SYSTEM_REGISTERS } from './system-registers.ts';
export { Arm64Vcpu } from './vcpu.ts';

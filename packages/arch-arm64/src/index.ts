/** An AArch64 vCPU for Faultyard: registers, instructions, stage 1 walks, exceptions, timers and PSCI. */

export {
  type Assembled,
  type AssembleOptions,
  type AssemblyText,
  asm,
  assemble,
} from './asm/assemble.ts';
export { AssemblyError, type Diagnostic } from './asm/assembly-error.ts';
export { disassemble } from './asm/disassemble.ts';
export type { VcpuEvents } from './events/events.ts';
export { EC, esr } from './events/exceptions.ts';
export type { PresentedAbort } from './events/presented.ts';
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
export { AccessClass } from './memory/access-class.ts';
export type { Arm64Options, Model, ModelName } from './model.ts';
export { type Arm64Api, type Arm64PluginOptions, arm64 } from './plugin.ts';
export * from './points.ts';
export type { Arm64State, Pair } from './state.ts';
export type { FieldDef, SysregContext, SysregDef } from './sysregs/def.ts';
export { SYSTEM_REGISTERS } from './sysregs/system-registers.ts';
export { Arm64Vcpu } from './vcpu.ts';

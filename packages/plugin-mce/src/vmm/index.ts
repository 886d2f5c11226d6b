/** What a VMM does with SIGBUS and machine checks, as QEMU does it, in steps that compose. */
export type { LogLine, MemoryFailureEvent, SigbusEvent } from './event.ts';
export { type Injected, injectMachineCheck } from './inject.ts';
export { MCE_USAGE, monitorMce } from './monitor.ts';
export { type BadPage, type RememberPages, rememberPages } from './poison.ts';
export { MceRelay, RESET, type RelayOptions, type RelayStep, type StepResult } from './relay.ts';
export { resetVm } from './reset.ts';
export { DEFAULT_CAP, type MceSetup, setupMachineChecks } from './setup.ts';
export {
  FILLER,
  type GuestVendor,
  type MachineCheck,
  type QemuVersion,
  RELAY_BANK,
  shapeOf,
} from './shape.ts';
export { type InjectOptions, injectStep, mceRelay, ownStep } from './steps.ts';

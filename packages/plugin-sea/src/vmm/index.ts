/** What a VMM can do about a guest's external abort, as steps that compose. */
export { type Door, type SeaEvent, type SeaSyndrome, syndrome } from './event.ts';
export { type Inject, inject, injectEvents, injectRegisters, type Replay } from './inject.ts';
export { type Observe, observe, type SeaRecord } from './observe.ts';
export { SeaPolicy, type SeaStep, type StepResult, seaPolicy } from './policy.ts';
export { stage1Table } from './stage1.ts';
export {
  guard,
  ignore,
  kill,
  moveWithout,
  type RestartOrder,
  type Threshold,
  type ThresholdOptions,
  threshold,
} from './threshold.ts';
export { cutSlot, type Hole, type SlotLayout, splitSlot, unmap } from './unmap.ts';

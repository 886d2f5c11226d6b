/** How instructions are run fast: semantics emitted as WebAssembly, a software TLB, execution tiers. Knows no ISA. */
export { MAX_ACCESS, SemanticsError } from './builder.ts';
export { checkHandler } from './check.ts';
export {
  Access,
  type AccessInfo,
  type AccessKind,
  type AccessPort,
  type Cpu,
  Leave,
  type LeaveReason,
  type Resolution,
  Resolved,
} from './cpu.ts';
export { createEngine, type Engine } from './engine.ts';
export type { EngineHost } from './host.ts';
export type { AccessOptions, Builder, Expr, Fields, I32, I64, Size, Slot, Ty } from './ir.ts';
export type { DecodeSite, Handler, HandlerPair, Isa, RecordField, RegisterFile, StateVar } from './isa.ts';

/**
 * Numbers of slow operations: what an instruction leaves to the vCPU (`b.slow(Slow.X, …)`). Nothing of the instruction is
 * done when it leaves. The vCPU decodes the instruction at pc again where it needs operands (`Machine.instruction()`),
 * so most take no arguments.
 *
 * `system/dispatch.ts` says which function does which.
 */
export const Slow = {
  /** #UD. */
  Undefined: 0,
  /** An instruction that `system/dispatch.ts` knows by its iced-x86 mnemonic: no arguments. */
  System: 1,
  /** A legacy effective address outside its segment: segment number, 1 for a write. */
  SegmentLimit: 2,
  /** #GP(0): a near branch outside CS or to a non-canonical address, … */
  GeneralProtection: 3,
  /** #DE. */
  DivideError: 4,
  /** IN, OUT, INS, OUTS. */
  Port: 5,
  /** #BR (BOUND): no arguments. */
  BoundRange: 6,
  /** #SS(0). */
  StackFault: 7,
  /** An aligned SIMD access that is not aligned: #GP(0). Same as GeneralProtection, kept apart for traces. */
  Unaligned: 8,
  /** Numbers from here on are handed to plugins' instructions, in the order of their rows (`points.ts`). */
  Plugin: 0x100,
} as const;

/** What the run loop does after generated code was left. */
export const Next = {
  /** Go on in this slice. */
  Run: 0,
  /** Something needs the vCPU's `handle`. */
  Handle: 1,
  /** Halted: wait for an interrupt. */
  Wait: 2,
  /** End the slice here: a deadline or another vCPU changed. */
  Yield: 3,
  /** A device access stands in `Vcpu.device`. */
  Device: 4,
} as const;
/** One of {@link Next}. */
export type NextStep = 0 | 1 | 2 | 3 | 4;

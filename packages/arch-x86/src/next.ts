/** What the run loop does after generated code was left. */
import { Stop, type StopReason } from '@faultyard/core';

/** What is next. */
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

/** Core's names of {@link Next} other than Run. */
export const STOPS: Readonly<Record<NextStep, StopReason>> = {
  [Next.Run]: Stop.Slice,
  [Next.Handle]: Stop.Handle,
  [Next.Wait]: Stop.Wait,
  [Next.Yield]: Stop.Slice,
  [Next.Device]: Stop.Device,
};

/** What one guest is made for: the stimulus, and what the kernel does around it. */
import type { Stimulus } from './stimuli.ts';

/** Settings of one guest. */
export interface GuestSetup {
  /** The touching instruction. */
  readonly stimulus: Stimulus;
  /** Exception level that executes it. `1` with {@link syscall} means on behalf of a process. */
  readonly el: 0 | 1;
  /** VA that each touching process gets; the others only say that they run. */
  readonly touches: readonly bigint[];
  /** EL1 only: go on at a label when the access aborts. */
  readonly fixup?: boolean;
  /** The kernel touches on behalf of process A (fake system call). */
  readonly syscall?: boolean;
  /** TLBI VAE1 of the victim before the touch. */
  readonly tlbi?: boolean;
  /** SCTLR2_EL1.EASE. */
  readonly ease?: boolean;
  /** PSTATE.A around a touch at EL1, and what comes behind it. */
  readonly masked?: { readonly after?: 'unmask' | 'esb' };
  /** The SError handler returns instead of parking. */
  readonly serrorContinues?: boolean;
  /** The VM has RAS: DISR_EL1 exists. */
  readonly ras: boolean;
  /** CPUs; the second runs process A of its own, or takes D's descriptor away. */
  readonly cpus: 1 | 2;
  /** The second CPU takes D's descriptor away behind the first one's back. */
  readonly stale?: boolean;
  /** The process touches the victim once while it is good. */
  readonly pretouch?: boolean;
  /** Extra SCTLR_EL1 bits: UCI 26, DZE 14. */
  readonly sctlr?: number;
  /** gpa of page D, when it is not the usual one. */
  readonly dataGpa?: bigint;
  /** A table of this level lies outside all memslots. */
  readonly tableOutside?: number;
}

/** What a conformance run needs to know of an architecture: how to write a few tiny programs for it. */
import type { AnyPlugin, ExitKind, Vcpu, Vm } from '@faultyard/core';

/** A step of a program. Addresses are gpas that the guest reaches directly (flat, or identity mapped). */
export type Step =
  /** Exactly `times` instructions that touch no memory. */
  | { readonly do: 'compute'; readonly times: number }
  /** A load, zero-extended into the result register; its access is the step's last instruction. */
  | { readonly do: 'load'; readonly size: 1 | 2 | 4 | 8; readonly gpa: number }
  /** A store of a value below 2^31; its access is the step's last instruction. */
  | { readonly do: 'store'; readonly size: 1 | 2 | 4 | 8; readonly gpa: number; readonly value: number }
  /** `times` times: adds 1 to the 4-byte word at `gpa`, by load and store. */
  | { readonly do: 'count'; readonly gpa: number; readonly times: number }
  /** Never ends, touches no memory. */
  | { readonly do: 'spin' }
  /** Leaves with an exit of kind {@link Subject.end}; one instruction may follow the exit's preparation. */
  | { readonly do: 'end' };

/** A program in bytes. */
export interface Code {
  readonly bytes: Uint8Array;
  /** Instructions of each step, in order; for `count` and `spin` those of one pass, which nobody counts. */
  readonly instructions: readonly number[];
  /** Offset of each step's last instruction. */
  readonly last: readonly number[];
}

/** An architecture under test. */
export interface Subject {
  readonly name: string;
  readonly arch: AnyPlugin;
  readonly plugins?: readonly AnyPlugin[];
  /** gpa of 1 MiB of memory for code and data. */
  readonly ram: number;
  /** gpa of 1 MiB that is in no memslot. */
  readonly hole: number;
  /** Register that a `load` step fills. */
  readonly result: string;
  /** Kind of exit of an `end` step. */
  readonly end: ExitKind;
  /** Makes a program of steps, one after the other. */
  assemble(steps: readonly Step[]): Code;
  /** Makes a vCPU ready to run from `entry`. */
  start(vcpu: Vcpu, entry: number): void;
  /**
   * A load from poisoned memory was run (with `load` the step's code): says what is wrong with what became of it, or
   * nothing. Absent: not looked at.
   */
  poison?(vm: Vm, gpa: number): string | undefined;
}

/** One thing an architecture must do; `run` throws an Error that says what it does instead. */
export interface Case {
  /** Stimulus -> observer: observation. */
  readonly name: string;
  /** Carries it out. @throws Error that says what the architecture does instead. */
  run(): void;
}

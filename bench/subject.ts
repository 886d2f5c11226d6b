/** An architecture under the benchmark: its guests, its machine here, and QEMU's. */
import type { AnyPlugin, Vcpu, Vm } from '@faultyard/core';
import type { Clock } from './measure.ts';

/** One run of a guest to its end. */
export interface GuestRun {
  readonly instructions: number;
  /** Milliseconds of the clock. */
  readonly ms: number;
  /** What it printed. */
  readonly text: string;
}

/** A device access that a guest repeats for ever. */
export interface Access {
  /** In names of figures: `device store`. */
  readonly name: string;
  readonly exit: 'mmio' | 'io';
  readonly write: boolean;
  /** What the project asks for from `vcpu.run` through a `switch` and back, in million exits a second. */
  readonly wanted: number;
  /** Instructions of one pass of the loop. */
  readonly loop: number;
  /** First address or port of the device, and bytes. */
  readonly at: number;
  readonly size: number;
}
/** The value that guests store and loads are answered with. */
export const VALUE = 0x1234_5678;

/** An architecture. */
export interface Subject {
  readonly name: string;
  /** QEMU's binary and its arguments for a kernel image; the guest's text goes to standard output. */
  readonly qemu: { readonly binary: string; arguments(image: string): readonly string[] };
  /** An image that ends at once: what starting QEMU costs. */
  off(): Uint8Array;
  /** Script and images of the speed guest, `guest/build-<tag>.sh` and `speed-<tag>-<scale>.elf`. */
  readonly tag: string;
  /** Runs a kernel image on a fresh VM; only running is timed. @throws Error if the guest does not end as it should. */
  run(image: Uint8Array, clock: Clock, plugins?: readonly AnyPlugin[]): GuestRun;
  /** 100,000 basic blocks in functions, each called twice: see `cold.ts`. */
  cold(): Uint8Array;
  /** Least ratio of QEMU TCG's speed that the project asks for, and what is aimed at. */
  readonly wanted: { readonly ratio: number; readonly note?: string };
  readonly accesses: readonly Access[];
  /** A VM whose guest makes the access and branches back, for ever; with the guest's own page tables or without. */
  device(access: Access, paging: boolean): { readonly vm: Vm; readonly cpu: Vcpu };
  /** An image for QEMU that makes `count` such accesses to a device QEMU answers itself; its name. */
  theirDevice(access: Access, count: number): { readonly image: Uint8Array; readonly name: string };
}

/** The point `x86.events`: GIF, windows, injection. `src/points.ts` exports it again. */
import { listOf, type Point } from '@faultyard/core';
import type { Machine } from '../machine.ts';
import type { NextStep } from '../next.ts';

/** Events that wait outside the instruction stream. */
export type OuterEvent = 'smi' | 'nmi' | 'irq' | 'init';

/** An exception about to be taken, or what is being delivered when one comes up. */
export interface EventInfo {
  readonly vector: number;
  readonly kind: EventKind;
  /** Undefined: it has none. */
  readonly errorCode: number | undefined;
  /** #PF: the linear address that CR2 would get; #DB: the bits DR6 would get (halves). Else 0. */
  readonly payloadLo: number;
  readonly payloadHi: number;
}
/**
 * Kind of an event: an exception, an external interrupt, the NMI, INT n (also INT3 and INTO), INT1. The types of
 * EVENTINJ (APM volume 2, 15.20) follow from it.
 */
export type EventKind = 'exception' | 'interrupt' | 'nmi' | 'software' | 'int1';

/** What a plugin may say to events. Every member may be left out; the first contribution that answers decides. */
export interface EventRules {
  /**
   * Before anything is injected (KVM: `kvm_check_nested_events`). `hold`: nothing new this time (re-injection goes on);
   * a {@link NextStep}: the plugin did something, look again after it.
   */
  check?(m: Machine): 'hold' | NextStep | undefined;
  /**
   * Whether such an event may be injected now: `false` holds it (GIF = 0), `true` overrides IF, shadow and NMI blocking
   * (a VMRUN guest with V_INTR_MASKING), undefined leaves it to the architecture.
   */
  allowed?(m: Machine, event: OuterEvent): boolean | undefined;
  /**
   * An exception is about to be taken by the guest, `during` the delivery of another event or not; CR2 and DR6 are not
   * written yet. True: the plugin took it (an intercept), nothing more is done with it.
   */
  exception?(m: Machine, e: EventInfo, during: EventInfo | undefined): boolean;
  /** A triple fault. True: the plugin took it; else the VM gets exit `shutdown`. */
  shutdown?(m: Machine): boolean;
  /** An event was delivered (the handler's first instruction is next). */
  delivered?(m: Machine, e: EventInfo): void;
}

/** Rules about events by plugin, in plugin order. */
export const events: Point<void, readonly EventRules[]> = listOf('x86.events');

/** What a plugin adds to SMM. */
export interface SmmRules {
  /**
   * An SMI is taken; the state-save area is filled and not yet written: the plugin leaves its own mode and notes it there
   * (offsets FED8h to FEEFh of the 64-bit layout are free for that). False: it cannot be done, the VM is dead.
   */
  enter?(m: Machine, area: DataView): boolean;
  /** RSM, before registers are loaded from the area. False: RSM fails, a triple fault. */
  leave?(m: Machine, area: DataView): boolean;
}

/** `x86.smm`: rules about SMI and RSM, in plugin order. */
export const smm: Point<void, readonly SmmRules[]> = listOf('x86.smm');

/** (d) Count distinct bad pages, and restart the VM elsewhere when there are too many. */
import { type Plain, type Snapshot, stop } from '@faultyard/core';
import { type SeaEvent, syndrome } from './event.ts';
import type { SeaPolicy, SeaStep } from './policy.ts';
import { splitSlot } from './unmap.ts';

/** Options of {@link threshold}. */
export interface ThresholdOptions {
  /** T: restart when this many distinct pages are bad. Default 1. */
  readonly pages?: number;
  /** Restart when `events` events fall within `ns` virtual nanoseconds. */
  readonly window?: { readonly events: number; readonly ns: number };
  /** Events without a page: one each, never, or distinct by gva. Default each. */
  readonly unknownCounts?: 'each' | 'never' | 'byGva';
  /** Page key: the 4 KiB page, or the host's huge page. Default 4K. */
  readonly keyBytes?: number;
  /** Restart at once for an abort taken at EL1. Default false. */
  readonly el1?: boolean;
  /** Restart at once for an uncontainable error (SET=2). Default true. */
  readonly uncontainable?: boolean;
  /** Restart at once when a page that was isolated is hit again by an abort. Default true. */
  readonly afterIsolation?: boolean;
  /** The order to restart; told once. */
  readonly onRestart?: (r: RestartOrder) => void;
}

/** A decision to restart. */
export interface RestartOrder {
  readonly reason: string;
  readonly pages: readonly bigint[];
  readonly event: number;
}

/** Counters of the step. */
export interface Threshold extends SeaStep {
  /** Distinct pages, in order of their first event. */
  readonly pages: readonly bigint[];
  /** Events whose page is unknown, as `unknownCounts` counts them. */
  readonly unknown: number;
  /** Events on device pages. */
  readonly device: number;
  readonly total: number;
  /** The order given, once there is one. */
  readonly order: RestartOrder | undefined;
}

/** Counts and decides; after the order no vCPU is entered again. */
export function threshold(o: ThresholdOptions = {}): Threshold {
  const most = o.pages ?? 1;
  const key = BigInt(o.keyBytes ?? 4096);
  let s = {
    pages: [] as bigint[],
    unknown: 0,
    gvas: [] as bigint[],
    device: 0,
    total: 0,
    times: [] as number[],
  };
  let order: RestartOrder | undefined;
  const count = (e: SeaEvent, p: SeaPolicy): string | undefined => {
    s.total++;
    s.times = o.window ? [...s.times, e.time].filter((t) => e.time - t <= (o.window?.ns ?? 0)) : [];
    const syn = e.esr === undefined ? undefined : syndrome(e.esr);
    if (e.gpa === undefined || syn?.nestSuspect) {
      if ((o.unknownCounts ?? 'each') === 'each') s.unknown++;
      else if (o.unknownCounts === 'byGva' && e.gva !== undefined && !s.gvas.includes(e.gva)) {
        s.gvas.push(e.gva);
        s.unknown++;
      }
    } else {
      const slot = p.vm.memory.slotAt(e.gpa);
      if (p.hitAgain(e) && (o.afterIsolation ?? true)) return 'an isolated page was hit again';
      if (slot && !p.vm.memory.isRam(e.gpa)) s.device++;
      else if (!s.pages.includes(e.gpa - (e.gpa % key))) s.pages.push(e.gpa - (e.gpa % key));
    }
    if (syn?.set === 2 && (o.uncontainable ?? true)) return 'uncontainable error';
    if (o.el1 && e.el === 1) return 'abort taken at EL1';
    if (s.pages.length + s.unknown >= most) return `${s.pages.length + s.unknown} bad pages`;
    if (o.window && s.times.length >= o.window.events) return `${s.times.length} events within the window`;
    return undefined;
  };
  return {
    name: 'threshold',
    get pages() {
      return s.pages;
    },
    get unknown() {
      return s.unknown;
    },
    get device() {
      return s.device;
    },
    get total() {
      return s.total;
    },
    get order() {
      return order;
    },
    on: (e, p) => {
      if (e.door === 'hole') return 'next';
      const reason = count(e, p);
      if (reason === undefined) return 'next';
      if (!order) {
        order = { reason, pages: s.pages, event: e.id };
        o.onRestart?.(order);
      }
      return stop(`restart: ${reason}`);
    },
    save: () => ({ ...s, order: (order ?? null) as unknown as Plain }),
    restore: (v) => {
      const { order: given, ...rest } = v as unknown as typeof s & { order: RestartOrder | null };
      s = { ...rest, pages: [...rest.pages], gvas: [...rest.gvas], times: [...rest.times] };
      order = given ?? undefined;
    },
  };
}

/**
 * Carries a restart out with the guest's state: `make` makes the second VM with its policy (steps of the same names),
 * which receives everything but the pages of D; those arrive as holes that the policy answers for. The bad pages are
 * not read. The first VM is left stopped.
 */
export function moveWithout(from: SeaPolicy, pages: readonly bigint[], make: () => SeaPolicy): SeaPolicy {
  const state: Snapshot = from.vm.snapshot();
  const to = make();
  to.vm.restore(state);
  state.dispose();
  for (const p of pages) {
    if (to.vm.memory.slotAt(p)) splitSlot(to.vm, Number(p));
    to.markIsolated(p);
  }
  return to;
}

/** Goes on without doing anything: the same access aborts again. */
export function ignore(): SeaStep {
  return { name: 'ignore', on: () => ({ verdict: 'run' }) };
}

/** Stops the VM at once. */
export function kill(): SeaStep {
  return { name: 'kill', on: (e) => stop(`kill: external abort (event ${e.id})`) };
}

/** Exception classes that a guest's abort can have: instruction and data abort from a lower level, and the VNCR page. */
const KNOWN: readonly number[] = [0x20, 0x24, 0x25];

/**
 * Kills the VM where nothing else is right: EC 0x25 (a nesting page of the host, gva and gpa are stale) and exception
 * classes that no abort of a guest has.
 */
export function guard(): SeaStep {
  return {
    name: 'guard',
    on: (e) => {
      if (e.esr === undefined) return 'next';
      const { ec, nestSuspect } = syndrome(e.esr);
      if (nestSuspect) return stop(`kill: abort on a nesting page (event ${e.id})`);
      return KNOWN.includes(ec) ? 'next' : stop(`kill: exception class 0x${ec.toString(16)} (event ${e.id})`);
    },
  };
}

/** (a) One record per event, made before anything is done about it. It never reads the bad page. */
import type { Plain } from '@faultyard/core';
import { type SeaEvent, syndrome } from './event.ts';
import type { SeaPolicy, SeaStep } from './policy.ts';

/** An immutable observability record. No host physical address ever appears in it. */
export interface SeaRecord {
  readonly eventId: number;
  readonly vcpu: number;
  readonly time: number;
  readonly door: SeaEvent['door'];
  readonly esr: bigint | null;
  readonly access: 'fetch' | 'data' | 'unknown';
  readonly fsc: string;
  readonly el: 0 | 1;
  readonly pc: bigint;
  readonly gva: bigint | null;
  /** `null` says "page unknown", never 0. */
  readonly gpa: bigint | null;
  readonly slot: number | null;
  readonly slotOffset: bigint | null;
  /** gpa in a RAM slot; false for a device's. */
  readonly isRam: boolean;
  /** eventId of the first event with the same page. */
  readonly repeatOf: number | null;
  readonly distinctPages: number;
  readonly totalEvents: number;
}

/** The step that records; `records` grows, `print` (if given) sees at most `limit` of them. */
export interface Observe extends SeaStep {
  readonly records: readonly SeaRecord[];
}

/** Name of a fault status as the sheets and Linux print it. */
function fscName(esr: bigint | undefined): string {
  if (esr === undefined) return 'unknown';
  const s = syndrome(esr);
  return s.walk
    ? `level ${s.level} (translation table walk)`
    : s.fsc === 0x10
      ? 'synchronous external abort'
      : `fsc ${s.fsc.toString(16)}`;
}

/** Records every event. All are counted; `limit` only bounds how many are given to `print`. */
export function observe(
  o: { readonly print?: (r: SeaRecord) => void; readonly limit?: number } = {},
): Observe {
  let records: SeaRecord[] = [];
  const first = new Map<bigint, number>();
  const rebuild = (): void => {
    first.clear();
    for (const r of records) if (r.gpa !== null && r.isRam && !first.has(r.gpa)) first.set(r.gpa, r.eventId);
  };
  const record = (e: SeaEvent, p: SeaPolicy): SeaRecord => {
    const page = e.gpa === undefined ? null : e.gpa & ~0xfffn;
    const slot = page === null ? undefined : p.vm.memory.slotAt(page);
    const isRam = page !== null && p.vm.memory.isRam(page);
    const seen = page === null ? undefined : first.get(page);
    if (page !== null && isRam && seen === undefined) first.set(page, e.id);
    return {
      eventId: e.id,
      vcpu: e.vcpu,
      time: e.time,
      door: e.door,
      esr: e.esr ?? null,
      access: e.esr === undefined ? 'unknown' : syndrome(e.esr).isFetch ? 'fetch' : 'data',
      fsc: fscName(e.esr),
      el: e.el,
      pc: e.pc,
      gva: e.gva ?? null,
      gpa: page,
      slot: slot?.slot ?? null,
      slotOffset: slot && page !== null ? page - BigInt(slot.gpa) : null,
      isRam,
      repeatOf: seen ?? null,
      distinctPages: first.size,
      totalEvents: records.length + 1,
    };
  };
  return {
    name: 'observe',
    get records() {
      return records;
    },
    on: (e, p) => {
      const r = Object.freeze(record(e, p));
      records = [...records, r];
      if (o.print && records.length <= (o.limit ?? Infinity)) o.print(r);
      return 'next';
    },
    save: () => records as unknown as Plain,
    restore: (v) => {
      records = [...(v as unknown as SeaRecord[])];
      rebuild();
    },
  };
}

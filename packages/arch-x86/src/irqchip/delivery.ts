/**
 * Which local APICs a message goes to (arch/x86/kvm/lapic.c, kvm_irq_delivery_to_apic). KVM looks destinations up in maps
 * where ids are unambiguous, and asks every APIC where not; the two differ in what becomes of destinations that nobody
 * has, so both are here.
 */
import { type ApicMessage, Delivery, type Destination } from './apic-registers.ts';
import type { LocalApic } from './local-apic.ts';

/** Shorthands of {@link Destination}. */
const Shorthand = { None: 0, Self: 1, All: 2, Others: 3 } as const;
const BROADCAST = 0xff;
const X2_BROADCAST = 0xffff_ffff;

/** Delivers a message to `all` (every vCPU's APIC); how many took it, -1: it is for nobody. */
export function deliver(
  all: readonly LocalApic[],
  from: LocalApic | undefined,
  m: ApicMessage,
  to: Destination,
): number {
  if (to.shorthand === Shorthand.Self) return from?.accept(m) ? 1 : 0;
  const present = all.filter((a) => a.enabled);
  const mapped = byMap(present, from, m, to);
  if (mapped) return mapped.reduce((n, a) => n + (a.accept(m) ? 1 : 0), 0);
  // lowest priority of a physical broadcast is none
  const everybody = !to.logical && to.id === BROADCAST;
  const asked = present.filter((a) => matches(a, from, to));
  if (!isLowest(m) || everybody) {
    const sent = everybody && m.mode === Delivery.Lowest ? { ...m, mode: Delivery.Fixed } : m;
    return asked.length === 0 ? -1 : asked.reduce((n, a) => n + (a.accept(sent) ? 1 : 0), 0);
  }
  const able = asked.filter((a) => a.softwareEnabled);
  const one = able[m.vector % able.length];
  return one ? Number(one.accept(m)) : -1;
}

const isLowest = (m: ApicMessage): boolean => m.mode === Delivery.Lowest || m.hint === true;

/** Destinations by KVM's maps; `undefined` where they do not help (kvm_apic_map_get_dest_lapic). */
function byMap(
  present: readonly LocalApic[],
  from: LocalApic | undefined,
  m: ApicMessage,
  to: Destination,
): readonly LocalApic[] | undefined {
  if (to.shorthand !== Shorthand.None || to.id === (from?.x2 ? X2_BROADCAST : BROADCAST)) return undefined;
  const byId = new Map<number, LocalApic>();
  for (const a of present) {
    const id = a.x2 ? a.id : a.xapicId;
    if (byId.has(id)) return undefined;
    byId.set(id, a);
  }
  if (!to.logical) {
    const one = byId.get(to.id);
    return one ? [one] : [];
  }
  const map = logicalMap(present, byId);
  if (map === undefined) return undefined;
  const { mask, at } = map(to.id);
  const bits = Array.from({ length: 16 }, (_, n) => n).filter((n) => (mask >>> n) & 1);
  if (!isLowest(m)) return bits.flatMap((n) => at(n) ?? []);
  // vector hashing over the destination's bits, whether or not anybody has them
  const n = bits[m.vector % bits.length];
  return n === undefined ? [] : [at(n) ?? []].flat();
}

/** Bits of a logical destination, and who has each. */
type Logical = (dest: number) => {
  readonly mask: number;
  readonly at: (bit: number) => LocalApic | undefined;
};

/** The map of logical ids; `undefined`: APICs differ in mode, or share bits (kvm_recalculate_logical_map). */
function logicalMap(
  present: readonly LocalApic[],
  byId: ReadonlyMap<number, LocalApic>,
): Logical | undefined {
  const members = present.filter((a) => a.softwareEnabled && a.ldr !== 0);
  const modeOf = (a: LocalApic): 'x2' | 'flat' | 'cluster' =>
    a.x2 ? 'x2' : a.dfr === -1 ? 'flat' : 'cluster';
  const [first] = members;
  if (!first) return () => ({ mask: 0, at: () => undefined });
  const mode = modeOf(first);
  if (members.some((a) => modeOf(a) !== mode)) return undefined;
  if (mode === 'x2')
    return (dest) => ({ mask: dest & 0xffff, at: (bit) => byId.get((dest >>> 16) * 16 + bit) });
  const bits = mode === 'flat' ? 0xff : 0xf;
  const slots = new Map<number, LocalApic>();
  for (const a of members) {
    const id = a.ldr >>> 24;
    const own = id & bits;
    if (own === 0) continue;
    const slot = (id & ~bits) * 8 + (31 - Math.clz32(own));
    if (own & (own - 1) || slots.has(slot)) return undefined;
    slots.set(slot, a);
  }
  return (dest) => ({
    mask: dest & bits,
    at: (bit) => slots.get((dest & 0xff & ~bits) * 8 + bit),
  });
}

/** Whether a message is for an APIC (kvm_apic_match_dest). */
function matches(a: LocalApic, from: LocalApic | undefined, to: Destination): boolean {
  if (to.shorthand === Shorthand.Self) return a === from;
  if (to.shorthand !== Shorthand.None) return to.shorthand === Shorthand.All || a !== from;
  // messages that are no IPIs have no way to say "all" to an x2APIC
  const id = from === undefined && to.id === BROADCAST && a.x2 ? X2_BROADCAST : to.id;
  if (id === (a.x2 ? X2_BROADCAST : BROADCAST)) return true;
  if (!to.logical) return a.x2 || id > 0xff ? id === a.id : id === a.xapicId;
  const { ldr, dfr } = a;
  if (a.x2) return ldr >>> 16 === id >>> 16 && (ldr & id & 0xffff) !== 0;
  const own = ldr >>> 24;
  if (dfr === -1) return (own & id) !== 0;
  return dfr >>> 28 === 0 && own >>> 4 === id >>> 4 && (own & id & 15) !== 0;
}

/** (b) Protect the guest from the bad page: take it out of its address space. */
import { FaultyardError, KvmError, MemFlag, type Vm } from '@faultyard/core';
import type { SeaEvent } from './event.ts';
import { syndrome } from './event.ts';
import type { SeaPolicy, SeaStep } from './policy.ts';

/** How a page is taken away: split its memslot, withhold it through userfault (proposed), or not at all. */
export type Hole = 'memslot' | 'userfault' | 'none';

/** A memslot as the VMM set it; addresses and size in bytes. */
export interface SlotLayout {
  readonly slot: number;
  readonly gpa: number;
  readonly size: number;
  readonly hva: number;
  readonly flags: number;
}

const PAGE = 4096;
const LOG_DIRTY_PAGES = 1;

/**
 * The slots that remain when a piece is cut out of a slot: none, one or two. The first keeps the slot's id.
 * @param from first gpa of the piece; what lies outside the slot does not matter.
 * @param newId id for the part behind the piece, if there is a part in front as well.
 */
export function cutSlot(
  s: SlotLayout,
  from: number,
  newId: number,
  bytes: number = PAGE,
): readonly SlotLayout[] {
  const front = from - s.gpa;
  const back = s.gpa + s.size - (from + bytes);
  const out: SlotLayout[] = [];
  if (front > 0) out.push({ ...s, size: front });
  if (back > 0)
    out.push({
      ...s,
      slot: front > 0 ? newId : s.slot,
      gpa: from + bytes,
      size: back,
      hva: s.hva + front + bytes,
    });
  return out;
}

/**
 * Splits the slot around a page (or a larger piece): dirty log saved, slot deleted, parts created; the original is put
 * back if a part cannot be made. All vCPUs must be outside KVM_RUN, because others would see a hole for the whole slot
 * meanwhile.
 * @returns the saved dirty bitmap without the piece's bits, one bit a page, or nothing when the slot logs none.
 * @throws KvmError with KVM's errno when a part is refused (the original slot is back then), FaultyardError FY_POLICY
 * when a vCPU is inside KVM_RUN or the page is in no slot.
 */
export function splitSlot(vm: Vm, gpa: number, bytes: number = PAGE): Uint8Array | undefined {
  const from = gpa - (gpa % bytes);
  const s = vm.memory.slotAt(gpa);
  const inside = vm.vcpus.find((v) => v.open);
  if (inside)
    throw new FaultyardError('FY_POLICY', {
      policy: 'unmap',
      why: `vcpu ${inside.id} is inside KVM_RUN`,
      fix: 'stop every vCPU first',
    });
  if (!s)
    throw new FaultyardError('FY_POLICY', {
      policy: 'unmap',
      why: `no memslot at 0x${gpa.toString(16)}`,
      fix: 'skip it',
    });
  const old: SlotLayout = s;
  const dirty = old.flags & LOG_DIRTY_PAGES ? vm.op('get-dirty-log', { slot: old.slot }) : undefined;
  set(vm, { ...old, size: 0 });
  const made: SlotLayout[] = [];
  try {
    for (const part of cutSlot(old, from, freeSlot(vm, old.slot), bytes)) {
      set(vm, part);
      made.push(part);
    }
  } catch (e) {
    if (!(e instanceof KvmError)) throw e;
    for (const part of made) set(vm, { ...part, size: 0 });
    set(vm, old);
    throw e;
  }
  if (!dirty) return undefined;
  for (let at = Math.max(from, old.gpa); at < Math.min(from + bytes, old.gpa + old.size); at += PAGE) {
    const n = (at - old.gpa) / PAGE;
    dirty[n >> 3] = (dirty[n >> 3] as number) & ~(1 << (n & 7));
  }
  return dirty;
}

const set = (vm: Vm, s: SlotLayout): void =>
  vm.setMemoryRegion({ slot: s.slot, flags: s.flags, gpa: s.gpa, size: s.size, hva: s.hva });

/** The lowest slot id that neither a slot nor the one being replaced uses. */
function freeSlot(vm: Vm, replaced: number): number {
  const used = new Set(vm.memslots.all().map((s) => s.id));
  let id = 0;
  while (used.has(id) || id === replaced) id++;
  return id;
}

/**
 * Withholds one page through the slot's userfault bitmap (KVM userfault, proposed). Setting a bit does not remove a
 * mapping that exists, so the slot's flag is taken off and put on again, which zaps it.
 */
function withhold(vm: Vm, gpa: number): void {
  const s = vm.memory.slotAt(gpa);
  if (!s) return;
  const pages = s.size / PAGE;
  const bitmap = vm.memslots.byId(s.slot)?.userfault ?? new Uint8Array(Math.ceil(pages / 64) * 8);
  const n = (gpa - (gpa % PAGE) - s.gpa) / PAGE;
  bitmap[n >> 3] = (bitmap[n >> 3] as number) | (1 << (n & 7));
  const region = { slot: s.slot, gpa: s.gpa, size: s.size, hva: s.hva };
  vm.setMemoryRegion({ ...region, flags: s.flags & ~MemFlag.Userfault });
  vm.setMemoryRegion({ ...region, flags: s.flags | MemFlag.Userfault, userfaultBitmap: bitmap });
}

/** Options of {@link unmap}. */
export interface UnmapOptions {
  readonly hole?: Hole;
  /** Finds the page of an event that names none. */
  readonly page?: (e: SeaEvent, p: SeaPolicy) => bigint | undefined;
}

/** Isolates pages of RAM that an event names. Device pages, unknown pages and nesting suspects are left alone. */
export function unmap(o: UnmapOptions = {}): SeaStep {
  const hole = o.hole ?? 'memslot';
  return {
    name: 'unmap',
    on: (e, p) => {
      if (hole === 'none' || e.door === 'hole') return 'next';
      const gpa = e.gpa ?? o.page?.(e, p);
      if (gpa === undefined || (e.esr !== undefined && syndrome(e.esr).nestSuspect)) return 'next';
      if (p.isolated(gpa) || !p.vm.memory.isRam(gpa)) return 'next';
      const bytes = PAGE * (e.lsb !== undefined && e.lsb > 12 ? 2 ** (e.lsb - 12) : 1);
      if (hole === 'memslot') splitSlot(p.vm, Number(gpa), bytes);
      else withhold(p.vm, Number(gpa));
      const first = Number(gpa) - (Number(gpa) % bytes);
      for (let at = first; at < first + bytes; at += PAGE) p.markIsolated(BigInt(at));
      return 'next';
    },
  };
}

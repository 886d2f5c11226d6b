/** (b) Protect the guest from the bad page: take it out of its address space. */
import { FaultyardError, KvmError, type Vm } from '@faultyard/core';
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
 * The slots that remain when one page is cut out of a slot: none, one or two. The first keeps the slot's id.
 * @param newId id for the part behind the page, if there is a part in front as well.
 */
export function cutSlot(s: SlotLayout, page: number, newId: number): readonly SlotLayout[] {
  const front = page - s.gpa;
  const back = s.gpa + s.size - (page + PAGE);
  const out: SlotLayout[] = [];
  if (front > 0) out.push({ ...s, size: front });
  if (back > 0)
    out.push({
      ...s,
      slot: front > 0 ? newId : s.slot,
      gpa: page + PAGE,
      size: back,
      hva: s.hva + front + PAGE,
    });
  return out;
}

/**
 * Splits the slot around a page: dirty log saved, slot deleted, parts created; the original is put back if a part
 * cannot be made. All vCPUs must be outside KVM_RUN, because others would see a hole for the whole slot meanwhile.
 * @returns the saved dirty bitmap without the page's bit, one bit a page, or nothing when the slot logs none.
 * @throws KvmError with KVM's errno when a part is refused (the original slot is back then), FaultyardError FY_POLICY
 * when a vCPU is inside KVM_RUN or the page is in no slot.
 */
export function splitSlot(vm: Vm, gpa: number): Uint8Array | undefined {
  const page = gpa - (gpa % PAGE);
  const s = vm.memory.slotAt(page);
  const inside = vm.vcpus.find((v) => v.open);
  if (inside)
    throw new FaultyardError('FY_POLICY', {
      policy: 'unmap',
      why: `vcpu ${inside.id} is inside KVM_RUN`,
      fix: 'stop every vCPU first',
    });
  if (!s) throw new FaultyardError('FY_POLICY', { policy: 'unmap', why: `no memslot at 0x${page.toString(16)}`, fix: 'skip it' });
  const old: SlotLayout = { slot: s.slot, gpa: s.gpa, size: s.size, hva: s.hva, flags: s.flags };
  const dirty = old.flags & LOG_DIRTY_PAGES ? vm.op('get-dirty-log', { slot: old.slot }) : undefined;
  const set = (x: SlotLayout): void =>
    vm.setMemoryRegion({ slot: x.slot, flags: x.flags, gpa: BigInt(x.gpa), size: BigInt(x.size), hva: BigInt(x.hva) });
  set({ ...old, size: 0 });
  const made: SlotLayout[] = [];
  try {
    for (const part of cutSlot(old, page, vm.memslots.free())) {
      set(part);
      made.push(part);
    }
  } catch (e) {
    if (!(e instanceof KvmError)) throw e;
    for (const part of made) set({ ...part, size: 0 });
    set(old);
    throw e;
  }
  if (!dirty) return undefined;
  const n = (page - old.gpa) / PAGE;
  dirty[n >> 3] = (dirty[n >> 3] as number) & ~(1 << (n & 7));
  return dirty;
}

/** Isolates pages of RAM that an event names. Device pages, unknown pages and nesting suspects are left alone. */
export function unmap(o: { readonly hole?: Hole; readonly page?: (e: SeaEvent, p: SeaPolicy) => bigint | undefined } = {}): SeaStep {
  const hole = o.hole ?? 'memslot';
  return {
    name: 'unmap',
    on: (e, p) => {
      if (hole === 'none' || e.door === 'hole') return 'next';
      const gpa = e.gpa ?? o.page?.(e, p);
      if (gpa === undefined || (e.esr !== undefined && syndrome(e.esr).nestSuspect)) return 'next';
      const slot = p.vm.memory.slotAt(gpa);
      if (!slot || p.isolated(gpa)) return 'next';
      if (!p.vm.memory.isRam(gpa)) return 'next';
      const count = e.lsb !== undefined && e.lsb > 12 ? 2 ** (e.lsb - 12) : 1;
      const first = Number(gpa) - (Number(gpa) % (PAGE * count));
      for (let n = 0; n < count; n++) {
        const at = first + n * PAGE;
        if (!p.vm.memory.slotAt(at)) continue;
        if (hole === 'memslot') splitSlot(p.vm, at);
        else p.vm.memslots.userfault(at, true);
        p.markIsolated(BigInt(at));
      }
      return 'next';
    },
  };
}

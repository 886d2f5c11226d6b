/**
 * Memslots: KVM_SET_USER_MEMORY_REGION(2) with KVM's rules and errnos, the two-phase delete and move, and the dirty
 * log (kernel: virt/kvm/kvm_main.c, arch hooks kvm_arch_prepare_memory_region).
 */
import { type Gpa, gpa, type Hva, hex, hva, PAGE_SIZE } from './address.ts';
import { type Errno, FaultyardError, KvmError } from './errors.ts';
import type { AddressSpace } from './host/address-space.ts';
import type { Backing, GuestMemfd } from './host/backing.ts';
import { hashGuest } from './memory-hash.ts';
import { at, Lock, type Task } from './task.ts';

/** Flags of a memory region (include/uapi/linux/kvm.h). */
export const MemFlag: {
  /** KVM_MEM_LOG_DIRTY_PAGES */
  readonly LogDirty: 1;
  /** KVM_MEM_READONLY */
  readonly ReadOnly: 2;
  /** KVM_MEM_GUEST_MEMFD, region2 only */
  readonly GuestMemfd: 4;
  /** KVM_MEM_USERFAULT of the KVM userfault series (proposed, not upstream), region2 only */
  readonly Userfault: 8;
} = { LogDirty: 1, ReadOnly: 2, GuestMemfd: 4, Userfault: 8 };

/** What differs between architectures and hosts. */
export interface MemslotRules {
  /** User slots per address space: arm64 32767, x86 32764. */
  readonly ids: number;
  /** arm64 1; x86 2 (1 = SMM). */
  readonly addressSpaces: number;
  /** First gpa that no slot may reach, in bytes: 2^IPA bits, or 2^MAXPHYADDR. */
  readonly gpaLimit: number;
  /** errno beyond that: arm64 EFAULT, x86 EINVAL. */
  readonly beyondLimit: Errno;
  /** LOG_DIRTY_PAGES over a PFNMAP area is EINVAL (arm64). */
  readonly refusesDirtyPfnmap: boolean;
  /** The proposed userfault flag is known. */
  readonly userfault?: boolean;
}

/** Argument of KVM_SET_USER_MEMORY_REGION(2). Sizes and addresses in bytes. */
export interface MemoryRegion {
  /** Bits 15:0 of the structure's slot field. */
  readonly slot: number;
  /** Bits 31:16. Default 0. */
  readonly asId?: number;
  /** {@link MemFlag}s. */
  readonly flags?: number;
  readonly gpa: bigint | number;
  /** 0 deletes. */
  readonly size: bigint | number;
  readonly hva: bigint | number;
  /** What the descriptor stands for; `undefined` with the flag set is a bad descriptor. */
  readonly guestMemfd?: Backing | undefined;
  readonly guestMemfdOffset?: bigint | number;
  /** One bit a page, bit 0 of byte 0 first; the VMM goes on writing it. */
  readonly userfaultBitmap?: Uint8Array;
}

/** A slot. Page numbers, not bytes, inside. */
export interface Memslot {
  readonly asId: number;
  readonly id: number;
  readonly flags: number;
  readonly baseGfn: number;
  readonly npages: number;
  /** hva / 4096 of the first page. */
  readonly hvaPage: number;
  readonly gmem: GuestMemfd | undefined;
  /** Index in the guest_memfd of the first page. */
  readonly gmemIndex: number;
  readonly userfault: Uint8Array | undefined;
  /** Being deleted or moved (KVM_MEMSLOT_INVALID). */
  readonly invalid: boolean;
  /** One bit a page since the log was last read, while LOG_DIRTY_PAGES is set. */
  readonly dirty: Uint8Array | undefined;
}

/** Where a slot lies, for people. */
export interface MemslotInfo {
  readonly slot: number;
  readonly asId: number;
  readonly flags: number;
  readonly gpa: Gpa;
  readonly size: bigint;
  readonly hva: Hva;
}

/** Told before and after slots change. */
export interface SlotListener {
  /** Drop every mapping of the slot. */
  zap(slot: Memslot): void;
  /** Writes to pages [first, first + n) of the slot must be seen again. */
  protect(slot: Memslot, first: number, n: number): void;
  /** Dirty logging ended. */
  unprotect(slot: Memslot): void;
  /** Everything was replaced (restore). */
  reset(): void;
}

/** Pages a slot may have: 2^31 - 1. */
const MAX_PAGES = 2n ** 31n - 1n;
const OP = 'KVM_SET_USER_MEMORY_REGION';
const PAGE = BigInt(PAGE_SIZE);

/** Slots bound to a mappable guest_memfd never look at their hva. */
export function gmemOnly(s: Memslot): boolean {
  return s.gmem?.mmap === true;
}

/** hva / 4096 behind a gfn of the slot. */
export function hvaPageOf(s: Memslot, gfn: number): number {
  return s.hvaPage + (gfn - s.baseGfn);
}

/** A saved slot table: plain data. */
export interface MemslotsImage {
  readonly generation: number;
  readonly manualDirty: boolean;
  readonly slots: readonly SlotImage[];
}
interface SlotImage {
  readonly asId: number;
  readonly id: number;
  readonly flags: number;
  readonly baseGfn: number;
  readonly npages: number;
  readonly hvaPage: number;
  /** Id of the guest_memfd. */
  readonly gmem: string | null;
  readonly gmemIndex: number;
  readonly userfault: Uint8Array | null;
  readonly dirty: Uint8Array | null;
}

/** The slots of one VM. */
export class Memslots {
  readonly rules: MemslotRules;
  readonly space: AddressSpace;
  /** kvm->slots_lock. */
  readonly lock: Lock = new Lock('slots_lock');
  /** Increases with every publication. */
  generation = 0;
  /** KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: reading the log neither clears nor protects. */
  manualDirty = false;
  /** Published slots by address space, ascending by gfn. */
  #sets: Memslot[][];
  #hit: Memslot | undefined;
  /** All of them, until the next change. */
  #all: readonly Memslot[] | undefined;
  readonly #listeners = new Set<SlotListener>();
  readonly #published = new Set<() => void>();
  /** Readers inside an SRCU section, with the epoch in which they entered. */
  readonly #readers = new Set<{ epoch: number }>();
  #epoch = 0;

  constructor(space: AddressSpace, rules: MemslotRules) {
    this.space = space;
    this.rules = rules;
    this.#sets = Array.from({ length: rules.addressSpaces }, () => []);
  }

  /** Registers a listener (stage 2); returns the disposer. */
  listen(l: SlotListener): () => void {
    this.#listeners.add(l);
    return () => void this.#listeners.delete(l);
  }
  /** Calls `f` after every publication: what lay outside memory may be memory now. Returns the disposer. */
  onPublish(f: () => void): () => void {
    this.#published.add(f);
    return () => void this.#published.delete(f);
  }

  // ---- looking up -----------------------------------------------------------------------------------------------

  /** The slot that holds the gfn. */
  find(gfn: number, asId: number = 0): Memslot | undefined {
    const hit = this.#hit;
    if (hit && hit.asId === asId && gfn >= hit.baseGfn && gfn < hit.baseGfn + hit.npages) return hit;
    const set = this.#sets[asId];
    if (!set) return undefined;
    let lo = 0;
    for (let hi = set.length; lo < hi; ) {
      const mid = (lo + hi) >>> 1;
      const s = set[mid] as Memslot;
      if (s.baseGfn + s.npages <= gfn) lo = mid + 1;
      else hi = mid;
    }
    const s = set[lo];
    if (!s || gfn < s.baseGfn) return undefined;
    this.#hit = s;
    return s;
  }

  /** The slot with this id. */
  byId(id: number, asId: number = 0): Memslot | undefined {
    return this.#sets[asId]?.find((s) => s.id === id);
  }

  /** All published slots, ascending by address space and gfn. */
  all(): readonly Memslot[] {
    this.#all ??= this.#sets.flat();
    return this.#all;
  }

  /** All slots for people and tools. */
  list(): readonly MemslotInfo[] {
    return this.all().map((s) => ({
      slot: s.id,
      asId: s.asId,
      flags: s.flags,
      gpa: gpa(s.baseGfn * PAGE_SIZE),
      size: BigInt(s.npages) * PAGE,
      hva: hva(s.hvaPage * PAGE_SIZE),
    }));
  }

  // ---- SRCU -----------------------------------------------------------------------------------------------------

  /** Enters a section in which the published slots stay valid (srcu_read_lock); returns its end. */
  enter(): () => void {
    const r = { epoch: this.#epoch };
    this.#readers.add(r);
    return () => void this.#readers.delete(r);
  }

  // ---- KVM_SET_USER_MEMORY_REGION -------------------------------------------------------------------------------

  /**
   * KVM_SET_USER_MEMORY_REGION, or REGION2 with `two`: creates, deletes (size 0), moves, or changes flags.
   * Delete and move publish an INVALID copy (`slots.invalid`), zap (`slots.zap`), then publish the final set
   * (`slots.publish`).
   * @throws KvmError with KVM's errno; the slots are then as before.
   */
  *set(r: MemoryRegion, two: boolean = true): Task<void> {
    yield* this.lock.write();
    try {
      yield* this.#apply(this.#plan(r, two));
    } finally {
      this.lock.endWrite();
    }
  }

  #refuse(errno: Errno, why: string): never {
    throw new KvmError(OP, errno, why);
  }

  /** Everything KVM checks, in its order. */
  #plan(r: MemoryRegion, two: boolean): { old: Memslot | undefined; next: Memslot | undefined } {
    const { rules, space } = this;
    const flags = r.flags ?? 0;
    const asId = r.asId ?? 0;
    const base = BigInt.asUintN(64, BigInt(r.gpa));
    const size = BigInt.asUintN(64, BigInt(r.size));
    const host = BigInt.asUintN(64, BigInt(r.hva));
    const isGmem = (flags & MemFlag.GuestMemfd) !== 0;
    let known: number = MemFlag.LogDirty | MemFlag.ReadOnly;
    if (two) known |= MemFlag.GuestMemfd | (rules.userfault ? MemFlag.Userfault : 0);
    if (isGmem) known &= ~(MemFlag.LogDirty | MemFlag.ReadOnly);
    if ((flags & ~known) !== 0) this.#refuse('EINVAL', `flags ${hex(flags & ~known)} are not allowed here`);
    if (size % PAGE !== 0n) this.#refuse('EINVAL', `size ${hex(size)} is not page aligned`);
    if (base % PAGE !== 0n) this.#refuse('EINVAL', `gpa ${hex(base)} is not page aligned`);
    if (host % PAGE !== 0n) this.#refuse('EINVAL', `hva ${hex(host)} is not page aligned`);
    if (host + size > BigInt(space.taskSize))
      this.#refuse('EINVAL', `hva ${hex(host)} + ${hex(size)} is not in the user range`);
    const offset = BigInt.asUintN(64, BigInt(r.guestMemfdOffset ?? 0));
    if (isGmem && (offset % PAGE !== 0n || offset + size >= 1n << 64n))
      this.#refuse('EINVAL', `guest_memfd offset ${hex(offset)} is not page aligned, or wraps`);
    if (!(asId >= 0 && asId < rules.addressSpaces)) this.#refuse('EINVAL', `no address space ${asId}`);
    if (!(Number.isInteger(r.slot) && r.slot >= 0 && r.slot < rules.ids))
      this.#refuse('EINVAL', `slot ${r.slot} is not in 0..${rules.ids - 1}`);
    if (base + size >= 1n << 64n && size !== 0n)
      this.#refuse('EINVAL', `gpa ${hex(base)} + ${hex(size)} wraps`);
    if (size / PAGE > MAX_PAGES) this.#refuse('EINVAL', `${hex(size)} bytes are more than 2^31 - 1 pages`);
    const old = this.byId(r.slot, asId);
    if (size === 0n) {
      if (!old) this.#refuse('EINVAL', `slot ${r.slot} does not exist`);
      return { old, next: undefined };
    }
    const npages = Number(size / PAGE);
    const hvaPage = Number(host / PAGE);
    if (old) {
      if (isGmem || old.gmem) this.#refuse('EINVAL', 'a guest_memfd slot can only be deleted');
      if (hvaPage !== old.hvaPage)
        this.#refuse('EINVAL', 'hva of a live slot cannot change: delete it first');
      if (npages !== old.npages) this.#refuse('EINVAL', 'size of a live slot cannot change: delete it first');
      if (((flags ^ old.flags) & MemFlag.ReadOnly) !== 0)
        this.#refuse('EINVAL', 'READONLY of a live slot cannot change: delete it first');
      if (base === BigInt(old.baseGfn) * PAGE && flags === old.flags) return { old, next: old };
    }
    const end = base + size;
    const moves = !old || base !== BigInt(old.baseGfn) * PAGE;
    if (moves)
      for (const s of this.#sets[asId] as Memslot[])
        if (s.id !== r.slot && base < BigInt(s.baseGfn + s.npages) * PAGE && end > BigInt(s.baseGfn) * PAGE)
          this.#refuse('EEXIST', `gpa ${hex(base)} + ${hex(size)} overlaps slot ${s.id}`);
    const gmem = isGmem ? this.#bind(r, offset, size) : undefined;
    if (end > BigInt(rules.gpaLimit))
      this.#refuse(rules.beyondLimit, `gpa ${hex(end)} is beyond the guest's limit`);
    if (rules.refusesDirtyPfnmap && (flags & MemFlag.LogDirty) !== 0)
      for (const v of space.vmas.meeting(hvaPage, hvaPage + npages))
        if (v.kind === 'io') this.#refuse('EINVAL', 'dirty logging over a PFNMAP area');
    const log = (flags & MemFlag.LogDirty) !== 0;
    const next: Memslot = {
      asId,
      id: r.slot,
      flags,
      baseGfn: Number(base / PAGE),
      npages,
      hvaPage,
      gmem,
      gmemIndex: Number(offset / PAGE),
      userfault: (flags & MemFlag.Userfault) !== 0 ? r.userfaultBitmap : undefined,
      invalid: false,
      dirty: log ? (old?.dirty ?? new Uint8Array(Math.ceil(npages / 64) * 8)) : undefined,
    };
    return { old, next };
  }

  /** kvm_gmem_bind's checks. */
  #bind(r: MemoryRegion, offset: bigint, size: bigint): GuestMemfd {
    const g = r.guestMemfd;
    if (!g || (g.kind === 'gmem' && g.closed)) this.#refuse('EBADF', 'no such guest_memfd descriptor');
    if (g.kind !== 'gmem') this.#refuse('EINVAL', 'the descriptor is not a guest_memfd');
    if (this.space.backings.get(g.id) !== g) this.#refuse('EINVAL', 'the guest_memfd belongs to another VM');
    if (offset + size > BigInt(g.length)) this.#refuse('EINVAL', 'offset + size exceeds the guest_memfd');
    const first = Number(offset / PAGE);
    const n = Number(size / PAGE);
    for (const s of this.all())
      if (s.gmem === g && first < s.gmemIndex + s.npages && first + n > s.gmemIndex)
        this.#refuse('EINVAL', `that part of the guest_memfd is bound to slot ${s.id}`);
    return g;
  }

  *#apply({ old, next }: { old: Memslot | undefined; next: Memslot | undefined }): Task<void> {
    if (old === next) return;
    const moved = old !== undefined && (next === undefined || next.baseGfn !== old.baseGfn);
    let live = old;
    if (old && moved) {
      const invalid: Memslot = { ...old, invalid: true };
      yield* this.#publish(old, invalid);
      live = invalid;
      yield at('slots.invalid');
      for (const l of this.#listeners) l.zap(invalid);
      yield at('slots.zap');
    }
    yield* this.#publish(live, next);
    if (old && next && !moved) this.#flagsChanged(old, next);
    yield at('slots.publish');
  }

  #flagsChanged(old: Memslot, next: Memslot): void {
    for (const l of this.#listeners) {
      // Setting the userfault flag zaps; so does clearing it, because mappings may become larger.
      if (((old.flags ^ next.flags) & MemFlag.Userfault) !== 0 || old.userfault !== next.userfault)
        l.zap(next);
      if (next.dirty && !old.dirty) l.protect(next, 0, next.npages);
      if (!next.dirty && old.dirty) l.unprotect(next);
    }
  }

  /** kvm_swap_active_memslots: waits for invalidations in flight, swaps, waits for readers of the old set. */
  *#publish(old: Memslot | undefined, next: Memslot | undefined): Task<void> {
    const { space } = this;
    if (space.activeInvalidations > 0)
      yield {
        at: 'slots.notifier',
        ready: () => space.activeInvalidations === 0,
        waits: 'an MMU-notifier invalidation to end',
      };
    const asId = (old ?? next)?.asId ?? 0;
    const set = (this.#sets[asId] as Memslot[]).filter((s) => s !== old);
    if (next) {
      const i = set.findIndex((s) => s.baseGfn > next.baseGfn);
      set.splice(i < 0 ? set.length : i, 0, next);
    }
    this.#sets[asId] = set;
    this.#hit = undefined;
    this.#all = undefined;
    this.generation++;
    for (const f of this.#published) f();
    const epoch = ++this.#epoch;
    const readers = this.#readers;
    const busy = (): boolean => {
      for (const r of readers) if (r.epoch < epoch) return true;
      return false;
    };
    if (busy()) yield { at: 'slots.srcu', ready: () => !busy(), waits: 'guest faults that began before' };
  }

  // ---- dirty log ------------------------------------------------------------------------------------------------

  /** Marks a page dirty, as KVM does when it maps it writable or writes it itself. */
  markDirty(s: Memslot, gfn: number): void {
    const i = gfn - s.baseGfn;
    if (s.dirty) s.dirty[i >>> 3] = (s.dirty[i >>> 3] as number) | (1 << (i & 7));
  }

  #logged(op: string, id: number, asId: number): Memslot & { readonly dirty: Uint8Array } {
    if (!(asId >= 0 && asId < this.rules.addressSpaces) || !(id >= 0 && id < this.rules.ids))
      throw new KvmError(op, 'EINVAL', `no slot ${id} in address space ${asId}`);
    const s = this.byId(id, asId);
    if (!s?.dirty) throw new KvmError(op, 'ENOENT', `slot ${id} does not log dirty pages`);
    return s as Memslot & { readonly dirty: Uint8Array };
  }

  /**
   * KVM_GET_DIRTY_LOG: one bit a page, padded to 8 bytes. Clears the log and protects the pages again, unless
   * {@link manualDirty}.
   * @throws KvmError EINVAL for a bad id, ENOENT without a log.
   */
  getDirtyLog(id: number, asId: number = 0): Uint8Array {
    const s = this.#logged('KVM_GET_DIRTY_LOG', id, asId);
    const out = s.dirty.slice();
    if (!this.manualDirty) {
      s.dirty.fill(0);
      for (const l of this.#listeners) l.protect(s, 0, s.npages);
    }
    return out;
  }

  /**
   * KVM_CLEAR_DIRTY_LOG: clears and protects the pages whose bits are set. `first` must be a multiple of 64, `n` too
   * unless it reaches the slot's end.
   * @throws KvmError EINVAL, ENOENT.
   */
  clearDirtyLog(id: number, first: number, n: number, bitmap: Uint8Array, asId: number = 0): void {
    const op = 'KVM_CLEAR_DIRTY_LOG';
    if (first % 64 !== 0) throw new KvmError(op, 'EINVAL', `first page ${first} is not a multiple of 64`);
    const s = this.#logged(op, id, asId);
    if (first > s.npages || n > s.npages - first || (n < s.npages - first && n % 64 !== 0))
      throw new KvmError(op, 'EINVAL', `pages ${first} + ${n} do not fit the slot`);
    for (let i = 0; i < n; i++) {
      const p = first + i;
      const bit = 1 << (p & 7);
      if (((bitmap[i >>> 3] as number) & (1 << (i & 7))) === 0) continue;
      if (((s.dirty[p >>> 3] as number) & bit) === 0) continue;
      s.dirty[p >>> 3] = (s.dirty[p >>> 3] as number) & ~bit;
      for (const l of this.#listeners) l.protect(s, p, 1);
    }
  }

  // ---- snapshots ------------------------------------------------------------------------------------------------

  /**
   * A copy of the slots.
   * @throws FaultyardError FY_SNAPSHOT_BUSY while a change is under way.
   */
  save(): MemslotsImage {
    this.#quiet();
    const slots = this.all().map(
      (s): SlotImage => ({
        asId: s.asId,
        id: s.id,
        flags: s.flags,
        baseGfn: s.baseGfn,
        npages: s.npages,
        hvaPage: s.hvaPage,
        gmem: s.gmem?.id ?? null,
        gmemIndex: s.gmemIndex,
        userfault: s.userfault?.slice() ?? null,
        dirty: s.dirty?.slice() ?? null,
      }),
    );
    return { generation: this.generation, manualDirty: this.manualDirty, slots };
  }

  #quiet(): void {
    if (this.lock.held) throw new FaultyardError('FY_SNAPSHOT_BUSY', { task: OP, point: 'slots_lock' });
  }

  /** Takes saved slots over, after the address space was restored (guest_memfds are found there by id). */
  restore(image: MemslotsImage): void {
    this.#quiet();
    const key = (l: readonly (SlotImage | Memslot)[]): string =>
      l
        .map((s) => {
          const gmem = typeof s.gmem === 'string' ? s.gmem : s.gmem?.id;
          return [s.asId, s.id, s.flags, s.baseGfn, s.npages, s.hvaPage, gmem, s.gmemIndex].join();
        })
        .join(';');
    const same = key(this.all()) === key(image.slots);
    const sets: Memslot[][] = Array.from({ length: this.rules.addressSpaces }, () => []);
    for (const s of image.slots) {
      const gmem = s.gmem === null ? undefined : this.space.backings.get(s.gmem);
      // The VMM holds on to its bitmap: write into the one it has.
      const mine = this.byId(s.id, s.asId)?.userfault;
      if (mine && s.userfault?.length === mine.length) mine.set(s.userfault);
      (sets[s.asId] as Memslot[]).push({
        ...s,
        gmem: gmem?.kind === 'gmem' ? gmem : undefined,
        userfault: s.userfault === null ? undefined : (mine ?? s.userfault.slice()),
        invalid: false,
        dirty: s.dirty?.slice(),
      });
    }
    this.#sets = sets;
    this.#hit = undefined;
    this.#all = undefined;
    this.generation = image.generation;
    this.manualDirty = image.manualDirty;
    for (const l of this.#listeners) {
      if (!same) l.reset();
      else for (const s of this.all()) if (s.dirty) l.protect(s, 0, s.npages);
    }
  }

  /** Feeds memslots and guest memory, as the guest sees them, to a state hash. */
  hash(feed: (word: number) => void): void {
    hashGuest(this, feed);
  }
}

/**
 * Stage 2 of one VM: gfn -> pfn with permissions, KVM's fault path for one guest access, and the MMU-notifier
 * protocol (kernel: kvm_main.c, arch/arm64/kvm/mmu.c user_mem_abort, arch/x86/kvm/mmu).
 *
 * The table is derived state: it may lose any entry at any time, and is never hashed.
 */
import { PAGE_SIZE } from './address.ts';
import type { Errno } from './errors.ts';
import type { AddressSpace, MmuNotifier } from './host/address-space.ts';
import type { GuestMemfd } from './host/backing.ts';
import { FrameFlag, type HostMemory } from './host/memory.ts';
import type { VmaKind } from './host/vma.ts';
import { gmemOnly, hvaPageOf, MemFlag, type Memslot, type Memslots } from './memslot.ts';
import { type ErrorPfn, hvaToPfn } from './pfn.ts';
import { at, type Task } from './task.ts';

/** Negative results of {@link Stage2.lookup}. */
export const Miss: {
  /** Nothing is mapped: take {@link Stage2.fault}. */
  readonly None: -1;
  /** Mapped, but not for writing: take {@link Stage2.fault} with `write`. */
  readonly ReadOnly: -2;
  /** Mapped, and the frame is poisoned: the access consumes it. {@link Stage2.frameOf} tells where it is. */
  readonly Poison: -3;
  /** No frame is left in the lab for a private copy: take {@link Stage2.fault}, which finds the page cannot be had. */
  readonly NoMemory: -4;
  /** A fetch from device memory that the architecture refuses. */
  readonly Device: -5;
} = { None: -1, ReadOnly: -2, Poison: -3, NoMemory: -4, Device: -5 };

/** Bits of an entry above the pfn (bits 19:0). */
const PFN = 0xfffff;
const VALID = 1 << 20;
const WRITE = 1 << 21;
/** The frame may be shared with a snapshot: a write must make it private first. */
const SHARED = 1 << 22;
/** The slot logs dirty pages and has not seen this page written since the log was read. */
const LOG = 1 << 23;
const DEVICE = 1 << 24;

const CHUNK = 512;

/** What differs between architectures. */
export interface Stage2Rules {
  /** Faults on an INVALID slot: x86 retries until the final set is published; arm64 sees no slot. */
  readonly invalidSlot: 'retry' | 'noslot';
  /** arm64 looks the area up before the pfn, and reports its page size with a poisoned page. */
  readonly vmaFirst: boolean;
  /** Fetches from device memory: arm64 refuses to map them. */
  readonly execDevice: 'refuse' | 'allow';
}

/** One guest access that stage 2 could not serve. */
export interface FaultRequest {
  /** Guest physical address, in bytes. */
  readonly gpa: number;
  readonly write: boolean;
  readonly exec: boolean;
  /** Who accesses: the guest's instruction, its stage-1 walk, KVM's emulator, or event delivery. */
  readonly origin: 'hardware' | 'walk' | 'emulator' | 'vectoring';
  /** x86's first pass: answer `needs-io` rather than sleep. */
  readonly nowait?: boolean;
}

/** What became of it. */
export type Stage2Outcome =
  /** Mapped: repeat the access. `shift` is log2 of the mapping KVM would install. */
  | {
      readonly kind: 'mapped';
      readonly device: boolean;
      readonly shift: 12 | 21 | 30;
      readonly slot: Memslot;
    }
  /** No slot: a device access, by definition. */
  | { readonly kind: 'noslot' }
  /** A write to a READONLY slot. */
  | { readonly kind: 'readonly-slot'; readonly slot: Memslot }
  /** Something changed meanwhile: enter the guest again. */
  | { readonly kind: 'retry' }
  /** The host cannot resolve the page. `hva` in bytes, page aligned; `lsb` is log2 of the mapping that is gone. */
  | {
      readonly kind: 'error-pfn';
      readonly pfn: ErrorPfn;
      readonly hva: number;
      readonly lsb: number;
      readonly vma: VmaKind | undefined;
      readonly slot: Memslot;
    }
  /** guest_memfd answered with an errno. */
  | { readonly kind: 'gmem-error'; readonly errno: Errno; readonly slot: Memslot }
  /**
   * The userfault bitmap has the page's bit set (proposed KVM userfault). A mapping made before the bit was set serves
   * on, as there, but it is derived state: a restore may lose it, and the access then ends here.
   */
  | { readonly kind: 'userfault'; readonly slot: Memslot }
  /** A fetch from device memory that may not be mapped executable. */
  | { readonly kind: 'exec-device'; readonly slot: Memslot };

function failed(
  pfn: ErrorPfn,
  page: number,
  lsb: number,
  vma: VmaKind | undefined,
  slot: Memslot,
): Stage2Outcome {
  return { kind: 'error-pfn', pfn, hva: page * PAGE_SIZE, lsb, vma, slot };
}

/** Called when fast translations must go: of `n` gfns from `gfn`; `pfn` is the frame when it is exactly one, else -1. */
export type ZapListener = (gfn: number, n: number, pfn: number) => void;

/** The second stage of translation of one address space of a VM. */
export class Stage2 {
  readonly space: AddressSpace;
  readonly slots: Memslots;
  readonly rules: Stage2Rules;
  readonly asId: number;
  readonly #host: HostMemory;
  readonly #flags: Uint8Array;
  readonly #chunks = new Map<number, Int32Array>();
  #key = -1;
  #chunk: Int32Array | undefined;
  readonly #listeners = new Set<ZapListener>();
  /** mmu_invalidate_seq, mmu_invalidate_in_progress and its range, in pages of hva. */
  #seq = 0;
  #busy = 0;
  #busyFrom = 0;
  #busyTo = 0;
  readonly #stop: (() => void)[];

  constructor(space: AddressSpace, slots: Memslots, rules: Stage2Rules, asId: number = 0) {
    this.space = space;
    this.slots = slots;
    this.rules = rules;
    this.asId = asId;
    this.#host = space.host;
    this.#flags = space.host.flags;
    this.#stop = [space.listen(this.#notifier()), slots.listen(this.#slotListener())];
  }

  /** Stops listening; the table is empty afterwards. */
  dispose(): void {
    for (const s of this.#stop) s();
    this.#chunks.clear();
    this.#key = -1;
    this.#chunk = undefined;
  }

  /** Registers a listener; returns the disposer. */
  onZap(cb: ZapListener): () => void {
    this.#listeners.add(cb);
    return () => void this.#listeners.delete(cb);
  }

  // ---- the table ------------------------------------------------------------------------------------------------

  #at(gfn: number): Int32Array | undefined {
    const key = (gfn - (gfn & (CHUNK - 1))) / CHUNK;
    if (key === this.#key) return this.#chunk;
    this.#key = key;
    this.#chunk = this.#chunks.get(key);
    return this.#chunk;
  }

  /**
   * Byte offset in host memory of the frame behind the gfn, or a {@link Miss}. Callable from generated code: it never
   * throws and makes no new mapping. For a write it makes the frame private and logs the page dirty first, so a fast
   * write translation may be kept when `HostMemory.cacheable` agrees. `evenPoisoned`: the access does not consume the
   * error (a store that only propagates it, a CPU that does not report this class).
   */
  lookup(gfn: number, write: boolean, evenPoisoned: boolean = false): number {
    const c = this.#at(gfn);
    if (c === undefined) return Miss.None;
    const e = c[gfn & (CHUNK - 1)] as number;
    if (e === 0) return Miss.None;
    if (!evenPoisoned && ((this.#flags[e & PFN] as number) & FrameFlag.Poison) !== 0) return Miss.Poison;
    if (write && (e & (WRITE | SHARED | LOG)) !== WRITE) return this.#prepareWrite(gfn, c, e);
    return (e & PFN) * PAGE_SIZE;
  }

  /** {@link lookup} for a fetch. */
  lookupExec(gfn: number): number {
    const c = this.#at(gfn);
    const e = c === undefined ? 0 : (c[gfn & (CHUNK - 1)] as number);
    if ((e & DEVICE) !== 0 && this.rules.execDevice === 'refuse') return Miss.Device;
    return this.lookup(gfn, false);
  }

  #prepareWrite(gfn: number, c: Int32Array, e: number): number {
    if ((e & WRITE) === 0) return Miss.ReadOnly;
    const slot = this.slots.find(gfn, this.asId);
    if (!slot) return Miss.None;
    const i = gfn & (CHUNK - 1);
    if ((e & SHARED) !== 0) {
      const pfn = this.#own(slot, gfn);
      if (pfn <= 0) return pfn === 0 ? Miss.None : Miss.NoMemory;
      // Owning may have moved the frame; the entry was refreshed then.
      c[i] = (c[i] as number) & ~SHARED;
    }
    if ((e & LOG) !== 0) {
      this.slots.markDirty(slot, gfn);
      c[i] = (c[i] as number) & ~LOG;
    }
    return ((c[i] as number) & PFN) * PAGE_SIZE;
  }

  #own(slot: Memslot, gfn: number): number {
    if (gmemOnly(slot)) return this.space.ownPage(slot.gmem, slot.gmemIndex + (gfn - slot.baseGfn));
    const l = this.space.locate(hvaPageOf(slot, gfn));
    return l ? this.space.ownPage(l.vma.backing, l.index) : 0;
  }

  /** pfn behind a gfn when it is mapped, whatever is special about it; 0 when it is not. */
  frameOf(gfn: number): number {
    const c = this.#at(gfn);
    return c === undefined ? 0 : (c[gfn & (CHUNK - 1)] as number) & PFN;
  }

  /** Whether the gfn is mapped as device memory. */
  isDevice(gfn: number): boolean {
    const c = this.#at(gfn);
    return c !== undefined && ((c[gfn & (CHUNK - 1)] as number) & DEVICE) !== 0;
  }

  /** How many pages are mapped. */
  get mapped(): number {
    let n = 0;
    for (const c of this.#chunks.values()) for (const e of c) if (e !== 0) n++;
    return n;
  }

  #map(gfn: number, entry: number): void {
    let c = this.#at(gfn);
    if (c === undefined) {
      c = new Int32Array(CHUNK);
      this.#chunks.set(this.#key, c);
      this.#chunk = c;
    }
    c[gfn & (CHUNK - 1)] = entry;
  }

  /** Changes the entries of [gfn, gfn + n) and tells listeners; `f` returns the new entry. */
  #each(gfn: number, n: number, f: (e: number) => number): void {
    if (n === 1) {
      const c = this.#at(gfn);
      const e = c === undefined ? 0 : (c[gfn & (CHUNK - 1)] as number);
      if (c === undefined || e === 0) return;
      c[gfn & (CHUNK - 1)] = f(e);
      this.#tell(gfn, 1, e & PFN);
      return;
    }
    const end = gfn + n;
    let touched = 0;
    for (const [key, c] of this.#chunks) {
      const base = key * CHUNK;
      if (base >= end || base + CHUNK <= gfn) continue;
      for (let i = Math.max(0, gfn - base); i < Math.min(CHUNK, end - base); i++) {
        const e = c[i] as number;
        if (e === 0) continue;
        touched++;
        c[i] = f(e);
      }
    }
    if (touched > 0) this.#tell(gfn, n, -1);
  }

  #tell(gfn: number, n: number, pfn: number): void {
    for (const l of this.#listeners) l(gfn, n, pfn);
  }

  #drop(gfn: number): void {
    const c = this.#at(gfn);
    if (c !== undefined) c[gfn & (CHUNK - 1)] = 0;
  }

  /** Drops the mappings of `n` gfns from `gfn`. */
  zap(gfn: number, n: number): void {
    this.#each(gfn, n, () => 0);
  }

  /** Drops every mapping. */
  zapAll(): void {
    this.#chunks.clear();
    this.#key = -1;
    this.#chunk = undefined;
    this.#tell(0, Number.MAX_SAFE_INTEGER, -1);
  }

  // ---- faults ---------------------------------------------------------------------------------------------------

  /**
   * KVM's fault path for one access. Yields `fault.lookup` before the slot is looked up, `fault.gup` before the pfn
   * is, `fault.io` before a driver is asked, `fault.map` before the sequence check, and the locks' points. Nothing is
   * visible before it maps, so it may be dropped (with `return()`) and redone.
   */
  *fault(q: FaultRequest): Task<Stage2Outcome> {
    const gfn = Math.floor(q.gpa / PAGE_SIZE);
    yield at('fault.lookup');
    const leave = this.slots.enter();
    try {
      return yield* this.#resolve(q, gfn);
    } finally {
      leave();
    }
  }

  *#resolve(q: FaultRequest, gfn: number): Task<Stage2Outcome> {
    const { slots, rules } = this;
    const slot = slots.find(gfn, this.asId);
    if (!slot) return { kind: 'noslot' };
    if (slot.invalid) return { kind: rules.invalidSlot };
    const readonly = (slot.flags & MemFlag.ReadOnly) !== 0;
    if (q.write && readonly) return { kind: 'readonly-slot', slot };
    let seq = this.#seq;
    const i = gfn - slot.baseGfn;
    if (slot.userfault && ((slot.userfault[i >>> 3] as number) & (1 << (i & 7))) !== 0)
      return { kind: 'userfault', slot };
    if (gmemOnly(slot)) return yield* this.#gmemFault(slot, gfn, q.write, seq);
    const page = hvaPageOf(slot, gfn);
    let lsb = 12;
    if (rules.vmaFirst) {
      yield* this.space.mmapLock.read();
      const v = this.space.vmas.find(page);
      seq = this.#seq;
      this.space.mmapLock.endRead();
      if (!v) return failed('fault', page, lsb, undefined, slot);
      lsb = v.kind === 'hugetlb' ? this.mappingShift(gfn, v.shift) : 12;
    } else if (this.#invalidating(page)) return { kind: 'retry' };
    const r = yield* hvaToPfn(this.space, { page, write: q.write, nowait: q.nowait === true });
    if (typeof r.pfn !== 'number') return failed(r.pfn, page, lsb, r.vma, slot);
    if (r.device && q.exec && rules.execDevice === 'refuse') return { kind: 'exec-device', slot };
    yield at('fault.map');
    if (this.#invalidating(page) || seq !== this.#seq) return { kind: 'retry' };
    // The frame may have been replaced by a copy since the lookup, which is no invalidation.
    const l = this.space.locate(page);
    const pfn = l ? this.space.tableOf(l.vma.backing).pfn(l.index) : 0;
    if (pfn === 0 || !l) return { kind: 'retry' };
    const shared = this.space.tableOf(l.vma.backing).exclusive(l.index) ? 0 : SHARED;
    this.#install(slot, gfn, q.write, pfn, r.writable && !readonly, shared | (r.device ? DEVICE : 0));
    return { kind: 'mapped', device: r.device, shift: this.mappingShift(gfn), slot };
  }

  #install(slot: Memslot, gfn: number, write: boolean, pfn: number, writable: boolean, bits: number): void {
    let e = pfn | VALID | bits | (writable ? WRITE : 0);
    // written in place from now on: a hash from when it was shared is worth nothing
    if (writable && (bits & SHARED) === 0) this.#host.mark(pfn, FrameFlag.Hashed, false);
    if (slot.dirty) {
      if (write) this.slots.markDirty(slot, gfn);
      else e |= LOG;
    }
    const before = this.frameOf(gfn);
    this.#map(gfn, e);
    if (before !== 0) this.#tell(gfn, 1, before);
  }

  *#gmemFault(slot: Memslot, gfn: number, write: boolean, seq: number): Task<Stage2Outcome> {
    const g = slot.gmem as GuestMemfd;
    yield at('fault.gup');
    if (g.closed) return { kind: 'gmem-error', errno: 'EFAULT', slot };
    const index = slot.gmemIndex + (gfn - slot.baseGfn);
    const e = g.pages.get(index);
    if (e < 0) return { kind: 'gmem-error', errno: 'EHWPOISON', slot };
    const frame = e === 0 ? this.#host.takeFrame() : write ? this.space.ownPage(g, index) : e;
    if (frame <= 0) return { kind: 'gmem-error', errno: 'ENOMEM', slot };
    if (e === 0) g.pages.put(index, frame);
    yield at('fault.map');
    if (this.#busy > 0 || seq !== this.#seq) return { kind: 'retry' };
    const pfn = g.pages.pfn(index);
    if (pfn === 0) return { kind: 'retry' };
    this.#install(slot, gfn, write, pfn, true, g.pages.exclusive(index) ? 0 : SHARED);
    return { kind: 'mapped', device: false, shift: 12, slot };
  }

  #invalidating(page: number): boolean {
    return this.#busy > 0 && page >= this.#busyFrom && page < this.#busyTo;
  }

  /**
   * log2 of the block KVM maps at the gfn: what the backing offers (hugetlb, THP), if gpa and hva are congruent and
   * the block lies in the slot; pages while the slot logs dirty pages or has a userfault bitmap. `max` limits it.
   */
  mappingShift(gfn: number, max: number = 30): 12 | 21 | 30 {
    const slot = this.slots.find(gfn, this.asId);
    if (!slot || slot.dirty || slot.userfault || slot.gmem) return 12;
    const page = hvaPageOf(slot, gfn);
    const v = this.space.vmas.find(page);
    if (!v) return 12;
    const offered = v.kind === 'hugetlb' ? v.shift : v.kind === 'anon' && v.thp ? 21 : 12;
    for (const shift of [30, 21] as const) {
      if (shift > offered || shift > max) continue;
      const n = 2 ** (shift - 12);
      const from = gfn - (gfn % n);
      if (slot.baseGfn % n !== slot.hvaPage % n) continue;
      if (from < slot.baseGfn || from + n > slot.baseGfn + slot.npages) continue;
      const host = page - (page % n);
      if (host < v.start || host + n > v.end) continue;
      return shift;
    }
    return 12;
  }

  // ---- what changes under it ------------------------------------------------------------------------------------

  /** Calls `f` with each run of gfns behind pages [start, end) of hva. */
  #gfns(start: number, end: number, f: (gfn: number, n: number) => void): void {
    for (const s of this.slots.all()) {
      if (s.asId !== this.asId || gmemOnly(s)) continue;
      const from = Math.max(start, s.hvaPage);
      const to = Math.min(end, s.hvaPage + s.npages);
      if (from < to) f(s.baseGfn + (from - s.hvaPage), to - from);
    }
  }

  #gmemGfns(g: GuestMemfd, start: number, end: number, f: (gfn: number, n: number) => void): void {
    for (const s of this.slots.all()) {
      if (s.asId !== this.asId || s.gmem !== g) continue;
      const from = Math.max(start, s.gmemIndex);
      const to = Math.min(end, s.gmemIndex + s.npages);
      if (from < to) f(s.baseGfn + (from - s.gmemIndex), to - from);
    }
  }

  #begin(start: number, end: number): void {
    this.#busyFrom = this.#busy === 0 ? start : Math.min(this.#busyFrom, start);
    this.#busyTo = this.#busy === 0 ? end : Math.max(this.#busyTo, end);
    this.#busy++;
  }

  #finish(): void {
    this.#seq++;
    this.#busy--;
  }

  #refresh(gfn: number, pfn: number): void {
    if (this.frameOf(gfn) === 0) return;
    if (pfn === 0) this.zap(gfn, 1);
    else {
      const old = this.frameOf(gfn);
      const c = this.#at(gfn) as Int32Array;
      const i = gfn & (CHUNK - 1);
      c[i] = ((c[i] as number) & ~PFN) | pfn;
      this.#tell(gfn, 1, old);
    }
  }

  #notifier(): MmuNotifier {
    const pfnAt = (page: number): number => {
      const l = this.space.locate(page);
      return l ? this.space.tableOf(l.vma.backing).pfn(l.index) : 0;
    };
    return {
      invalidateStart: (start, end) => {
        this.#begin(start, end);
        this.#gfns(start, end, (gfn, n) => this.zap(gfn, n));
      },
      invalidateEnd: () => this.#finish(),
      gmemStart: (g, start, end) => {
        this.#begin(0, 0);
        this.#gmemGfns(g, start, end, (gfn, n) => this.zap(gfn, n));
      },
      gmemEnd: () => this.#finish(),
      refresh: (page) => this.#gfns(page, page + 1, (gfn) => this.#refresh(gfn, pfnAt(page))),
      gmemRefresh: (g, index) =>
        this.#gmemGfns(g, index, index + 1, (gfn) => this.#refresh(gfn, g.pages.pfn(index))),
      shared: () => {
        for (const c of this.#chunks.values())
          for (let i = 0; i < CHUNK; i++) if ((c[i] as number) !== 0) c[i] = (c[i] as number) | SHARED;
        this.#tell(0, Number.MAX_SAFE_INTEGER, -1);
      },
      forget: (page) => this.#gfns(page, page + 1, (gfn) => this.#drop(gfn)),
      gmemForget: (g, index) => this.#gmemGfns(g, index, index + 1, (gfn) => this.#drop(gfn)),
      forgetAll: () => this.zapAll(),
    };
  }

  #slotListener(): Parameters<Memslots['listen']>[0] {
    const mine = (s: Memslot): boolean => s.asId === this.asId;
    return {
      zap: (s) => {
        if (mine(s)) this.zap(s.baseGfn, s.npages);
      },
      protect: (s, first, n) => {
        if (mine(s)) this.#each(s.baseGfn + first, n, (e) => e | LOG);
      },
      unprotect: (s) => {
        if (mine(s)) this.#each(s.baseGfn, s.npages, (e) => e & ~LOG);
      },
      reset: () => this.zapAll(),
    };
  }
}

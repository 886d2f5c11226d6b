/**
 * The VMM process's address space as KVM sees it: areas, pages, and MMU notifiers.
 *
 * Calls that the kernel carries out in several steps are tasks that yield named points: `notifier.start` stands
 * between invalidate_range_start and the removal of host PTEs, `notifier.end` before invalidate_range_end. What a
 * touch of memory meets is in page-fault.ts, the VMM's own loads and stores in access.ts, memory_failure in
 * memory-failure.ts.
 */
import { PAGE_SIZE } from '../address.ts';
import { FaultyardError, KvmError } from '../errors.ts';
import { at, drive, Lock, type Task } from '../task.ts';
import { type HostFault, load, peek, setPoison, store } from './access.ts';
import { type Backing, GuestMemfd, HostFile, type IoFault, IoRegion } from './backing.ts';
import { type MemoryImage, restoreSpace, saveSpace } from './image.ts';
import type { HostMemory } from './memory.ts';
import { PageTable } from './page-table.ts';
import { indexOf, Prot, type Vma, VmaList } from './vma.ts';

export type { MemoryImage } from './image.ts';

/** Who wants to know about changes: stage 2 (kernel: struct mmu_notifier, kvm_gmem_invalidate_begin/end). */
export interface MmuNotifier {
  /** Pages [start, end) are about to change: drop what is mapped of them, refuse new mappings. */
  invalidateStart(start: number, end: number): void;
  /** The change is over. */
  invalidateEnd(start: number, end: number): void;
  /** The same for indices of a guest_memfd. */
  gmemStart(gmem: GuestMemfd, start: number, end: number): void;
  /** The invalidation that {@link gmemStart} began is over. */
  gmemEnd(gmem: GuestMemfd, start: number, end: number): void;
  /**
   * The frame behind a page was replaced by a copy, or became poisoned or healed. Not an invalidation: nothing the
   * modelled kernel can see has happened.
   */
  refresh(page: number): void;
  /** {@link refresh} for a page of a guest_memfd, by its index. */
  gmemRefresh(gmem: GuestMemfd, index: number): void;
  /** Every page is shared with a snapshot from now on. */
  shared(): void;
  /**
   * State was replaced: forget this page, or everything. Again nothing the modelled kernel can see; `shared` follows,
   * which drops every fast translation, so these need not.
   */
  forget(page: number): void;
  /** {@link forget} for a page of a guest_memfd, by its index. */
  gmemForget(gmem: GuestMemfd, index: number): void;
  /** Drops every mapping: the whole space changes or goes away. */
  forgetAll(): void;
}

/** A request to map memory. Sizes, addresses and offsets in bytes. */
export interface MapRequest {
  /** MAP_FIXED there, replacing what is mapped; absent = anywhere. */
  readonly at?: bigint | number;
  /** With `at`: MAP_FIXED_NOREPLACE, EEXIST when something is there. */
  readonly noReplace?: boolean;
  readonly size: bigint | number;
  /** {@link Prot} bits; read and write by default. */
  readonly prot?: number;
  /** MAP_HUGETLB with this page size: whole huge pages share one fate. */
  readonly hugetlb?: '2M' | '1G';
  /** MADV_HUGEPAGE: transparent huge pages. */
  readonly thp?: boolean;
  /** Shared mapping of this; absent = private anonymous memory. */
  readonly backing?: Backing;
  /** Offset in the backing. */
  readonly offset?: bigint | number;
}

/** Options of {@link AddressSpace}. */
export interface AddressSpaceOptions {
  /** End of the user range (arm64 with 48-bit addresses: 2^48, x86-64: 2^47), in bytes. */
  readonly taskSize?: number;
  /** Where mmap looks for room, in bytes. */
  readonly mmapBase?: number;
}

const BLOCK = { '2M': 21, '1G': 30 } as const;

/** A process's memory. */
export class AddressSpace {
  readonly host: HostMemory;
  /** End of the user range, in bytes. */
  readonly taskSize: number;
  readonly #mmapBase: number;
  /** The kernel's mmap_lock. */
  readonly mmapLock: Lock = new Lock('mmap_lock');
  /** Areas. */
  readonly vmas: VmaList = new VmaList();
  /** Private pages, by hva / 4096. */
  readonly anon: PageTable;
  /** Files, device regions and guest_memfds that were made here, by id. */
  readonly backings: Map<string, Backing> = new Map();
  /** Huge pages that memory_failure took, by first page. */
  readonly lostHuge: Set<number> = new Set();
  /** PTEs of IO mappings: page -> writable. */
  readonly ioPtes: Map<number, boolean> = new Map();
  /** Pages whose faults wait for userfaultfd, in order: page -> write. */
  readonly userfaults: Map<number, boolean> = new Map();
  /** Called when a fault starts to wait for userfaultfd; may resolve it at once. */
  onUserfault: ((page: number, write: boolean) => void) | undefined;
  /** Invalidations between start and end (kernel: mn_active_invalidate_count). */
  activeInvalidations = 0;
  readonly #notifiers = new Set<MmuNotifier>();
  #ids = 0;

  constructor(host: HostMemory, o: AddressSpaceOptions = {}) {
    this.host = host;
    this.taskSize = o.taskSize ?? 2 ** 48;
    this.#mmapBase = o.mmapBase ?? 0x7f00_0000_0000;
    this.anon = new PageTable(host);
  }

  // ---- files ----------------------------------------------------------------------------------------------------

  #name(id: string | undefined, kind: string): string {
    const n = id ?? `${kind}${this.#ids++}`;
    if (this.backings.has(n))
      throw new FaultyardError('FY_ARGUMENT', {
        what: 'backing',
        value: n,
        why: 'exists already',
        fix: 'give another id',
      });
    return n;
  }
  #enter<B extends Backing>(b: B): B {
    this.backings.set(b.id, b);
    return b;
  }
  /** A memfd, or (with `disk`) a file whose clean pages can be read again. `length` in bytes. */
  file(length: number, o: { readonly id?: string; readonly disk?: Uint8Array } = {}): HostFile {
    return this.#enter(new HostFile(this.host, this.#name(o.id, 'file'), length, o.disk));
  }
  /** A region of device memory of `length` bytes behind a driver's fault handler. */
  ioRegion(length: number, fault: IoFault, id?: string): IoRegion {
    return this.#enter(new IoRegion(this.host, this.#name(id, 'io'), length, fault));
  }
  /**
   * A guest_memfd of `size` bytes (KVM_CREATE_GUEST_MEMFD). Flags: MMAP 1, INIT_SHARED 2.
   * @throws KvmError EINVAL for a bad size or flag.
   */
  guestMemfd(size: number, flags: number = 0, id?: string): GuestMemfd {
    if (!Number.isSafeInteger(size) || size <= 0 || size % PAGE_SIZE !== 0)
      throw new KvmError(
        'KVM_CREATE_GUEST_MEMFD',
        'EINVAL',
        `size ${size} is not a positive number of pages`,
      );
    if ((flags & ~3) !== 0)
      throw new KvmError('KVM_CREATE_GUEST_MEMFD', 'EINVAL', `unknown flags ${flags & ~3}`);
    return this.#enter(new GuestMemfd(this.host, this.#name(id, 'gmem'), size, flags));
  }
  /**
   * Closes the descriptor of a guest_memfd. The file goes with its last mapping: then its pages are zapped and bound
   * slots find no file any more.
   */
  *closeGuestMemfd(g: GuestMemfd): Task<void> {
    g.closing = true;
    yield* this.#releaseGmem(g);
  }
  *#releaseGmem(g: GuestMemfd): Task<void> {
    if (!g.closing || g.closed || this.vmas.all.some((v) => v.backing === g)) return;
    yield* this.#gmemChange(g, 0, g.length / PAGE_SIZE, () => {
      g.closed = true;
      g.pages.release();
    });
  }

  // ---- mappings -------------------------------------------------------------------------------------------------

  #range(op: string, addr: bigint | number, len: bigint | number): { start: number; end: number } {
    const a = Number(addr);
    const n = Number(len);
    if (!Number.isSafeInteger(a) || a < 0 || a % PAGE_SIZE !== 0)
      throw new KvmError(op, 'EINVAL', `address 0x${a.toString(16)} is not page aligned`);
    if (!Number.isSafeInteger(n) || n <= 0) throw new KvmError(op, 'EINVAL', `length ${n} is not positive`);
    const end = a + Math.ceil(n / PAGE_SIZE) * PAGE_SIZE;
    if (end > this.taskSize)
      throw new KvmError(op, 'ENOMEM', `0x${end.toString(16)} lies outside the user range`);
    return { start: a / PAGE_SIZE, end: end / PAGE_SIZE };
  }

  #wholeHuge(op: string, start: number, end: number): void {
    for (const v of this.vmas.meeting(start, end)) {
      const n = 2 ** (v.shift - 12);
      if (Math.max(start, v.start) % n !== 0 || Math.min(end, v.end) % n !== 0)
        throw new KvmError(op, 'EINVAL', 'the range splits a hugetlb page');
    }
  }

  /** mmap. Returns the hva. @throws KvmError with mmap's errno. */
  *mmap(r: MapRequest): Task<number> {
    const b = r.backing;
    const shift = r.hugetlb ? BLOCK[r.hugetlb] : 12;
    const align = 2 ** (shift - 12);
    const offset = Number(r.offset ?? 0) / PAGE_SIZE;
    if (!Number.isInteger(offset) || offset < 0)
      throw new KvmError('mmap', 'EINVAL', 'offset is not page aligned');
    if (b && r.hugetlb) throw new KvmError('mmap', 'EINVAL', 'hugetlb mappings are anonymous here');
    if (b?.kind === 'gmem' && !b.mmap)
      throw new KvmError('mmap', 'ENODEV', 'guest_memfd without the MMAP flag');
    const { start: from, end: to } = this.#range('mmap', r.at ?? 0, r.size);
    const pages = Math.ceil((to - from) / align) * align;
    if (b && b.kind !== 'file' && (offset + pages) * PAGE_SIZE > Math.ceil(b.length / PAGE_SIZE) * PAGE_SIZE)
      throw new KvmError('mmap', 'EINVAL', `mapping exceeds the ${b.length} bytes of ${b.id}`);
    if (from % align !== 0)
      throw new KvmError('mmap', 'EINVAL', 'address is not aligned to the huge page size');
    yield* this.mmapLock.write();
    try {
      const near = Math.max(align, r.thp ? 512 : 1);
      const start = r.at === undefined ? this.vmas.gap(pages, this.#mmapBase / PAGE_SIZE, near) : from;
      const end = start + pages;
      if (end * PAGE_SIZE > this.taskSize) throw new KvmError('mmap', 'ENOMEM', 'no room in the user range');
      if (this.vmas.meeting(start, end).length > 0) {
        if (r.noReplace) throw new KvmError('mmap', 'EEXIST', 'something is mapped there');
        this.#wholeHuge('mmap', start, end);
        yield* this.#unmap(start, end);
      }
      this.vmas.add({
        start,
        end,
        prot: r.prot ?? Prot.Read | Prot.Write,
        kind: b ? b.kind : r.hugetlb ? 'hugetlb' : 'anon',
        shift,
        thp: r.thp === true,
        backing: b,
        offset: b ? offset : 0,
        userfault: false,
      });
      return start * PAGE_SIZE;
    } finally {
      this.mmapLock.endWrite();
    }
  }

  /** {@link mmap} at once. @throws KvmError with mmap's errno. */
  map(r: MapRequest): number {
    return drive(this.mmap(r));
  }

  /** munmap: splits areas, drops private pages. @throws KvmError EINVAL. */
  *munmap(addr: bigint | number, len: bigint | number): Task<void> {
    const { start, end } = this.#range('munmap', addr, len);
    yield* this.mmapLock.write();
    try {
      this.#wholeHuge('munmap', start, end);
      yield* this.#unmap(start, end);
    } finally {
      this.mmapLock.endWrite();
    }
  }

  *#unmap(start: number, end: number): Task<void> {
    const backings = new Set(this.vmas.meeting(start, end).map((v) => v.backing));
    if (backings.size === 0) return;
    yield* this.change(start, end, () => {
      for (const v of this.vmas.carve(start, end)) this.#dropPtes(v, v.start, v.end);
      this.vmas.remove(start, end);
    });
    for (const b of backings) if (b?.kind === 'gmem') yield* this.#releaseGmem(b);
  }

  /** Host PTEs of [start, end) of one area go; private pages and their marks with them. */
  #dropPtes(v: Vma, start: number, end: number): void {
    if (v.kind === 'io') for (let p = start; p < end; p++) this.ioPtes.delete(p);
    if (v.backing) return;
    this.anon.clear(start, end - start);
    if (v.kind === 'hugetlb')
      for (const p of [...this.lostHuge]) if (p >= start && p < end) this.lostHuge.delete(p);
  }

  /** mprotect. @throws KvmError EINVAL, ENOMEM when something in the range is not mapped. */
  *mprotect(addr: bigint | number, len: bigint | number, prot: number): Task<void> {
    const { start, end } = this.#range('mprotect', addr, len);
    yield* this.mmapLock.write();
    try {
      this.#wholeHuge('mprotect', start, end);
      this.#mapped('mprotect', start, end);
      const parts = this.vmas.carve(start, end);
      yield* this.change(start, end, () => {
        for (const v of parts) {
          v.prot = prot;
          if (v.kind !== 'io') continue;
          for (let p = v.start; p < v.end; p++)
            if (this.ioPtes.has(p)) this.ioPtes.set(p, (prot & Prot.Write) !== 0);
        }
      });
    } finally {
      this.mmapLock.endWrite();
    }
  }

  #mapped(op: string, start: number, end: number): void {
    let p = start;
    for (const v of this.vmas.meeting(start, end)) {
      if (v.start > p) break;
      p = v.end;
    }
    if (p < end) throw new KvmError(op, 'ENOMEM', `0x${(p * PAGE_SIZE).toString(16)} is not mapped`);
  }

  /**
   * madvise(MADV_DONTNEED): private pages (and hwpoison marks) go and read zero again; shared ones only lose PTEs.
   * @throws KvmError EINVAL on IO mappings, ENOMEM when something is not mapped.
   */
  *dontNeed(addr: bigint | number, len: bigint | number): Task<void> {
    const { start, end } = this.#range('madvise', addr, len);
    yield* this.mmapLock.read();
    try {
      this.#wholeHuge('madvise', start, end);
      this.#mapped('madvise', start, end);
      const parts = this.vmas.meeting(start, end);
      if (parts.some((v) => v.kind === 'io')) throw new KvmError('madvise', 'EINVAL', 'an IO mapping');
      yield* this.change(start, end, () => {
        for (const v of parts) this.#dropPtes(v, Math.max(start, v.start), Math.min(end, v.end));
      });
    } finally {
      this.mmapLock.endRead();
    }
  }

  // ---- changes of files -----------------------------------------------------------------------------------------

  /** ftruncate to `length` bytes: what lies behind goes; a touch there is SIGBUS until the file grows again. */
  *truncate(f: HostFile, length: number): Task<void> {
    const old = f.length;
    f.length = length;
    if (length >= old) return;
    const first = Math.ceil(length / PAGE_SIZE);
    yield* this.#drop(f, first, Math.ceil(old / PAGE_SIZE));
    const tail = length % PAGE_SIZE;
    const index = (length - tail) / PAGE_SIZE;
    if (tail > 0 && f.pages.pfn(index) !== 0) {
      const pfn = this.ownPage(f, index);
      this.host.codeWritten(pfn);
      this.host.u8.fill(0, pfn * PAGE_SIZE + tail, (pfn + 1) * PAGE_SIZE);
    }
  }

  /** fallocate(PUNCH_HOLE) of whole pages, `offset` and `len` in bytes: they read zero again, hwpoison marks go. */
  *punch(f: HostFile | GuestMemfd, offset: number, len: number): Task<void> {
    const first = Math.ceil(offset / PAGE_SIZE);
    yield* this.#drop(f, first, Math.max(first, Math.floor((offset + len) / PAGE_SIZE)));
  }

  *#drop(f: HostFile | GuestMemfd, start: number, end: number): Task<void> {
    if (f.kind === 'gmem') yield* this.#gmemChange(f, start, end, () => f.pages.clear(start, end - start));
    else yield* this.zap(f, start, end, () => f.pages.clear(start, end - start));
  }

  /**
   * unmap_mapping_range: removes host PTEs of indices [start, end) of a backing wherever it is mapped, with one
   * notifier call per area; then `body`. Drivers use it when a device stops answering.
   */
  *zap(b: Backing, start: number, end: number, body: () => void = () => {}): Task<void> {
    for (const v of [...this.vmas.all]) {
      if (v.backing !== b) continue;
      const from = Math.max(v.start, v.start + (start - v.offset));
      const to = Math.min(v.end, v.start + (end - v.offset));
      if (from < to) yield* this.change(from, to, () => this.#dropPtes(v, from, to));
    }
    body();
  }

  *#gmemChange(g: GuestMemfd, start: number, end: number, body: () => void): Task<void> {
    this.activeInvalidations++;
    for (const n of this.#notifiers) n.gmemStart(g, start, end);
    try {
      yield at('notifier.start');
      yield* this.zap(g, start, end, body);
      yield at('notifier.end');
    } finally {
      for (const n of this.#notifiers) n.gmemEnd(g, start, end);
      this.activeInvalidations--;
    }
  }

  // ---- notifiers ------------------------------------------------------------------------------------------------

  /** Registers a listener; returns the disposer. */
  listen(n: MmuNotifier): () => void {
    this.#notifiers.add(n);
    return () => void this.#notifiers.delete(n);
  }

  /** Changes pages [start, end) between invalidate_range_start and _end. */
  *change(start: number, end: number, body: () => void): Task<void> {
    this.activeInvalidations++;
    for (const n of this.#notifiers) n.invalidateStart(start, end);
    try {
      yield at('notifier.start');
      body();
      yield at('notifier.end');
    } finally {
      for (const n of this.#notifiers) n.invalidateEnd(start, end);
      this.activeInvalidations--;
    }
  }

  /** The same for a guest_memfd's indices. */
  changeGmem(g: GuestMemfd, start: number, end: number, body: () => void): Task<void> {
    return this.#gmemChange(g, start, end, body);
  }

  /** The table in which page `index` of a backing (or private page) stands. */
  tableOf(b: Backing | undefined): PageTable {
    return b ? b.pages : this.anon;
  }

  /**
   * Makes a present page writable in place and returns its pfn (0 = absent, -1 = out of memory); tells listeners
   * when its frame was replaced. `index` is the page itself for private memory.
   */
  ownPage(b: Backing | undefined, index: number): number {
    const t = this.tableOf(b);
    const before = t.pfn(index);
    const after = t.own(index);
    if (after > 0 && after !== before) this.refresh(b, index);
    return after;
  }

  /** Tells listeners that the frame of a page is another one, or that its poison changed. */
  refresh(b: Backing | undefined, index: number): void {
    if (b?.kind === 'gmem') for (const n of this.#notifiers) n.gmemRefresh(b, index);
    if (!b) for (const n of this.#notifiers) n.refresh(index);
    else
      for (const v of this.vmas.all)
        if (v.backing === b && index >= v.offset && index < v.offset + (v.end - v.start))
          for (const n of this.#notifiers) n.refresh(v.start + (index - v.offset));
  }

  /** For snapshots: tells listeners that every page is shared now. */
  sayShared(): void {
    for (const n of this.#notifiers) n.shared();
  }
  /** For snapshots: tells listeners to forget a page of a backing (or private page), or everything. */
  sayForget(b: Backing | undefined, index: number): void {
    if (b?.kind === 'gmem') for (const n of this.#notifiers) n.gmemForget(b, index);
    if (!b) for (const n of this.#notifiers) n.forget(index);
    else
      for (const v of this.vmas.all)
        if (v.backing === b && index >= v.offset && index < v.offset + (v.end - v.start))
          for (const n of this.#notifiers) n.forget(v.start + (index - v.offset));
  }
  /** Tells every notifier to forget all it has mapped. */
  sayForgetAll(): void {
    for (const n of this.#notifiers) n.forgetAll();
  }
  /** For snapshots: the counter behind generated ids. */
  get ids(): number {
    return this.#ids;
  }
  /** For snapshots. */
  set ids(n: number) {
    this.#ids = n;
  }

  // ---- the VMM's own accesses -----------------------------------------------------------------------------------

  /** The VMM loads `len` bytes at `addr`: the bytes, or the signal its thread gets. */
  read(addr: bigint | number, len: number): Uint8Array | HostFault {
    return drive(load(this, addr, len));
  }
  /** The VMM stores bytes at `addr`; the signal its thread gets, if any. What precedes the failing page is written. */
  write(addr: bigint | number, bytes: Uint8Array): HostFault | undefined {
    return drive(store(this, addr, bytes));
  }
  /** Looks at memory without any effect; `undefined` when nothing is mapped in some part. */
  peek(addr: bigint | number, len: number): Uint8Array | undefined {
    return peek(this, addr, len);
  }
  /** Damages or repairs the page at `addr`; `true`, or the signal met while faulting it in. */
  poison(addr: bigint | number, on: boolean = true): true | HostFault {
    return setPoison(this, addr, on) ?? true;
  }

  // ---- snapshots ------------------------------------------------------------------------------------------------

  /**
   * The whole space now; frames are shared until somebody writes.
   * @throws FaultyardError FY_SNAPSHOT_BUSY while a task stands in the middle of a change.
   */
  save(): MemoryImage {
    return saveSpace(this);
  }
  /**
   * Becomes what an image holds. Files, regions and guest_memfds keep their identity by id; `io` makes handlers for
   * device regions that do not exist here.
   * @throws FaultyardError FY_SNAPSHOT_BUSY, FY_SNAPSHOT_FOREIGN; nothing is changed then.
   */
  restore(image: MemoryImage, io?: (id: string) => IoFault): void {
    restoreSpace(this, image, io);
  }
  /** A second space with the same content, sharing frames; drivers are shared unless `io` gives others. */
  fork(io?: (id: string) => IoFault): AddressSpace {
    const s = new AddressSpace(this.host, { taskSize: this.taskSize, mmapBase: this.#mmapBase });
    const image = this.save();
    s.restore(
      image,
      io ??
        ((id) => {
          const b = this.backings.get(id);
          return (b as IoRegion).fault;
        }),
    );
    image.dispose();
    return s;
  }
  /** Gives every frame back. The space cannot be used afterwards. */
  dispose(): void {
    this.sayForgetAll();
    this.anon.dispose();
    for (const b of this.backings.values()) b.pages.dispose();
    this.backings.clear();
    this.vmas.remove(0, this.taskSize / PAGE_SIZE);
  }

  /** What stands behind a page: the backing and its index there; `undefined` when nothing is mapped. */
  locate(page: number): { readonly vma: Vma; readonly index: number } | undefined {
    const vma = this.vmas.find(page);
    return vma && { vma, index: indexOf(vma, page) };
  }
}

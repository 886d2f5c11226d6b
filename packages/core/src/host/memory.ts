/**
 * The one WebAssembly.Memory of a lab process.
 *
 * Two areas grow towards each other: *tables* from below (vCPU blocks, predecoded pages, for the engine) and 4 KiB
 * *frames* from above (memory of guests and devices). A pfn is the number of a frame: byte offset / 4096. The maximum
 * is allocated up front, because growing detaches every view; the host commits pages when they are first touched.
 * Nothing here is guest state: which pfn a page has is never hashed or saved.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../address.ts';
import { FaultyardError } from '../errors.ts';

/** What is special about a frame. */
export const FrameFlag: {
  /** The memory itself is damaged: an access consumes poison (external abort, machine check). Granule: a page. */
  readonly Poison: 1;
  /** The engine keeps predecoded records of it: a write must drop them first. */
  readonly Code: 2;
  /** Writes are tracked (shadow paging). */
  readonly Tracked: 4;
  /** A watchpoint lies in it. */
  readonly Watched: 8;
  /** Its content hash is cached; host-internal. */
  readonly Hashed: 16;
} = { Poison: 1, Code: 2, Tracked: 4, Watched: 8, Hashed: 16 };

/** Any of these keeps a frame out of every fast write translation. */
const SLOW_WRITE = FrameFlag.Poison | FrameFlag.Code | FrameFlag.Tracked | FrameFlag.Watched;
/** Any of these keeps a frame out of every fast read translation. */
const SLOW_READ = FrameFlag.Poison | FrameFlag.Watched;

const WASM_PAGE = 65536;
/** Most that wasm32 can address on every engine in use, in bytes: 4 GiB - 64 KiB. */
export const MAX_HOST_BYTES: number = 2 ** 32 - WASM_PAGE;
/** Default size, in bytes. */
export const DEFAULT_HOST_BYTES: number = 2 ** 31;

/** A run of free bytes in the table area. */
interface Extent {
  at: number;
  bytes: number;
}

/** Options of {@link HostMemory}. */
export interface HostMemoryOptions {
  /** Virtual size in bytes, a multiple of 64 KiB; 2 GiB by default, at most 4 GiB - 64 KiB. */
  readonly bytes?: number;
}

/** Memory of the lab process: tables for the engine, frames for guests. */
export class HostMemory {
  readonly memory: WebAssembly.Memory;
  /** Views of the whole memory; they never detach. */
  readonly u8: Uint8Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly dv: DataView;
  /** Size in bytes. */
  readonly bytes: number;
  /** {@link FrameFlag}s by pfn; read it freely, change it through the methods. */
  readonly flags: Uint8Array;
  readonly #refs: Int32Array;
  /** Cached content hash by pfn: two halves, valid while {@link FrameFlag.Hashed} is set. */
  readonly hashes: Int32Array;
  #tableTop = PAGE_SIZE;
  #tableHigh = PAGE_SIZE;
  readonly #tables = new Map<number, number>();
  #holes: Extent[] = [];
  /** The next never used frame, downwards. */
  #nextFrame: number;
  readonly #free: number[] = [];
  #frames = 0;
  readonly #codeLost = new Set<(pfn: number) => void>();
  /** Gives shared chunks of dropped snapshots back (their owners may forget to). */
  readonly #orphans: FinalizationRegistry<() => void>;

  constructor(o: HostMemoryOptions = {}) {
    const bytes = o.bytes ?? DEFAULT_HOST_BYTES;
    if (
      !Number.isInteger(bytes) ||
      bytes < 16 * WASM_PAGE ||
      bytes > MAX_HOST_BYTES ||
      bytes % WASM_PAGE !== 0
    )
      throw new FaultyardError('FY_HOST_MEMORY', {
        why: `${bytes} bytes are no size for it`,
        fix: 'give a multiple of 64 KiB, at least 1 MiB and at most 4 GiB - 64 KiB',
      });
    const pages = bytes / WASM_PAGE;
    try {
      this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    } catch (cause) {
      throw new FaultyardError('FY_HOST_MEMORY', {
        why: `${bytes} bytes cannot be reserved (${String(cause)})`,
        fix: 'ask for fewer bytes, or raise the limit on virtual memory',
      });
    }
    this.bytes = bytes;
    const b = this.memory.buffer;
    this.u8 = new Uint8Array(b);
    this.i32 = new Int32Array(b);
    this.u32 = new Uint32Array(b);
    this.dv = new DataView(b);
    const frames = bytes / PAGE_SIZE;
    this.flags = new Uint8Array(frames);
    this.#refs = new Int32Array(frames);
    this.hashes = new Int32Array(2 * frames);
    this.#nextFrame = frames - 1;
    this.#orphans = new FinalizationRegistry((give) => give());
  }

  // ---- tables -------------------------------------------------------------------------------------------------

  /**
   * Reserves `bytes` zeroed bytes at a multiple of `align` (a power of two, at least 8).
   * @throws FaultyardError FY_HOST_MEMORY when nothing is left.
   */
  allocTable(bytes: number, align: number = 64): number {
    const size = Math.max(8, Math.ceil(bytes / 8) * 8);
    for (let i = 0; i < this.#holes.length; i++) {
      const h = this.#holes[i] as Extent;
      const at = Math.ceil(h.at / align) * align;
      if (at + size > h.at + h.bytes) continue;
      const behind = h.at + h.bytes - (at + size);
      const parts: Extent[] = [];
      if (at > h.at) parts.push({ at: h.at, bytes: at - h.at });
      if (behind > 0) parts.push({ at: at + size, bytes: behind });
      this.#holes.splice(i, 1, ...parts);
      this.u8.fill(0, at, at + size);
      this.#tables.set(at, size);
      return at;
    }
    const at = Math.ceil(this.#tableTop / align) * align;
    if (at + size > (this.#nextFrame + 1) * PAGE_SIZE)
      throw this.#exhausted(`no room for a table of ${bytes} bytes`);
    if (at > this.#tableTop) this.#holes.push({ at: this.#tableTop, bytes: at - this.#tableTop });
    if (at < this.#tableHigh) this.u8.fill(0, at, Math.min(at + size, this.#tableHigh));
    this.#tableTop = at + size;
    this.#tableHigh = Math.max(this.#tableHigh, this.#tableTop);
    this.#tables.set(at, size);
    return at;
  }

  /** Gives a table back; `offset` must come from {@link allocTable}. */
  freeTable(offset: number): void {
    const bytes = this.#tables.get(offset);
    if (bytes === undefined)
      throw new FaultyardError('FY_ARGUMENT', {
        what: 'table',
        value: offset,
        why: 'is not allocated',
        fix: 'free what allocTable returned, once',
      });
    this.#tables.delete(offset);
    const holes = this.#holes;
    let lo = 0;
    for (let hi = holes.length; lo < hi; ) {
      const mid = (lo + hi) >>> 1;
      if ((holes[mid] as Extent).at < offset) lo = mid + 1;
      else hi = mid;
    }
    holes.splice(lo, 0, { at: offset, bytes });
    const join = (i: number): void => {
      const a = holes[i];
      const b = holes[i + 1];
      if (a && b && a.at + a.bytes === b.at) {
        a.bytes += b.bytes;
        holes.splice(i + 1, 1);
      }
    };
    join(lo);
    join(lo - 1);
    const last = holes.at(-1);
    if (last && last.at + last.bytes === this.#tableTop) {
      holes.pop();
      this.#tableTop = last.at;
    }
  }

  // ---- frames -------------------------------------------------------------------------------------------------

  /** A zeroed frame with one reference: its pfn, or 0 when none is left. */
  takeFrame(): number {
    let pfn = this.#free.pop();
    if (pfn !== undefined) this.u8.fill(0, pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
    else {
      if (this.#nextFrame * PAGE_SIZE < this.#tableTop) return 0;
      pfn = this.#nextFrame--;
      // Tables that were there and went leave their bytes behind.
      if (pfn * PAGE_SIZE < this.#tableHigh) {
        this.u8.fill(0, pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
        this.#tableHigh = Math.max(this.#tableTop, pfn * PAGE_SIZE);
      }
    }
    this.#refs[pfn] = 1;
    this.flags[pfn] = 0;
    this.#frames++;
    return pfn;
  }

  /**
   * A zeroed frame with one reference.
   * @throws FaultyardError FY_HOST_MEMORY when none is left.
   */
  allocFrame(): number {
    return this.takeFrame() || this.outOfFrames();
  }

  /** Says that no frame is left. */
  outOfFrames(): never {
    throw this.#exhausted('no free frame');
  }

  #exhausted(why: string): FaultyardError {
    return new FaultyardError('FY_HOST_MEMORY', {
      why: `${why}; ${this.#frames} frames of 4 KiB are in use of ${this.bytes} bytes`,
      fix: 'release snapshots and forks you no longer need, or start with more host memory (up to 4 GiB - 64 KiB)',
    });
  }

  /** Adds a reference. */
  retain(pfn: number): void {
    this.#refs[pfn] = (this.#refs[pfn] as number) + 1;
  }

  /** Drops a reference; the last one frees the frame. */
  release(pfn: number): void {
    const n = (this.#refs[pfn] as number) - 1;
    this.#refs[pfn] = n;
    if (n > 0) return;
    this.codeWritten(pfn);
    this.flags[pfn] = 0;
    this.#frames--;
    this.#free.push(pfn);
  }

  /** References to the frame: more than one = shared, so it must not be written. */
  refs(pfn: number): number {
    return this.#refs[pfn] as number;
  }

  /** A copy of the frame with its poison and watches, with one reference: its pfn, or 0 when none is left. */
  copyFrame(pfn: number): number {
    const n = this.takeFrame();
    if (n === 0) return 0;
    this.u8.copyWithin(n * PAGE_SIZE, pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
    this.flags[n] = (this.flags[pfn] as number) & (FrameFlag.Poison | FrameFlag.Tracked | FrameFlag.Watched);
    return n;
  }

  /** Frames in use. */
  get framesInUse(): number {
    return this.#frames;
  }

  // ---- what is special about a frame --------------------------------------------------------------------------

  /** Sets or clears a flag. */
  mark(pfn: number, flag: number, on: boolean): void {
    const f = this.flags[pfn] as number;
    this.flags[pfn] = on ? f | flag : f & ~flag;
  }
  /** Damages a frame. Pages of a guest are poisoned through their address space, which first unshares them. */
  poison(pfn: number): void {
    this.mark(pfn, FrameFlag.Poison, true);
  }
  /** Undoes {@link poison}. */
  heal(pfn: number): void {
    this.mark(pfn, FrameFlag.Poison, false);
  }
  /** Whether an access consumes poison. */
  poisoned(pfn: number): boolean {
    return ((this.flags[pfn] as number) & FrameFlag.Poison) !== 0;
  }

  /** For the engine: says whether it keeps records decoded from the frame at byte offset `frame`. */
  setCode(frame: number, on: boolean): void {
    this.mark(frame >>> PAGE_SHIFT, FrameFlag.Code, on);
  }
  /** Calls `lost(pfn)` whenever a frame with decoded records is written behind the engine's back, or freed. */
  onCodeLost(lost: (pfn: number) => void): () => void {
    this.#codeLost.add(lost);
    return () => void this.#codeLost.delete(lost);
  }
  /** To be called before bytes of a frame change other than by the engine's own stores. */
  codeWritten(pfn: number): void {
    if (((this.flags[pfn] as number) & FrameFlag.Code) === 0) return;
    this.mark(pfn, FrameFlag.Code, false);
    for (const lost of this.#codeLost) lost(pfn);
  }

  /**
   * Whether a translation to the frame at byte offset `frame` may stay in a fast TLB. For writes this is the frame's
   * half of the one predicate: no poison, no decoded code, no write tracking, no watchpoint. The page's half
   * (unshared, dirty-logged) is in the offset itself: `Stage2.lookup` returns it for a write only when it holds.
   */
  cacheable(frame: number, write: boolean): boolean {
    return ((this.flags[frame >>> PAGE_SHIFT] as number) & (write ? SLOW_WRITE : SLOW_READ)) === 0;
  }

  // ---- owners that may be forgotten ---------------------------------------------------------------------------

  /** Calls `give` after `owner` was collected, unless {@link settle} was called with it. */
  adopt(owner: object, give: () => void): void {
    this.#orphans.register(owner, give, owner);
  }
  /** `owner` has given its frames back itself. */
  settle(owner: object): void {
    this.#orphans.unregister(owner);
  }
}

/**
 * Where generated code leaves when its fast TLB has no answer: the guest's paging through the architectural TLB and the
 * walk, stage 2 through core's table, in-kernel devices, and the record of what could not be served. Nothing here
 * allocates, throws, asks a point or makes a mapping (engine.md 9).
 */
import { type DeviceAccess, type HostMemory, type KernelBus, Miss, type Stage2 } from '@faultyard/core';
import {
  Access,
  type AccessInfo,
  type AccessKind,
  type AccessPort,
  type Resolution,
  Resolved,
} from '@faultyard/engine';
import type { DeviceAccesses } from '../emulator/accesses.ts';
import { FL } from '../isa/flags.ts';
import { CTX_SUPERVISOR, CTX_SUPERVISOR_AC, CTX_USER, Seg } from '../isa/layout.ts';
import { CR0, type Pair, type X86State } from '../state.ts';
import { AccessClass } from './access-class.ts';
import {
  type AccessFault,
  accessFault,
  Cause,
  consumes,
  describe,
  naturalAlignment,
  type PoisonRules,
} from './access-fault.ts';
import { PAGE, WANT } from './page.ts';
import { canonical, follow, followRoot, type Paging, type PagingModel, pagingOf, pcidOf } from './paging.ts';
import { GuestTables } from './tables.ts';
import type { Tlb, TlbHit } from './tlb.ts';
import {
  denied,
  errorCode,
  type TableReader,
  WalkEnd,
  type WalkEndCode,
  type WalkResult,
  walk,
  walkResult,
} from './walk.ts';

/** The second translation of a nested guest. As a reader it translates the addresses of the guest's own tables. */
export interface SecondStage extends TableReader {
  /**
   * Translates `out.pa` of the access itself. Clears `PAGE.Dirty` of `out.attributes` unless both stages have the page
   * writable and dirty, so that the first write walks again; U/S and R/W stay the guest's own. The end `Nested` means that
   * the nested guest's host is to be told; the stage has kept why.
   */
  finish(want: number, out: WalkResult): WalkEndCode;
  /** After an end of `Stage2`, `External` or `NoMemory`: the physical address of the entry, nested or not, that missed. */
  readonly missed: number;
}

/** What the port is built on. */
export interface PortParts {
  readonly model: PagingModel;
  readonly tlb: Tlb;
  readonly stage2: Stage2;
  readonly bus: KernelBus;
  readonly host: HostMemory;
  readonly vcpu: number;
  /** The pending device access to fill. */
  readonly device: Pick<DeviceAccess, 'gpa' | 'port' | 'count' | 'size' | 'write' | 'lo' | 'hi'>;
  readonly poison: PoisonRules;
  /** See `TableParts` of `tables.ts`. */
  readonly walksWrite: boolean;
  /** Length of the instruction at a host address, of which `avail` bytes are on its page; 0 if it goes beyond them. */
  readonly lengthAt: (at: number, avail: number) => number;
  readonly copyFrom?: (pa: number, size: number, out: Pair) => boolean;
  readonly copyTo?: (pa: number, size: number, lo: number, hi: number) => boolean;
}

/** The context of the accesses that instructions make by themselves. */
export function currentContext(s: X86State): number {
  if (s.cpl === 3) return CTX_USER;
  return s.other & FL.AC ? CTX_SUPERVISOR_AC : CTX_SUPERVISOR;
}

/** Where a fetch stands with respect to CS and the canonical range. */
const Fetch = { Page: 0, Part: 1, Fault: 2 } as const;

/** The AccessPort of an x86 vCPU. */
export class X86Port implements AccessPort {
  readonly fault: AccessFault = accessFault();
  /** Page tables in guest memory. */
  readonly tables: GuestTables;
  /** Data breakpoints: `check` tells them of every access of instructions (`events-debug.test.ts`). */
  watch: { access(lo: number, hi: number, size: number, kind: AccessKind): void } | undefined = undefined;
  /** While a nested guest with paging of its own runs: its second stage, and the same without any effect. */
  nested: { readonly acting: SecondStage; readonly silent: SecondStage } | undefined = undefined;
  readonly #p: PortParts;
  /** While KVM's emulator executes an instruction: who answers where the guest has no memory. */
  emulating: DeviceAccesses | undefined = undefined;
  /** Set by {@link attach}, before anything runs. */
  #s!: X86State;
  readonly #host: HostMemory;
  readonly #paging: Paging;
  readonly #hit: TlbHit = { pa: 0, attributes: 0 };
  readonly #seen: TlbHit = { pa: 0, attributes: 0 };
  readonly #result: WalkResult = walkResult();
  /** High half of the address that counts: 0 outside long mode. */
  #hi = 0;
  /** Bytes of the whole access, of which {@link resolve} may see a page's part. */
  #whole = 0;
  /** All 64 bits of its address count. */
  #wide = false;

  constructor(p: PortParts) {
    this.#p = p;
    this.tables = new GuestTables(p.stage2, {
      host: p.host,
      consumes: p.poison.walk,
      writes: p.walksWrite,
      copyFrom: p.copyFrom,
      copyTo: p.copyTo,
    });
    this.#host = p.host;
    this.#paging = pagingOf(p.model);
  }

  /** Stage 2 in force: of address space 0, or of SMM's. */
  get stage2(): Stage2 {
    return this.tables.stage2;
  }
  set stage2(s: Stage2) {
    this.tables.stage2 = s;
  }

  /** The state that accesses are made in. */
  attach(s: X86State): void {
    this.#s = s;
  }

  /** Paging as the registers set it up now; the object is reused. */
  get paging(): Readonly<Paging> {
    follow(this.#paging, this.#s);
    followRoot(this.#paging, this.#s);
    return this.#paging;
  }

  /**
   * Whether user accesses have their alignment checked. While they do, none of their translations may stay in the fast
   * TLB: whoever turns it on flushes the user context.
   */
  get checksAlignment(): boolean {
    const s = this.#s;
    return s.cpl === 3 && (s.cr0 & CR0.AM) !== 0 && (s.other & FL.AC) !== 0;
  }

  /** Canonical range and alignment of data; a fetch outside long mode wraps at 4 GiB. */
  check(a: AccessInfo): number {
    this.#whole = a.size;
    this.deviceFilled = false;
    this.plainStore = false;
    const s = this.#s;
    const system = (a.cls & AccessClass.System) !== 0;
    const wide = system ? s.lma : s.code === 8;
    this.#wide = wide;
    if (a.kind === Access.Exec) {
      if (!wide && a.hi !== 0) s.setPc(a.lo, 0);
      return 0;
    }
    if (wide) {
      const last = (a.lo + a.size - 1) | 0;
      const lastHi = last >>> 0 < a.lo >>> 0 ? (a.hi + 1) | 0 : a.hi;
      if (!canonical(s, a.hi) || (lastHi !== a.hi && !canonical(s, lastHi)))
        return this.#refuse(a, a.hi, Cause.NonCanonical);
    }
    if (!system) this.watch?.access(a.lo, wide ? a.hi : 0, a.size, a.kind);
    if (a.ctx !== CTX_USER || system || a.size === 1 || !this.checksAlignment) return 0;
    if ((a.lo & (naturalAlignment(a.size) - 1)) === 0) return 0;
    return this.#refuse(a, a.hi, Cause.Alignment);
  }

  resolve(a: AccessInfo, out: Resolution): number {
    const kind = a.kind;
    const exec = kind === Access.Exec;
    const write = kind === Access.Write || kind === Access.ReadWrite;
    let keep = true;
    if (exec) {
      const where = this.#fetch(a);
      if (where === Fetch.Fault) return Resolved.Fault;
      keep = where === Fetch.Page;
    }
    // what KVM's emulator raises is delivered by the CPU, after it
    const device = exec || a.cls & AccessClass.System ? undefined : this.emulating;
    if (device && !(a.cls & AccessClass.NotEmulated)) {
      // an answered load takes its answer before any translation
      const hi = this.#wide ? a.hi : 0;
      const known = device.known(a.lo, hi);
      if (known >= 0) return this.#emulated(device, a.lo, hi, known, out);
      const { reuse } = device;
      if (reuse >= 0 && (a.lo & 0xfff) === reuse % 4096) return this.#emulated(device, a.lo, hi, reuse, out);
    }
    let want = exec ? WANT.Fetch : write ? WANT.Write : 0;
    if (a.ctx === CTX_USER) {
      want |= WANT.User;
      if (keep && !exec) keep = !this.checksAlignment;
    } else if (a.ctx === CTX_SUPERVISOR_AC) want |= WANT.NoSmap;
    if (!this.#translate(a, want)) return Resolved.Fault;
    const { pa } = this.#hit;
    const gfn = Math.floor(pa / 4096);
    const frame = exec ? this.stage2.lookupExec(gfn) : this.stage2.lookup(gfn, write);
    if (frame >= 0) {
      if (exec && !keep && this.#beyondLimit(a, frame)) return Resolved.Fault;
      out.frame = frame;
      out.cache = keep && a.hi === this.#hi && this.#host.cacheable(frame, write);
      return Resolved.Ram;
    }
    if (device) {
      if (!(a.cls & AccessClass.NotEmulated)) return this.#emulated(device, a.lo, this.#hi, pa, out);
      describe(this.fault, a, this.#hi, Cause.Device);
      this.fault.gpa = pa;
      return Resolved.Fault;
    }
    if (frame === Miss.Poison) return this.#poisoned(a, gfn, pa, write, out);
    const hole = frame === Miss.None && this.stage2.slots.find(gfn, this.stage2.asId) === undefined;
    describe(this.fault, a, this.#hi, this.#causeOf(frame, hole));
    this.fault.gpa = pa;
    if (!hole || exec || kind === Access.ReadWrite || a.size !== this.#whole) return Resolved.Fault;
    if (a.size > 8 || a.cls & AccessClass.NotEmulated) return Resolved.Fault;
    out.gpa = pa;
    out.cache = keep && a.hi === this.#hi;
    return Resolved.Device;
  }
  /** KVM's emulator copies from and to the VMM's own mapping, and takes what that does not give as a device. */
  #emulated(device: DeviceAccesses, lo: number, hi: number, pa: number, out: Resolution): number {
    device.leads(lo, hi, pa);
    out.gpa = pa;
    return Resolved.Device;
  }
  #causeOf(miss: number, hole: boolean): number {
    if (hole) return Cause.Device;
    return miss === Miss.NoMemory ? Cause.NoMemory : Cause.Stage2;
  }

  /**
   * The guest's own translation of an access: `false` and a record when it fails.
   * @param want `WANT` of `page.ts`
   */
  #translate(a: AccessInfo, want: number): boolean {
    const s = this.#s;
    const p = this.#paging;
    const hit = this.#hit;
    const { lo } = a;
    const hi = this.#wide ? a.hi : 0;
    this.#hi = hi;
    follow(p, s);
    const second = this.nested?.acting;
    if (p.levels === 0 && second === undefined) {
      hit.pa = lo >>> 0;
      hit.attributes = PAGE.Writable | PAGE.User | PAGE.Dirty;
      return true;
    }
    if (this.emulating && second === undefined && (a.cls & AccessClass.System) === 0)
      return this.#translateInSoftware(a, hi, want);
    const { tlb } = this.#p;
    const pcid = pcidOf(s);
    const fetch = (want & WANT.Fetch) !== 0;
    const known = tlb.find(lo, hi, pcid, fetch, hit);
    const dirty = (want & WANT.Write) === 0 || (hit.attributes & PAGE.Dirty) !== 0;
    if (known && dirty && denied(p, hit.attributes, want) === 0) return true;
    // no translation, or one that does not allow it: the tables may by now
    const r = this.#result;
    followRoot(p, s);
    let end = walk(p, lo, hi, want, second ?? this.tables, r);
    if (end === WalkEnd.Done && second) end = second.finish(want, r);
    if (end === WalkEnd.Done) {
      tlb.add(lo, hi, pcid, fetch, r.pa, r.attributes);
      hit.pa = r.pa;
      hit.attributes = r.attributes;
      return true;
    }
    describe(this.fault, a, hi, CAUSES[end] as number);
    if (end === WalkEnd.Fault) {
      // a fault takes the translation with it (SDM volume 3A, 4.10.4.1; APM volume 2, 5.5.2)
      if (known) tlb.dropPage(lo, hi, pcid);
      this.fault.errorCode = r.errorCode;
      return false;
    }
    this.#walkEnded(r);
    return false;
  }
  /** KVM's emulator walks afresh; a table that it cannot read is a page that is not present. */
  #translateInSoftware(a: AccessInfo, hi: number, want: number): boolean {
    const p = this.#paging;
    const r = this.#result;
    followRoot(p, this.#s);
    const end = walk(p, a.lo, hi, want, this.tables.software, r);
    this.#hit.pa = r.pa;
    this.#hit.attributes = r.attributes;
    if (end === WalkEnd.Done) return true;
    describe(this.fault, a, hi, Cause.PageFault);
    this.fault.errorCode = end === WalkEnd.Fault ? r.errorCode : errorCode(p, 0, want);
    return false;
  }
  #walkEnded(r: WalkResult): void {
    const f = this.fault;
    f.walk = true;
    f.gpa = this.nested?.acting.missed ?? r.table;
    f.level = r.level;
    f.write = r.tableWrite || this.#p.walksWrite;
  }

  // ---- fetches ---------------------------------------------------------------------------------------------------

  /** Canonical range and CS limit; whether the whole page may be run without asking again. */
  #fetch(a: AccessInfo): number {
    const s = this.#s;
    if (s.code === 8) {
      if (canonical(s, a.hi)) return Fetch.Page;
      this.#refuse(a, a.hi, Cause.NonCanonical);
      return Fetch.Fault;
    }
    const cs = s.segment(Seg.CS);
    if (cs.limit === -1 && cs.baseLo === 0) return Fetch.Page;
    const offset = (a.lo - cs.baseLo) >>> 0;
    const limit = cs.limit >>> 0;
    if (offset > limit) {
      this.#refuse(a, 0, Cause.FetchLimit);
      return Fetch.Fault;
    }
    return offset + (0xfff - (a.lo & 0xfff)) > limit ? Fetch.Part : Fetch.Page;
  }
  /** Whether the instruction at pc ends beyond the limit of CS, on its own page. */
  #beyondLimit(a: AccessInfo, frame: number): boolean {
    const s = this.#s;
    if (a.lo !== s.pcLo) return false;
    const at = a.lo & 0xfff;
    const length = this.#p.lengthAt(frame + at, 4096 - at);
    const cs = s.segment(Seg.CS);
    if (((a.lo - cs.baseLo) >>> 0) + length - 1 <= cs.limit >>> 0) return false;
    this.#refuse(a, 0, Cause.FetchLimit);
    return true;
  }
  /**
   * Linear address of the page in which code under the present CS would run beyond its limit, or -1. A fast translation
   * of it may stand from another CS: whoever loads CS drops it.
   */
  pageBehindCode(): number {
    const s = this.#s;
    const { limit, baseLo } = s.segment(Seg.CS);
    if (s.code === 8 || limit === -1) return -1;
    return ((baseLo + limit + 1) & -4096) >>> 0;
  }

  /**
   * Host address of the byte that a fetch at a linear address finds, or -1. Changes nothing; poison is not consumed.
   */
  codeAt(lo: number, hi: number): number {
    return this.#look(lo, hi, WANT.Fetch | (this.#s.cpl === 3 ? WANT.User : 0));
  }
  #look(lo: number, hi: number, want: number): number {
    const s = this.#s;
    const p = this.#paging;
    follow(p, s);
    const second = this.nested?.silent;
    const seen = this.#seen;
    if (p.levels === 0 && second === undefined) seen.pa = lo >>> 0;
    else if (!this.#p.tlb.find(lo, hi, pcidOf(s), (want & WANT.Fetch) !== 0, seen)) {
      const r = this.#result;
      followRoot(p, s);
      let end = walk(p, lo, hi, want, second ?? this.tables.silent, r);
      if (end === WalkEnd.Done && second) end = second.finish(want, r);
      if (end !== WalkEnd.Done) return -1;
      seen.pa = r.pa;
    }
    const gfn = Math.floor(seen.pa / 4096);
    const frame = this.stage2.lookup(gfn, false, true);
    return frame < 0 ? -1 : frame + (seen.pa - gfn * 4096);
  }

  // ---- tables ----------------------------------------------------------------------------------------------------

  /**
   * Reads 8 bytes at an aligned physical address, as the guest's paging sees it: the PAE pointers that MOV CR3 loads.
   * What keeps it from doing so is recorded.
   */
  readPhysical(pa: number, out: Pair): WalkEndCode {
    const r = this.#result;
    r.table = pa;
    r.level = 3;
    r.tableWrite = false;
    const end = (this.nested?.acting ?? this.tables).readTable(pa, 8, out);
    if (end !== WalkEnd.Done) this.#recordWalk(end, r);
    return end;
  }
  /** Records a walk that an instruction of its own made and that ended in `end`. */
  #recordWalk(end: WalkEndCode, r: WalkResult): void {
    const f = this.fault;
    f.cause = CAUSES[end] as number;
    f.errorCode = 0;
    f.lo = 0;
    f.hi = 0;
    f.size = 8;
    f.kind = Access.Read;
    f.ctx = 0;
    f.cls = AccessClass.System;
    this.#walkEnded(r);
  }

  // ---- what cannot be served -------------------------------------------------------------------------------------

  #refuse(a: AccessInfo, hi: number, cause: number): -1 {
    describe(this.fault, a, hi, cause);
    return Resolved.Fault;
  }
  #poisoned(a: AccessInfo, gfn: number, pa: number, write: boolean, out: Resolution): number {
    let cause: number = Cause.External;
    if (!consumes(this.#p.poison, a.kind)) {
      const frame = this.stage2.lookup(gfn, write, true);
      if (frame >= 0) {
        out.frame = frame;
        out.cache = false;
        return Resolved.Ram;
      }
      cause = this.#causeOf(frame, false);
    }
    describe(this.fault, a, this.#hi, cause);
    this.fault.gpa = pa;
    return Resolved.Fault;
  }

  deviceLoad(gpa: number, size: number, a: AccessInfo, value: Pair): number {
    if (this.emulating) return this.emulating.load(gpa, size, value) < 0 ? this.#noDevice(gpa, a) : 0;
    if (this.#p.bus.loadInside(gpa, size, this.#p.vcpu, value)) return 0;
    return this.#toUserspace(gpa, size, a, false, 0, 0);
  }
  deviceStore(gpa: number, size: number, a: AccessInfo, lo: number, hi: number): number {
    if (this.emulating) return this.emulating.store(gpa, size, lo, hi);
    if (this.#p.bus.storeInside(gpa, size, this.#p.vcpu, lo, hi)) return 0;
    return this.#toUserspace(gpa, size, a, true, lo, hi);
  }
  /** Fills the device access for an exit, in case that is all there is to the instruction. */
  #toUserspace(gpa: number, size: number, a: AccessInfo, write: boolean, lo: number, hi: number): -1 {
    const d = this.#p.device;
    d.gpa = gpa;
    d.port = false;
    d.count = 1;
    d.size = size;
    d.write = write;
    d.lo = lo;
    d.hi = hi;
    this.#noDevice(gpa, a);
    this.deviceFilled = a.size === size;
    this.plainStore = this.deviceFilled && (a.cls & AccessClass.Plain) !== 0;
    return -1;
  }
  /** The access that failed last was a single one of a device, and stands in `Vcpu.device`. */
  deviceFilled = false;
  /** It is a store, and all that its instruction does. */
  plainStore = false;
  #noDevice(gpa: number, a: AccessInfo): -1 {
    this.deviceFilled = false;
    this.plainStore = false;
    // a remembered device page: {@link check} was not asked
    describe(this.fault, a, this.#s.code === 8 ? a.hi : 0, Cause.Device);
    this.fault.gpa = gpa;
    return -1;
  }
}

/** Causes by `WalkEnd`. */
const CAUSES: readonly number[] = [
  Cause.None,
  Cause.PageFault,
  Cause.Stage2,
  Cause.External,
  Cause.Nested,
  Cause.NoMemory,
];

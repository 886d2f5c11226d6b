/**
 * The slow path of memory accesses: what generated code calls when the fast TLB has no answer. Everything an access
 * touches is translated before a byte moves; nothing here throws; -1 (which is never a host address) means that the
 * access did not happen and generated code is to be left with a fault.
 */
import {
  CURRENT_CONTEXT,
  siteAlign,
  siteClass,
  siteContext,
  siteElement,
  siteOrdinal,
  siteTotal,
} from './access-site.ts';
import type { CodeFrames } from './code-frames.ts';
import {
  Access,
  type AccessInfo,
  type AccessKind,
  type AccessPort,
  type Resolution,
  Resolved,
} from './cpu.ts';
import { DeviceTlb, deviceKey } from './device-tlb.ts';
import { type HostViews, PAGE } from './host.ts';
import { type ContextTlb, Table } from './tlb.ts';

/** What the slow path needs to know of its vCPU. */
export interface SlowContext {
  readonly port: AccessPort;
  readonly views: HostViews;
  readonly frames: CodeFrames;
  readonly tlbs: readonly ContextTlb[];
  /** Offset of the 64-byte area for data on its way. */
  readonly data: number;
}

/** The slow path of one vCPU. */
export class SlowPath {
  readonly #port: AccessPort;
  readonly #v: HostViews;
  readonly #frames: CodeFrames;
  readonly #tlbs: readonly ContextTlb[];
  readonly #data: number;
  /** Device pages of late; dropped with the fast translations. */
  readonly devices: DeviceTlb = new DeviceTlb();
  /** Current access context. */
  context = 0;
  /** Whether translations are kept (not while stepping). */
  caching = true;
  readonly access: AccessInfo = { lo: 0, hi: 0, size: 0, kind: 0, ctx: 0, cls: 0, ordinal: 0, align: 1 };
  readonly resolution: Resolution = { frame: 0, cache: false, gpa: 0 };
  readonly #value = { lo: 0, hi: 0 };
  /** The one or two pieces of the access: what they are, where (host offset or gpa), and bytes of the first. */
  #kind0 = 0;
  #kind1 = 0;
  #where0 = 0;
  #where1 = 0;
  #first = 0;

  constructor(c: SlowContext) {
    this.#port = c.port;
    this.#v = c.views;
    this.#frames = c.frames;
    this.#tlbs = c.tlbs;
    this.#data = c.data;
  }

  /** Host address of the value to load (or of a copy of it), or -1. */
  load(lo: number, hi: number, site: number): number {
    const device = this.devices.find(lo, hi, siteTotal(site), deviceKey(site, false), this.context);
    if (device >= 0 && this.caching) return this.#fromDevice(device, lo, hi, siteTotal(site));
    if (!this.#translate(lo, hi, site, Access.Read)) return -1;
    if (this.#first === siteTotal(site) && this.#kind0 === Resolved.Ram) return this.#where0 | 0;
    return this.#gather(site) ? this.#data | 0 : -1;
  }
  /** Stores one element; 0, or -1. */
  store(lo: number, hi: number, site: number, vlo: number, vhi: number): number {
    const { devices } = this;
    const device = devices.find(lo, hi, siteTotal(site), deviceKey(site, true), this.context);
    if (device >= 0 && this.caching) {
      const a = devices.access(device, lo, hi);
      return this.#toDevice(devices.gpa(device, lo), siteTotal(site), a, vlo, vhi);
    }
    if (!this.#translate(lo, hi, site, Access.Write)) return -1;
    return this.#put(site, vlo, vhi);
  }
  /** Stores the elements in the data area; 0, or -1. */
  storeMany(lo: number, hi: number, site: number): number {
    if (!this.#translate(lo, hi, site, Access.Write)) return -1;
    return this.#scatter(site) ? 0 : -1;
  }
  /** As {@link load}, with write permission checked, too; {@link rmwStore} follows. */
  rmwLoad(lo: number, hi: number, site: number): number {
    if (!this.#translate(lo, hi, site, Access.ReadWrite)) return -1;
    if (this.#first === siteTotal(site) && this.#kind0 === Resolved.Ram) return this.#where0 | 0;
    return this.#gather(site) ? this.#data | 0 : -1;
  }
  /** Stores to where {@link rmwLoad} loaded from. */
  rmwStore(lo: number, hi: number, site: number, vlo: number, vhi: number): number {
    this.#describe(lo, hi, site, Access.ReadWrite);
    return this.#put(site, vlo, vhi);
  }

  #describe(lo: number, hi: number, site: number, kind: AccessKind): void {
    const a = this.access;
    const ctx = siteContext(site);
    a.lo = lo;
    a.hi = hi;
    a.size = siteTotal(site);
    a.kind = kind;
    a.ctx = ctx === CURRENT_CONTEXT ? this.context : ctx;
    a.cls = siteClass(site);
    a.ordinal = siteOrdinal(site);
    a.align = siteAlign(site);
  }
  /** Translates the whole access; `false` if it faults. */
  #translate(lo: number, hi: number, site: number, kind: AccessKind): boolean {
    this.#describe(lo, hi, site, kind);
    const a = this.access;
    const total = a.size;
    if (this.#port.check(a) !== 0) return false;
    const room = PAGE - (lo & (PAGE - 1));
    if (total <= room) {
      this.#first = total;
      this.#kind0 = this.#resolve(a);
      this.#where0 = this.#at(this.#kind0, lo);
      if (this.#kind0 === Resolved.Device) this.#keepDevice(lo, site, kind);
      return this.#kind0 >= 0;
    }
    this.#first = room;
    a.size = room;
    this.#kind0 = this.#resolve(a);
    if (this.#kind0 < 0) return false;
    this.#where0 = this.#at(this.#kind0, lo);
    a.lo = (lo + room) | 0;
    a.hi = a.lo === 0 ? (hi + 1) | 0 : hi;
    a.size = total - room;
    this.#kind1 = this.#resolve(a);
    if (this.#kind1 < 0) return false;
    this.#where1 = this.#at(this.#kind1, a.lo);
    a.lo = lo;
    a.hi = hi;
    a.size = total;
    return true;
  }
  /** Resolves the page of `a`; keeps the translation if it may be kept. */
  #resolve(a: AccessInfo): number {
    const r = this.resolution;
    r.cache = false;
    const kind = this.#port.resolve(a, r);
    if (kind !== Resolved.Ram || !r.cache || !this.caching) return kind;
    const write = a.kind !== Access.Read;
    if (write && this.#frames.has(r.frame)) return kind;
    const page = a.lo & -PAGE;
    this.#tlbs[a.ctx]?.fill(write ? Table.write : Table.read, page, a.hi, r.frame - page, r.frame);
    return kind;
  }
  #at(kind: number, lo: number): number {
    return kind === Resolved.Ram ? this.resolution.frame + (lo & (PAGE - 1)) : this.resolution.gpa;
  }

  /** Remembers a device page, for accesses like this one. */
  #keepDevice(lo: number, site: number, kind: AccessKind): void {
    const size = siteTotal(site);
    if (!this.resolution.cache || !this.caching || kind === Access.ReadWrite) return;
    if (siteElement(site) !== size || siteAlign(site) > size || (lo & (size - 1)) !== 0) return;
    this.devices.fill(this.access, deviceKey(site, kind === Access.Write), this.context, this.#where0);
  }
  /** Loads one element of `size` bytes from a remembered device into the data area. */
  #fromDevice(device: number, lo: number, hi: number, size: number): number {
    const v = this.#value;
    const { i32 } = this.#v;
    v.lo = 0;
    v.hi = 0;
    const a = this.devices.access(device, lo, hi);
    if (this.#port.deviceLoad(this.devices.gpa(device, lo), size, a, v) < 0) return -1;
    i32[this.#data >>> 2] = v.lo;
    i32[(this.#data >>> 2) + 1] = v.hi;
    return this.#data | 0;
  }
  /** Stores one element to a device. */
  #toDevice(gpa: number, size: number, a: AccessInfo, vlo: number, vhi: number): number {
    const lo = size >= 4 ? vlo : size === 2 ? vlo & 0xffff : vlo & 0xff;
    return this.#port.deviceStore(gpa, size, a, lo, size === 8 ? vhi : 0) < 0 ? -1 : 0;
  }

  /** One element: straight into memory or to the device where that is all there is to it. */
  #put(site: number, vlo: number, vhi: number): number {
    const size = siteTotal(site);
    if (this.#first === size) {
      if (this.#kind0 === Resolved.Device) return this.#toDevice(this.#where0, size, this.access, vlo, vhi);
      const { dv } = this.#v;
      const at = this.#where0;
      if (size === 8) {
        dv.setInt32(at, vlo, true);
        dv.setInt32(at + 4, vhi, true);
      } else if (size === 4) dv.setInt32(at, vlo, true);
      else if (size === 2) dv.setInt16(at, vlo, true);
      else dv.setInt8(at, vlo);
      this.#written(at, size);
      return 0;
    }
    this.#v.dv.setInt32(this.#data, vlo, true);
    this.#v.dv.setInt32(this.#data + 4, vhi, true);
    return this.#scatter(site) ? 0 : -1;
  }
  #written(at: number, size: number): void {
    const offset = at & (PAGE - 1);
    const frame = at - offset;
    if (this.#frames.has(frame)) this.#frames.wrote(frame, offset, size);
  }

  /** Brings a translated access into the data area. */
  #gather(site: number): boolean {
    const total = siteTotal(site);
    if (!this.#gatherPiece(site, 0, this.#first, this.#kind0, this.#where0)) return false;
    return this.#first === total || this.#gatherPiece(site, this.#first, total, this.#kind1, this.#where1);
  }
  #gatherPiece(site: number, from: number, to: number, kind: number, where: number): boolean {
    const { dv, u8 } = this.#v;
    if (kind === Resolved.Ram) {
      u8.copyWithin(this.#data + from, where, where + to - from);
      return true;
    }
    const element = siteElement(site);
    const v = this.#value;
    for (let at = from; at < to; ) {
      const n = Math.min(element - (at % element), to - at);
      v.lo = 0;
      v.hi = 0;
      if (this.#port.deviceLoad(where + at - from, n, this.access, v) < 0) return false;
      for (let i = 0; i < n; i++)
        dv.setUint8(this.#data + at + i, (i < 4 ? v.lo >>> (8 * i) : v.hi >>> (8 * i - 32)) & 255);
      at += n;
    }
    return true;
  }
  /** Brings the data area to where a translated access goes. */
  #scatter(site: number): boolean {
    const total = siteTotal(site);
    if (!this.#scatterPiece(site, 0, this.#first, this.#kind0, this.#where0)) return false;
    return this.#first === total || this.#scatterPiece(site, this.#first, total, this.#kind1, this.#where1);
  }
  #scatterPiece(site: number, from: number, to: number, kind: number, where: number): boolean {
    const { u8 } = this.#v;
    const data = this.#data;
    if (kind === Resolved.Ram) {
      u8.copyWithin(where, data + from, data + to);
      this.#written(where, to - from);
      return true;
    }
    const element = siteElement(site);
    for (let at = from; at < to; ) {
      const n = Math.min(element - (at % element), to - at);
      let lo = 0;
      let hi = 0;
      for (let i = 0; i < n; i++) {
        const byte = u8[data + at + i] ?? 0;
        if (i < 4) lo |= byte << (8 * i);
        else hi |= byte << (8 * i - 32);
      }
      if (this.#port.deviceStore(where + at - from, n, this.access, lo, hi) < 0) return false;
      at += n;
    }
    return true;
  }
}

/**
 * Where generated code leaves when its fast TLB has no answer: stage 1 through the architectural TLB and the walk,
 * stage 2 through core's table, devices in the kernel, and the record of what could not be served. Nothing here
 * allocates, throws, asks a point or makes a mapping (engine.md 9).
 */
import { type KernelBus, Miss, type Stage2 } from '@faultyard/core';
import { Access, type AccessInfo, type AccessPort, type Resolution, Resolved } from '@faultyard/engine';
import { CONTEXT_EL0, CONTEXT_UNPRIVILEGED } from '../isa/contexts.ts';
import type { Model } from '../model.ts';
import type { AbortClass, Delivery } from '../points.ts';
import { type Arm64State, type Pair, PS, SR } from '../state.ts';
import { AccessClass } from './access-class.ts';
import { flat } from './at.ts';
import { EXEC, leafLevel, PAGE, permitted, READ, WRITE } from './attributes.ts';
import type { Stage2Tables } from './stage2-tables.ts';
import type { Tlb, TlbHit } from './tlb.ts';
import {
  FSC,
  TableRead,
  type TableReader,
  topByteIgnored,
  WalkEnd,
  type WalkResult,
  walk,
  walkResult,
} from './walk.ts';

/** Why an access could not be served. */
export const Cause = {
  None: 0,
  /** Stage 1 or alignment fault: {@link AccessFault.fsc}; the guest's own business. */
  Stage1: 1,
  /** Stage 2 has no mapping for {@link AccessFault.gpa}. */
  Stage2: 2,
  /** Poison was consumed at {@link AccessFault.gpa}. */
  External: 3,
  /** A device access without an in-kernel device. */
  Device: 4,
  /** The lab has no frame left for a private copy. */
  NoMemory: 5,
  /**
   * The pc has a tag in its ignored top byte. AArch64.BranchAddr() takes it away at the branch; here the fetch does,
   * before the target's first instruction.
   */
  TaggedPc: 6,
} as const;

/** The access that stopped the guest; one object, reused. */
export interface AccessFault {
  cause: number;
  /** Stage 1: the whole FSC. */
  fsc: number;
  /** Level of a walk that ended there. */
  level: number;
  lo: number;
  hi: number;
  /** Bytes of the whole access. */
  size: number;
  /** `Access.Read`, `Write`, `Exec`, `ReadWrite`. */
  kind: number;
  ctx: number;
  cls: number;
  /** gpa of the byte, or of the descriptor when {@link walk} is set. */
  gpa: number;
  /** It was the walk, not the access itself. */
  walk: boolean;
  /** External on a walk: whose table it was, and what the CPU says about it (ESR.S1PTW). */
  stage: 1 | 2;
  s1ptw: boolean;
  /** External: what the CPU reports, 1 = synchronous, 2 = as an SError. */
  delivery: number;
}

const DELIVERY: Readonly<Record<Delivery, number>> = { none: 0, sync: 1, async: 2 };
const CLASSES: readonly AbortClass[] = ['load', 'store', 'fetch', 'walk', 'cmo', 'atomic'];
const LOAD = 0;
const STORE = 1;
const FETCH = 2;
const WALK = 3;
const CMO = 4;
const ATOMIC = 5;

/** Class of an access, as an index into the order load, store, fetch, walk, cmo, atomic. */
export function classOf(f: { readonly kind: number; readonly cls: number; readonly walk?: boolean }): number {
  if (f.walk) return WALK;
  if (f.kind === Access.Exec) return FETCH;
  if (f.cls & AccessClass.Cm) return CMO;
  if (f.cls & (AccessClass.Atomic | AccessClass.Exclusive) || f.kind === Access.ReadWrite) return ATOMIC;
  return f.kind === Access.Write ? STORE : LOAD;
}
/** Name of a class. */
export function className(n: number): AbortClass {
  return CLASSES[n] as AbortClass;
}

/** What the port is built on. */
export interface PortParts {
  readonly model: Model;
  readonly tlb: Tlb;
  readonly stage2: Stage2;
  /** Damaged stage 2 tables. */
  readonly tables: Stage2Tables;
  readonly bus: KernelBus;
  /** Whether a fast translation to this frame may be kept for writes (or reads). */
  readonly cacheable: (frame: number, write: boolean) => boolean;
  readonly delivery: Readonly<Record<AbortClass, Delivery>>;
  readonly vcpu: number;
  /** The pending device access to fill. */
  readonly device: { gpa: number; size: number; write: boolean; lo: number; hi: number };
  /** Alignment the instruction at pc needs per element, for Device memory. */
  readonly elementAlign: () => number;
}

/** The AccessPort of an arm64 vCPU. */
export class Arm64Port implements AccessPort, TableReader {
  readonly fault: AccessFault = {
    cause: 0,
    fsc: 0,
    level: 0,
    lo: 0,
    hi: 0,
    size: 0,
    kind: 0,
    ctx: 0,
    cls: 0,
    gpa: 0,
    walk: false,
    stage: 1,
    s1ptw: false,
    delivery: 0,
  };
  readonly #p: PortParts;
  /** Set by {@link attach}, before anything runs. */
  #s!: Arm64State;
  readonly #i32: Int32Array;
  readonly #delivery: Int32Array;
  readonly #hit: TlbHit = { pa: 0, attributes: 0 };
  readonly #fetchHit: TlbHit = { pa: 0, attributes: 0 };
  readonly #result: WalkResult = walkResult();
  readonly #stage2: Stage2;
  #tagged = false;
  /** Bytes of the whole access, of which {@link resolve} may see a page's part. */
  #whole = 0;
  /** First gpa beyond the VM's IPA size. */
  readonly #ipaLimit: number;
  /** The vCPU decodes in strict mode: unaligned accesses never reach a fast translation. */
  strict = false;
  /** An error that was delivered as an SError: the access at this pc goes on without a second one. */
  spared = -1;

  constructor(p: PortParts, i32: Int32Array) {
    this.#p = p;
    this.#i32 = i32;
    this.#ipaLimit = 2 ** p.model.ipaBits;
    this.#stage2 = p.stage2;
    this.#delivery = Int32Array.from(CLASSES, (c) => DELIVERY[p.delivery[c]]);
  }

  /** The state that accesses are made in. */
  attach(s: Arm64State): void {
    this.#s = s;
  }

  /**
   * Alignment comes first (DDI 0487, B2.5.2 and AArch64.CheckAlignment). What SCTLR_EL1.A demands is in `a.align` too:
   * the vCPU then decodes in strict mode (`isa/strict.ts`).
   */
  check(a: AccessInfo): number {
    this.#whole = a.size;
    if (a.kind === Access.Exec) return 0;
    if (a.align > 1 && a.lo & (a.align - 1)) return this.#stage1(a, FSC.Alignment);
    return 0;
  }

  resolve(a: AccessInfo, out: Resolution): number {
    const kind = a.kind;
    const need = kind === Access.Exec ? EXEC : kind === Access.Read ? READ : WRITE;
    if (!this.translate(a, need)) return Resolved.Fault;
    const { pa, attributes } = this.#hit;
    const device = (attributes & PAGE.Device) !== 0 && kind !== Access.Exec;
    if (device && !this.#deviceAllows(a)) return this.#stage1(a, FSC.Alignment);
    const gfn = Math.floor(pa / 4096);
    const write = need === WRITE;
    if (this.#p.tables.any && this.#badTable(a, gfn, pa)) return Resolved.Fault;
    const frame = kind === Access.Exec ? this.#stage2.lookupExec(gfn) : this.#stage2.lookup(gfn, write);
    if (frame >= 0) {
      out.frame = frame;
      out.cache = !this.#tagged && (!device || this.strict) && this.#p.cacheable(frame, write);
      return Resolved.Ram;
    }
    if (frame === Miss.Poison) return this.#poisoned(a, gfn, pa, write, out);
    this.#record(a, frame === Miss.NoMemory ? Cause.NoMemory : Cause.Stage2, pa, false);
    if (frame !== Miss.None || kind === Access.Exec || kind === Access.ReadWrite) return Resolved.Fault;
    if (this.#stage2.slots.find(gfn) !== undefined || a.cls & AccessClass.NoIsv) return Resolved.Fault;
    // part of an access that crosses pages: KVM makes one MMIO of the whole, by the syndrome
    if (a.size !== this.#whole || pa >= this.#ipaLimit) return Resolved.Fault;
    // no memslot: a device by definition, and the syndrome is valid
    out.gpa = pa;
    out.cache = !this.#tagged;
    return Resolved.Device;
  }

  /**
   * Stage 1 of the access: `false` and a record when it faults. The result is in {@link hit}.
   * @param need READ, WRITE or EXEC of `memory/attributes.ts`
   */
  translate(a: AccessInfo, need: number): boolean {
    const s = this.#s;
    const sctlr = s.lo(SR.SCTLR_EL1);
    const hit = this.#hit;
    const { lo, hi } = a;
    this.#tagged = false;
    if ((sctlr & 1) === 0) {
      const r = this.#result;
      if (flat(this.#p.model.paBits, lo, hi, need === EXEC, r) === WalkEnd.Fault) {
        this.#stage1(a, r.fsc);
        return false;
      }
      hit.pa = r.pa;
      hit.attributes = r.attributes;
      return true;
    }
    const sign = (hi << 8) >> 31;
    let top = hi;
    if (hi >> 24 !== sign) {
      if (!topByteIgnored(s, hi)) {
        this.#stage1(a, FSC.Translation);
        return false;
      }
      if (need === EXEC) {
        this.#record(a, Cause.TaggedPc, 0, false);
        return false;
      }
      this.#tagged = true;
      top = (hi & 0x00ff_ffff) | (sign << 24);
    }
    const asid = this.asid();
    const el0 = this.#asEl0(a.ctx);
    if (!this.#p.tlb.find(lo, top, asid, need === EXEC, hit)) {
      const r = this.#result;
      const end = walk(s, this.#p.model.paBits, lo, top, this, r);
      if (end !== WalkEnd.Done) {
        if (end === WalkEnd.Fault) this.#stage1(a, r.fsc);
        else {
          this.#record(a, end === WalkEnd.Stage2 ? Cause.Stage2 : Cause.External, r.table, true);
          this.#walkEnded(r);
        }
        return false;
      }
      this.#p.tlb.add(lo, top, asid, need === EXEC, r.pa, r.attributes);
      hit.pa = r.pa;
      hit.attributes = r.attributes;
    }
    // PAN does not govern cache maintenance other than DC ZVA (DDI 0487, D5.4.6)
    const pan = !el0 && (s.ps & PS.PAN) !== 0 && (a.cls & AccessClass.Cm) === 0;
    if (permitted(hit.attributes, need, el0, (sctlr & (1 << 19)) !== 0, pan && need !== EXEC)) return true;
    this.#stage1(a, FSC.Permission + leafLevel(hit.attributes));
    return false;
  }
  /** Result of the last {@link translate}. */
  get hit(): Readonly<TlbHit> {
    return this.#hit;
  }

  /** Whether an access of this context is made with EL0's permissions. */
  #asEl0(ctx: number): boolean {
    if (ctx === CONTEXT_EL0) return true;
    if (ctx !== CONTEXT_UNPRIVILEGED) return false;
    return this.#s.el === 0 || (this.#s.ps & PS.UAO) === 0;
  }
  /** Current ASID (TCR_EL1.A1 and AS). */
  asid(): number {
    const s = this.#s;
    const from = s.lo(SR.TCR_EL1) & (1 << 22) ? SR.TTBR1_EL1 : SR.TTBR0_EL1;
    return (s.hi(from) >>> 16) & (s.hi(SR.TCR_EL1) & (1 << 4) ? 0xffff : 0xff);
  }

  /**
   * Device memory wants aligned elements; exclusives and DC ZVA have no business there. An access that crosses pages comes
   * in two parts: it is not aligned as a whole, and its second part begins where the page does.
   */
  #deviceAllows(a: AccessInfo): boolean {
    if (a.cls & AccessClass.Zva) return false;
    const { size, lo } = a;
    const part = size !== this.#whole;
    const natural = size & (size - 1) ? 1 : size;
    if (!part && (lo & (natural - 1)) === 0) return true;
    const start = part && (lo & 0xfff) === 0 ? lo - (this.#whole - size) : lo;
    return (start & (this.#p.elementAlign() - 1)) === 0;
  }

  /** Reads a descriptor for a walk. */
  readTable(gpa: number, out: Pair): 0 | 1 | 2 {
    const gfn = Math.floor(gpa / 4096);
    if (this.#p.tables.any && this.#p.tables.find(gfn) && this.#delivery[WALK] !== 0)
      return TableRead.External;
    let frame = this.#stage2.lookup(gfn, false);
    if (frame < 0) {
      if (frame !== Miss.Poison) return TableRead.Stage2;
      if (this.#delivery[WALK] !== 0) return TableRead.External;
      frame = this.#stage2.frameOf(gfn) * 4096;
    }
    const i = (frame + (gpa % 4096)) >>> 2;
    out.lo = this.#i32[i] as number;
    out.hi = this.#i32[i + 1] as number;
    return TableRead.Ok;
  }

  /** A stage 2 walk for the access itself meets a damaged table. */
  #badTable(a: AccessInfo, gfn: number, pa: number): boolean {
    const bad = this.#p.tables.find(gfn);
    if (!bad || this.#delivery[WALK] === 0) return false;
    this.#record(a, Cause.External, pa, true);
    this.#stage2Walk(bad.level, bad.s1ptw);
    return true;
  }
  #stage2Walk(level: number, s1ptw: boolean): void {
    const f = this.fault;
    f.stage = 2;
    f.s1ptw = s1ptw;
    f.level = level;
    f.delivery = this.#delivery[WALK] as number;
  }

  #poisoned(a: AccessInfo, gfn: number, pa: number, write: boolean, out: Resolution): number {
    const how = this.#delivery[classOf(a)] as number;
    if (how === 0 || this.spared === this.#s.pcLo) {
      const frame = this.#stage2.lookup(gfn, write, true);
      if (frame >= 0) {
        this.spared = -1;
        out.frame = frame;
        out.cache = false;
        return Resolved.Ram;
      }
      this.#record(a, frame === Miss.NoMemory ? Cause.NoMemory : Cause.Stage2, pa, false);
      return Resolved.Fault;
    }
    this.#record(a, Cause.External, pa, false);
    this.fault.delivery = how;
    return Resolved.Fault;
  }

  /** Whether the faulting access could have read there: then it was the write that failed. */
  readable(f: AccessFault): boolean {
    const el0 = this.#asEl0(f.ctx);
    const pan = !el0 && (this.#s.ps & PS.PAN) !== 0;
    return permitted(this.#hit.attributes, READ, el0, false, pan);
  }
  /** Records a walk that could not read a descriptor, made by an instruction of its own (AT). */
  recordWalk(lo: number, hi: number, ctx: number, r: WalkResult, external: boolean): void {
    const f = this.fault;
    f.cause = external ? Cause.External : Cause.Stage2;
    f.lo = lo;
    f.hi = hi;
    f.size = 1;
    f.kind = Access.Read;
    f.ctx = ctx;
    f.cls = AccessClass.NoIsv | AccessClass.Cm;
    f.gpa = r.table;
    f.walk = true;
    f.stage = 1;
    f.s1ptw = false;
    this.#walkEnded(r);
  }
  /** Level and reporting of a walk that ended at `r.table`. */
  #walkEnded(r: WalkResult): void {
    const f = this.fault;
    f.level = r.level;
    f.delivery = this.#delivery[WALK] as number;
    const bad = this.#p.tables.any ? this.#p.tables.find(Math.floor(r.table / 4096)) : undefined;
    if (bad) this.#stage2Walk(bad.level, bad.s1ptw);
  }

  /** The instruction word at an address as a fetch would find it; 0 when it cannot be read. Changes nothing. */
  fetchWord(lo: number, hi: number): number {
    const s = this.#s;
    const r = this.#result;
    let pa: number;
    if ((s.lo(SR.SCTLR_EL1) & 1) === 0) {
      if (flat(this.#p.model.paBits, lo, hi, true, r) !== WalkEnd.Done) return 0;
      pa = r.pa;
    } else if (this.#p.tlb.find(lo, hi, this.asid(), true, this.#fetchHit)) pa = this.#fetchHit.pa;
    else {
      if (walk(s, this.#p.model.paBits, lo, hi, this, r) !== WalkEnd.Done) return 0;
      pa = r.pa;
    }
    const frame = this.#stage2.lookup(Math.floor(pa / 4096), false, true);
    return frame < 0 ? 0 : (this.#i32[(frame + (pa % 4096)) >>> 2] as number);
  }

  #record(a: AccessInfo, cause: number, gpa: number, onWalk: boolean): void {
    const f = this.fault;
    f.cause = cause;
    f.lo = a.lo;
    f.hi = a.hi;
    f.size = a.size;
    f.kind = a.kind;
    f.ctx = a.ctx;
    f.cls = a.cls;
    f.gpa = gpa;
    f.walk = onWalk;
    f.stage = 1;
    f.s1ptw = false;
  }
  #stage1(a: AccessInfo, fsc: number): -1 {
    this.#record(a, Cause.Stage1, 0, false);
    this.fault.fsc = fsc;
    return Resolved.Fault;
  }

  deviceLoad(gpa: number, size: number, a: AccessInfo, value: Pair): number {
    if (this.#p.bus.load(gpa, size, this.#p.vcpu, value)) return 0;
    const d = this.#p.device;
    d.gpa = gpa;
    d.size = size;
    d.write = false;
    this.#record(a, Cause.Device, gpa, false);
    return -1;
  }
  deviceStore(gpa: number, size: number, a: AccessInfo, lo: number, hi: number): number {
    if (this.#p.bus.store(gpa, size, this.#p.vcpu, lo, hi)) return 0;
    const d = this.#p.device;
    d.gpa = gpa;
    d.size = size;
    d.write = true;
    d.lo = lo;
    d.hi = hi;
    this.#record(a, Cause.Device, gpa, false);
    return -1;
  }
}

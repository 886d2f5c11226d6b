/** A port over real host memory, memslots and stage 2, with registers in an array: no engine, no vCPU. */
import {
  AddressSpace,
  drive,
  HostMemory,
  KernelBus,
  MemFlag,
  Memslots,
  PAGE_SIZE,
  Stage2,
} from '@faultyard/core';
import { Access, type AccessInfo, type AccessKind, type Resolution, Resolved } from '@faultyard/engine';
import { FL } from '../../src/isa/flags.ts';
import { CTX_SUPERVISOR, Seg } from '../../src/isa/layout.ts';
import { type AccessFault, Cause, POISON_RULES, type PoisonRules } from '../../src/memory/access-fault.ts';
import { X86LinearMemory } from '../../src/memory/linear-memory.ts';
import { X86Port } from '../../src/memory/port.ts';
import { Tlb } from '../../src/memory/tlb.ts';
import { Attr, CR0, CR4, EFER, SR, X86State } from '../../src/state.ts';

/** Host memory that all tests of a file share. */
export const host: HostMemory = new HostMemory({ bytes: 256 * 2 ** 20 });
/** RAM is gpa 0 to here; a hole follows. */
export const RAM = 4 * 2 ** 20;
/** Where {@link BareMemory.map} keeps its tables. */
const TABLES = 0x10_0000;

/** Options of {@link BareMemory}. */
export interface BareOptions {
  readonly poison?: PoisonRules;
  readonly walksWrite?: boolean;
  readonly lengthAt?: (at: number, avail: number) => number;
  readonly vendor?: 'AMD' | 'Intel';
}

/** Outcome of one access: where it leads, and whether the engine may remember it. */
export interface Found {
  readonly gpa: number;
  readonly cache: boolean;
  readonly device: boolean;
}

/** Memory of a guest that is in 64-bit mode at CPL 0 with paging on, until a test changes it. */
export class BareMemory {
  readonly space: AddressSpace = new AddressSpace(host);
  readonly slots: Memslots = new Memslots(this.space, {
    ids: 32764,
    addressSpaces: 2,
    gpaLimit: 2 ** 48,
    beyondLimit: 'EINVAL',
    refusesDirtyPfnmap: false,
  });
  readonly stage2: Stage2 = new Stage2(this.space, this.slots, {
    invalidSlot: 'retry',
    vmaFirst: false,
    execDevice: 'allow',
  });
  readonly bus: KernelBus = new KernelBus();
  readonly tlb: Tlb = new Tlb();
  readonly device = { gpa: 0, port: false, count: 1, size: 0, write: false, lo: 0, hi: 0 };
  readonly port: X86Port;
  readonly state: X86State;
  readonly memory: X86LinearMemory;
  readonly out: Resolution = { frame: 0, cache: false, gpa: 0 };
  #table = TABLES;
  #gpas = new Map<number, number>();

  constructor(o: BareOptions = {}) {
    const hva = this.space.map({ size: RAM });
    drive(this.slots.set({ slot: 0, gpa: 0, size: RAM, hva }));
    this.port = new X86Port({
      model: { physicalBits: 48, vendor: o.vendor ?? 'AMD', features: new Set(['pdpe1gb']) },
      tlb: this.tlb,
      stage2: this.stage2,
      bus: this.bus,
      host,
      vcpu: 0,
      device: this.device,
      poison: o.poison ?? POISON_RULES,
      walksWrite: o.walksWrite ?? true,
      lengthAt: o.lengthAt ?? (() => 0),
    });
    const places = {
      pcAddr: 0,
      regAddr: () => 128,
      stateAddr: (n: string) => 16 + 16 * ['fr', 'fa', 'fl', 'csb', 'csl'].indexOf(n),
    };
    this.state = new X86State(places, new Int32Array(512));
    this.port.attach(this.state);
    this.memory = new X86LinearMemory(this.port, this.state, host);
    const s = this.state;
    s.setSys(SR.CR0, CR0.PG | CR0.PE | CR0.WP, 0);
    s.setSys(SR.CR4, CR4.PAE | CR4.PGE, 0);
    s.setSys(SR.EFER, EFER.LME | EFER.LMA | EFER.NXE | EFER.SCE, 0);
    s.setSys(SR.CR3, this.#page(), 0);
    s.segment(Seg.CS).attr = Attr.P | Attr.S | Attr.Code | Attr.Readable | Attr.L;
    s.segment(Seg.CS).limit = -1;
  }

  #page(): number {
    this.#table += PAGE_SIZE;
    return this.#table;
  }

  /** Host address of a gpa, mapped by stage 2 if need be. */
  at(gpa: number): number {
    const gfn = Math.floor(gpa / PAGE_SIZE);
    if (this.stage2.lookup(gfn, true, true) < 0) this.fault(gpa, true);
    const frame = this.stage2.lookup(gfn, true, true);
    if (frame < 0) throw new Error(`0x${gpa.toString(16)} is not memory: ${frame}`);
    return frame + (gpa % PAGE_SIZE);
  }
  peek(gpa: number): bigint {
    return host.dv.getBigUint64(this.at(gpa), true);
  }
  poke(gpa: number, value: bigint): void {
    host.dv.setBigUint64(this.at(gpa), BigInt.asUintN(64, value), true);
  }
  /** KVM's part: serves a stage 2 fault. */
  fault(gpa: number, write: boolean): string {
    return drive(this.stage2.fault({ gpa, write, exec: false, origin: 'hardware' })).kind;
  }

  /** Where the entry of a linear address at `level` lies (4 levels), tables made on the way. */
  entry(va: bigint, level: number = 1): number {
    let table = this.state.sysLo(SR.CR3) & -4096;
    for (let l = 4; ; l--) {
      const at = table + Number((va >> BigInt(3 + 9 * l)) & 511n) * 8;
      if (l === level) return at;
      if ((this.peek(at) & 1n) === 0n) this.poke(at, BigInt(this.#page()) | 7n);
      table = Number(this.peek(at) & 0xf_ffff_f000n);
    }
  }
  /** Maps one page: `bits` with P; the frame is a gpa. */
  map(va: bigint, gpa: number, bits: bigint = 7n): void {
    this.poke(this.entry(va), BigInt(gpa) | bits);
    this.#gpas.set(gpa, gpa);
  }

  /** One access, as the engine would make it: stage 2 misses are served, and the access made again. */
  access(va: bigint, kind: AccessKind = Access.Read, o: Partial<AccessInfo> = {}): Found | AccessFault {
    for (let n = 0; n < 12; n++) {
      const r = this.once(va, kind, o);
      if (!('cause' in r) || r.cause !== Cause.Stage2 || this.fault(r.gpa, r.write) !== 'mapped') return r;
    }
    throw new Error('the access never comes to an end');
  }
  /** One access without KVM's help. */
  once(va: bigint, kind: AccessKind = Access.Read, o: Partial<AccessInfo> = {}): Found | AccessFault {
    const a = this.info(va, kind, o);
    const { out, port } = this;
    if (port.check(a) !== 0) return { ...port.fault };
    out.cache = false;
    const r = port.resolve(a, out);
    if (r === Resolved.Fault) return { ...port.fault };
    if (r === Resolved.Device) return { gpa: out.gpa, cache: out.cache, device: true };
    return { gpa: this.#gpaOf(out.frame) + (a.lo & 0xfff), cache: out.cache, device: false };
  }
  info(va: bigint, kind: AccessKind, o: Partial<AccessInfo> = {}): AccessInfo {
    const lo = Number(BigInt.asIntN(32, va));
    const hi = Number(BigInt.asIntN(32, va >> 32n));
    return { lo, hi, size: 1, kind, ctx: CTX_SUPERVISOR, cls: 0, ordinal: 0, align: 1, ...o };
  }
  #gpaOf(frame: number): number {
    for (let gfn = 0; gfn < RAM / PAGE_SIZE; gfn++)
      if (this.stage2.frameOf(gfn) * PAGE_SIZE === frame) return gfn * PAGE_SIZE;
    throw new Error('no such frame');
  }

  /** Sets or clears bits. */
  cr0(bits: number, on: boolean = true): void {
    this.state.setSys(SR.CR0, on ? this.state.cr0 | bits : this.state.cr0 & ~bits, 0);
  }
  cr4(bits: number, on: boolean = true): void {
    this.state.setSys(SR.CR4, on ? this.state.cr4 | bits : this.state.cr4 & ~bits, 0);
  }
  ac(on: boolean): void {
    this.state.other = on ? this.state.other | FL.AC : this.state.other & ~FL.AC;
  }
  /** Legacy protected or real mode: a code segment of these bounds, no paging. */
  legacy(base: number, limit: number, protectedMode: boolean = true): void {
    const s = this.state;
    s.setSys(SR.CR0, protectedMode ? CR0.PE : 0, 0);
    s.setSys(SR.EFER, 0, 0);
    s.setSys(SR.CR4, 0, 0);
    const cs = s.segment(Seg.CS);
    cs.attr = Attr.P | Attr.S | Attr.Code | Attr.Readable | (protectedMode ? Attr.DB : 0);
    cs.baseLo = base;
    cs.limit = limit | 0;
  }
}
export { Cause, MemFlag };

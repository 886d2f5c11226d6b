/**
 * A vCPU without engine and paging, for tests of events: 1 MiB of flat memory in which pages can be missing (stage 2) or
 * not present (the guest's own #PF), and an instruction decoder at pc.
 */
import { Decoder, DecoderOptions, Instruction } from 'iced-x86';
import { Events } from '../../src/events/events.ts';
import type { EventRules } from '../../src/events/points.ts';
import { FL } from '../../src/isa/flags.ts';
import { R, Seg, type SegNumber } from '../../src/isa/layout.ts';
import type { Machine } from '../../src/machine.ts';
import type { Transaction } from '../../src/memory/linear.ts';
import { Next, type NextStep } from '../../src/next.ts';
import type { Work } from '../../src/points.ts';
import { CR0, EFER, SR, X86State } from '../../src/state.ts';

const SIZE = 1 << 20;

/** Options of {@link fakeMachine}. */
export interface FakeOptions {
  readonly vendor?: 'AMD' | 'Intel';
  readonly rules?: readonly EventRules[];
}

/** The fake. Addresses are linear and physical at once, below 1 MiB. */
export class FakeMachine {
  readonly ram: DataView = new DataView(new ArrayBuffer(SIZE));
  readonly bytes: Uint8Array = new Uint8Array(this.ram.buffer);
  /** Page numbers that stage 2 does not map. */
  readonly missing: Set<number> = new Set();
  /** Page numbers without a page table entry. */
  readonly absent: Set<number> = new Set();
  readonly id = 0;
  readonly model: Machine['model'];
  readonly state: X86State;
  readonly events: Events;
  readonly memory: Machine['memory'];
  readonly cpuid: { has(f: string): boolean };
  readonly features: Set<string> = new Set(['lm', 'vme']);
  /** How often things were asked for. */
  readonly asked: { modes: number; attention: number; resets: number; smm: number } = {
    modes: 0,
    attention: 0,
    resets: 0,
    smm: 0,
  };
  /** What an intercept would answer; undefined: nobody intercepts. */
  intercepts: (what: string) => NextStep | undefined = () => undefined;
  work: Work | undefined;
  /** The fault of the last failed transaction: 0 stage 2, else the guest's #PF error code. */
  #failure: { readonly stage2: boolean; readonly at: number; readonly code: number } | undefined;

  constructor(o: FakeOptions = {}) {
    const i32 = new Int32Array(256);
    const at: Readonly<Record<string, number>> = { fr: 800, fa: 808, fl: 812, csb: 816, csl: 824 };
    const cpu = {
      regAddr: (_file: string, n: number) => 8 * n,
      stateAddr: (name: string) => at[name] as number,
      pcAddr: 832,
    };
    this.state = new X86State(cpu as unknown as Machine['cpu'], i32);
    this.model = {
      name: 'fake',
      vendor: o.vendor ?? 'AMD',
      features: this.features,
      physicalBits: 48,
      linearBits: 48,
      tscKhz: 1_000_000,
      cpuid: [],
    };
    this.cpuid = { has: (f) => this.features.has(f) };
    this.memory = { begin: (ctx?: number) => new FakeTransaction(this, ctx ?? 0) as unknown as Transaction };
    this.events = new Events(this as unknown as Machine, o.rules ?? []);
  }

  fail(at: number, write: boolean, ctx: number): 'ok' | 'failed' {
    const page = at >>> 12;
    if (at >= 0 && at < SIZE && !this.missing.has(page) && !this.absent.has(page)) return 'ok';
    const stage2 = at < 0 || at >= SIZE || this.missing.has(page);
    this.#failure = { stage2, at, code: (write ? 2 : 0) | (ctx === 1 ? 4 : 0) };
    return 'failed';
  }
  faulted(): NextStep {
    const f = this.#failure;
    if (!f || f.stage2) return Next.Handle;
    return this.events.pageFault(f.at, 0, f.code);
  }
  raise(vector: number, errorCode?: number): NextStep {
    return this.events.raise(vector, errorCode);
  }
  intercepted(what: string): NextStep | undefined {
    return this.intercepts(what);
  }
  later(work: Work): NextStep {
    this.work = work;
    return Next.Handle;
  }
  modeChanged(): void {
    this.asked.modes++;
    this.state.segmentsChanged();
    this.events.debug.follow();
  }
  translationChanged(): void {}
  attend(): void {
    this.asked.attention++;
  }
  reset(_init: boolean): void {
    this.asked.resets++;
    this.events.reset();
  }
  smmChanged(): void {
    this.asked.smm++;
  }
  readonly tlb = { dropAll: (): void => {}, dropNonGlobal: (): void => {} };
  readonly vm = { ask: () => () => [] };

  /** Decodes at pc. */
  instruction(): Instruction {
    const s = this.state;
    const at = s.pcLo >>> 0;
    const d = new Decoder(s.code * 8, this.bytes.slice(at, at + 15), DecoderOptions.None);
    const i = new Instruction();
    d.decodeOut(i);
    return i;
  }

  // ---- setting up ----------------------------------------------------------------------------------------------
  u16(at: number): number {
    return this.ram.getUint16(at, true);
  }
  u32(at: number): number {
    return this.ram.getUint32(at, true);
  }
  u64(at: number): bigint {
    return this.ram.getBigUint64(at, true);
  }
  put32(at: number, lo: number, hi?: number): void {
    this.ram.setInt32(at, lo | 0, true);
    if (hi !== undefined) this.ram.setInt32(at + 4, hi | 0, true);
  }
  put(at: number, ...bytes: readonly number[]): void {
    this.bytes.set(bytes, at);
  }
  segment(n: SegNumber, selector: number, attr: number, base: number, limit: number): void {
    Object.assign(this.state.segment(n), { selector, attr, baseLo: base, baseHi: 0, limit: limit | 0 });
  }
  get sp(): number {
    return this.state.lo(R.RSP);
  }
  set sp(v: number) {
    this.state.set(R.RSP, v, 0);
  }
}

class FakeTransaction {
  failed = false;
  hi = 0;
  readonly #m: FakeMachine;
  ctx: number;
  readonly #writes: { readonly at: number; readonly bytes: Uint8Array }[] = [];
  constructor(m: FakeMachine, ctx: number) {
    this.#m = m;
    this.ctx = ctx;
  }
  get hostFault(): boolean {
    return this.failed;
  }
  #touch(at: number, size: number, write: boolean): boolean {
    if (this.failed) return false;
    for (const a of [at, at + size - 1])
      if (this.#m.fail(a, write, this.ctx) === 'failed') this.failed = true;
    return !this.failed;
  }
  read(lo: number, hi: number, size: number): number {
    const at = (hi >>> 0) * 2 ** 32 + (lo >>> 0);
    this.hi = 0;
    if (!this.#touch(at, size, false)) return 0;
    const b = this.#m.bytes.slice(at, at + 8);
    for (const w of this.#writes)
      for (const [i, x] of w.bytes.entries()) if (w.at + i >= at && w.at + i < at + 8) b[w.at + i - at] = x;
    const v = new DataView(b.buffer);
    if (size === 8) this.hi = v.getInt32(4, true);
    return size === 1 ? v.getUint8(0) : size === 2 ? v.getUint16(0, true) : v.getInt32(0, true);
  }
  write(lo: number, hi: number, size: number, vLo: number, vHi = 0): void {
    const at = (hi >>> 0) * 2 ** 32 + (lo >>> 0);
    if (!this.#touch(at, size, true)) return;
    const b = new Uint8Array(8);
    new DataView(b.buffer).setInt32(0, vLo | 0, true);
    new DataView(b.buffer).setInt32(4, vHi | 0, true);
    this.#writes.push({ at, bytes: b.slice(0, size) });
  }
  readBytes(lo: number, _hi: number, to: Uint8Array): void {
    if (this.#touch(lo >>> 0, to.length, false))
      to.set(this.#m.bytes.subarray(lo >>> 0, (lo >>> 0) + to.length));
  }
  writeBytes(lo: number, _hi: number, from: Uint8Array): void {
    if (this.#touch(lo >>> 0, from.length, true)) this.#writes.push({ at: lo >>> 0, bytes: from.slice() });
  }
  readPhysical(pa: number): number {
    return this.read(pa | 0, 0, 8);
  }
  commit(): void {
    for (const w of this.#writes) this.#m.bytes.set(w.bytes, w.at);
  }
}

// ---- machines in a mode --------------------------------------------------------------------------------------------

/** Where things lie in the machines below. */
export const AT = {
  gdt: 0x1000,
  idt: 0x2000,
  tss: 0x3000,
  ldt: 0x3800,
  code: 0x8000,
  stack0: 0x7000,
  stack3: 0x6000,
  handler: 0x9000,
} as const;
/** Selectors of {@link protectedMachine} and {@link longMachine}. */
export const SEL = {
  code0: 0x08,
  data0: 0x10,
  code3: 0x1b,
  data3: 0x23,
  tss: 0x28,
  conforming: 0x38,
  absent: 0x40,
  data0ro: 0x48,
  code32: 0x50,
  code1: 0x59,
  data1: 0x61,
} as const;

const gdtEntry = (m: FakeMachine, selector: number, access: number, flags: number): void => {
  // base 0, limit 4 GiB - 1
  m.put32(AT.gdt + (selector & ~7), 0x0000_ffff, 0x000f_0000 | (access << 8) | (flags << 20));
};

/** The machine, in real mode: CS = 0800h, IVT at 0. */
export function realMachine(o: FakeOptions = {}): FakeMachine {
  const m = new FakeMachine(o);
  for (const n of [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const) m.segment(n, 0, 0x93, 0, 0xffff);
  m.segment(Seg.CS, 0x800, 0x9b, AT.code, 0xffff);
  m.state.setSys(SR.IDTR_LIMIT, 0x3ff, 0);
  m.state.flags = FL.One;
  m.state.setIp(0, 0);
  m.sp = AT.stack0;
  m.modeChanged();
  return m;
}

function tables(m: FakeMachine, long: boolean): void {
  const code = long ? 0xa : 0xc;
  gdtEntry(m, SEL.code0, 0x9b, code);
  gdtEntry(m, SEL.data0, 0x93, 0xc);
  gdtEntry(m, SEL.code3, 0xfb, code);
  gdtEntry(m, SEL.data3, 0xf3, 0xc);
  gdtEntry(m, SEL.conforming, 0x9f, code);
  gdtEntry(m, SEL.absent, 0x1b, code);
  gdtEntry(m, SEL.data0ro, 0x91, 0xc);
  gdtEntry(m, SEL.code32, 0x9b, 0xc);
  gdtEntry(m, SEL.code1, 0xbb, code);
  gdtEntry(m, SEL.data1, 0xb3, 0xc);
  const s = m.state;
  s.setSys(SR.GDTR_BASE, AT.gdt, 0);
  s.setSys(SR.GDTR_LIMIT, 0x7f, 0);
  s.setSys(SR.IDTR_BASE, AT.idt, 0);
  s.setSys(SR.IDTR_LIMIT, 0xfff, 0);
  s.setSys(SR.CR0, CR0.PE | CR0.ET, 0);
  s.setSys(SR.DR6, 0xffff_0ff0 | 0, 0);
  s.setSys(SR.DR7, 0x400, 0);
}

/** Puts the machine at a privilege level, its code and stack with it. */
export function atLevel(m: FakeMachine, cpl: 0 | 3): void {
  const long = m.state.lma;
  m.segment(Seg.CS, cpl ? SEL.code3 : SEL.code0, (cpl ? 0xfb : 0x9b) | (long ? 0xa00 : 0xc00), 0, -1);
  const data = cpl ? SEL.data3 : SEL.data0;
  for (const n of [Seg.SS, Seg.DS, Seg.ES, Seg.FS, Seg.GS] as const)
    m.segment(n, data, (cpl ? 0xf3 : 0x93) | 0xc00, 0, -1);
  m.state.cpl = cpl;
  m.sp = cpl ? AT.stack3 : AT.stack0;
  m.state.setIp(AT.code, 0);
  m.modeChanged();
}

/** The machine in flat 32-bit protected mode at CPL 0. */
export function protectedMachine(o: FakeOptions = {}): FakeMachine {
  const m = new FakeMachine(o);
  m.state.flags = FL.One;
  tables(m, false);
  m.segment(Seg.TR, SEL.tss, 0x8b, AT.tss, 0x67);
  m.put32(AT.tss + 4, AT.stack0, SEL.data0);
  m.put32(AT.tss + 12, AT.stack0 - 0x800, SEL.data1);
  atLevel(m, 0);
  return m;
}

/** The machine in 64-bit mode at CPL 0. */
export function longMachine(o: FakeOptions = {}): FakeMachine {
  const m = new FakeMachine(o);
  m.state.flags = FL.One;
  tables(m, true);
  m.state.setSys(SR.CR0, CR0.PE | CR0.ET | CR0.PG, 0);
  m.state.setSys(SR.CR4, 0x20, 0);
  m.state.setSys(SR.EFER, EFER.LME | EFER.LMA, 0);
  m.segment(Seg.TR, SEL.tss, 0x8b, AT.tss, 0x67);
  m.put32(AT.tss + 4, AT.stack0, 0);
  atLevel(m, 0);
  return m;
}

/** Types of gates. */
export const GATE = { task: 5, int16: 6, trap16: 7, int: 14, trap: 15 } as const;

/** What a gate is made of besides its vector. */
export interface GateOptions {
  readonly type?: number;
  readonly dpl?: number;
  readonly present?: boolean;
  readonly selector?: number;
  readonly offset?: number;
  readonly offsetHi?: number;
  readonly ist?: number;
}

/** Writes an IDT entry; default: a present interrupt gate of DPL 0 to code0:handler + 16 * vector. */
export function gate(m: FakeMachine, vector: number, g: GateOptions = {}): void {
  const long = m.state.lma;
  const at = AT.idt + vector * (long ? 16 : 8);
  const offset = g.offset ?? AT.handler + 16 * vector;
  const access = ((g.present ?? true) ? 0x80 : 0) | ((g.dpl ?? 0) << 5) | (g.type ?? GATE.int);
  m.put32(
    at,
    (offset & 0xffff) | ((g.selector ?? SEL.code0) << 16),
    (offset & ~0xffff) | (access << 8) | (g.ist ?? 0),
  );
  if (long) m.put32(at + 8, g.offsetHi ?? 0, 0);
}

/** Writes an IDT full of default gates. */
export function gates(m: FakeMachine): void {
  for (let v = 0; v < 256; v++) gate(m, v);
}

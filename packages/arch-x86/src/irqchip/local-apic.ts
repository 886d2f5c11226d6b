/**
 * The local APIC that KVM keeps for a vCPU: xAPIC and x2APIC, timer, ICR, LVT (AMD64 APM volume 2, chapter 16; Intel SDM
 * volume 3A, chapter 11; arch/x86/kvm/lapic.c). Registers lie as in `struct kvm_lapic_state`.
 */
import type { Plain } from '@faultyard/core';
import type { Pair } from '../state.ts';

/** Register offsets in bytes (APM volume 2, table 16-2). */
export const Apic = {
  Id: 0x20,
  Version: 0x30,
  Tpr: 0x80,
  Apr: 0x90,
  Ppr: 0xa0,
  Eoi: 0xb0,
  Ldr: 0xd0,
  Dfr: 0xe0,
  Spiv: 0xf0,
  Isr: 0x100,
  Tmr: 0x180,
  Irr: 0x200,
  Esr: 0x280,
  LvtCmci: 0x2f0,
  Icr: 0x300,
  Icr2: 0x310,
  LvtTimer: 0x320,
  LvtThermal: 0x330,
  LvtPerf: 0x340,
  LvtLint0: 0x350,
  LvtLint1: 0x360,
  LvtError: 0x370,
  InitialCount: 0x380,
  CurrentCount: 0x390,
  Divide: 0x3e0,
  SelfIpi: 0x3f0,
} as const;
/** Bytes of the register page (struct kvm_lapic_state). */
export const APIC_BYTES = 0x400;
/** Where KVM keeps it: relocation by APIC_BASE is not modelled, as KVM itself does not support it. */
export const APIC_GPA = 0xfee0_0000;

/** Bits of APIC_BASE. */
export const ApicBase = { Bsp: 0x100, X2: 0x400, Enable: 0x800 } as const;

/** Delivery modes, bits 10:8 of LVT entries and ICR. */
export const Delivery = {
  Fixed: 0,
  Lowest: 1,
  Smi: 2,
  Remote: 3,
  Nmi: 4,
  Init: 5,
  Startup: 6,
  ExtInt: 7,
} as const;

const MASKED = 0x1_0000;
const LEVEL = 0x8000;
/** Delivery status, mask, vector: what every LVT entry has. */
const LVT = 0x1_10ff;
const MODE = 0x700;
/** LINT entries: polarity, remote IRR, trigger mode. */
const LINT = LVT | MODE | 0xe000;
/** Timer modes 1 (periodic) and 2 (TSC deadline). */
const TIMER_MODES = 0x6_0000;
const LVT_MASKS: ReadonlyMap<number, number> = new Map([
  [Apic.LvtTimer, LVT | TIMER_MODES],
  [Apic.LvtThermal, LVT | MODE],
  [Apic.LvtPerf, LVT | MODE],
  [Apic.LvtLint0, LINT],
  [Apic.LvtLint1, LINT],
  [Apic.LvtError, LVT],
  [Apic.LvtCmci, LVT | MODE],
]);
/** KVM's shortest period of a periodic timer: min_timer_period_us, in nanoseconds. */
const SHORTEST_PERIOD = 200_000;
/** Bits of ESR. */
const ESR_ILLEGAL_SENT = 0x20;
const ESR_ILLEGAL_RECEIVED = 0x40;

/** An interrupt on the APIC bus. */
export interface ApicMessage {
  readonly vector: number;
  /** One of {@link Delivery}. */
  readonly mode: number;
  readonly level: boolean;
  readonly assert: boolean;
}
/** Whom a message is for. */
export interface Destination {
  readonly id: number;
  readonly logical: boolean;
  /** The sender is in x2APIC mode, or the message is not from an APIC with 8-bit ids: all 32 bits count. */
  readonly wide: boolean;
  /** ICR bits 19:18: 0 by `id`, 1 self, 2 all, 3 all but self. */
  readonly shorthand: number;
}

/** What the APIC needs of its vCPU and of the other APICs. */
export interface ApicPlace {
  readonly id: number;
  /** APIC_BASE, low half. */
  readonly base: () => number;
  /** Virtual time in nanoseconds. */
  readonly now: () => number;
  /** Nanoseconds until the guest's TSC reaches a value; not positive: it has. */
  readonly untilTsc: (lo: number, hi: number) => number;
  /** Something changed that the vCPU must look at. */
  readonly attend: () => void;
  readonly nmi: () => void;
  readonly smi: () => void;
  readonly init: () => void;
  readonly startup: (vector: number) => void;
  /** Sends to other APICs (and back); how many took it. */
  readonly send: (from: LocalApic, m: ApicMessage, to: Destination) => number;
  /** A level-triggered interrupt ended: I/O APICs want to know. */
  readonly ended: (vector: number) => void;
}

/** A local APIC. */
export class LocalApic {
  readonly #p: ApicPlace;
  readonly #regs: Int32Array = new Int32Array(APIC_BYTES / 16);
  /** ICR bits 63:32 in x2APIC mode are register ICR2. LVT CMCI exists with MCG_CAP.CMCI_P only. */
  #cmci = false;
  /** Virtual time at which the timer fires; Infinity: stopped. */
  #due = Infinity;
  /** Nanoseconds between firings in periodic mode; 0 else. */
  #period = 0;
  readonly #deadline: Pair = { lo: 0, hi: 0 };
  /** Errors since ESR was last written. */
  #errors = 0;

  constructor(p: ApicPlace) {
    this.#p = p;
    this.reset();
  }

  // ---- state -------------------------------------------------------------------------------------------------------
  /** Number of the vCPU. */
  get id(): number {
    return this.#p.id;
  }
  #get(reg: number): number {
    return this.#regs[reg >>> 4] as number;
  }
  #set(reg: number, v: number): void {
    this.#regs[reg >>> 4] = v;
  }
  /** APIC_BASE.EN. */
  get enabled(): boolean {
    return (this.#p.base() & ApicBase.Enable) !== 0;
  }
  /** In x2APIC mode. */
  get x2(): boolean {
    const both = ApicBase.Enable | ApicBase.X2;
    return (this.#p.base() & both) === both;
  }
  /** SPIV bit 8. */
  get softwareEnabled(): boolean {
    return (this.#get(Apic.Spiv) & 0x100) !== 0;
  }
  /** INIT, RESET, KVM_CREATE_VCPU: registers to their reset values. */
  reset(): void {
    const version = this.#get(Apic.Version);
    this.#regs.fill(0);
    this.#set(Apic.Version, version || 0x5_0014);
    this.#set(Apic.Id, this.#p.id << 24);
    this.#set(Apic.Dfr, -1);
    this.#set(Apic.Spiv, 0xff);
    for (const lvt of LVT_MASKS.keys()) if (lvt !== Apic.LvtCmci || this.#cmci) this.#set(lvt, MASKED);
    // KVM_X86_QUIRK_LINT0_REENABLED: the boot CPU takes the 8259 at once
    if (this.#p.id === 0) this.#set(Apic.LvtLint0, Delivery.ExtInt << 8);
    this.#due = Infinity;
    this.#period = 0;
    this.#deadline.lo = 0;
    this.#deadline.hi = 0;
    this.#errors = 0;
    this.modeChanged();
  }
  /** APIC_BASE was written. */
  modeChanged(): void {
    const { id } = this.#p;
    if (this.x2) {
      this.#set(Apic.Id, id);
      this.#set(Apic.Ldr, ((id >>> 4) << 16) | (1 << (id & 15)));
    } else this.#set(Apic.Id, id << 24);
    if (!this.enabled) this.#due = Infinity;
    this.#p.attend();
  }
  /** KVM_X86_SETUP_MCE with CMCI_P: a seventh LVT entry. */
  setCmci(on: boolean): void {
    if (on && !this.#cmci) this.#set(Apic.LvtCmci, MASKED);
    this.#cmci = on;
    this.#set(Apic.Version, on ? 0x6_0014 : 0x5_0014);
  }
  /** Whether there is an LVT entry for CMCI. */
  get cmci(): boolean {
    return this.#cmci;
  }

  // ---- bits of IRR, ISR, TMR -----------------------------------------------------------------------------------------
  #bit(base: number, vector: number): boolean {
    return ((this.#get(base + ((vector >>> 5) << 4)) >>> (vector & 31)) & 1) !== 0;
  }
  #setBit(base: number, vector: number, on: boolean): void {
    const reg = base + ((vector >>> 5) << 4);
    const bit = 1 << (vector & 31);
    this.#set(reg, on ? this.#get(reg) | bit : this.#get(reg) & ~bit);
  }
  /** Highest vector that is set, or -1. */
  #highest(base: number): number {
    for (let i = 7; i >= 0; i--) {
      const word = this.#get(base + (i << 4));
      if (word !== 0) return i * 32 + 31 - Math.clz32(word);
    }
    return -1;
  }

  // ---- to the CPU --------------------------------------------------------------------------------------------------
  /** Processor priority: of the task, or of the interrupt in service. */
  get ppr(): number {
    const tpr = this.#get(Apic.Tpr) & 0xff;
    const isr = Math.max(0, this.#highest(Apic.Isr));
    return (tpr & 0xf0) >= (isr & 0xf0) ? tpr : isr & 0xf0;
  }
  /** Vector that may interrupt the CPU now, or -1. */
  get requested(): number {
    if (!this.enabled || !this.softwareEnabled) return -1;
    const irr = this.#highest(Apic.Irr);
    return irr >= 0 && (irr & 0xf0) > (this.ppr & 0xf0) ? irr : -1;
  }
  /** The CPU takes {@link requested}: from IRR to ISR. */
  acknowledge(): number {
    const vector = this.requested;
    if (vector < 0) return -1;
    this.#setBit(Apic.Irr, vector, false);
    this.#setBit(Apic.Isr, vector, true);
    return vector;
  }
  /** Whether the 8259's request passes: LINT0 as ExtINT, or the APIC off (KVM: kvm_apic_accept_pic_intr). */
  get passesPic(): boolean {
    if (!this.enabled) return true;
    const lint = this.#get(Apic.LvtLint0);
    return (lint & MASKED) === 0 && (lint & MODE) === Delivery.ExtInt << 8;
  }
  /** CR8: the task priority's class. */
  get cr8(): number {
    return (this.#get(Apic.Tpr) & 0xf0) >>> 4;
  }
  set cr8(v: number) {
    this.#set(Apic.Tpr, (v & 15) << 4);
    this.#p.attend();
  }

  // ---- messages ----------------------------------------------------------------------------------------------------
  /** Whether a message with this destination is for this APIC (lapic.c kvm_apic_match_dest). */
  matches(from: LocalApic | undefined, to: Destination): boolean {
    if (to.shorthand === 1) return from === this;
    if (to.shorthand === 2) return true;
    if (to.shorthand === 3) return from !== this;
    const broadcast = to.wide ? 0xffff_ffff : 0xff;
    const id = to.id >>> 0;
    if (id === broadcast) return true;
    if (!to.logical) return this.x2 ? id === this.#p.id : id === this.#p.id;
    const ldr = this.#get(Apic.Ldr);
    if (this.x2) return ldr >>> 16 === id >>> 16 && (ldr & id & 0xffff) !== 0;
    const own = ldr >>> 24;
    if ((this.#get(Apic.Dfr) >>> 28 === 15) === true) return (own & id & 0xff) !== 0;
    return own >>> 4 === (id & 0xff) >>> 4 && (own & id & 15) !== 0;
  }
  /** Takes a message (lapic.c __apic_accept_irq); `false`: it went nowhere. */
  accept(m: ApicMessage): boolean {
    switch (m.mode) {
      case Delivery.Fixed:
      case Delivery.Lowest:
        if ((m.level && !m.assert) || !this.enabled || !this.softwareEnabled) return false;
        if (m.vector < 16) {
          this.#error(ESR_ILLEGAL_RECEIVED);
          return false;
        }
        this.#setBit(Apic.Tmr, m.vector, m.level);
        this.#setBit(Apic.Irr, m.vector, true);
        this.#p.attend();
        return true;
      case Delivery.Smi:
        this.#p.smi();
        return true;
      case Delivery.Nmi:
        this.#p.nmi();
        return true;
      case Delivery.Init:
        if (m.level && !m.assert) return false;
        this.#p.init();
        return true;
      case Delivery.Startup:
        this.#p.startup(m.vector);
        return true;
      default:
        return false;
    }
  }
  /** Whether vector `v` waits in IRR: an edge that comes now is merged. */
  waits(v: number): boolean {
    return this.#bit(Apic.Irr, v);
  }
  /** An interrupt of the APIC's own, through an LVT entry (lapic.c kvm_apic_local_deliver); whether it was taken. */
  local(lvt: number): boolean {
    const entry = this.#get(lvt);
    if (!this.enabled || entry & MASKED) return false;
    if (lvt === Apic.LvtCmci && !this.#cmci) return false;
    const mode = (entry >>> 8) & 7;
    const taken = this.accept({ vector: entry & 0xff, mode, level: (entry & LEVEL) !== 0, assert: true });
    if (lvt === Apic.LvtPerf) this.#set(lvt, entry | MASKED);
    return taken;
  }
  #error(bit: number): void {
    const first = (this.#errors & bit) === 0;
    this.#errors |= bit;
    const lvt = this.#get(Apic.LvtError);
    // an error entry with an illegal vector would come back here
    if (first && (lvt & 0xff) >= 16) this.local(Apic.LvtError);
  }

  // ---- timer -------------------------------------------------------------------------------------------------------
  get #mode(): number {
    return (this.#get(Apic.LvtTimer) >>> 17) & 3;
  }
  get #divisor(): number {
    const d = this.#get(Apic.Divide);
    return 1 << ((((d & 3) | ((d & 8) >>> 1)) + 1) & 7);
  }
  /** Virtual time at which {@link expire} wants to be called. */
  get due(): number {
    return this.#due;
  }
  /** Fires the timer if its time has come. */
  expire(): void {
    const now = this.#p.now();
    if (this.#due > now) return;
    const periodic = this.#period > 0;
    if (periodic) while (this.#due <= now) this.#due += this.#period;
    else this.#due = Infinity;
    if (this.#mode === 2) {
      this.#deadline.lo = 0;
      this.#deadline.hi = 0;
    }
    this.local(Apic.LvtTimer);
  }
  /** The count that is loaded, in nanoseconds: KVM's APIC bus runs at 1 GHz. */
  get #span(): number {
    return (this.#get(Apic.InitialCount) >>> 0) * this.#divisor;
  }
  #start(): void {
    const span = this.#span;
    this.#period = 0;
    this.#due = Infinity;
    if (span === 0 || this.#mode === 2) return;
    if (this.#mode === 1) this.#period = Math.max(span, SHORTEST_PERIOD);
    this.#due = this.#p.now() + (this.#mode === 1 ? this.#period : span);
    this.#p.attend();
  }
  #left(): number {
    if (this.#due === Infinity || this.#mode === 2) return 0;
    const left = Math.max(0, this.#due - this.#p.now());
    return Math.floor(left / this.#divisor) | 0;
  }
  /** MSR 6E0h in TSC-deadline mode; reads 0 in others. */
  get tscDeadline(): Readonly<Pair> {
    return this.#deadline;
  }
  /** Writes it; ignored in other modes (SDM volume 3A, 11.5.4.1). */
  setTscDeadline(lo: number, hi: number): void {
    if (this.#mode !== 2 || !this.enabled) return;
    this.#deadline.lo = lo;
    this.#deadline.hi = hi;
    this.#due = (lo | hi) === 0 ? Infinity : this.#p.now() + Math.max(0, this.#p.untilTsc(lo, hi));
    this.#p.attend();
  }
  /** The TSC was set or its rate changed: a deadline in TSC ticks moves. */
  tscChanged(): void {
    if (this.#mode === 2 && this.#due !== Infinity) this.setTscDeadline(this.#deadline.lo, this.#deadline.hi);
  }

  // ---- registers ---------------------------------------------------------------------------------------------------
  /** Reads the register at byte `offset`; `undefined` where there is none. `hi` of ICR in x2APIC mode is `high`. */
  read(offset: number): number | undefined {
    switch (offset) {
      case Apic.Apr:
      case Apic.Eoi:
        return this.x2 ? undefined : 0;
      case Apic.Ppr:
        return this.ppr;
      case Apic.CurrentCount:
        return this.#left();
      case Apic.Dfr:
      case Apic.Icr2:
        return this.x2 ? undefined : this.#get(offset);
      case Apic.LvtCmci:
        return this.#cmci ? this.#get(offset) : undefined;
      case Apic.SelfIpi:
        return undefined;
      default:
        return READABLE.has(offset) ? this.#get(offset) : undefined;
    }
  }
  /** ICR bits 63:32 in x2APIC mode. */
  get icrHigh(): number {
    return this.#get(Apic.Icr2);
  }

  /** Writes a register; `false` where there is none or the write is refused (#GP in x2APIC mode, else ignored). */
  write(offset: number, v: number, hi: number = 0): boolean {
    switch (offset) {
      case Apic.Id:
        if (this.x2) return false;
        // KVM keeps the id that the vCPU was made with
        return true;
      case Apic.Tpr:
        this.#set(offset, v & 0xff);
        this.#p.attend();
        return true;
      case Apic.Eoi:
        if (this.x2 && v !== 0) return false;
        this.#eoi();
        return true;
      case Apic.Ldr:
        if (this.x2) return false;
        this.#set(offset, v & (0xff00_0000 | 0));
        return true;
      case Apic.Dfr:
        if (this.x2) return false;
        this.#set(offset, v | 0x0fff_ffff);
        return true;
      case Apic.Spiv:
        this.#spurious(v);
        return true;
      case Apic.Esr:
        if (this.x2 && v !== 0) return false;
        this.#set(offset, this.#errors);
        this.#errors = 0;
        return true;
      case Apic.Icr2:
        if (this.x2) return false;
        this.#set(offset, v & (0xff00_0000 | 0));
        return true;
      case Apic.Icr:
        if (this.x2) this.#set(Apic.Icr2, hi);
        this.#set(offset, v & ~0x1000);
        this.#send(v & ~0x1000, this.#get(Apic.Icr2));
        return true;
      case Apic.SelfIpi:
        if (!this.x2) return false;
        this.#send(0x4_0000 | (v & 0xff), 0);
        return true;
      case Apic.InitialCount:
        if (this.#mode === 2) return true;
        this.#set(offset, v);
        this.#start();
        return true;
      case Apic.Divide:
        this.#set(offset, v & 0xb);
        if (this.#due !== Infinity && this.#mode !== 2) this.#start();
        return true;
      default:
        return this.#writeLvt(offset, v);
    }
  }
  #writeLvt(offset: number, v: number): boolean {
    const mask = LVT_MASKS.get(offset);
    if (mask === undefined || (offset === Apic.LvtCmci && !this.#cmci)) return false;
    const before = this.#mode;
    // delivery status and remote IRR are read-only
    let entry = v & mask & ~0x5000;
    if (!this.softwareEnabled) entry |= MASKED;
    this.#set(offset, entry);
    if (offset === Apic.LvtTimer && this.#mode !== before) {
      this.#due = Infinity;
      this.#period = 0;
      this.#deadline.lo = 0;
      this.#deadline.hi = 0;
      this.#set(Apic.InitialCount, 0);
    }
    this.#p.attend();
    return true;
  }
  #spurious(v: number): void {
    this.#set(Apic.Spiv, v & 0x3ff);
    if (!this.softwareEnabled)
      for (const lvt of LVT_MASKS.keys())
        if (lvt !== Apic.LvtCmci || this.#cmci) this.#set(lvt, this.#get(lvt) | MASKED);
    this.#p.attend();
  }
  #eoi(): void {
    const vector = this.#highest(Apic.Isr);
    if (vector < 0) return;
    this.#setBit(Apic.Isr, vector, false);
    if (this.#bit(Apic.Tmr, vector)) this.#p.ended(vector);
    this.#p.attend();
  }
  #send(icr: number, icr2: number): void {
    const mode = (icr >>> 8) & 7;
    const vector = icr & 0xff;
    const wide = this.x2;
    if ((mode === Delivery.Fixed || mode === Delivery.Lowest) && vector < 16) {
      this.#error(ESR_ILLEGAL_SENT);
      return;
    }
    const to: Destination = {
      id: wide ? icr2 >>> 0 : icr2 >>> 24,
      logical: (icr & 0x800) !== 0,
      wide,
      shorthand: (icr >>> 18) & 3,
    };
    const m: ApicMessage = {
      vector,
      mode,
      level: (icr & LEVEL) !== 0,
      assert: (icr & 0x4000) !== 0,
    };
    this.#p.send(this, m, to);
  }

  // ---- as bytes ----------------------------------------------------------------------------------------------------
  /** `struct kvm_lapic_state`: 1024 bytes. The counter is what it is now. */
  image(): Uint8Array {
    const out = new Uint8Array(APIC_BYTES);
    const v = new DataView(out.buffer);
    for (let reg = 0; reg < APIC_BYTES; reg += 16) v.setInt32(reg, this.#get(reg), true);
    v.setInt32(Apic.CurrentCount, this.#left(), true);
    v.setInt32(Apic.Ppr, this.ppr, true);
    return out;
  }
  /** KVM_SET_LAPIC: registers as they are given, but for the id and version; the timer goes on from the initial count. */
  setImage(bytes: Uint8Array): void {
    const v = new DataView(bytes.buffer, bytes.byteOffset, APIC_BYTES);
    for (let reg = 0; reg < APIC_BYTES; reg += 16)
      if (reg !== Apic.Version && reg !== Apic.LvtCmci) this.#set(reg, v.getInt32(reg, true));
    if (this.#cmci) this.#set(Apic.LvtCmci, v.getInt32(Apic.LvtCmci, true));
    const { id } = this.#p;
    this.#set(Apic.Id, this.x2 ? id : id << 24);
    this.#start();
    this.#p.attend();
  }
  /** For the vCPU's cell. */
  save(): Plain {
    return {
      regs: [...this.#regs],
      cmci: this.#cmci,
      due: this.#due === Infinity ? -1 : this.#due,
      period: this.#period,
      deadline: [this.#deadline.lo, this.#deadline.hi],
      errors: this.#errors,
    };
  }
  /** For the vCPU's cell. */
  restore(saved: Plain): void {
    const s = saved as unknown as {
      regs: number[];
      cmci: boolean;
      due: number;
      period: number;
      deadline: [number, number];
      errors: number;
    };
    this.#regs.set(s.regs);
    this.#cmci = s.cmci;
    this.#due = s.due < 0 ? Infinity : s.due;
    this.#period = s.period;
    this.#deadline.lo = s.deadline[0];
    this.#deadline.hi = s.deadline[1];
    this.#errors = s.errors;
  }
}

const READABLE: ReadonlySet<number> = new Set([
  ...[Apic.Id, Apic.Version, Apic.Tpr, Apic.Ldr, Apic.Spiv, Apic.Esr, Apic.Icr, Apic.InitialCount],
  ...[Apic.LvtTimer, Apic.LvtThermal, Apic.LvtPerf, Apic.LvtLint0, Apic.LvtLint1, Apic.LvtError, Apic.Divide],
  ...[Apic.Isr, Apic.Tmr, Apic.Irr].flatMap((base) => Array.from({ length: 8 }, (_, i) => base + 16 * i)),
]);

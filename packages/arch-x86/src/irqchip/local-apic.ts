/**
 * The local APIC that KVM keeps for a vCPU: xAPIC and x2APIC (AMD64 APM volume 2, chapter 16; Intel SDM volume 3A,
 * chapter 11; arch/x86/kvm/lapic.c). Registers lie as in `struct kvm_lapic_state`. As in KVM there are no errors: ESR
 * stays 0.
 */
import type { Plain } from '@faultyard/core';
import {
  APIC_BYTES,
  Apic,
  ApicBase,
  type ApicMessage,
  Delivery,
  type Destination,
  LVT_MASKS,
  Lvt,
  READABLE,
} from './apic-registers.ts';
import { ApicTimer } from './apic-timer.ts';

/** What the APIC needs of its vCPU and of the other APICs. */
export interface ApicPlace {
  /** Number of the vCPU: the APIC's id after RESET, and in x2APIC mode. */
  readonly id: number;
  /** APIC_BASE, low half. */
  base(): number;
  /** CPUID is Intel's: a delivered LVT PERF masks itself. */
  intel(): boolean;
  /** CPUID has the TSC deadline: the timer has a third mode. */
  hasDeadline(): boolean;
  /** Virtual time in nanoseconds. */
  now(): number;
  /** Nanoseconds until the guest's TSC reaches a value; not positive: it has. */
  untilTsc(lo: number, hi: number): number;
  /** Something changed that the vCPU must look at. */
  attend(): void;
  /** What the vCPU waits for changed: a timer, INIT, SIPI. */
  retime(): void;
  /** The task priority's class is CR8 now. */
  cr8(value: number): void;
  nmi(): void;
  smi(): void;
  /** A remote read, which KVM uses to wake halted vCPUs. */
  unhalt(): void;
  /** Sends to APICs; how many took it, -1: nobody is there. */
  send(from: LocalApic, m: ApicMessage, to: Destination): number;
  /** An interrupt ended: I/O APICs want to know. */
  ended(vector: number, level: boolean): void;
}

/** KVM's version: 14h, and one less than the number of LVT entries in 23:16. */
const VERSION = 0x14;
/** Reserved in ICR in x2APIC mode: 31:20, 17:16, 13. */
const X2_ICR_RESERVED = 0xfff3_2000 | 0;
const ICR_BUSY = 0x1000;
/** SPIV: vector, software enable, focus checking. */
const SPIV = 0x3ff;
const SOFTWARE_ENABLE = 0x100;

/** A local APIC. */
export class LocalApic {
  readonly #p: ApicPlace;
  readonly #regs: Int32Array = new Int32Array(APIC_BYTES / 16);
  readonly timer: ApicTimer;
  /** LVT CMCI exists (MCG_CAP.CMCI_P). */
  #cmci = false;
  /** INIT and SIPI not accepted yet (`apic->pending_events`), and the SIPI's vector. */
  pendingInit = false;
  pendingSipi = false;
  sipiVector = 0;

  constructor(p: ApicPlace) {
    this.#p = p;
    this.timer = new ApicTimer({
      now: () => p.now(),
      untilTsc: (lo, hi) => p.untilTsc(lo, hi),
      retime: () => p.retime(),
      fire: () => this.local(Apic.LvtTimer),
      futile: () => this.#timerFutile(),
    });
    this.reset(false);
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
    return (this.#get(Apic.Spiv) & SOFTWARE_ENABLE) !== 0;
  }
  /** The id that xAPIC messages are for; the guest may write it. */
  get xapicId(): number {
    return this.#get(Apic.Id) >>> 24;
  }
  /** Logical destination register. */
  get ldr(): number {
    return this.#get(Apic.Ldr);
  }
  /** Destination format: -1 flat. */
  get dfr(): number {
    return this.#get(Apic.Dfr);
  }
  /** LVT entries there are. */
  #lvts(): number[] {
    return [...LVT_MASKS.keys()].filter((lvt) => lvt !== Apic.LvtCmci || this.#cmci);
  }
  /** RESET (and KVM_CREATE_VCPU), or INIT, which keeps APIC_BASE and with it mode and id. */
  reset(init: boolean): void {
    const kept = [Apic.Id, Apic.Version, ...(init && this.x2 ? [Apic.Ldr] : [])].map((r) => this.#get(r));
    this.#regs.fill(0);
    const [id = 0, version = 0, ldr = 0] = kept;
    if (!init) {
      this.pendingInit = false;
      this.pendingSipi = false;
      this.sipiVector = 0;
    }
    this.#set(Apic.Id, init ? id : this.#p.id << 24);
    this.#set(Apic.Version, version || VERSION | (5 << 16));
    this.#set(Apic.Ldr, ldr);
    this.#set(Apic.Dfr, -1);
    this.#set(Apic.Spiv, 0xff);
    for (const lvt of this.#lvts()) this.#set(lvt, Lvt.Masked);
    // KVM_X86_QUIRK_LINT0_REENABLED: the boot CPU takes the 8259 at once
    if (this.#p.id === 0) this.#set(Apic.LvtLint0, Delivery.ExtInt << 8);
    this.timer.reset();
    this.#p.cr8(0);
    this.#p.attend();
  }
  /** APIC_BASE was `old` and is another now: ids and LDR follow the mode (lapic.c, __kvm_apic_set_base). */
  baseChanged(old: number): void {
    const now = this.#p.base();
    const changed = old ^ now;
    if (changed & now & ApicBase.Enable) this.#set(Apic.Id, this.#p.id << 24);
    if (changed & ApicBase.X2) {
      if (this.x2) this.#set(Apic.Id, this.#p.id);
      else if (this.enabled) this.#set(Apic.Id, this.#p.id << 24);
      if (this.x2) this.#set(Apic.Ldr, x2Ldr(this.#p.id));
    }
    this.#p.attend();
  }
  /** KVM_X86_SETUP_MCE: MCG_CAP.CMCI_P gives a seventh LVT entry, masked at first (kvm_apic_after_set_mcg_cap). */
  setCmci(on: boolean): void {
    if (on && !this.#cmci) this.#set(Apic.LvtCmci, Lvt.Masked);
    this.#cmci = on;
    this.#set(Apic.Version, VERSION | ((on ? 6 : 5) << 16));
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
    if (!this.enabled) return -1;
    const irr = this.#highest(Apic.Irr);
    // the whole PPR counts, its subclass included (apic_has_interrupt_for_ppr)
    return irr >= 0 && (irr & 0xf0) > this.ppr ? irr : -1;
  }
  /** The CPU takes {@link requested}: from IRR to ISR. */
  acknowledge(): number {
    const vector = this.requested;
    if (vector < 0) return -1;
    this.#setBit(Apic.Irr, vector, false);
    this.#setBit(Apic.Isr, vector, true);
    return vector;
  }
  /** Whether the 8259's request passes: LINT0 as ExtINT, or the APIC off (kvm_apic_accept_pic_intr). */
  get passesPic(): boolean {
    return !this.enabled || (this.#get(Apic.LvtLint0) & (Lvt.Masked | Lvt.Mode)) === Delivery.ExtInt << 8;
  }
  /** LINT0 is unmasked as NMI: the PIT's pulses get through as a watchdog. */
  get takesPitAsNmi(): boolean {
    return (this.#get(Apic.LvtLint0) & (Lvt.Masked | Lvt.Mode)) === Delivery.Nmi << 8;
  }
  /** CR8 was written. */
  setCr8(v: number): void {
    this.#setTpr((v & 15) << 4);
  }
  #setTpr(v: number): void {
    this.#set(Apic.Tpr, v & 0xff);
    this.#p.cr8((v & 0xf0) >>> 4);
    this.#p.attend();
  }

  // ---- messages ----------------------------------------------------------------------------------------------------
  /** Takes a message (lapic.c __apic_accept_irq); `false`: it went nowhere. */
  accept(m: ApicMessage): boolean {
    switch (m.mode) {
      case Delivery.Fixed:
      case Delivery.Lowest:
        if ((m.level && !m.assert) || !this.enabled || !this.softwareEnabled) return false;
        this.#setBit(Apic.Tmr, m.vector, m.level);
        this.#setBit(Apic.Irr, m.vector, true);
        break;
      case Delivery.Smi:
        this.#p.smi();
        break;
      case Delivery.Remote:
        this.#p.unhalt();
        break;
      case Delivery.Nmi:
        this.#p.nmi();
        break;
      case Delivery.Init:
        if (m.level && !m.assert) return false;
        this.pendingInit = true;
        // an INIT takes a SIPI that waits with it
        this.pendingSipi = false;
        this.#p.retime();
        break;
      case Delivery.Startup:
        this.sipiVector = m.vector;
        this.pendingSipi = true;
        this.#p.retime();
        break;
      default:
        return false;
    }
    this.#p.attend();
    return true;
  }
  /** An interrupt of the APIC's own, through an LVT entry (kvm_apic_local_deliver); whether it was taken. */
  local(lvt: number): boolean {
    const entry = this.#get(lvt);
    if (!this.enabled || entry & Lvt.Masked || (lvt === Apic.LvtCmci && !this.#cmci)) return false;
    const mode = (entry & Lvt.Mode) >>> 8;
    const level = (entry & Lvt.Level) !== 0;
    const taken = this.accept({ vector: entry & Lvt.Vector, mode, level, assert: true });
    if (taken && lvt === Apic.LvtPerf && this.#p.intel()) this.#set(lvt, entry | Lvt.Masked);
    return taken;
  }
  #timerFutile(): boolean {
    const entry = this.#get(Apic.LvtTimer);
    const off = !this.enabled || !this.softwareEnabled || (entry & Lvt.Masked) !== 0;
    return off || this.#bit(Apic.Irr, entry & Lvt.Vector);
  }
  /** When the timer next does something for a vCPU that sleeps. */
  get wakes(): number {
    return this.#timerFutile() ? Infinity : this.timer.due;
  }

  // ---- registers ---------------------------------------------------------------------------------------------------
  /** Reads the register at byte `offset`, a multiple of 16; `undefined` where there is none. */
  read(offset: number): number | undefined {
    switch (offset) {
      case Apic.Apr:
        return this.x2 ? undefined : 0;
      case Apic.Ppr:
        return this.ppr;
      case Apic.CurrentCount:
        return this.timer.current;
      case Apic.InitialCount:
        return this.timer.initial | 0;
      case Apic.Dfr:
      case Apic.Icr2:
        return this.x2 ? undefined : this.#get(offset);
      case Apic.LvtCmci:
        return this.#cmci ? this.#get(offset) : undefined;
      default:
        return READABLE.has(offset) ? this.#get(offset) : undefined;
    }
  }
  /** ICR bits 63:32 in x2APIC mode. */
  get icrHigh(): number {
    return this.#get(Apic.Icr2);
  }
  /** Writes a register; `false` where there is none or the write is refused (#GP in x2APIC mode, else ignored). */
  write(offset: number, v: number): boolean {
    switch (offset) {
      case Apic.Id:
        return this.#writeXapic(offset, v & (0xff00_0000 | 0));
      case Apic.Tpr:
        this.#setTpr(v);
        return true;
      case Apic.Eoi:
        this.#eoi();
        return true;
      case Apic.Ldr:
      case Apic.Icr2:
        return this.#writeXapic(offset, v & (0xff00_0000 | 0));
      case Apic.Dfr:
        return this.#writeXapic(offset, v | 0x0fff_ffff);
      case Apic.Spiv:
        this.#spurious(v);
        return true;
      case Apic.Esr:
        return !this.x2 || v === 0;
      case Apic.Icr:
        this.#set(offset, v & ~ICR_BUSY);
        this.#send(v & ~ICR_BUSY, this.#get(Apic.Icr2) >>> 24);
        return true;
      case Apic.SelfIpi:
        if (!this.x2 || v & ~0xff) return false;
        this.#send(0x4_0000 | v, 0);
        return true;
      case Apic.InitialCount:
        this.timer.setInitial(v);
        return true;
      case Apic.Divide:
        this.#set(offset, v & 0xb);
        this.timer.setDivide(v & 0xb);
        return true;
      default:
        return this.#writeLvt(offset, v);
    }
  }
  /** A register that x2APIC mode does not let the guest write. */
  #writeXapic(offset: number, v: number): boolean {
    if (this.x2) return false;
    this.#set(offset, v);
    return true;
  }
  /** ICR in x2APIC mode, all 64 bits. */
  writeX2Icr(lo: number, hi: number): boolean {
    if (lo & X2_ICR_RESERVED) return false;
    this.#set(Apic.Icr, lo & ~ICR_BUSY);
    this.#set(Apic.Icr2, hi);
    this.#send(lo & ~ICR_BUSY, hi >>> 0);
    return true;
  }
  #writeLvt(offset: number, v: number): boolean {
    const mask = LVT_MASKS.get(offset);
    if (mask === undefined || (offset === Apic.LvtCmci && !this.#cmci)) return false;
    const modes = offset !== Apic.LvtTimer ? 0 : this.#p.hasDeadline() ? Lvt.TimerMode : 0x2_0000;
    const entry = (this.softwareEnabled ? v : v | Lvt.Masked) & (mask | modes);
    this.#set(offset, entry);
    if (offset === Apic.LvtTimer) this.timer.setMode((entry & Lvt.TimerMode) >>> 17);
    this.#p.attend();
    this.#p.retime();
    return true;
  }
  #spurious(v: number): void {
    this.#set(Apic.Spiv, v & SPIV);
    if (!this.softwareEnabled) for (const lvt of this.#lvts()) this.#set(lvt, this.#get(lvt) | Lvt.Masked);
    this.#p.attend();
  }
  #eoi(): void {
    const vector = this.#highest(Apic.Isr);
    if (vector < 0) return;
    this.#setBit(Apic.Isr, vector, false);
    this.#p.ended(vector, this.#bit(Apic.Tmr, vector));
    this.#p.attend();
  }
  #send(icr: number, id: number): void {
    const m: ApicMessage = {
      vector: icr & 0xff,
      mode: (icr >>> 8) & 7,
      level: (icr & 0x8000) !== 0,
      assert: (icr & 0x4000) !== 0,
    };
    this.#p.send(this, m, { id, logical: (icr & 0x800) !== 0, shorthand: (icr >>> 18) & 3 });
  }

  // ---- as bytes ----------------------------------------------------------------------------------------------------
  /** `struct kvm_lapic_state`: 1024 bytes. The counter is what it is now. */
  image(): Uint8Array {
    const out = new Uint8Array(APIC_BYTES);
    const v = new DataView(out.buffer);
    for (let reg = 0; reg < APIC_BYTES; reg += 16) v.setInt32(reg, this.#get(reg), true);
    v.setInt32(Apic.InitialCount, this.timer.initial | 0, true);
    v.setInt32(Apic.CurrentCount, this.timer.current, true);
    v.setInt32(Apic.Ppr, this.ppr, true);
    // without KVM_CAP_X2APIC_API ids are always where xAPIC has them
    v.setInt32(Apic.Id, this.x2 ? this.#p.id << 24 : this.#get(Apic.Id), true);
    return out;
  }
  /** KVM_SET_LAPIC: registers as given, but for the version and x2APIC's ids; the timer goes on from its count. */
  setImage(bytes: Uint8Array): void {
    const v = new DataView(bytes.buffer, bytes.byteOffset, APIC_BYTES);
    const version = this.#get(Apic.Version);
    for (let reg = 0; reg < APIC_BYTES; reg += 16) this.#set(reg, v.getInt32(reg, true));
    this.#set(Apic.Version, version);
    this.#set(Apic.CurrentCount, 0);
    this.#set(Apic.InitialCount, 0);
    if (this.x2) {
      this.#set(Apic.Id, this.#p.id);
      this.#set(Apic.Ldr, x2Ldr(this.#p.id));
    }
    this.timer.setMode((this.#get(Apic.LvtTimer) & Lvt.TimerMode) >>> 17);
    this.timer.resume(
      v.getUint32(Apic.InitialCount, true),
      this.#get(Apic.Divide),
      v.getUint32(Apic.CurrentCount, true),
    );
    this.#setTpr(this.#get(Apic.Tpr));
  }
  /** For the vCPU's cell. */
  save(): Plain {
    return {
      regs: [...this.#regs],
      cmci: this.#cmci,
      timer: this.timer.save(),
      pendingInit: this.pendingInit,
      pendingSipi: this.pendingSipi,
      sipiVector: this.sipiVector,
    };
  }
  /** For the vCPU's cell. */
  restore(saved: Plain): void {
    const s = saved as unknown as {
      regs: number[];
      cmci: boolean;
      timer: Plain;
      pendingInit: boolean;
      pendingSipi: boolean;
      sipiVector: number;
    };
    this.#regs.set(s.regs);
    this.#cmci = s.cmci;
    this.timer.restore(s.timer);
    this.pendingInit = s.pendingInit;
    this.pendingSipi = s.pendingSipi;
    this.sipiVector = s.sipiVector;
    this.#p.attend();
  }
}

/** Logical destination in x2APIC mode: cluster in 31:16, a bit in 15:0. */
const x2Ldr = (id: number): number => ((id >>> 4) << 16) | (1 << (id & 15));

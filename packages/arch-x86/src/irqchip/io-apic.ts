/** The I/O APIC that KVM keeps (arch/x86/kvm/ioapic.c): 24 pins, version 11h (Intel 82093AA). */
import type { Plain } from '@faultyard/core';
import type { ApicMessage, Destination } from './apic-registers.ts';

/** Where it lies, and bytes of its window. */
export const IOAPIC_GPA = 0xfec0_0000;
export const IOAPIC_BYTES = 0x100;
/** Pins. */
export const IOAPIC_PINS = 24;
/** Bytes of `struct kvm_ioapic_state`. */
export const IOAPIC_STATE_BYTES = 216;
const VERSION = 0x11;

/** Bits of a redirection entry's low half. */
const MASKED = 0x1_0000;
const LEVEL = 0x8000;
const REMOTE_IRR = 0x4000;
const LOGICAL = 0x800;
/** Delivery status and remote IRR are read-only. */
const READ_ONLY = 0x5000;

/** What the I/O APIC needs of the chip. */
export interface IoApicPlace {
  /** Delivers a message; how many vCPUs took it, -1: it is for nobody. */
  send(m: ApicMessage, to: Destination): number;
  /** An interrupt of this pin was ended by a vCPU. */
  acknowledged(pin: number): void;
  /** A pin was masked or unmasked. */
  maskChanged(pin: number, masked: boolean): void;
}

/** An I/O APIC. */
export class IoApic {
  /** Redirection entries: low and high halves. */
  readonly #low: Int32Array = new Int32Array(IOAPIC_PINS);
  readonly #high: Int32Array = new Int32Array(IOAPIC_PINS);
  /** Levels of the pins (`ioapic->irr`), and edges among them that were delivered (`irr_delivered`). */
  #irr = 0;
  #delivered = 0;
  #id = 0;
  #select = 0;
  readonly #p: IoApicPlace;

  constructor(p: IoApicPlace) {
    this.#p = p;
    this.reset();
  }
  /** RESET. */
  reset(): void {
    this.#low.fill(MASKED);
    this.#high.fill(0);
    this.#irr = 0;
    this.#delivered = 0;
    this.#id = 0;
    this.#select = 0;
  }

  /** A pin's level; how many vCPUs were told, 0 merged, negative: ignored (ioapic_set_irq). */
  setPin(pin: number, level: boolean): number {
    const bit = 1 << pin;
    if (!level) {
      this.#irr &= ~bit;
      return 1;
    }
    const merged = (this.#irr & bit) !== 0;
    this.#irr |= bit;
    if (!((this.#low[pin] as number) & LEVEL)) {
      this.#delivered &= ~bit;
      if (merged) return 0;
    }
    return this.#service(pin);
  }
  #service(pin: number): number {
    const entry = this.#low[pin] as number;
    const level = (entry & LEVEL) !== 0;
    if (entry & MASKED || (level && entry & REMOTE_IRR)) return -1;
    if (!level) this.#delivered |= 1 << pin;
    const to: Destination = {
      id: (this.#high[pin] as number) >>> 24,
      logical: (entry & LOGICAL) !== 0,
      shorthand: 0,
    };
    const mode = (entry >>> 8) & 7;
    const n = this.#p.send({ vector: entry & 0xff, mode, level, assert: true }, to);
    // taken or for nobody: both wait for an EOI (ioapic_service)
    if (n !== 0 && level) this.#low[pin] = entry | REMOTE_IRR;
    return n;
  }
  /** A local APIC ended an interrupt: level-triggered pins with its vector may interrupt again. */
  ended(vector: number, level: boolean): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      if (((this.#low[pin] as number) & 0xff) !== vector) continue;
      this.#p.acknowledged(pin);
      const entry = this.#low[pin] as number;
      if (!level || !(entry & LEVEL)) continue;
      this.#low[pin] = entry & ~REMOTE_IRR;
      if (!(entry & MASKED) && this.#irr & (1 << pin)) this.#service(pin);
    }
  }

  /** A 32-bit read at byte `offset` of the window. */
  read(offset: number): number {
    if (offset === 0x00) return this.#select;
    if (offset !== 0x10) return 0;
    const n = this.#select;
    if (n === 0 || n === 2) return (this.#id & 15) << 24;
    if (n === 1) return ((IOAPIC_PINS - 1) << 16) | VERSION;
    const pin = (n - 0x10) >> 1;
    if (n < 0x10 || pin >= IOAPIC_PINS) return -1;
    return (n & 1 ? this.#high[pin] : this.#low[pin]) as number;
  }
  /** A write. */
  write(offset: number, v: number): void {
    if (offset === 0x00) this.#select = v & 0xff;
    if (offset !== 0x10) return;
    const n = this.#select;
    if (n === 0) this.#id = (v >>> 24) & 15;
    const pin = (n - 0x10) >> 1;
    if (n >= 0x10 && pin < IOAPIC_PINS) this.#writeEntry(pin, v, (n & 1) !== 0);
  }
  #writeEntry(pin: number, v: number, high: boolean): void {
    const old = this.#low[pin] as number;
    if (high) this.#high[pin] = v;
    else {
      const entry = (v & ~READ_ONLY) | (old & READ_ONLY);
      // an entry that becomes edge-triggered forgets its remote IRR
      this.#low[pin] = entry & LEVEL ? entry : entry & ~REMOTE_IRR;
      if ((old ^ entry) & MASKED) this.#p.maskChanged(pin, (entry & MASKED) !== 0);
    }
    if ((this.#low[pin] as number) & LEVEL && this.#irr & (1 << pin)) this.#service(pin);
  }

  /** `struct kvm_ioapic_state`. Edges that were delivered do not count as pending. */
  image(): Uint8Array {
    const out = new Uint8Array(IOAPIC_STATE_BYTES);
    const v = new DataView(out.buffer);
    v.setUint32(0, IOAPIC_GPA, true);
    v.setUint32(8, this.#select, true);
    v.setUint32(12, this.#id, true);
    v.setInt32(16, this.#irr & ~this.#delivered, true);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      v.setInt32(24 + 8 * pin, this.#low[pin] as number, true);
      v.setInt32(28 + 8 * pin, this.#high[pin] as number, true);
    }
    return out;
  }
  /** KVM_SET_IRQCHIP: what was pending is offered again (kvm_set_ioapic). */
  setImage(bytes: Uint8Array): void {
    const v = new DataView(bytes.buffer, bytes.byteOffset, IOAPIC_STATE_BYTES);
    this.#select = v.getUint32(8, true);
    this.#id = v.getUint32(12, true);
    this.#irr = 0;
    this.#delivered = 0;
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      this.#low[pin] = v.getInt32(24 + 8 * pin, true);
      this.#high[pin] = v.getInt32(28 + 8 * pin, true);
    }
    const irr = v.getInt32(16, true);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) if (irr & (1 << pin)) this.setPin(pin, true);
  }
  /** For the VM's cell. */
  save(): Plain {
    return {
      low: [...this.#low],
      high: [...this.#high],
      irr: this.#irr,
      delivered: this.#delivered,
      id: this.#id,
      select: this.#select,
    };
  }
  /** For the VM's cell. */
  restore(saved: Plain): void {
    const s = saved as unknown as Record<'low' | 'high', number[]> &
      Record<'irr' | 'delivered' | 'id' | 'select', number>;
    this.#low.set(s.low);
    this.#high.set(s.high);
    this.#irr = s.irr;
    this.#delivered = s.delivered;
    this.#id = s.id;
    this.#select = s.select;
  }
}

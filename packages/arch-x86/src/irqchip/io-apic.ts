/** The I/O APIC that KVM keeps (arch/x86/kvm/ioapic.c): 24 pins, version 11h (Intel 82093AA). */
import type { Plain } from '@faultyard/core';
import { type ApicMessage, Delivery, type Destination } from './local-apic.ts';

/** Where it lies, and bytes of its window. */
export const IOAPIC_GPA = 0xfec0_0000;
export const IOAPIC_BYTES = 0x100;
/** Pins. */
export const IOAPIC_PINS = 24;
const VERSION = 0x11;

/** Bits of a redirection entry's low half. */
const MASKED = 0x1_0000;
const LEVEL = 0x8000;
const REMOTE_IRR = 0x4000;
const LOGICAL = 0x800;
/** Delivery status and remote IRR are read-only. */
const READ_ONLY = 0x5000;

/** An I/O APIC. */
export class IoApic {
  /** Redirection entries: low and high halves. */
  readonly #low: Int32Array = new Int32Array(IOAPIC_PINS).fill(MASKED);
  readonly #high: Int32Array = new Int32Array(IOAPIC_PINS);
  /** Levels of the pins, and edges that wait while masked (KVM's ioapic->irr). */
  #levels = 0;
  #irr = 0;
  #id = 0;
  #select = 0;
  readonly #send: (m: ApicMessage, to: Destination) => number;

  /** @param send delivers a message; how many vCPUs took it. */
  constructor(send: (m: ApicMessage, to: Destination) => number) {
    this.#send = send;
  }
  /** RESET. */
  reset(): void {
    this.#low.fill(MASKED);
    this.#high.fill(0);
    this.#levels = 0;
    this.#irr = 0;
    this.#id = 0;
    this.#select = 0;
  }

  /** A pin's level; how many vCPUs were told, 0 merged, -1 ignored (ioapic_set_irq). */
  setPin(pin: number, level: boolean): number {
    const bit = 1 << pin;
    const entry = this.#low[pin] as number;
    const was = (this.#levels & bit) !== 0;
    if (!level) {
      this.#levels &= ~bit;
      if (entry & LEVEL) this.#irr &= ~bit;
      return 1;
    }
    this.#levels |= bit;
    const edge = (entry & LEVEL) === 0;
    if (edge && was) return 0;
    if (!edge && this.#irr & bit && entry & REMOTE_IRR) return 0;
    this.#irr |= bit;
    return this.#service(pin);
  }
  #service(pin: number): number {
    const entry = this.#low[pin] as number;
    if (entry & MASKED || (entry & LEVEL && entry & REMOTE_IRR)) return -1;
    const mode = (entry >>> 8) & 7;
    const level = (entry & LEVEL) !== 0;
    const to: Destination = {
      id: (this.#high[pin] as number) >>> 24,
      logical: (entry & LOGICAL) !== 0,
      wide: false,
      shorthand: 0,
    };
    const n = this.#send({ vector: entry & 0xff, mode, level, assert: true }, to);
    if (!level) this.#irr &= ~(1 << pin);
    else if (n > 0 && (mode === Delivery.Fixed || mode === Delivery.Lowest))
      this.#low[pin] = entry | REMOTE_IRR;
    return n;
  }
  /** A local APIC ended a level-triggered interrupt: pins with that vector may interrupt again. */
  ended(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const entry = this.#low[pin] as number;
      if ((entry & 0xff) !== vector || (entry & LEVEL) === 0) continue;
      this.#low[pin] = entry & ~REMOTE_IRR;
      if (this.#irr & (1 << pin)) this.#service(pin);
    }
  }

  /** A 32-bit read at byte `offset` of the window. */
  read(offset: number): number {
    if ((offset & 0xff) === 0x00) return this.#select;
    if ((offset & 0xff) !== 0x10) return 0;
    const n = this.#select;
    if (n === 0 || n === 2) return (this.#id & 15) << 24;
    if (n === 1) return ((IOAPIC_PINS - 1) << 16) | VERSION;
    const pin = (n - 0x10) >> 1;
    if (n < 0x10 || pin >= IOAPIC_PINS) return -1;
    return (n & 1 ? this.#high[pin] : this.#low[pin]) as number;
  }
  /** A write. */
  write(offset: number, v: number): void {
    if ((offset & 0xff) === 0x00) this.#select = v & 0xff;
    if ((offset & 0xff) !== 0x10) return;
    const n = this.#select;
    if (n === 0) this.#id = (v >>> 24) & 15;
    const pin = (n - 0x10) >> 1;
    if (n < 0x10 || pin >= IOAPIC_PINS) return;
    if (n & 1) {
      this.#high[pin] = v;
      return;
    }
    const old = this.#low[pin] as number;
    let entry = (v & 0x1_ffff & ~READ_ONLY) | (old & READ_ONLY);
    // an entry that becomes edge-triggered forgets its remote IRR
    if (!(entry & LEVEL)) entry &= ~REMOTE_IRR;
    this.#low[pin] = entry;
    if (entry & LEVEL && this.#levels & (1 << pin)) this.#irr |= 1 << pin;
    if (this.#irr & (1 << pin) && !(entry & MASKED)) this.#service(pin);
  }

  /** `struct kvm_ioapic_state`: 216 bytes. */
  image(): Uint8Array {
    const out = new Uint8Array(216);
    const v = new DataView(out.buffer);
    v.setUint32(0, IOAPIC_GPA, true);
    v.setUint32(4, 0, true);
    v.setUint32(8, this.#select, true);
    v.setUint32(12, this.#id, true);
    v.setUint32(16, this.#irr, true);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      v.setInt32(24 + 8 * pin, this.#low[pin] as number, true);
      v.setInt32(28 + 8 * pin, this.#high[pin] as number, true);
    }
    return out;
  }
  /** KVM_SET_IRQCHIP. */
  setImage(bytes: Uint8Array): void {
    const v = new DataView(bytes.buffer, bytes.byteOffset, 216);
    this.#select = v.getUint32(8, true) & 0xff;
    this.#id = v.getUint32(12, true) & 15;
    this.#irr = 0;
    const irr = v.getInt32(16, true);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      this.#low[pin] = v.getInt32(24 + 8 * pin, true);
      this.#high[pin] = v.getInt32(28 + 8 * pin, true);
    }
    // kvm_ioapic_inject_all: what was pending is offered again
    for (let pin = 0; pin < IOAPIC_PINS; pin++) if (irr & (1 << pin)) this.setPin(pin, true);
  }
  /** For the VM's cell. */
  save(): Plain {
    return {
      low: [...this.#low],
      high: [...this.#high],
      levels: this.#levels,
      irr: this.#irr,
      id: this.#id,
      select: this.#select,
    };
  }
  /** For the VM's cell. */
  restore(saved: Plain): void {
    const s = saved as unknown as Record<'low' | 'high', number[]> &
      Record<'levels' | 'irr' | 'id' | 'select', number>;
    this.#low.set(s.low);
    this.#high.set(s.high);
    this.#levels = s.levels;
    this.#irr = s.irr;
    this.#id = s.id;
    this.#select = s.select;
  }
}

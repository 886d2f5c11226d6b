/** The pair of 8259 interrupt controllers that KVM keeps (Intel 8259A data sheet; arch/x86/kvm/i8259.c). */
import type { Plain } from '@faultyard/core';

/** Bytes of `struct kvm_pic_state`. */
const STATE_BYTES = 16;
/** Lines that may be level-triggered by ELCR: not 0 1 2 of the first, not 8 and 13. */
const ELCR_MASK = [0xf8, 0xde] as const;

/** One 8259. */
class Chip {
  lastIrr = 0;
  irr = 0;
  imr = 0;
  isr = 0;
  /** Line with the lowest number in priority order. */
  priorityAdd = 0;
  base = 0;
  readRegister = 0;
  poll = 0;
  specialMask = 0;
  initState = 0;
  autoEoi = 0;
  rotateOnAutoEoi = 0;
  specialNested = 0;
  init4 = 0;
  elcr = 0;
  readonly elcrMask: number;

  constructor(elcrMask: number) {
    this.elcrMask = elcrMask;
  }
  /** ICW1, or RESET with `all`. */
  reset(all: boolean): void {
    this.lastIrr = 0;
    this.irr &= all ? 0 : this.elcr;
    this.imr = 0;
    this.isr = 0;
    this.priorityAdd = 0;
    this.base = 0;
    this.readRegister = 0;
    this.poll = 0;
    this.specialMask = 0;
    this.initState = 0;
    this.autoEoi = 0;
    this.rotateOnAutoEoi = 0;
    this.specialNested = 0;
    this.init4 = 0;
    if (all) this.elcr = 0;
  }
  /** Position in priority order of the highest bit of a mask; 8 for none. */
  priority(mask: number): number {
    if (mask === 0) return 8;
    let p = 0;
    while (!(mask & (1 << ((p + this.priorityAdd) & 7)))) p++;
    return p;
  }
  /** A line's level; whether it is news: -1 masked, 0 merged, 1. */
  setLine(line: number, level: boolean): number {
    const bit = 1 << line;
    let news = 1;
    if (this.elcr & bit) {
      if (level) {
        news = this.irr & bit ? 0 : 1;
        this.irr |= bit;
        this.lastIrr |= bit;
      } else {
        this.irr &= ~bit;
        this.lastIrr &= ~bit;
      }
    } else if (level) {
      if (!(this.lastIrr & bit)) {
        news = this.irr & bit ? 0 : 1;
        this.irr |= bit;
      }
      this.lastIrr |= bit;
    } else this.lastIrr &= ~bit;
    return this.imr & bit ? -1 : news;
  }
  /** Line that wants service and may have it, or -1. */
  wanted(first: boolean): number {
    const p = this.priority(this.irr & ~this.imr);
    if (p === 8) return -1;
    let mask = this.isr;
    if (this.specialMask) mask &= ~this.imr;
    // special fully nested mode: the second controller may interrupt itself
    if (this.specialNested && first) mask &= ~4;
    return p < this.priority(mask) ? (p + this.priorityAdd) & 7 : -1;
  }
  /** Interrupt acknowledge. */
  take(line: number): void {
    this.isr |= 1 << line;
    if (!(this.elcr & (1 << line))) this.irr &= ~(1 << line);
    if (this.autoEoi) {
      if (this.rotateOnAutoEoi) this.priorityAdd = (line + 1) & 7;
      this.isr &= ~(1 << line);
    }
  }
  write(port: number, v: number): void {
    if (port === 0) this.#command(v);
    else if (this.initState === 0) this.imr = v;
    else if (this.initState === 1) {
      this.base = v & 0xf8;
      this.initState = 2;
    } else if (this.initState === 2) this.initState = this.init4 ? 3 : 0;
    else {
      this.specialNested = (v >>> 4) & 1;
      this.autoEoi = (v >>> 1) & 1;
      this.initState = 0;
    }
  }
  #command(v: number): void {
    if (v & 0x10) {
      this.reset(false);
      this.init4 = v & 1;
      this.initState = 1;
    } else if (v & 0x08) {
      if (v & 0x04) this.poll = 1;
      if (v & 0x02) this.readRegister = v & 1;
      if (v & 0x40) this.specialMask = (v >>> 5) & 1;
    } else this.#end(v);
  }
  #end(v: number): void {
    const command = v >>> 5;
    const line = v & 7;
    switch (command) {
      case 0:
      case 4:
        this.rotateOnAutoEoi = command >>> 2;
        break;
      case 1:
      case 5: {
        const p = this.priority(this.isr);
        if (p === 8) break;
        const at = (p + this.priorityAdd) & 7;
        this.isr &= ~(1 << at);
        if (command === 5) this.priorityAdd = (at + 1) & 7;
        break;
      }
      case 3:
        this.isr &= ~(1 << line);
        break;
      case 6:
        this.priorityAdd = (line + 1) & 7;
        break;
      case 7:
        this.isr &= ~(1 << line);
        this.priorityAdd = (line + 1) & 7;
        break;
    }
  }
  read(port: number): number {
    if (port === 1) return this.imr;
    return this.readRegister ? this.isr : this.irr;
  }

  image(): Uint8Array {
    return Uint8Array.of(
      this.lastIrr,
      this.irr,
      this.imr,
      this.isr,
      this.priorityAdd,
      this.base,
      this.readRegister,
      this.poll,
      this.specialMask,
      this.initState,
      this.autoEoi,
      this.rotateOnAutoEoi,
      this.specialNested,
      this.init4,
      this.elcr,
      this.elcrMask,
    );
  }
  setImage(b: Uint8Array): void {
    const at = (i: number): number => b[i] ?? 0;
    this.lastIrr = at(0);
    this.irr = at(1);
    this.imr = at(2);
    this.isr = at(3);
    this.priorityAdd = at(4) & 7;
    this.base = at(5);
    this.readRegister = at(6);
    this.poll = at(7);
    this.specialMask = at(8);
    this.initState = at(9);
    this.autoEoi = at(10);
    this.rotateOnAutoEoi = at(11);
    this.specialNested = at(12);
    this.init4 = at(13);
    this.elcr = at(14) & this.elcrMask;
  }
}

/** Two 8259s, the second on line 2 of the first. */
export class Pic {
  readonly #first: Chip = new Chip(ELCR_MASK[0]);
  readonly #second: Chip = new Chip(ELCR_MASK[1]);
  /** INTR of the pair. */
  output = false;
  readonly #changed: () => void;

  /** @param changed INTR changed. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }
  /** RESET. */
  reset(): void {
    this.#first.reset(true);
    this.#second.reset(true);
    this.#update();
  }
  #update(): void {
    if (this.#second.wanted(false) >= 0) {
      // an edge on the cascade line
      this.#first.setLine(2, true);
      this.#first.setLine(2, false);
    }
    const output = this.#first.wanted(true) >= 0;
    if (output === this.output) return;
    this.output = output;
    this.#changed();
  }
  /** A line (0 to 15); what `IrqChip.setLine` says of it. */
  setLine(line: number, level: boolean): number {
    const news = (line < 8 ? this.#first : this.#second).setLine(line & 7, level);
    this.#update();
    return news;
  }
  /** The interrupt acknowledge cycles: the vector; a request that went away is spurious, line 7. */
  acknowledge(): number {
    let line = this.#first.wanted(true);
    let vector: number;
    if (line < 0) vector = this.#first.base + 7;
    else if (line === 2) {
      let other = this.#second.wanted(false);
      if (other < 0) other = 7;
      else this.#second.take(other);
      vector = this.#second.base + other;
      this.#first.take(2);
    } else {
      this.#first.take(line);
      vector = this.#first.base + line;
    }
    line = 0;
    this.#update();
    return vector;
  }

  /** Ports 20h 21h A0h A1h, and ELCR at 4D0h 4D1h. */
  read(port: number): number {
    if (port === 0x4d0) return this.#first.elcr;
    if (port === 0x4d1) return this.#second.elcr;
    const chip = port < 0x80 ? this.#first : this.#second;
    if (!chip.poll) return chip.read(port & 1);
    chip.poll = 0;
    const line = chip.wanted(chip === this.#first);
    if (line < 0) return 0x07;
    if (chip === this.#second) {
      this.#first.isr &= ~4;
      this.#first.irr &= ~4;
    }
    chip.irr &= ~(1 << line);
    chip.isr &= ~(1 << line);
    this.#update();
    return line | 0x80;
  }
  /** Writes a port. */
  write(port: number, v: number): void {
    if (port === 0x4d0) this.#first.elcr = v & this.#first.elcrMask;
    else if (port === 0x4d1) this.#second.elcr = v & this.#second.elcrMask;
    else (port < 0x80 ? this.#first : this.#second).write(port & 1, v & 0xff);
    this.#update();
  }

  /** `struct kvm_pic_state` of chip 0 or 1: 16 bytes. */
  image(chip: 0 | 1): Uint8Array {
    return (chip === 0 ? this.#first : this.#second).image();
  }
  /** KVM_SET_IRQCHIP. */
  setImage(chip: 0 | 1, bytes: Uint8Array): void {
    (chip === 0 ? this.#first : this.#second).setImage(bytes.subarray(0, STATE_BYTES));
    this.#update();
  }
  /** For the VM's cell. */
  save(): Plain {
    return [this.#first.image(), this.#second.image()];
  }
  /** For the VM's cell. */
  restore(saved: Plain): void {
    const [first, second] = saved as unknown as [Uint8Array, Uint8Array];
    this.#first.setImage(first);
    this.#second.setImage(second);
    this.output = this.#first.wanted(true) >= 0;
  }
}

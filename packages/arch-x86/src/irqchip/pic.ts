/** The pair of 8259 interrupt controllers that KVM keeps (Intel 8259A data sheet; arch/x86/kvm/i8259.c). */
import type { Plain } from '@faultyard/core';

/** Bytes of `struct kvm_pic_state`. */
export const PIC_STATE_BYTES = 16;
/** Lines that may be level-triggered by ELCR: not 0 1 2 of the first, not 8 and 13. */
const ELCR_MASK = [0xf8, 0xde] as const;

/** What the pair needs of the chip. */
export interface PicPlace {
  /** INTR changed. */
  changed(): void;
  /** The interrupt of a line (0 to 15) was ended. */
  acknowledged(line: number): void;
  /** A line was masked or unmasked. */
  maskChanged(line: number, masked: boolean): void;
  /** Whether some vCPU listens to the pair. */
  listened(): boolean;
}

/** One 8259. As KVM's, it knows special mask mode, but does not act on it. */
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
  /** ICW that is expected next at the odd port, less 1; 0: OCW1. */
  initState = 0;
  autoEoi = 0;
  rotateOnAutoEoi = 0;
  specialNested = 0;
  init4 = 0;
  elcr = 0;
  readonly elcrMask: number;
  /** Number of its first line. */
  readonly #first: number;
  readonly #p: PicPlace;

  constructor(first: number, elcrMask: number, p: PicPlace) {
    this.#first = first;
    this.elcrMask = elcrMask;
    this.#p = p;
  }
  /** Position in priority order of the highest bit of a mask; 8 for none. */
  #priority(mask: number): number {
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
  get wanted(): number {
    const p = this.#priority(this.irr & ~this.imr);
    if (p === 8) return -1;
    // special fully nested mode: the second controller may interrupt itself
    const mask = this.specialNested && this.#first === 0 ? this.isr & ~4 : this.isr;
    return p < this.#priority(mask) ? (p + this.priorityAdd) & 7 : -1;
  }
  /** Interrupt acknowledge. */
  take(line: number): void {
    this.isr |= 1 << line;
    if (!(this.elcr & (1 << line))) this.irr &= ~(1 << line);
    if (!this.autoEoi) return;
    if (this.rotateOnAutoEoi) this.priorityAdd = (line + 1) & 7;
    this.end(line);
  }
  /** The interrupt of a line is over (pic_clear_isr). */
  end(line: number): void {
    this.isr &= ~(1 << line);
    this.#p.acknowledged(this.#first + line);
  }
  write(port: number, v: number): void {
    if (port === 0) this.#command(v);
    else if (this.initState === 0) this.#mask(v);
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
  #mask(v: number): void {
    const changed = this.imr ^ v;
    this.imr = v;
    for (let line = 0; line < 8; line++)
      if (changed & (1 << line)) this.#p.maskChanged(this.#first + line, (v & (1 << line)) !== 0);
  }
  #command(v: number): void {
    if (v & 0x10) this.#initialize(v);
    else if (v & 0x08) {
      if (v & 0x04) this.poll = 1;
      if (v & 0x02) this.readRegister = v & 1;
      if (v & 0x40) this.specialMask = (v >>> 5) & 1;
    } else this.#end(v);
  }
  /** ICW1 (kvm_pic_reset): edges that waited are dropped, and count as acknowledged if anybody listens. */
  #initialize(v: number): void {
    this.init4 = v & 1;
    const edges = this.irr & ~this.elcr;
    this.lastIrr = 0;
    this.irr &= this.elcr;
    this.imr = 0;
    this.priorityAdd = 0;
    this.specialMask = 0;
    this.readRegister = 0;
    if (!this.init4) {
      this.specialNested = 0;
      this.autoEoi = 0;
    }
    this.initState = 1;
    if (!this.#p.listened()) return;
    for (let line = 0; line < 8; line++) if (edges & (1 << line)) this.end(line);
  }
  #end(v: number): void {
    const command = v >>> 5;
    const line = v & 7;
    if (command === 0 || command === 4) this.rotateOnAutoEoi = command >>> 2;
    else if (command === 1 || command === 5) {
      const p = this.#priority(this.isr);
      if (p === 8) return;
      const at = (p + this.priorityAdd) & 7;
      if (command === 5) this.priorityAdd = (at + 1) & 7;
      this.end(at);
    } else if (command === 3) this.end(line);
    else if (command === 6) this.priorityAdd = (line + 1) & 7;
    else if (command === 7) {
      this.priorityAdd = (line + 1) & 7;
      this.end(line);
    }
  }
  read(port: number): number {
    if (port === 1) return this.imr;
    return this.readRegister ? this.isr : this.irr;
  }

  image(): Uint8Array {
    const s = [this.lastIrr, this.irr, this.imr, this.isr, this.priorityAdd, this.base, this.readRegister];
    s.push(this.poll, this.specialMask, this.initState, this.autoEoi, this.rotateOnAutoEoi);
    return Uint8Array.of(...s, this.specialNested, this.init4, this.elcr, this.elcrMask);
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
  readonly #first: Chip;
  readonly #second: Chip;
  /** INTR of the pair. */
  output = false;
  readonly #p: PicPlace;

  constructor(p: PicPlace) {
    this.#p = p;
    this.#first = new Chip(0, ELCR_MASK[0], p);
    this.#second = new Chip(8, ELCR_MASK[1], p);
  }
  /** RESET: as a pair that was never set up. */
  reset(): void {
    this.#first.setImage(new Uint8Array(PIC_STATE_BYTES));
    this.#second.setImage(new Uint8Array(PIC_STATE_BYTES));
    this.#update();
  }
  #update(): void {
    if (this.#second.wanted >= 0) {
      // an edge on the cascade line
      this.#first.setLine(2, true);
      this.#first.setLine(2, false);
    }
    const output = this.#first.wanted >= 0;
    if (output === this.output) return;
    this.output = output;
    this.#p.changed();
  }
  /** A line (0 to 15); what `IrqChip.setLine` says of it. */
  setLine(line: number, level: boolean): number {
    const news = (line < 8 ? this.#first : this.#second).setLine(line & 7, level);
    this.#update();
    return news;
  }
  /** The interrupt acknowledge cycles: the vector; a request that went away is spurious, line 7. */
  acknowledge(): number {
    const vector = this.#take();
    this.#update();
    return vector;
  }
  #take(): number {
    const first = this.#first;
    const second = this.#second;
    const line = first.wanted;
    if (line < 0) return first.base + 7;
    first.take(line);
    if (line !== 2) return first.base + line;
    const other = second.wanted;
    if (other < 0) return second.base + 7;
    second.take(other);
    return second.base + other;
  }

  /** Ports 20h 21h A0h A1h, and ELCR at 4D0h 4D1h. */
  read(port: number): number {
    if (port === 0x4d0) return this.#first.elcr;
    if (port === 0x4d1) return this.#second.elcr;
    const chip = port < 0x80 ? this.#first : this.#second;
    return chip.poll ? this.#poll(chip) : chip.read(port & 1);
  }
  /** The read after a poll command acknowledges; KVM does not set bit 7 (pic_poll_read). */
  #poll(chip: Chip): number {
    chip.poll = 0;
    const line = chip.wanted;
    if (line >= 0) {
      if (chip === this.#second) {
        this.#first.isr &= ~4;
        this.#first.irr &= ~4;
      }
      chip.irr &= ~(1 << line);
      chip.end(line);
    }
    this.#update();
    return line < 0 ? 7 : line;
  }
  /** Writes a port. */
  write(port: number, v: number): void {
    if (port === 0x4d0) this.#first.elcr = v & this.#first.elcrMask;
    else if (port === 0x4d1) this.#second.elcr = v & this.#second.elcrMask;
    else {
      (port < 0x80 ? this.#first : this.#second).write(port & 1, v & 0xff);
      this.#update();
    }
  }

  /** `struct kvm_pic_state` of chip 0 or 1: 16 bytes. */
  image(chip: 0 | 1): Uint8Array {
    return (chip === 0 ? this.#first : this.#second).image();
  }
  /** KVM_SET_IRQCHIP. */
  setImage(chip: 0 | 1, bytes: Uint8Array): void {
    (chip === 0 ? this.#first : this.#second).setImage(bytes.subarray(0, PIC_STATE_BYTES));
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
    this.output = this.#first.wanted >= 0;
  }
}

/** PL011 UART (Arm DDI 0183, chapter 3): polled and interrupt-driven output and input, FIFOs of 16 or 1. */
import type { Cell, Plain } from '@faultyard/core';
import type { MmioDevice } from './bus.ts';

/** Register offsets in bytes (DDI 0183, 3.2). */
export const Pl011Register = {
  DR: 0x000,
  RSR: 0x004,
  FR: 0x018,
  ILPR: 0x020,
  IBRD: 0x024,
  FBRD: 0x028,
  LCR_H: 0x02c,
  CR: 0x030,
  IFLS: 0x034,
  IMSC: 0x038,
  RIS: 0x03c,
  MIS: 0x040,
  ICR: 0x044,
  DMACR: 0x048,
} as const;

/** Bits of FR. */
const FR = { RXFE: 1 << 4, RXFF: 1 << 6, TXFE: 1 << 7 } as const;
/** Interrupts: receive, transmit, receive timeout, overrun. */
const INT = { RX: 1 << 4, TX: 1 << 5, RT: 1 << 6, OE: 1 << 10 } as const;
/** UARTPeriphID0-3, UARTPCellID0-3 (r1p5). */
const ID = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1] as const;

/** Registers that hold what was written: offset to mask and reset value (DDI 0183, table 3-1). */
const HELD: ReadonlyMap<number, { readonly mask: number; readonly reset: number }> = new Map([
  [Pl011Register.ILPR, { mask: 0xff, reset: 0 }],
  [Pl011Register.IBRD, { mask: 0xffff, reset: 0 }],
  [Pl011Register.FBRD, { mask: 0x3f, reset: 0 }],
  [Pl011Register.LCR_H, { mask: 0xff, reset: 0 }],
  [Pl011Register.CR, { mask: 0xff87, reset: 0x300 }],
  [Pl011Register.IFLS, { mask: 0x3f, reset: 0x12 }],
  [Pl011Register.IMSC, { mask: 0x7ff, reset: 0 }],
  [Pl011Register.DMACR, { mask: 7, reset: 0 }],
]);

/** What a UART needs. */
export interface Pl011Options {
  readonly name?: string;
  /** Called with each character sent. */
  readonly output?: (char: string) => void;
  /** Level of the interrupt line, when it changes. */
  readonly irq?: (level: boolean) => void;
}

/** The UART. Sending takes no time. Plug it into the bus, and `vm.keep(uart.cell)`. */
export class Pl011 implements MmioDevice {
  readonly name: string;
  readonly gpa: number;
  readonly size = 0x1000;
  readonly #o: Pl011Options;
  readonly #held = new Map<number, number>([...HELD].map(([at, r]) => [at, r.reset]));
  #text = '';
  #input: number[] = [];
  #raised = 0;
  #level = false;

  constructor(gpa: number, o: Pl011Options = {}) {
    this.gpa = gpa;
    this.name = o.name ?? 'pl011';
    this.#o = o;
  }
  /** Everything sent so far. */
  get text(): string {
    return this.#text;
  }
  /** Gives characters to the guest; what does not fit the FIFO is lost and sets the overrun interrupt. */
  send(text: string): void {
    for (const b of new TextEncoder().encode(text)) {
      if (this.#input.length < this.#depth) this.#input.push(b);
      else this.#raised |= INT.OE;
    }
    this.#received();
  }
  #value(at: number): number {
    return this.#held.get(at) ?? 0;
  }
  get #depth(): number {
    return this.#value(Pl011Register.LCR_H) & 0x10 ? 16 : 1;
  }
  /** Receive interrupts: at the level IFLS names, and (as no more comes at once) the timeout for less. */
  #received(): void {
    const level = [2, 4, 8, 12, 14][(this.#value(Pl011Register.IFLS) >>> 3) & 7] ?? 8;
    const full = this.#input.length >= (this.#depth === 1 ? 1 : level);
    this.#raised =
      (this.#raised & ~(INT.RX | INT.RT)) | (full ? INT.RX : 0) | (this.#input.length ? INT.RT : 0);
    this.#line();
  }
  #line(): void {
    const level = (this.#raised & this.#value(Pl011Register.IMSC)) !== 0;
    if (level === this.#level) return;
    this.#level = level;
    this.#o.irq?.(level);
  }

  load(offset: number): number {
    switch (offset) {
      case Pl011Register.DR: {
        const b = this.#input.shift() ?? 0;
        this.#received();
        return b;
      }
      case Pl011Register.FR: {
        const n = this.#input.length;
        return FR.TXFE | (n === 0 ? FR.RXFE : 0) | (n >= this.#depth ? FR.RXFF : 0);
      }
      case Pl011Register.RIS:
        return this.#raised;
      case Pl011Register.MIS:
        return this.#raised & this.#value(Pl011Register.IMSC);
      default:
        return offset >= 0xfe0 ? (ID[(offset - 0xfe0) >> 2] ?? 0) : this.#value(offset);
    }
  }
  store(offset: number, _size: number, value: bigint): undefined {
    const v = Number(value & 0xffffn);
    const held = HELD.get(offset);
    if (held) this.#held.set(offset, v & held.mask);
    else if (offset === Pl011Register.ICR) this.#raised &= ~v;
    else if (offset === Pl011Register.DR) {
      const c = String.fromCharCode(v & 0xff);
      this.#text += c;
      this.#o.output?.(c);
      // The FIFO drains at once and crosses its level downwards.
      this.#raised |= INT.TX;
    }
    this.#line();
    return undefined;
  }
  /** State that snapshots keep. */
  get cell(): Cell {
    return {
      name: `vmm.${this.name}`,
      version: 1,
      side: 'vmm',
      read: (): Plain => ({
        text: this.#text,
        input: [...this.#input],
        held: [...this.#held.values()],
        raised: this.#raised,
      }),
      write: (v) => {
        const s = v as unknown as { text: string; input: number[]; held: number[]; raised: number };
        this.#text = s.text;
        this.#input = [...s.input];
        for (const [i, at] of [...this.#held.keys()].entries()) this.#held.set(at, s.held[i] ?? 0);
        this.#raised = s.raised;
        this.#line();
      },
    };
  }
}

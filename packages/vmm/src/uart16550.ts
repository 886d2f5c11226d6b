/** 16550 UART (National PC16550D data sheet, section 8): polled and interrupt-driven, FIFOs, loopback. */
import type { Cell, Plain } from '@faultyard/core';
import type { PortDevice } from './port-bus.ts';

/** Register offsets (PC16550D, table I). With LCR.DLAB the first two are the divisor. */
export const Uart16550Register = {
  /** Receiver buffer (read), transmitter holding (write), divisor low. */
  DATA: 0,
  /** Interrupt enable, divisor high. */
  IER: 1,
  /** Interrupt identification (read), FIFO control (write). */
  IIR: 2,
  LCR: 3,
  MCR: 4,
  LSR: 5,
  MSR: 6,
  SCR: 7,
} as const;

const R = Uart16550Register;
const DLAB = 0x80;
const LOOP = 0x10;
/** Gates the interrupt onto the bus of a PC. */
const OUT2 = 8;
const IER = { RDA: 1, THRE: 2, RLS: 4, MS: 8 } as const;
const LSR = { DR: 1, OE: 2, THRE: 0x20, TEMT: 0x40 } as const;
/** Interrupt identifications, by priority (table IV). */
const IIR = { NONE: 1, RLS: 6, RDA: 4, TIMEOUT: 0xc, THRE: 2, MS: 0 } as const;
const FIFO_LEVELS = [1, 4, 8, 14] as const;
/** Modem lines at rest: a terminal is there (DCD, DSR, CTS). */
const CONNECTED = 0xb0;

/** What a UART needs. */
export interface Uart16550Options {
  readonly name?: string;
  /** Called with each character sent. */
  readonly output?: (char: string) => void;
  /** Level of the interrupt line (IRQ4 of COM1), when it changes. */
  readonly irq?: (level: boolean) => void;
}

/** The UART: eight ports. Sending takes no time. Plug it into the bus, and `vm.keep(uart.cell)`. */
export class Uart16550 implements PortDevice {
  readonly name: string;
  readonly port: number;
  readonly size = 8;
  readonly width = 1;
  readonly #o: Uart16550Options;
  #text = '';
  #input: number[] = [];
  #divisor = 12;
  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  #scr = 0;
  #overrun = false;
  /** The transmitter ran empty and nobody was told yet. */
  #sent = false;
  /** MSR's delta bits. */
  #delta = 0;
  #level = false;

  constructor(port: number, o: Uart16550Options = {}) {
    this.port = port;
    this.name = o.name ?? 'uart16550';
    this.#o = o;
  }
  /** Everything sent so far. */
  get text(): string {
    return this.#text;
  }
  /** Gives characters to the guest; what does not fit the FIFO is lost and sets LSR.OE. */
  send(text: string): void {
    for (const b of new TextEncoder().encode(text)) this.#receive(b);
    this.#line();
  }
  #receive(b: number): void {
    if (this.#input.length < (this.#fcr & 1 ? 16 : 1)) this.#input.push(b);
    else this.#overrun = true;
  }

  /** Modem status: in loopback the outputs DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD. */
  get #modem(): number {
    const m = this.#mcr;
    if (!(m & LOOP)) return CONNECTED;
    return ((m & 1) << 5) | ((m & 2) << 3) | ((m & 4) << 4) | ((m & 8) << 4);
  }

  /** The most urgent interrupt that is enabled and pending. */
  #pending(): number {
    if (this.#ier & IER.RLS && this.#overrun) return IIR.RLS;
    if (this.#ier & IER.RDA && this.#input.length > 0) {
      const level = this.#fcr & 1 ? (FIFO_LEVELS[this.#fcr >>> 6] ?? 1) : 1;
      // as no more comes at once, what stays below the level times out
      return this.#input.length >= level ? IIR.RDA : IIR.TIMEOUT;
    }
    if (this.#ier & IER.THRE && this.#sent) return IIR.THRE;
    if (this.#ier & IER.MS && this.#delta) return IIR.MS;
    return IIR.NONE;
  }

  #line(): void {
    const level = this.#pending() !== IIR.NONE && (this.#mcr & OUT2) !== 0 && !(this.#mcr & LOOP);
    if (level === this.#level) return;
    this.#level = level;
    this.#o.irq?.(level);
  }

  load(offset: number): number {
    const v = this.#load(offset);
    this.#line();
    return v;
  }
  #load(offset: number): number {
    switch (offset) {
      case R.DATA:
        return this.#lcr & DLAB ? this.#divisor & 0xff : (this.#input.shift() ?? 0);
      case R.IER:
        return this.#lcr & DLAB ? this.#divisor >>> 8 : this.#ier;
      case R.IIR: {
        const id = this.#pending();
        if (id === IIR.THRE) this.#sent = false;
        return id | (this.#fcr & 1 ? 0xc0 : 0);
      }
      case R.LCR:
        return this.#lcr;
      case R.MCR:
        return this.#mcr;
      case R.LSR: {
        const v = LSR.THRE | LSR.TEMT | (this.#input.length > 0 ? LSR.DR : 0) | (this.#overrun ? LSR.OE : 0);
        this.#overrun = false;
        return v;
      }
      case R.MSR: {
        const v = this.#modem | this.#delta;
        this.#delta = 0;
        return v;
      }
      default:
        return this.#scr;
    }
  }

  store(offset: number, _size: number, value: number): undefined {
    const v = value & 0xff;
    switch (offset) {
      case R.DATA:
        if (this.#lcr & DLAB) this.#divisor = (this.#divisor & 0xff00) | v;
        else this.#transmit(v);
        break;
      case R.IER:
        if (this.#lcr & DLAB) this.#divisor = (this.#divisor & 0xff) | (v << 8);
        else {
          // enabling the interrupt of an empty transmitter raises it
          if (v & ~this.#ier & IER.THRE) this.#sent = true;
          this.#ier = v & 0xf;
        }
        break;
      case R.IIR:
        // turning the FIFOs on or off empties them
        if ((v ^ this.#fcr) & 1 || v & 2) this.#input = [];
        this.#fcr = v & 1 ? v & 0xc9 : 0;
        break;
      case R.LCR:
        this.#lcr = v;
        break;
      case R.MCR:
        this.#setModem(v & 0x1f);
        break;
      case R.SCR:
        this.#scr = v;
        break;
      default:
        // LSR and MSR are for factory tests
        break;
    }
    this.#line();
    return undefined;
  }
  #transmit(b: number): void {
    this.#sent = true;
    if (this.#mcr & LOOP) {
      this.#receive(b);
      return;
    }
    const c = String.fromCharCode(b);
    this.#text += c;
    this.#o.output?.(c);
  }
  #setModem(v: number): void {
    const before = this.#modem;
    this.#mcr = v;
    const now = this.#modem;
    const changed = (before ^ now) >>> 4;
    // TERI tells of the trailing edge only
    this.#delta |= (changed & 0xb) | (before & ~now & 0x40 ? 4 : 0);
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
        divisor: this.#divisor,
        ier: this.#ier,
        fcr: this.#fcr,
        lcr: this.#lcr,
        mcr: this.#mcr,
        scr: this.#scr,
        overrun: this.#overrun,
        sent: this.#sent,
        delta: this.#delta,
      }),
      write: (v) => {
        const s = v as unknown as Uart16550State;
        this.#text = s.text;
        this.#input = [...s.input];
        this.#divisor = s.divisor;
        this.#ier = s.ier;
        this.#fcr = s.fcr;
        this.#lcr = s.lcr;
        this.#mcr = s.mcr;
        this.#scr = s.scr;
        this.#overrun = s.overrun;
        this.#sent = s.sent;
        this.#delta = s.delta;
        this.#line();
      },
    };
  }
}

interface Uart16550State {
  readonly text: string;
  readonly input: readonly number[];
  readonly divisor: number;
  readonly ier: number;
  readonly fcr: number;
  readonly lcr: number;
  readonly mcr: number;
  readonly scr: number;
  readonly overrun: boolean;
  readonly sent: boolean;
  readonly delta: number;
}

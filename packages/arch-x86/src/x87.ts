/**
 * x87, MMX and SSE state beside the XMM registers, which generated code holds (file `v`), and its images in memory
 * (AMD64 APM volume 2, 11.4 and 11.5; SDM volume 1, 8.1 and 13.4). Nothing here computes: instructions that do are #UD.
 */
import type { Plain } from '@faultyard/core';
import type { Cpu } from '@faultyard/engine';

/** Bits of the status word. */
const SW = {
  /** The six exception flags. */
  Exceptions: 0x3f,
  /** An exception is pending that the control word does not mask. */
  ES: 0x80,
  TopShift: 11,
  Top: 0x3800,
  /** The same as ES. */
  B: 0x8000,
} as const;
/** Bits of the control word that can be written; bit 6 always reads 1. */
const CW_BITS = 0x1f3f;
const CW_ONE = 0x40;
/** Last opcode: bits of the first byte that are not the same for all, and the second byte. */
const OPCODE_BITS = 0x7ff;

/** MXCSR after RESET and FNINIT's kin: all exceptions masked. */
export const MXCSR_DEFAULT = 0x1f80;
/** Offsets in an FXSAVE image. */
export const Fx = { Mxcsr: 24, MxcsrMask: 28, St: 32, Xmm: 160 } as const;

/** Whether pointers are saved as 64-bit offsets (REX.W), or as 32-bit offsets with selectors. */
export type PointerFormat = 'offsets' | 'selectors';

/** An instruction or data pointer: offset and, as far as it is known, selector. */
interface Pointer {
  lo: number;
  hi: number;
  selector: number;
}

/** What KVM_GET_FPU's struct kvm_fpu and snapshots need, and the registers that instructions touch. */
export class X87State {
  /** Control word. */
  #control = 0x37f;
  /** Status word with TOP; ES and B follow from the exceptions and their masks. */
  #status = 0;
  /** Bit n: physical register n is not empty. */
  tags = 0;
  /** Physical registers R0 to R7, 10 bytes each. MMX register n is the mantissa of Rn. */
  readonly registers: Uint8Array = new Uint8Array(80);
  /** Last opcode (11 bits). */
  opcode = 0;
  readonly ip: Pointer = { lo: 0, hi: 0, selector: 0 };
  readonly dp: Pointer = { lo: 0, hi: 0, selector: 0 };
  mxcsr: number = MXCSR_DEFAULT;
  /** XMM0 to XMM15, 16 bytes each, in the vCPU's block. */
  readonly xmm: Uint8Array;

  constructor(cpu: Pick<Cpu, 'regAddr'>, memory: ArrayBufferLike) {
    this.xmm = new Uint8Array(memory, cpu.regAddr('v', 0), 256);
  }

  /** Control word. */
  get control(): number {
    return this.#control;
  }
  set control(v: number) {
    this.#control = (v & CW_BITS) | CW_ONE;
    this.#summarize();
  }
  /** Status word. */
  get status(): number {
    return this.#status;
  }
  set status(v: number) {
    this.#status = v & 0xffff;
    this.#summarize();
  }
  #summarize(): void {
    const unmasked = this.#status & ~this.#control & SW.Exceptions;
    this.#status = (this.#status & ~(SW.ES | SW.B)) | (unmasked ? SW.ES | SW.B : 0);
  }
  /** An exception waits for the next waiting instruction to report it. */
  get pending(): boolean {
    return (this.#status & SW.ES) !== 0;
  }
  /** Physical register that is ST(0). */
  get top(): number {
    return (this.#status & SW.Top) >> SW.TopShift;
  }

  /** FNINIT: the registers' contents stay. */
  initialize(): void {
    this.#control = 0x37f;
    this.#status = 0;
    this.tags = 0;
    this.opcode = 0;
    for (const p of [this.ip, this.dp]) p.lo = p.hi = p.selector = 0;
  }
  /** Initial state of XSAVE's component 0. */
  clear(): void {
    this.initialize();
    this.registers.fill(0);
  }
  /** RESET: the initial state of everything, as KVM gives it to a new vCPU (arch/x86/kernel/fpu/core.c), not FCW = 40h. */
  reset(): void {
    this.clear();
    this.mxcsr = MXCSR_DEFAULT;
    this.xmm.fill(0);
  }
  /** Whether component 0 is in that state. */
  get initial(): boolean {
    const { ip, dp } = this;
    const words = this.#status | this.tags | this.opcode | ip.lo | ip.hi | ip.selector;
    return (
      this.#control === 0x37f &&
      (words | dp.lo | dp.hi | dp.selector) === 0 &&
      this.registers.every((x) => x === 0)
    );
  }
  /** What every MMX instruction but EMMS does first: TOP becomes 0, no register is empty. */
  enterMmx(): void {
    this.#status &= ~SW.Top;
    this.tags = 0xff;
  }

  /** For cells; XMM registers are with the general ones. */
  save(): Plain {
    const { ip, dp } = this;
    const words = [this.#control, this.#status, this.tags, this.opcode, this.mxcsr];
    return { registers: this.registers.slice(), words, ip: { ...ip }, dp: { ...dp } };
  }
  /** For cells. */
  restore(v: Plain): void {
    const saved = v as unknown as {
      readonly registers: Uint8Array;
      readonly words: readonly [control: number, status: number, tags: number, opcode: number, mxcsr: number];
      readonly ip: Pointer;
      readonly dp: Pointer;
    };
    this.registers.set(saved.registers);
    [this.#control, this.#status, this.tags, this.opcode, this.mxcsr] = saved.words;
    Object.assign(this.ip, saved.ip);
    Object.assign(this.dp, saved.dp);
  }

  // ---- images ----------------------------------------------------------------------------------------------------
  /** Writes control, status, tags, opcode and pointers as the first 24 bytes of an FXSAVE image, and ST0 to ST7. */
  saveLegacy(to: Uint8Array, format: PointerFormat): void {
    const dv = view(to);
    dv.setUint16(0, this.#control, true);
    dv.setUint16(2, this.#status, true);
    dv.setUint16(4, this.tags, true);
    dv.setUint16(6, this.opcode, true);
    for (const [at, p] of [
      [8, this.ip],
      [16, this.dp],
    ] as const) {
      dv.setInt32(at, p.lo, true);
      dv.setInt32(at + 4, format === 'offsets' ? p.hi : p.selector, true);
    }
    for (let i = 0; i < 8; i++) {
      const at = Fx.St + 16 * i;
      to.set(this.st(i), at);
      to.fill(0, at + 10, at + 16);
    }
  }
  /** Reads what {@link saveLegacy} wrote. */
  restoreLegacy(from: Uint8Array, format: PointerFormat): void {
    const dv = view(from);
    this.#control = (dv.getUint16(0, true) & CW_BITS) | CW_ONE;
    this.status = dv.getUint16(2, true);
    this.tags = from[4] as number;
    this.opcode = dv.getUint16(6, true) & OPCODE_BITS;
    for (const [at, p] of [
      [8, this.ip],
      [16, this.dp],
    ] as const) {
      p.lo = dv.getInt32(at, true);
      p.hi = format === 'offsets' ? dv.getInt32(at + 4, true) : 0;
      p.selector = format === 'offsets' ? 0 : dv.getUint16(at + 4, true);
    }
    for (let i = 0; i < 8; i++) this.st(i).set(from.subarray(Fx.St + 16 * i, Fx.St + 16 * i + 10));
  }
  /** ST(i): 10 bytes. */
  st(i: number): Uint8Array {
    const at = 10 * ((this.top + i) & 7);
    return this.registers.subarray(at, at + 10);
  }

  /** Tag word with two bits a register, found from what they hold: 0 valid, 1 zero, 2 special, 3 empty. */
  get fullTags(): number {
    let word = 0;
    for (let n = 7; n >= 0; n--) word = (word << 2) | this.#tag(n);
    return word;
  }
  /** Only emptiness is taken from it. */
  set fullTags(word: number) {
    let tags = 0;
    for (let n = 0; n < 8; n++) if (((word >> (2 * n)) & 3) !== 3) tags |= 1 << n;
    this.tags = tags;
  }
  #tag(n: number): number {
    if (!((this.tags >> n) & 1)) return 3;
    const r = this.registers.subarray(10 * n, 10 * n + 10);
    const exponent = (r[8] as number) | (((r[9] as number) & 0x7f) << 8);
    if (exponent === 0x7fff) return 2;
    if (exponent === 0) return r.subarray(0, 8).every((x) => x === 0) ? 1 : 2;
    return (r[7] as number) & 0x80 ? 0 : 2;
  }
}

/** A view of the bytes of an array. */
export const view = (a: Uint8Array): DataView => new DataView(a.buffer, a.byteOffset, a.byteLength);

/**
 * Decoding into records: iced-x86 says which code and which registers; sizes of the parts tell where immediates and
 * displacements lie, so that they are read from the bytes without a bigint.
 */
import type { DecodeSite } from '@faultyard/engine';
import { Decoder, DecoderError, DecoderOptions, Instruction, OpKind, Register } from 'iced-x86';
import { FORMS, Form } from './address.ts';
import { matchEncoding } from './encodings.ts';
import { FIELDS, Mode, R, SEG_BASE, SEG_FIRST, SEG_LAST_READ, SEG_LAST_WRITE, Seg, ZERO } from './layout.ts';
import { addressSlot, IMPLIED_BASE, REGISTER_SIZE, SLOT } from './registers-of-iced.ts';
import type { OperandShape, Shape } from './shapes.ts';
import { type CodeEntry, type Table, variantIndex } from './table.ts';

/** Longest instruction in bytes (AMD64 APM volume 3, 1.1). */
export const MAX_INSTRUCTION = 15;
const PAGE = 4096;

/** Byte offset of a record field. */
const at = (name: string): number => FIELDS[name]?.at ?? 0;
const AT = {
  r0: at('r0'),
  base: at('base'),
  index: at('index'),
  scale: at('scale'),
  seg: at('seg'),
  disp: at('disp'),
  imm: at('imm'),
  segBase: at('segBase'),
} as const;

/** Bitness of a decode mode. */
function bitnessOf(mode: number): 16 | 32 | 64 {
  const code = mode & Mode.CodeMask;
  return code === Mode.Code64 ? 64 : code === Mode.Code32 ? 32 : 16;
}
/** Index into MODES of a decode mode. */
function modeIndex(mode: number): number {
  const code = mode & Mode.CodeMask;
  if (code === Mode.Code64) return 0;
  const stack = mode & Mode.Stack32 ? 1 : 0;
  if (mode & Mode.Flat && stack) return 1;
  return 2 + (code === Mode.Code32 ? 2 : 0) + stack;
}

/** A decoder over a copy of one page. */
class PageDecoder {
  readonly #bitness: number;
  readonly #options: number;
  readonly #copy: Uint8Array = new Uint8Array(PAGE);
  #frame = -1;
  #decoder: Decoder | undefined;

  constructor(bitness: number, options: number) {
    this.#bitness = bitness;
    this.#options = options;
  }
  /** Decodes what lies at `offset` of the page at `frame`; `false` if it does not end in the page. */
  at(u8: Uint8Array, frame: number, offset: number, into: Instruction): boolean {
    const d = this.#trusted(u8, frame, offset);
    d.position = offset;
    d.decodeOut(into);
    return d.lastError !== DecoderError.NoMoreBytes;
  }
  #trusted(u8: Uint8Array, frame: number, offset: number): Decoder {
    const copy = this.#copy;
    if (frame === this.#frame && this.#decoder) {
      const end = Math.min(offset + MAX_INSTRUCTION, PAGE);
      let i = offset;
      while (i < end && copy[i] === u8[frame + i]) i++;
      if (i === end) return this.#decoder;
    }
    this.#decoder?.free();
    copy.set(u8.subarray(frame, frame + PAGE));
    this.#frame = frame;
    this.#decoder = new Decoder(this.#bitness, copy, this.#options);
    return this.#decoder;
  }
}

/** Options of iced-x86's decoder for a vendor's rules (near branches with 66, LOCK MOV CR0, …). */
function decoderOptions(vendor: 'AMD' | 'Intel'): number {
  return vendor === 'AMD' ? DecoderOptions.AMD : DecoderOptions.None;
}

/**
 * Decodes the instruction that starts `bytes` (up to 15 of them count) into `into`, as at address `ip`; its code is
 * INVALID if it is none, or does not end within them.
 */
export function decodeInstruction(
  bytes: Uint8Array,
  mode: number,
  ip: bigint,
  into: Instruction,
  vendor: 'AMD' | 'Intel' = 'AMD',
): Instruction {
  const d = new Decoder(bitnessOf(mode), bytes.subarray(0, MAX_INSTRUCTION), decoderOptions(vendor));
  d.ip = ip;
  d.decodeOut(into);
  d.free();
  return into;
}

/** Fills records. */
export class RecordDecoder {
  readonly #table: Table;
  readonly #vendor: 'AMD' | 'Intel';
  readonly #options: number;
  readonly #pages: { readonly [bitness: number]: PageDecoder };
  readonly #instruction: Instruction = new Instruction();

  constructor(table: Table, vendor: 'AMD' | 'Intel') {
    this.#table = table;
    this.#vendor = vendor;
    this.#options = decoderOptions(vendor);
    this.#pages = {
      16: new PageDecoder(16, this.#options),
      32: new PageDecoder(32, this.#options),
      64: new PageDecoder(64, this.#options),
    };
  }
  /** See `Isa.decode`. */
  decode(site: DecodeSite, out: { handler: number }): number {
    out.handler = this.#table.undefinedHandler;
    const i = this.#instruction;
    if (this.#table.encodings.length > 0) {
      const own = this.#own(site, out);
      if (own >= 0) return own;
    }
    const ends = this.#fetch(site, i);
    if (!ends && site.avail < MAX_INSTRUCTION) return 0;
    if (!ends || (i.isInvalid && this.#tooLong(site))) {
      out.handler = this.#table.tooLongHandler;
      return MAX_INSTRUCTION;
    }
    const { length } = i;
    if (i.isInvalid) return Math.max(length, 1);
    const e = this.#table.codes[i.code];
    if (!e) return length;
    const handler = this.#record(site, e, i, length);
    if (handler >= 0) out.handler = handler;
    return length;
  }
  /**
   * Whether the bytes mean nothing because they do not end: #GP(0) rather than #UD (AMD64 APM volume 2, 8.2.14). iced-x86
   * says the same of both; what 14 bytes do not end is taken for too long.
   */
  #tooLong(site: DecodeSite): boolean {
    if (site.avail < MAX_INSTRUCTION) return false;
    const bytes = site.u8.subarray(site.code, site.code + MAX_INSTRUCTION - 1);
    const d = new Decoder(bitnessOf(site.mode), bytes, this.#options);
    d.decodeOut(this.#instruction);
    const ends = d.lastError !== DecoderError.NoMoreBytes;
    d.free();
    return !ends;
  }
  /** One of the encodings that iced-x86 does not know: its length, 0 for more bytes; -1: none of them. */
  #own(site: DecodeSite, out: { handler: number }): number {
    const bytes = site.u8.subarray(site.code, site.code + Math.min(site.avail, MAX_INSTRUCTION));
    const i = this.#instruction;
    for (const { encoding, entry } of this.#table.encodings) {
      const n = matchEncoding(encoding, bytes, bitnessOf(site.mode), this.#options, 0n, i);
      if (n === 'no') continue;
      if (n === 'more') return 0;
      const handler = this.#record(site, entry, i, n);
      if (handler >= 0) out.handler = handler;
      return n;
    }
    return -1;
  }
  /** See `X86Isa.instruction`. */
  instruction(bytes: Uint8Array, mode: number, ip: bigint, into: Instruction): Instruction {
    const within = bytes.subarray(0, MAX_INSTRUCTION);
    for (const { encoding } of this.#table.encodings) {
      const n = matchEncoding(encoding, within, bitnessOf(mode), this.#options, ip, into);
      if (typeof n === 'number') return into;
    }
    return decodeInstruction(bytes, mode, ip, into, this.#vendor);
  }
  #fetch(site: DecodeSite, into: Instruction): boolean {
    const bitness = bitnessOf(site.mode);
    if (site.avail === PAGE - site.offset) {
      const page = this.#pages[bitness] as PageDecoder;
      return page.at(site.u8, site.code - site.offset, site.offset, into);
    }
    const bytes = site.u8.subarray(site.code, site.code + Math.min(site.avail, MAX_INSTRUCTION));
    const d = new Decoder(bitness, bytes, this.#options);
    d.decodeOut(into);
    const ends = d.lastError !== DecoderError.NoMoreBytes;
    d.free();
    return ends;
  }
  #record(site: DecodeSite, e: CodeEntry, i: Instruction, length: number): number {
    const { shape } = e;
    let form: number = Form.None;
    if (!e.row.bare) {
      const { operands } = shape;
      const memory = operands[shape.memory];
      if (memory && (memory.kind === 'memory' || i.opKind(shape.memory) !== OpKind.Register))
        form = memoryOperand(site, i, memory, shape, length);
      if (e.row.popsFirst && form !== Form.None) abovePopped(site, memory as OperandShape);
      let end = site.code + length;
      for (let n = operands.length - 1; n >= 0; n--) {
        const o = operands[n] as OperandShape;
        if (o.kind === 'immediate' || o.kind === 'branch') {
          end -= o.bytes;
          constant(site, o, end, length, form, isSecond(operands, n));
        } else if (o.kind !== 'memory' && n < 3 && (o.kind !== 'either' || form === Form.None))
          site.u8[site.record + AT.r0 + n] = SLOT[i.opRegister(n)] ?? 0;
      }
    }
    const repeat = e.repeats === 1 ? 0 : i.hasRepnePrefix ? 2 : i.hasRepePrefix ? 1 : 0;
    return e.handlers[variantIndex(e, form, repeat, modeIndex(site.mode))] ?? -1;
  }
}

function isSecond(operands: readonly OperandShape[], n: number): boolean {
  for (let i = 0; i < n; i++) if (operands[i]?.kind === 'immediate') return true;
  return false;
}

/**
 * Puts an immediate, or a branch's distance from the instruction's first byte, into the record. Beside a memory operand
 * it has 32 bits: the segment's slots lie behind them.
 */
function constant(
  site: DecodeSite,
  o: OperandShape,
  from: number,
  length: number,
  form: number,
  second: boolean,
): void {
  const { dv, record } = site;
  let lo: number;
  let hi: number;
  if (o.bytes === 8) {
    lo = dv.getInt32(from, true);
    hi = dv.getInt32(from + 4, true);
  } else {
    lo =
      o.bytes === 4
        ? dv.getInt32(from, true)
        : o.bytes === 2
          ? dv.getInt16(from, true)
          : o.bytes === 1
            ? dv.getInt8(from)
            : 1;
    if (o.kind === 'branch') lo = (lo + length) | 0;
    else if (o.size === 1) lo &= 0xff;
    else if (o.size === 2) lo &= 0xffff;
    hi = lo >> 31;
  }
  if (form !== Form.None) dv.setInt32(record + AT.imm, lo, true);
  else if (second) dv.setInt32(record + AT.disp, lo, true);
  else {
    dv.setInt32(record + AT.imm, lo, true);
    dv.setInt32(record + AT.imm + 4, hi, true);
  }
}

/** Puts the memory operand into the record; returns its form. */
function memoryOperand(site: DecodeSite, i: Instruction, o: OperandShape, s: Shape, length: number): number {
  const { u8, dv, record } = site;
  const long = (site.mode & Mode.CodeMask) === Mode.Code64;
  const segment = o.implied === 'di' ? Seg.ES : (SLOT[i.memorySegment] ?? Seg.DS);
  u8[record + AT.seg] = segment;
  let size: number;
  let base: Register = Register.None;
  let index: Register = Register.None;
  if (o.implied && o.implied !== 'bx') {
    u8[record + AT.base] = IMPLIED_BASE[o.implied] as number;
    u8[record + AT.index] = ZERO;
    size = impliedSize(i.opKind(s.memory));
  } else {
    base = i.memoryBase;
    index = i.memoryIndex;
    u8[record + AT.base] = addressSlot(base);
    u8[record + AT.index] = addressSlot(index);
    u8[record + AT.scale] = 31 - Math.clz32(i.memoryIndexScale);
    size = addressSize(i, base, index);
    const encoded = encodedDisplacement(i.memoryDisplSize, o.absolute === true);
    const from = site.code + length - s.immediates - encoded;
    if (encoded === 8) {
      dv.setInt32(record + AT.imm, dv.getInt32(from, true), true);
      dv.setInt32(record + AT.imm + 4, dv.getInt32(from + 4, true), true);
      dv.setInt32(record + AT.disp, dv.getInt32(from + 4, true), true);
    } else if (encoded > 0) dv.setInt32(record + AT.disp, displacement(dv, from, encoded), true);
  }
  const form = formOf(site.mode, { long, size, base, index, segment, absolute: o.absolute === true });
  if (FORMS[form]?.segment !== 'none') {
    u8[record + AT.segBase] = SEG_BASE + segment;
    u8[record + AT.segBase + 1] = SEG_FIRST + segment;
    u8[record + AT.segBase + 2] = SEG_LAST_READ + segment;
    u8[record + AT.segBase + 3] = SEG_LAST_WRITE + segment;
  }
  return form;
}

/** POP to memory addressed by the stack pointer: it lies above what was popped. */
function abovePopped(site: DecodeSite, o: OperandShape): void {
  const { u8, dv, record } = site;
  if (u8[record + AT.base] !== R.RSP) return;
  dv.setInt32(record + AT.disp, dv.getInt32(record + AT.disp, true) + o.memory, true);
}

/** Address size in bytes of an implied memory operand. */
function impliedSize(kind: OpKind): number {
  switch (kind) {
    case OpKind.MemorySegSI:
    case OpKind.MemorySegDI:
    case OpKind.MemoryESDI:
      return 2;
    case OpKind.MemorySegESI:
    case OpKind.MemorySegEDI:
    case OpKind.MemoryESEDI:
      return 4;
    default:
      return 8;
  }
}
/** Address size in bytes: that of the registers, or of the displacement where there are none. */
function addressSize(i: Instruction, base: Register, index: Register): number {
  if (base === Register.RIP) return 8;
  if (base === Register.EIP) return 4;
  return REGISTER_SIZE[base] || REGISTER_SIZE[index] || i.memoryDisplSize;
}
/** Bytes that a displacement takes up; iced-x86 says 8 for one of 32 bits that is sign-extended. */
function encodedDisplacement(size: number, absolute: boolean): number {
  return size === 8 && !absolute ? 4 : size;
}
function displacement(dv: DataView, from: number, bytes: number): number {
  return bytes === 4 ? dv.getInt32(from, true) : bytes === 2 ? dv.getInt16(from, true) : dv.getInt8(from);
}

function formOf(
  mode: number,
  m: {
    readonly long: boolean;
    readonly size: number;
    readonly base: Register;
    readonly index: Register;
    readonly segment: number;
    readonly absolute: boolean;
  },
): number {
  const based = m.segment >= Seg.FS;
  if (!m.long) {
    if (m.size === 2) return Form.General16;
    // CS is never writable
    const flat = mode & Mode.Flat && mode & Mode.Stack32 && !based && m.segment !== Seg.CS;
    return flat ? Form.Flat : Form.General32;
  }
  if (m.size === 4) return m.base === Register.EIP ? Form.Eip : Form.Address32;
  if (m.absolute) return based ? Form.SegAbsolute : Form.Absolute;
  if (m.base === Register.RIP) return based ? Form.SegRip : Form.Rip;
  if (m.index !== Register.None && REGISTER_SIZE[m.index] !== 1) return based ? Form.SegIndex : Form.Index;
  return based ? Form.SegBase : Form.Base;
}

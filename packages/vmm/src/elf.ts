/** ELF executables of 32 and 64 bits (System V ABI, gABI 4.1 chapters 4 and 5): program headers to load, symbols to find. */
import { FaultyardError, hex } from '@faultyard/core';

/** A PT_LOAD segment. Addresses and sizes in bytes. */
export interface ElfSegment {
  readonly vaddr: bigint;
  readonly paddr: bigint;
  /** Bytes from the file; the rest up to `size` is zero. */
  readonly bytes: Uint8Array;
  readonly size: bigint;
  /** 1 execute, 2 write, 4 read. */
  readonly flags: number;
}
/** A symbol with a name. */
export interface ElfSymbol {
  readonly name: string;
  readonly value: bigint;
  readonly size: bigint;
  /** 0 none, 1 object, 2 function, 3 section, 4 file. */
  readonly type: number;
}
/** What an ELF file says. */
export interface ElfImage {
  /** Width of its addresses. */
  readonly bits: 32 | 64;
  /** e_machine: 3 i386, 62 x86-64, 183 AArch64. */
  readonly machine: number;
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  readonly symbols: readonly ElfSymbol[];
}

const PT_LOAD = 1;
const SHT_SYMTAB = 2;

/** A header's fields, which the two classes have at other offsets and in other widths. */
class Fields {
  readonly file: Uint8Array;
  readonly wide: boolean;
  readonly #v: DataView;
  readonly #name: string;

  constructor(file: Uint8Array, wide: boolean, name: string) {
    this.file = file;
    this.wide = wide;
    this.#v = new DataView(file.buffer, file.byteOffset, file.byteLength);
    this.#name = name;
  }
  u8(at: number): number {
    return this.#v.getUint8(at);
  }
  u16(at32: number, at64: number): number {
    return this.#v.getUint16(this.wide ? at64 : at32, true);
  }
  u32(at32: number, at64: number): number {
    return this.#v.getUint32(this.wide ? at64 : at32, true);
  }
  /** An address, offset or size of the class's width. */
  word(at32: number, at64: number): bigint {
    return this.wide ? this.#v.getBigUint64(at64, true) : BigInt(this.#v.getUint32(at32, true));
  }
  bad(why: string): never {
    throw new FaultyardError('FY_IMAGE', {
      what: this.#name,
      why,
      fix: 'give an ELF little-endian executable',
    });
  }
  /** An offset in the file as a number, with `size` bytes behind it. */
  within(at: bigint, size: bigint, what: string): number {
    if (at + size > BigInt(this.file.length))
      this.bad(`its ${what} at ${hex(at)} lies beyond the end of the file`);
    return Number(at);
  }
}

/** Reads an ELF little-endian file. @throws FaultyardError FY_IMAGE. */
export function readElf(file: Uint8Array, name: string = 'ELF'): ElfImage {
  const f = new Fields(file, file[4] === 2, name);
  if (file.length < 52 || file[0] !== 0x7f || file[1] !== 0x45 || file[2] !== 0x4c || file[3] !== 0x46)
    f.bad('is no ELF file');
  if ((file[4] !== 1 && file[4] !== 2) || file[5] !== 1) f.bad('is not little-endian of 32 or 64 bits');
  if (f.wide && file.length < 64) f.bad('is no ELF file');
  const segments: ElfSegment[] = [];
  const phentsize = f.u16(42, 54);
  const phnum = f.u16(44, 56);
  if (phnum > 0 && phentsize < (f.wide ? 56 : 32)) f.bad(`its program headers have ${phentsize} bytes`);
  const phoff = f.within(f.word(28, 32), BigInt(phnum * phentsize), 'program headers');
  for (let i = 0; i < phnum; i++) {
    const p = phoff + i * phentsize;
    if (f.u32(p, p) !== PT_LOAD) continue;
    const filesz = f.word(p + 16, p + 32);
    const size = f.word(p + 20, p + 40);
    if (filesz > size) f.bad(`segment ${i} is larger in the file than in memory`);
    const at = f.within(f.word(p + 4, p + 8), filesz, `segment ${i}`);
    segments.push({
      vaddr: f.word(p + 8, p + 16),
      paddr: f.word(p + 12, p + 24),
      bytes: file.subarray(at, at + Number(filesz)),
      size,
      flags: f.u32(p + 24, p + 4),
    });
  }
  return {
    bits: f.wide ? 64 : 32,
    machine: f.u16(18, 18),
    entry: f.word(24, 24),
    segments,
    symbols: readSymbols(f),
  };
}

function readSymbols(f: Fields): ElfSymbol[] {
  const out: ElfSymbol[] = [];
  const shentsize = f.u16(46, 58);
  const shnum = f.u16(48, 60);
  const shoff = f.within(f.word(32, 40), BigInt(shnum * shentsize), 'section headers');
  const section = (i: number): { at: number; size: number; link: number; type: number } => {
    const s = shoff + i * shentsize;
    const type = f.u32(s + 4, s + 4);
    // SHT_NOBITS has no bytes in the file.
    const size = f.word(s + 20, s + 32);
    const at = type === 8 ? 0 : f.within(f.word(s + 16, s + 24), size, `section ${i}`);
    return { at, size: Number(size), link: f.u32(s + 24, s + 40), type };
  };
  const entry = f.wide ? 24 : 16;
  for (let i = 0; i < shnum; i++) {
    const s = section(i);
    if (s.type !== SHT_SYMTAB || s.link >= shnum) continue;
    const strings = section(s.link);
    const text = f.file.subarray(strings.at, strings.at + strings.size);
    for (let at = s.at; at + entry <= s.at + s.size; at += entry) {
      const from = f.u32(at, at);
      const end = text.indexOf(0, from);
      const name = new TextDecoder().decode(text.subarray(from, end < 0 ? text.length : end));
      if (!name) continue;
      out.push({
        name,
        value: f.word(at + 4, at + 8),
        size: f.word(at + 8, at + 16),
        type: f.u8(at + (f.wide ? 4 : 12)) & 15,
      });
    }
  }
  return out;
}

/** ELF64 executables (System V ABI, gABI 4.1 chapters 4 and 5): program headers to load, symbols to find. */
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
  /** e_machine: 62 x86-64, 183 AArch64. */
  readonly machine: number;
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  readonly symbols: readonly ElfSymbol[];
}

const PT_LOAD = 1;
const SHT_SYMTAB = 2;

/** Reads an ELF64 little-endian file. @throws FaultyardError FY_IMAGE. */
export function readElf(file: Uint8Array, name: string = 'ELF'): ElfImage {
  const v = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const bad = (why: string, fix: string = 'give an ELF64 little-endian executable'): never => {
    throw new FaultyardError('FY_IMAGE', { what: name, why, fix });
  };
  if (file.length < 64 || v.getUint32(0, false) !== 0x7f454c46) bad('is no ELF file');
  if (file[4] !== 2 || file[5] !== 1) bad('is not 64-bit little-endian');
  const u64 = (at: number): bigint => v.getBigUint64(at, true);
  const within = (at: bigint, size: bigint, what: string): number => {
    if (at + size > BigInt(file.length)) bad(`its ${what} at ${hex(at)} lies beyond the end of the file`);
    return Number(at);
  };
  const segments: ElfSegment[] = [];
  const phentsize = v.getUint16(54, true);
  const phnum = v.getUint16(56, true);
  if (phnum > 0 && phentsize < 56) bad(`its program headers have ${phentsize} bytes`);
  const phoff = within(u64(32), BigInt(phnum * phentsize), 'program headers');
  for (let i = 0; i < phnum; i++) {
    const p = phoff + i * phentsize;
    if (v.getUint32(p, true) !== PT_LOAD) continue;
    const filesz = u64(p + 32);
    const size = u64(p + 40);
    if (filesz > size) bad(`segment ${i} is larger in the file than in memory`);
    const at = within(u64(p + 8), filesz, `segment ${i}`);
    segments.push({
      vaddr: u64(p + 16),
      paddr: u64(p + 24),
      bytes: file.subarray(at, at + Number(filesz)),
      size,
      flags: v.getUint32(p + 4, true),
    });
  }
  return { machine: v.getUint16(18, true), entry: u64(24), segments, symbols: readSymbols(v, file, within) };
}

function readSymbols(
  v: DataView,
  file: Uint8Array,
  within: (at: bigint, size: bigint, what: string) => number,
): ElfSymbol[] {
  const out: ElfSymbol[] = [];
  const shentsize = v.getUint16(58, true);
  const shnum = v.getUint16(60, true);
  const shoff = within(v.getBigUint64(40, true), BigInt(shnum * shentsize), 'section headers');
  const section = (i: number): { at: number; size: number; link: number; type: number } => {
    const s = shoff + i * shentsize;
    const type = v.getUint32(s + 4, true);
    // SHT_NOBITS has no bytes in the file.
    const size = v.getBigUint64(s + 32, true);
    const at = type === 8 ? 0 : within(v.getBigUint64(s + 24, true), size, `section ${i}`);
    return { at, size: Number(size), link: v.getUint32(s + 40, true), type };
  };
  for (let i = 0; i < shnum; i++) {
    const s = section(i);
    if (s.type !== SHT_SYMTAB || s.link >= shnum) continue;
    const strings = section(s.link);
    const text = file.subarray(strings.at, strings.at + strings.size);
    for (let at = s.at; at + 24 <= s.at + s.size; at += 24) {
      const from = v.getUint32(at, true);
      const end = text.indexOf(0, from);
      const name = new TextDecoder().decode(text.subarray(from, end < 0 ? text.length : end));
      if (!name) continue;
      out.push({
        name,
        value: v.getBigUint64(at + 8, true),
        size: v.getBigUint64(at + 16, true),
        type: v.getUint8(at + 4) & 15,
      });
    }
  }
  return out;
}

/** One-source bit operations and CRC32 (DDI 0487 C4.1.95). */
import type { Builder, I32, I64 } from '@faultyard/engine';
import { narrow } from './data-immediate.ts';
import type { Bits, Form, Rec } from './form.ts';
import { field, source, target } from './memory-form.ts';

const oneSource = (b: Bits): Rec => ({ rd: target(field(b, 'Rd')), rn: source(field(b, 'Rn')) });

/** Exchanges neighbouring groups of `bits` bits; `mask` has ones in every other group, from bit 0. */
function exchange(b: Builder, x: I64, bits: number, mask: number): I64 {
  const v = b.let(x);
  const m = b.c64(mask, mask);
  const by = b.c32(bits);
  return b.or(b.and(b.shrU(v, by), m), b.shl(b.and(v, m), by));
}

/** Reverses the bytes of every group of 2, 4 or 8 bytes. */
function reverseBytes(b: Builder, x: I64, group: 2 | 4 | 8): I64 {
  let r = exchange(b, x, 8, 0x00ff00ff);
  if (group >= 4) r = exchange(b, r, 16, 0x0000ffff);
  if (group === 8) r = b.rotr(r, b.c32(32));
  return r;
}

/** Name, opcode bits, meaning. The one-source space has `S` = 0 and opcode2 = 0. */
const operations: readonly {
  readonly name: string;
  readonly opcode: string;
  /** Fixed `sf`, for rows that exist in one width. */
  readonly sf?: 0 | 1;
  readonly mnemonic: string;
  readonly of: (b: Builder, x: I64, sf: number) => I64;
}[] = [
  {
    name: 'RBIT',
    opcode: '000000',
    mnemonic: 'rbit',
    of: (b, x, sf) => {
      let r = exchange(b, x, 1, 0x55555555);
      r = exchange(b, r, 2, 0x33333333);
      r = exchange(b, r, 4, 0x0f0f0f0f);
      return reverseBytes(b, r, sf === 1 ? 8 : 4);
    },
  },
  { name: 'REV16', opcode: '000001', mnemonic: 'rev16', of: (b, x) => reverseBytes(b, x, 2) },
  { name: 'REV (32-bit)', opcode: '000010', sf: 0, mnemonic: 'rev', of: (b, x) => reverseBytes(b, x, 4) },
  { name: 'REV32', opcode: '000010', sf: 1, mnemonic: 'rev32', of: (b, x) => reverseBytes(b, x, 4) },
  { name: 'REV (64-bit)', opcode: '000011', sf: 1, mnemonic: 'rev', of: (b, x) => reverseBytes(b, x, 8) },
  {
    name: 'CLZ',
    opcode: '000100',
    mnemonic: 'clz',
    of: (b, x, sf) => (sf === 1 ? b.clz(x) : b.extU(b.clz(b.wrap(x)))),
  },
  {
    name: 'CLS',
    opcode: '000101',
    mnemonic: 'cls',
    of: (b, x, sf) => {
      const signs = <T extends 'i32' | 'i64'>(v: ReturnType<typeof b.let<T>>): typeof v =>
        b.clz(b.xor(v, b.shrS(v, b.c32(1))));
      if (sf === 1) return b.sub(signs(x), b.c64(1));
      return b.extU(b.sub(signs(b.wrap(x)), b.c32(1)));
    },
  },
];

const bitOperations = operations.map(({ name, opcode, sf, mnemonic, of }): Form => {
  const register = sf === undefined ? 'R' : sf === 1 ? 'X' : 'W';
  return {
    name,
    bits: `${sf === undefined ? 'sf:1' : sf} 1 0 11010110 00000 ${opcode} Rn:5 Rd:5`,
    ref: `C6.2 ${name}`,
    ...(sf === undefined ? { spec: ['sf'] } : {}),
    asm: [
      { text: `${mnemonic} <${register}d>, <${register}n>` },
      ...(name === 'REV (64-bit)' ? [{ text: 'rev64 <Xd>, <Xn>', asmOnly: true }] : []),
    ],
    record: oneSource,
    sem: (b, f, v) => {
      const width = sf ?? field(v, 'sf');
      b.set(f.slot('rd'), narrow(b, width, of(b, b.get(f.slot('rn')), width)));
    },
  };
});

/** The polynomials, bit-reversed: 0x04C11DB7 (CRC32) and 0x1EDC6F41 (CRC32C). */
const polynomials = { CRC32: 0xedb88320, CRC32C: 0x82f63b78 } as const;

/** One byte of `crc` (its low 8 bits, already combined with the data) through the polynomial. */
function crcByte(b: Builder, crc: I32, polynomial: number): I32 {
  let c = crc;
  for (let i = 0; i < 8; i++) {
    const v = b.let(c);
    const odd = b.sub(b.c32(0), b.and(v, b.c32(1)));
    c = b.xor(b.shrU(v, b.c32(1)), b.and(odd, b.c32(polynomial)));
  }
  return c;
}

const checksums = (['CRC32', 'CRC32C'] as const).flatMap((name) =>
  (['B', 'H', 'W', 'X'] as const).map(
    (letter, size): Form => ({
      name: `${name}${letter}`,
      bits: `${letter === 'X' ? 1 : 0} 0 0 11010110 Rm:5 010 ${name === 'CRC32C' ? 1 : 0} ${size.toString(2).padStart(2, '0')} Rn:5 Rd:5`,
      ref: `C6.2 ${name}B, ${name}H, ${name}W, ${name}X`,
      feature: 'crc32',
      cold: true,
      asm: [
        {
          text: `${name.toLowerCase()}${letter.toLowerCase()} <Wd>, <Wn>, <${letter === 'X' ? 'X' : 'W'}m>`,
        },
      ],
      record: (b) => ({ ...oneSource(b), rm: source(field(b, 'Rm')) }),
      sem: (b, f) => {
        const data = b.let(b.get(f.slot('rm')));
        let crc = b.let(b.wrap(b.get(f.slot('rn'))));
        for (let byte = 0; byte < 1 << size; byte++) {
          const next = b.and(b.wrap(b.shrU(data, b.c32(byte * 8))), b.c32(0xff));
          crc = b.let(crcByte(b, b.xor(crc, next), polynomials[name]));
        }
        b.set(f.slot('rd'), b.extU(crc));
      },
    }),
  ),
);

/** Rows of this chapter. */
export const dataBitsForms: readonly Form[] = [...bitOperations, ...checksums];

/**
 * Decimal adjustment: AAA, AAS, AAM, AAD, DAA, DAS (AMD64 APM volume 3; SDM volume 2 for the carries of DAA and DAS).
 * Undefined flags: OF is 0; SF, ZF and PF of AAA and AAS follow AL; CF and AF of AAM and AAD are 0.
 */
import type { Builder, I32 } from '@faultyard/engine';
import { carry, FA } from './flags.ts';
import { highByte, lowByte, R } from './layout.ts';
import type { Operands, Row } from './row.ts';
import { Slow } from './slow.ts';

const AL = lowByte(R.RAX);
const AH = highByte(R.RAX);
const byte = (b: Builder, slot: number): I32 => b.elem('b', slot, 0, 1);

/** Flags of a result in AL: SF, ZF, PF by it, CF and AF as given (0 or 1), OF = 0. */
function setFlags(b: Builder, al: I32, cf: I32, af: I32): void {
  const carries = b.select(cf, b.c32(FA.CF | FA.CarryIn), b.c32(0));
  b.put('fa', b.or(carries, b.shl(af, b.c32(3))));
  b.put('fr', b.extS(b.sext(al, 8)));
}
/** The low digit is above 9, or AF. */
function adjusts(b: Builder, al: I32): I32 {
  const af = b.and(b.shrU(b.read32('fa'), b.c32(3)), b.c32(1));
  return b.let(b.or(b.ltU(b.c32(9), b.and(al, b.c32(15))), af));
}

/** AAA and AAS. */
function ascii({ b }: Operands, sign: 1 | -1): void {
  const al = b.let(byte(b, AL));
  const adjust = adjusts(b, al);
  const ax = b.let(b.add(b.elem('r', R.RAX, 0, 2), b.select(adjust, b.c32(sign * 0x106), b.c32(0))));
  b.setElem('r', R.RAX, 0, 2, b.and(ax, b.c32(0xff0f)));
  setFlags(b, b.and(ax, b.c32(15)), adjust, adjust);
}
/** DAA and DAS. */
function decimal({ b }: Operands, sign: 1 | -1): void {
  const al = b.let(byte(b, AL));
  const low = adjusts(b, al);
  const high = b.let(b.or(b.ltU(b.c32(0x99), al), carry(b)));
  const change = b.add(
    b.select(low, b.c32(6 * sign), b.c32(0)),
    b.select(high, b.c32(0x60 * sign), b.c32(0)),
  );
  const result = b.let(b.zext(b.add(al, change), 8));
  // DAS: taking 6 from less than 6 borrows
  const borrow = b.and(low, b.ltU(al, b.c32(6)));
  const cf = b.let(sign > 0 ? high : b.or(high, borrow));
  b.setElem('b', AL, 0, 1, result);
  setFlags(b, result, cf, low);
}

/** Rows of this chapter. */
export const DECIMAL_ROWS: readonly Row[] = [
  { name: 'aaa', codes: ['Aaa'], sem: (o) => ascii(o, 1) },
  { name: 'aas', codes: ['Aas'], sem: (o) => ascii(o, -1) },
  { name: 'daa', codes: ['Daa'], sem: (o) => decimal(o, 1) },
  { name: 'das', codes: ['Das'], sem: (o) => decimal(o, -1) },
  {
    name: 'aam',
    codes: ['Aam_imm8'],
    sem(o) {
      const { b } = o;
      const base = b.let(o.read(0) as I32);
      b.when(b.eqz(base), () => b.slow(Slow.DivideError));
      // the engine's division must not see a zero, whatever came before
      const divisor = b.let(b.select(base, base, b.c32(1)));
      const al = b.let(byte(b, AL));
      const quotient = b.let(b.divU(al, divisor));
      const rest = b.let(b.sub(al, b.mul(quotient, divisor)));
      b.setElem('r', R.RAX, 0, 2, b.or(b.shl(quotient, b.c32(8)), rest));
      setFlags(b, rest, b.c32(0), b.c32(0));
    },
  },
  {
    name: 'aad',
    codes: ['Aad_imm8'],
    sem(o) {
      const { b } = o;
      const al = b.let(b.zext(b.add(byte(b, AL), b.mul(byte(b, AH), o.read(0) as I32)), 8));
      b.setElem('r', R.RAX, 0, 2, al);
      setFlags(b, al, b.c32(0), b.c32(0));
    },
  },
];

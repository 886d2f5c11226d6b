/** Which alias the manual prefers: bitfield moves and wide moves (DDI 0487 J1, BFXPreferred() and MoveWidePreferred()). */
import type { AsmLine, Bits } from './form.ts';
import { field } from './memory-form.ts';

const width = (b: Bits): number => (b.sf === 1 ? 64 : 32);

/** Whether SBFM, UBFM or BFM with these fields is allocated. */
export function isBitfieldMove(b: Bits): boolean {
  return b.N === b.sf && (b.sf === 1 || (field(b, 'immr') < 32 && field(b, 'imms') < 32));
}

/** Whether a bitmask immediate could be a MOVZ or MOVN, which MOV (bitmask immediate) then leaves to them. */
export function isWideMove(b: Bits): boolean {
  const imms = field(b, 'imms');
  const immr = field(b, 'immr');
  if (b.sf === 1 && b.N !== 1) return false;
  if (b.sf === 0 && (b.N !== 0 || imms >= 32)) return false;
  if (imms < 16) return ((16 - (immr & 15)) & 15) <= 15 - imms;
  if (imms >= width(b) - 15) return (immr & 15) <= imms - (width(b) - 15);
  return false;
}

const inserts = (b: Bits): boolean => field(b, 'imms') < field(b, 'immr');
const toTop = (b: Bits): boolean => b.imms === width(b) - 1;

/** N follows from the width (bitfield moves, EXTR). */
export const fromSf = (b: Bits): Bits => ({ N: field(b, 'sf') });

/** An extension alias: `sxtb x0, w1`. */
const extension = (mnemonic: string, operands: string, imms: number, more: Bits = {}): AsmLine => ({
  text: `${mnemonic} ${operands}`,
  with: { immr: 0, imms, ...more },
  complete: fromSf,
});

/** The aliases of SBFM, UBFM and BFM in the order of preference; the row's own syntax comes after them. */
export function bitfieldAliases(kind: 'signed' | 'unsigned' | 'insert'): readonly AsmLine[] {
  const at = (mnemonic: string, operands: string, when: (b: Bits) => boolean): AsmLine => ({
    text: `${mnemonic} ${operands}`,
    if: when,
    complete: fromSf,
  });
  const always = (): boolean => true;
  if (kind === 'signed') {
    return [
      at('asr', '<Rd>, <Rn>, #<shiftright>', toTop),
      extension('sxtb', '<Rd>, <Wn>', 7),
      extension('sxth', '<Rd>, <Wn>', 15),
      extension('sxtw', '<Xd>, <Wn>', 31, { sf: 1 }),
      at('sbfiz', '<Rd>, <Rn>, #<insertat>, #<insertwidth>', inserts),
      at('sbfx', '<Rd>, <Rn>, #<extractat>, #<extractwidth>', always),
    ];
  }
  if (kind === 'unsigned') {
    return [
      at('lsr', '<Rd>, <Rn>, #<shiftright>', toTop),
      at('lsl', '<Rd>, <Rn>, #<shiftleft>', (b) => field(b, 'imms') + 1 === b.immr),
      extension('uxtb', '<Wd>, <Wn>', 7, { sf: 0 }),
      extension('uxth', '<Wd>, <Wn>', 15, { sf: 0 }),
      at('ubfiz', '<Rd>, <Rn>, #<insertat>, #<insertwidth>', inserts),
      at('ubfx', '<Rd>, <Rn>, #<extractat>, #<extractwidth>', always),
    ];
  }
  return [
    { ...at('bfc', '<Rd>, #<insertat>, #<insertwidth>', inserts), with: { Rn: 31 } },
    at('bfi', '<Rd>, <Rn>, #<insertat>, #<insertwidth>', inserts),
    at('bfxil', '<Rd>, <Rn>, #<extractat>, #<extractwidth>', always),
  ];
}

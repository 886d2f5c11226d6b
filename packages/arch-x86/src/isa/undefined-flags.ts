/**
 * Flags that the manuals leave undefined (AMD64 APM volume 3 and SDM volume 2, each instruction's page), and what we do:
 * what AMD's processors do where that is known. It is known for Zen 2 (Ryzen Threadripper 3990X) from the measurements
 * that VirtualBox's interpreter states (src/VBox/VMM/VMMAll/IEMAllAImplC.cpp); where it is not, the choice says so.
 *
 * Comparisons with processors mask {@link undefinedFlags}; the rows implement the `here` of each line.
 */
import { FL } from './flags.ts';

const { CF, PF, AF, ZF, SF, OF } = FL;

/** One line of the table. */
export interface UndefinedFlags {
  /** Names of iced-x86 codes. */
  readonly codes: RegExp;
  /** Undefined flags; of shifts and rotates those of any count. */
  readonly flags: number;
  /** What they are here. */
  readonly here: string;
  /** `amd`: as AMD's processors leave them; `intel`: as the Intel processor does that the vectors are from; or a choice. */
  readonly as: 'amd' | 'intel' | 'choice';
}

/** The table; the first line whose codes match counts. */
export const UNDEFINED_FLAGS: readonly UndefinedFlags[] = [
  { codes: /^(And|Or|Xor|Test)_/, flags: AF, here: '0', as: 'amd' },
  { codes: /^(Mul|Imul)_/, flags: SF | ZF | AF | PF, here: 'unchanged', as: 'amd' },
  {
    codes: /^(Div|Idiv)_/,
    flags: CF | PF | AF | ZF | SF | OF,
    here: 'AF is 1, SF ZF PF are 0, CF OF unchanged',
    as: 'amd',
  },
  { codes: /^Bs[fr]_/, flags: CF | OF | SF | AF | PF, here: 'unchanged', as: 'amd' },
  { codes: /^Bt[scr]?_/, flags: OF | SF | AF | PF, here: 'unchanged', as: 'amd' },
  { codes: /^(Lzcnt|Tzcnt)_/, flags: OF | SF | AF | PF, here: 'unchanged', as: 'amd' },
  { codes: /^VEX_(Andn|Blsi|Blsmsk|Blsr|Bzhi)_/, flags: AF | PF, here: '0', as: 'intel' },
  { codes: /^VEX_Bextr_/, flags: AF | SF | PF, here: '0', as: 'intel' },
  {
    codes: /^(Rol|Ror|Rcl|Rcr)_/,
    flags: OF,
    here: 'of counts above 1: by the last step (left: CF ^ top bit, right: the two top bits of the result)',
    as: 'amd',
  },
  {
    codes: /^(Shl|Sal|Shr|Sar)_/,
    flags: AF | OF | CF,
    here: 'AF is 1; OF of counts above 1 by the last step; CF of counts above the size is 0 (SAR: defined)',
    as: 'amd',
  },
  {
    codes: /^(Shld|Shrd)_/,
    flags: AF | OF,
    here: 'AF is 1; OF of counts above 1 by the last step (SHLD of 16 bits by 16: CF, by more: 0)',
    as: 'amd',
  },
  { codes: /^Aa[as]$/, flags: OF | SF | ZF | PF, here: 'see rows-decimal.ts', as: 'choice' },
  { codes: /^Aa[md]_/, flags: OF | AF | CF, here: 'see rows-decimal.ts', as: 'choice' },
  { codes: /^Da[as]$/, flags: OF, here: 'see rows-decimal.ts', as: 'choice' },
];

const SHIFT = /^(Rol|Ror|Rcl|Rcr|Shl|Sal|Shr|Sar|Shld|Shrd)_rm(8|16|32|64)_/;

/**
 * Flags that are undefined after the instruction; `undefined` where its result is, too (SHLD and SHRD by more than the
 * operand size; here: the source's bits once more, as AMD's processors do).
 *
 * @param code name of the iced-x86 code
 * @param count for shifts and rotates the count before masking (1 where the opcode says so)
 */
export function undefinedFlags(code: string, count: number): number | undefined {
  const flags = UNDEFINED_FLAGS.find((u) => u.codes.test(code))?.flags ?? 0;
  const shift = SHIFT.exec(code);
  if (!shift) return flags;
  const [, name, bits] = shift;
  const width = Number(bits);
  const masked = count & (width === 64 ? 63 : 31);
  if (masked === 0) return 0;
  const double = name === 'Shld' || name === 'Shrd';
  if (double && masked > width) return undefined;
  let mask = flags;
  if (masked === 1) mask &= ~OF;
  // the bit that went out last is defined only as long as there is one
  if (name === 'Sar' || masked < width) mask &= ~CF;
  return mask;
}

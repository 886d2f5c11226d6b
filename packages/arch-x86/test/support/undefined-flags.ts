/**
 * What the manuals leave undefined (AMD64 APM volume 3 and Intel SDM volume 2, each instruction's page): flags, which the
 * comparison with a processor masks, and results, which make no case.
 */
import type { Instruction } from 'iced-x86';
import { FL } from '../../src/isa/flags.ts';

const { CF, PF, AF, ZF, SF, OF } = FL;

/** Flags whatever the operands are; by the start of the code's name. First match counts. */
const FLAGS: readonly (readonly [name: RegExp, flags: number])[] = [
  [/^(And|Or|Xor|Test)_/, AF],
  [/^(Mul|Imul)_/, SF | ZF | AF | PF],
  [/^(Div|Idiv)_/, CF | PF | AF | ZF | SF | OF],
  [/^Bs[fr]_/, CF | OF | SF | AF | PF],
  [/^Bt[scr]?_/, OF | SF | AF | PF],
  [/^(Lzcnt|Tzcnt)_/, OF | SF | AF | PF],
  [/^VEX_(Andn|Bls|Bzhi)/, AF | PF],
  [/^VEX_Bextr/, AF | SF | PF],
  [/^Aa[as]$/, OF | SF | ZF | PF],
  [/^Aa[md]_/, OF | AF | CF],
  [/^Da[as]$/, OF],
];

const SHIFT = /^(Rol|Ror|Rcl|Rcr|Shl|Sal|Shr|Sar|Shld|Shrd)_rm(8|16|32|64)_(?:r\d+_)?(1|CL|imm8)$/;

/** Flags that are undefined after the instruction; `undefined` where its result is, too. */
export function undefinedFlags(i: Instruction, code: string, rcx: bigint): number | undefined {
  const shift = SHIFT.exec(code);
  if (!shift) return FLAGS.find(([name]) => name.test(code))?.[1] ?? 0;
  const [, name = '', bits = '', by] = shift;
  const width = Number(bits);
  const given = by === '1' ? 1 : by === 'CL' ? Number(rcx & 0xffn) : i.immediate8;
  const count = given & (width === 64 ? 63 : 31);
  if (count === 0) return 0;
  const late = count > 1 ? OF : 0;
  if (/^R/.test(name)) return late;
  if (/^Sh[lr]d/.test(name)) return count > width ? undefined : AF | late;
  // the bit shifted out last is defined only as long as there is one
  return AF | late | (name !== 'Sar' && count >= width ? CF : 0);
}

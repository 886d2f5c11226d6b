/** What a comparison with a processor masks: `src/isa/undefined-flags.ts`, asked for an instruction. */
import type { Instruction } from 'iced-x86';
import { undefinedFlags as table } from '../../src/isa/undefined-flags.ts';

/** Flags that are undefined after the instruction; `undefined` where its result is, too, which makes no case. */
export function undefinedFlags(i: Instruction, code: string, rcx: bigint): number | undefined {
  const count = code.endsWith('_CL') ? Number(rcx & 0xffn) : code.endsWith('_imm8') ? i.immediate8 : 1;
  return table(code, count);
}

/**
 * Integer instructions on registers and the stack in 16-bit code, which processors run in no user mode: the sample of
 * `data/binutils.txt.gz` in real and virtual-8086 mode, on random registers.
 */
import { Code, Decoder, DecoderOptions, Mnemonic } from 'iced-x86';
import type { Case, CaseMode } from '../support/bare-image.ts';
import { random } from '../support/random.ts';
import { readRecording } from '../support/recording.ts';
import { undefinedFlags } from '../support/undefined-flags.ts';
import type { Suite } from './suite.ts';

/** Mnemonics that only compute, move and push. */
const PLAIN =
  /^(Mov|Movzx|Movsx|Lea|Xchg|Xadd|Cmpxchg|Cmpxchg8b|Bswap|Add|Adc|Sub|Sbb|And|Or|Xor|Cmp|Test|Inc|Dec|Neg|Not|I?Mul|I?Div|Sh[lr]d?|Sa[lr]|Ro[lr]|Rc[lr]|Bt[src]?|Bs[fr]|Set\w+|Cmov\w+|Push|Pushad?|Popad?|Pop|Pushfd?|Enter|Leave|Cbw|Cwde?|Cdq|[LS]ahf|Cl[cd]|St[cd]|Cmc|Das|Daa|Aa[asdm]|Salc|Xlatb|Movs[bwd]|Stos[bwd]|Lods[bwd]|Cmps[bwd]|Scas[bwd]|Les|Lds|Lfs|Lgs|Popcnt|Crc32|Movbe|Nop)$/;

interface Sample {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly undefinedFlags: number;
  readonly repeats: boolean;
}

/** One of each instance; `cl` is the count of shifts by CL. */
function samples(cl: number): readonly Sample[] {
  const out: Sample[] = [];
  for (const r of readRecording()) {
    if (r.bits !== 16) continue;
    const decoder = new Decoder(16, r.bytes, DecoderOptions.None);
    const i = decoder.decode();
    const code = Code[i.code] ?? '';
    const flags = undefinedFlags(i, code, BigInt(cl));
    const repeats = i.hasRepPrefix || i.hasRepnePrefix;
    // memory, SP, and what has no result that is defined or differs by QEMU's bug (CRC32 of 16 bits), stay apart
    const apart =
      /[[:]|\be?sp\b/.test(r.text) ||
      /_cr$|_dr$|^(Mov_[cd]r|Crc32|Bswap_r16|Movs|Stos|Lods|Cmps|Scas|Xlat)|_SS|Sreg/.test(code);
    const plain = PLAIN.test(Mnemonic[i.mnemonic] ?? '') && i.length === r.bytes.length;
    if (plain && flags !== undefined && !apart)
      out.push({ name: `i${r.index}`, bytes: r.bytes, undefinedFlags: flags, repeats });
    i.free();
    decoder.free();
  }
  return out;
}

/** Counts of shifts, by round. */
const COUNTS = [3, 17, 0] as const;

const codes = (): Readonly<Record<string, string>> =>
  Object.fromEntries(samples(1).map((s) => [s.name, `  .byte ${[...s.bytes].join(', ')}`]));

function cases(modes: readonly CaseMode[]): readonly Case[] {
  const out: Case[] = [];
  for (const mode of modes)
    for (const [round, cl] of COUNTS.entries()) {
      const next = random(0x16 + round);
      const word = (): number => (round === 0 ? next() & 0x7ffe : next() & 0x7fff);
      for (const s of samples(cl)) {
        const regs = {
          ax: next(),
          dx: next(),
          cx: s.repeats ? 3 : ((next() & 0xff00) | cl) >>> 0,
          bx: word(),
          si: word(),
          di: word(),
          bp: word(),
        };
        out.push({
          mode,
          code: s.name,
          regs,
          flags: next() & 0x8d5,
          ignored: s.undefinedFlags,
          ds: 0x3000,
        });
      }
    }
  return out;
}

/** Suites of 16-bit code. */
export const sixteenSuites: readonly Suite[] = [
  {
    name: 'real-integer',
    what: 'integer instructions on registers and the stack in real mode -> registers, flags, faults',
    codes: { 16: codes() },
    cases: () => cases(['real']),
    with: ['qemu'],
  },
  {
    name: 'v86-integer',
    what: 'integer instructions on registers and the stack in virtual-8086 mode -> registers, flags, faults',
    codes: { 16: codes() },
    cases: () => cases(['v86']),
    with: ['qemu'],
  },
];

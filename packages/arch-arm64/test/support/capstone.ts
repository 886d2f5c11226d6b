/** capstone as a second disassembler: its text in our spelling, and where it differs. */
import type { Difference } from './differences.ts';
import { normalise } from './gnu.ts';

/** The part of capstone's interface that is used. */
export interface Disassembler {
  disasm(bytes: readonly number[], address: number): readonly { mnemonic: string; op_str: string }[];
  close(): void;
}

/** capstone's text of a word, or `(none)` where it refuses it. */
export function capstoneText(engine: Disassembler, word: number, pc: number): string {
  const bytes = [0, 8, 16, 24].map((at) => (word >>> at) & 0xff);
  try {
    const [first] = engine.disasm(bytes, pc);
    if (!first) return '(none)';
    const text = `${first.mnemonic} ${first.op_str}`.replace(/\blo\b/g, 'cc').replace(/\bhs\b/g, 'cs');
    return normalise(text);
  } catch {
    // It throws where it finds no instruction.
    return '(none)';
  }
}

/** Our text with register ranges written as lists: `{v0.8b-v2.8b}` becomes `{v0.8b, v1.8b, v2.8b}`. */
export function listedOut(text: string): string {
  return text.replace(/\{v(\d+)\.(\w+)-v(\d+)\.\w+\}/, (_, first: string, suffix: string, last: string) => {
    const count = Number(last) - Number(first) + 1;
    return `{${Array.from({ length: count }, (_x, i) => `v${Number(first) + i}.${suffix}`).join(', ')}}`;
  });
}

const bits = (word: number, high: number, low: number): number =>
  (word >>> low) & (2 ** (high - low + 1) - 1);
const is = (word: number, mask: number, value: number): boolean => ((word & mask) ^ value) >>> 0 === 0;
const rt = (w: number): number => bits(w, 4, 0);
const rn = (w: number): number => bits(w, 9, 5);
const rt2 = (w: number): number => bits(w, 14, 10);

/** Differences of capstone's text from ours. */
export const CAPSTONE: readonly Difference[] = [
  {
    why: 'capstone prints 32-bit constants of MOV with their sign',
    of: (w) => is(w, 0x9f800000, 0x12800000) || is(w, 0xff8003e0, 0x320003e0),
  },
  {
    why: 'capstone prefers MOV to ORR with the zero register where MoveWidePreferred() says otherwise',
    of: (w) => is(w, 0x7f8003e0, 0x320003e0),
  },
  {
    why: 'capstone leaves out prefetch operations that have no name',
    of: (w) => is(w, 0xff000000, 0xd8000000) || is(w, 0xfec00000, 0xf8800000),
  },
  {
    why: 'capstone refuses CONSTRAINED UNPREDICTABLE pairs: one register loaded twice, or writeback to a transferred one',
    of: (w) =>
      (is(w, 0x3a000000, 0x28000000) &&
        ((bits(w, 22, 22) === 1 && rt(w) === rt2(w)) ||
          (bits(w, 23, 23) === 1 && bits(w, 26, 26) === 0 && [rt(w), rt2(w)].includes(rn(w))))) ||
      (is(w, 0xbfe00000, 0x88600000) && rt(w) === rt2(w)),
  },
  {
    why: 'capstone refuses CONSTRAINED UNPREDICTABLE loads and stores that write back to the register transferred',
    of: (w) => is(w, 0x3f200000, 0x38000000) && bits(w, 10, 10) === 1 && rt(w) === rn(w),
  },
  {
    why: 'capstone refuses LDTR into its own base as if it wrote back',
    of: (w) => is(w, 0x3f200c00, 0x38000800) && rt(w) === rn(w),
  },
  {
    why: 'capstone prints MSR SPSel by name also where CRm is above 1',
    of: (w) => is(w, 0xfffff0ff, 0xd50040bf) && bits(w, 11, 8) > 1,
  },
  {
    why: 'capstone knows names of system instructions from architectures later than ours',
    of: (w) => is(w, 0xfff80000, 0xd5080000) || w >>> 0 === 0xd5033c9f,
  },
];

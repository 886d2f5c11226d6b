/**
 * Where other implementations see an encoding differently, and why we do not follow them. Tests demand that each
 * explanation is needed (some word has the difference) and that nothing else differs.
 */

/** Words of one kind and the reason why the other implementation's answer differs. */
export interface Difference {
  readonly why: string;
  readonly of: (word: number) => boolean;
}

const bits = (word: number, high: number, low: number): number =>
  (word >>> low) & (2 ** (high - low + 1) - 1);
const is = (word: number, mask: number, value: number): boolean => ((word & mask) ^ value) >>> 0 === 0;

const ldpsw = (w: number): boolean => is(w, 0xfc400000, 0x68400000) && bits(w, 31, 30) === 1;

/** CONSTRAINED UNPREDICTABLE pair loads: the same register twice, or writeback into a loaded register. */
const unpredictableLdpsw: Difference = {
  why: 'LDPSW into one register twice or into its base is CONSTRAINED UNPREDICTABLE: binutils call it undefined, we run it as QEMU does',
  of: (w) =>
    ldpsw(w) &&
    (bits(w, 4, 0) === bits(w, 14, 10) ||
      (bits(w, 23, 23) === 1 && [bits(w, 4, 0), bits(w, 14, 10)].includes(bits(w, 9, 5))) ||
      (bits(w, 24, 23) === 1 && [bits(w, 4, 0), bits(w, 14, 10)].includes(bits(w, 9, 5)))),
};

/** System instructions of later architectures. */
const laterSystemNames: Difference = {
  why: 'others know names of system instructions from architectures later than ours',
  of: (w) => is(w, 0xfff80000, 0xd5080000),
};

/** Text of objdump against ours. */
export const OBJDUMP_TEXT: readonly Difference[] = [unpredictableLdpsw, laterSystemNames];

/** Words that `as` makes from the text of another word: one meaning, several encodings. */
export const SEVERAL_ENCODINGS: readonly Difference[] = [
  {
    why: 'bits of immr above the element size do not count in a logical immediate',
    of: (w) => is(w, 0x1f800000, 0x12000000),
  },
  { why: 'Ra does not count in SMULH and UMULH', of: (w) => is(w, 0xff608000, 0x9b400000) },
];

/** Words that only one side calls allocated. */
export const ALLOCATION: {
  /** We have it, binutils (limited to Armv8.0 + crc + lse + pan + ras) do not. */
  readonly ours: readonly Difference[];
  /** binutils have it, we do not. */
  readonly theirs: readonly Difference[];
} = {
  ours: [
    unpredictableLdpsw,
    {
      why: 'binutils demand ones in the unused Rs and Rt2 of LDAR; they are "should be one", hardware and QEMU ignore them',
      of: (w) => is(w, 0x3fe08000, 0x08c08000) && !is(w, 0x001f7c00, 0x001f7c00),
    },
    {
      why: 'BFM with Rn = 31 is printed as BFC, a name that `as` takes from Armv8.2 on; the encoding is Armv8.0',
      of: (w) => is(w, 0x7f8003e0, 0x330003e0),
    },
    {
      why: 'MRS, MSR, SYS and SYSL are allocated as a whole; `as` refuses names of later architectures',
      of: (w) => is(w, 0xffd00000, 0xd5100000) || is(w, 0xffd80000, 0xd5080000),
    },
  ],
  theirs: [
    {
      why: 'objdump prints the unallocated words with op0 = 0 as accesses to registers s0_…',
      of: (w) => is(w, 0xffd80000, 0xd5000000),
    },
  ],
};

/** The difference that explains a word, if any. */
export function explained(list: readonly Difference[], word: number): Difference | undefined {
  return list.find((d) => d.of(word));
}

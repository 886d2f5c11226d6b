/** Where our assembler and GNU's differ about objdump's text, and why; each must be needed by the recording. */

/** One reason. */
export interface Difference {
  readonly why: string;
  readonly applies: (text: string, bits: 16 | 32 | 64) => boolean;
}

/** Reasons for another encoding, or for none. */
export const DIFFERENCES: readonly Difference[] = [
  { why: 'objdump names the index that is none', applies: (t) => /\b[re]iz\b/.test(t) },
  {
    why: 'a prefix without effect is written as bytes',
    applies: (t) => /^(\w+ )*(rex(\.\w+)?|data16|data32) (?!j|loop|call)/.test(t),
  },
  {
    why: 'a far pointer of 64 bits is "tbyte ptr"',
    applies: (t) => /^rex\.W (jmp|call) FWORD/.test(t),
  },
  {
    why: '`as` drops the operand size of short branches',
    applies: (t) => /^(\w+ )*(data16|data32) (\w+ )*(j\w+|loop\w*) /.test(t),
  },
  { why: '`as` writes a segment that is not used', applies: (t) => /^[fg]s (repn?z )?scas/.test(t) },
  {
    why: '`as` takes 16-bit "jmpw" to a distance as an address in memory',
    applies: (t) => /^(jmpw|callw) \./.test(t),
  },
  {
    why: '"call dword ptr" of 16-bit code is near here, far to `as`',
    applies: (t, bits) => bits === 16 && /^(call|jmp) DWORD PTR/.test(t),
  },
  {
    why: 'a register alone is the base, not an index times 1',
    applies: (t) => /\[[re]\w+\*1[+-]/.test(t),
  },
  {
    why: '`as` ignores the wide register of an instruction that uses 16 bits',
    applies: (t) => /^(str|sldt|smsw|mov|pmovmskb) r\w+,?/.test(t),
  },
  { why: 'objdump names the size of MOVSXD with 16 bits otherwise', applies: (t) => /^movsxd \w\w,/.test(t) },
  {
    why: 'objdump has names with a "q" for what REX.W does not change',
    applies: (t) => /^v?pcmpestr[im]q /.test(t),
  },
  { why: 'comparisons are written with their number', applies: (t) => /^v?cmp\w+[sp][sd] /.test(t) },
  {
    why: '`as` adds an operand size to a register form in 16-bit code',
    applies: (t, bits) => bits === 16 && t.startsWith('encodekey'),
  },
];

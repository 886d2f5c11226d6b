/** Text of other disassemblers made comparable with ours: one spelling of numbers and spaces, no comments. */

/** An instruction in one spelling: lower case, single spaces, numbers as decimal 64-bit values. */
export function normalise(text: string): string {
  return text
    .toLowerCase()
    .replace(/\s*\/\/.*$/, '')
    .replace(/<[^>]*>/, '')
    .replace(/(?<![\w.])#?-?(0x[0-9a-f]+|\d+)(?![\w.])/g, (m) => {
      const n = BigInt(m.replace(/[#-]/g, ''));
      return BigInt.asUintN(64, m.includes('-') ? -n : n).toString();
    })
    .replace(/\s+/g, ' ')
    .trim();
}

/** Mnemonics whose last operand may be an address. */
const RELATIVE =
  /^(b|bl|b\.\w+|bc\.\w+|cbn?z|tbn?z|adrp?|ldr|ldrsw|prfm)\s.*\s(0x[0-9a-f]+)$|^(bl?|b\.\w+)\s+(0x[0-9a-f]+)$/;

/** objdump's text with an absolute target rewritten relative to `.`, so that `as` takes it without a linker. */
export function relocatable(text: string, pc: bigint): string {
  const plain = text
    .replace(/\s*\/\/.*$/, '')
    .replace(/\s*<[^>]*>/, '')
    .trim();
  const m = RELATIVE.exec(plain);
  const target = m?.[2] ?? m?.[4];
  if (!target || plain.startsWith('adrp')) return plain;
  const by = BigInt.asIntN(64, BigInt(target) - pc);
  return `${plain.slice(0, -target.length)}.${by < 0n ? '' : '+'}${by}`;
}

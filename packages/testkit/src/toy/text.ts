/** The toy's assembly language, one way: from bytes to text. */
const bits = [8, 16, 32, 64] as const;

const number = (b: Uint8Array): number => {
  let n = 0;
  for (let i = b.length - 1; i >= 0; i--) n = n * 256 + (b[i] as number);
  const top = 2 ** (8 * b.length);
  return n >= top / 2 ? n - top : n;
};
const signed = (n: number): string => (n < 0 ? `-0x${(-n).toString(16)}` : `0x${n.toString(16)}`);

/** Length and text of the instruction at the start of `b`; too few bytes read as undefined. */
export function toyText(b: Uint8Array, pc: bigint): { readonly length: number; readonly text: string } {
  const op = b[0] ?? 0;
  const byte = b[1] ?? 0;
  const d = `r${(byte >>> 4) & 7}`;
  const n = `r${byte & 7}`;
  const tail = (from: number, size: number): number => number(b.subarray(from, from + size));
  const found = (length: number, text: string): { length: number; text: string } =>
    length <= b.length ? { length, text } : { length: 1, text: `.byte 0x${op.toString(16)}` };
  if (op === 0x01) return found(1, 'halt');
  if (op === 0x10) return found(2, `inc ${d}, ${n}`);
  if (op >= 0x11 && op <= 0x13) {
    const size = 1 << (op - 0x11);
    return found(2 + size, `addi ${d}, ${n}, ${signed(tail(2, size))}`);
  }
  if ((op & 0xf4) === 0x20 || (op & 0xf4) === 0x30) {
    const size = op & 8 ? 4 : 1;
    const what = (op & 0xf0) === 0x20 ? 'load' : 'store';
    return found(2 + size, `${what}${bits[op & 3]} ${d}, [${n}, ${signed(tail(2, size))}]`);
  }
  const far = { 64: 1, 65: 2, 66: 4 }[op];
  if (far !== undefined) {
    const from = far === 1 ? 2 : 3;
    const to = BigInt.asUintN(64, pc + BigInt(tail(from, far)));
    return found(from + far, `bz ${d}, 0x${to.toString(16)}`);
  }
  return { length: 1, text: `.byte 0x${op.toString(16)}` };
}

/** Disassembles `count` instructions from `pc`, reading memory through `read`. */
export function disassembleToy(
  read: (at: bigint, length: number) => Uint8Array,
  pc: bigint,
  count: number,
): { pc: bigint; bytes: Uint8Array; text: string }[] {
  const out: { pc: bigint; bytes: Uint8Array; text: string }[] = [];
  for (let at = pc; out.length < count; ) {
    const b = read(at, 7);
    const { length, text } = toyText(b, at);
    out.push({ pc: at, bytes: b.slice(0, length), text });
    at += BigInt(length);
  }
  return out;
}

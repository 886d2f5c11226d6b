/**
 * Encodings that iced-x86 does not know (`Row.encodings`). What follows their opcode is read by putting the opcode of a
 * known code in its place.
 */
import {
  Code,
  CodeExt,
  Decoder,
  DecoderError,
  EncodingKind,
  type Instruction,
  MandatoryPrefix,
  OpCodeTableKind,
} from 'iced-x86';
import type { Encoding, Row } from './row.ts';
import { TableError } from './table-error.ts';

const LONGEST = 15;
const LEGACY_PREFIXES: ReadonlySet<number> = new Set([
  ...[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3],
]);

/** An encoding, taken apart. */
export interface ParsedEncoding {
  readonly text: string;
  readonly value: readonly number[];
  readonly mask: readonly number[];
  readonly prefix: number | undefined;
  /** The code whose operands it has, and that code's opcode bytes; absent: no operands. */
  readonly like: { readonly code: Code; readonly opcode: readonly number[] } | undefined;
}

/**
 * Takes an encoding of a row apart.
 * @throws TableError when it is malformed, or `like` names nothing that can stand for it.
 */
export function parseEncoding(row: Row, e: Encoding, codeOf: (name: string) => Code): ParsedEncoding {
  const wrong = (why: string): never => {
    throw new TableError(`row "${row.name}": encoding "${e.bytes}" ${why}`);
  };
  const bytes = e.bytes.trim().split(/\s+/);
  if (bytes.length > 4 || !bytes.every((x) => /^[0-9a-f.]{2}$/i.test(x)))
    wrong('is not one to four bytes of two hex digits (or `.`) each');
  const digits = (x: string, known: string, open: string): number =>
    Number.parseInt([...x].map((d) => (d === '.' ? open : known || d)).join(''), 16);
  return {
    text: `${e.prefix ? `${e.prefix} ` : ''}${e.bytes}`,
    value: bytes.map((x) => digits(x, '', '0')),
    mask: bytes.map((x) => digits(x, 'f', '0')),
    prefix: e.prefix === undefined ? undefined : Number.parseInt(e.prefix, 16),
    like: e.like === undefined ? undefined : likeness(codeOf(e.like), e.like, wrong),
  };
}

function likeness(
  code: Code,
  name: string,
  wrong: (why: string) => never,
): NonNullable<ParsedEncoding['like']> {
  const o = CodeExt.opCode(code);
  const { encoding, table, opCode, opCodeLength, mandatoryPrefix, isGroup } = o;
  o.free();
  if (encoding !== EncodingKind.Legacy || isGroup) wrong(`cannot be like ${name}: its opcode is not its own`);
  if (mandatoryPrefix !== MandatoryPrefix.None && mandatoryPrefix !== MandatoryPrefix.PNP)
    wrong(`cannot be like ${name}, which has a mandatory prefix`);
  const maps: { readonly [table: number]: readonly number[] } = {
    [OpCodeTableKind.Normal]: [],
    [OpCodeTableKind.T0F]: [0x0f],
    [OpCodeTableKind.T0F38]: [0x0f, 0x38],
    [OpCodeTableKind.T0F3A]: [0x0f, 0x3a],
  };
  const own = opCodeLength === 2 ? [opCode >>> 8, opCode & 255] : [opCode];
  return { code, opcode: [...(maps[table] ?? wrong(`cannot be like ${name}`)), ...own] };
}

/** Two encodings that some bytes have in common. */
export function overlap(a: ParsedEncoding, b: ParsedEncoding): boolean {
  if (a.prefix !== undefined && b.prefix !== undefined && a.prefix !== b.prefix) return false;
  const n = Math.min(a.value.length, b.value.length);
  for (let i = 0; i < n; i++)
    if (((a.value[i] as number) ^ (b.value[i] as number)) & (a.mask[i] as number) & (b.mask[i] as number))
      return false;
  return true;
}

/** What {@link matchEncoding} says of bytes: not it, more bytes are needed, or how long the instruction is. */
export type Match = 'no' | 'more' | number;

/**
 * Whether `bytes` (all that are at hand, up to 15) begin with the encoding. If so, `into` becomes the instruction with
 * its operands, of its own length and of the code it is like (UD2 if it has no operands).
 */
export function matchEncoding(
  e: ParsedEncoding,
  bytes: Uint8Array,
  bitness: 16 | 32 | 64,
  options: number,
  ip: bigint,
  into: Instruction,
): Match {
  let at = 0;
  let prefixed = e.prefix === undefined;
  while (at < bytes.length && LEGACY_PREFIXES.has(bytes[at] as number)) {
    if (bytes[at] === e.prefix) prefixed = true;
    at++;
  }
  if (bitness === 64 && at < bytes.length && (bytes[at] as number) >> 4 === 4) at++;
  if (!prefixed) return 'no';
  const n = e.value.length;
  for (let i = 0; i < n; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return bytes.length < LONGEST ? 'more' : 'no';
    if ((byte ^ (e.value[i] as number)) & (e.mask[i] as number)) return 'no';
  }
  if (!e.like) {
    into.code = Code.Ud2;
    into.length = at + n;
    into.ip = ip;
    return at + n;
  }
  const { opcode, code } = e.like;
  const substitute = new Uint8Array([...bytes.subarray(0, at), ...opcode, ...bytes.subarray(at + n)]);
  const d = new Decoder(bitness, substitute.subarray(0, LONGEST), options);
  d.ip = ip + BigInt(n - opcode.length);
  d.decodeOut(into);
  const ends = d.lastError !== DecoderError.NoMoreBytes;
  d.free();
  if (!ends) return bytes.length < LONGEST ? 'more' : 'no';
  const length = into.length - opcode.length + n;
  if (into.isInvalid || into.code !== code || length > LONGEST) return 'no';
  into.length = length;
  into.ip = ip;
  return length;
}

/** A sample of instruction forms: random bytes (of a seed) decoded, a few instances kept of every opcode and shape. */
import {
  Code,
  CodeExt,
  Decoder,
  DecoderOptions,
  EncodingKind,
  Instruction,
  OpCodeOperandKind,
  OpKind,
} from 'iced-x86';

/** Bytes of one instruction in code of a size. */
export interface Instance {
  readonly bits: 16 | 32 | 64;
  readonly bytes: Uint8Array;
}

/** Marsaglia's xorshift32. */
function randomBytes(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 8) & 255;
  };
}

const LEGACY = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x65];
const MAPS = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];

/**
 * Instances of every legacy and VEX opcode (without opmask, tile and bound registers) that `tries` draws find: of each opcode, and each shape of operands
 * (registers or memory), at most `each`. VEX only in 64-bit code.
 */
export function instances(bits: 16 | 32 | 64, seed: number, tries: number, each: number): Instance[] {
  const random = randomBytes(seed);
  const kept = new Map<string, number>();
  const found: Instance[] = [];
  const i = new Instruction();
  const wanted = new Map<Code, boolean>();
  for (let n = 0; n < tries; n++) {
    const bytes = draw(random, bits);
    const decoder = new Decoder(bits, bytes, DecoderOptions.None);
    decoder.decodeOut(i);
    decoder.free();
    const { code } = i;
    if (code === Code.INVALID) continue;
    let known = wanted.get(code);
    if (known === undefined) {
      known = isWanted(code);
      wanted.set(code, known);
    }
    if (!known) continue;
    const shape = `${code}:${Array.from({ length: i.opCount }, (_, k) => i.opKind(k) === OpKind.Memory)}`;
    const have = kept.get(shape) ?? 0;
    if (have >= each) continue;
    const own = bytes.slice(0, i.length);
    if (hasIdlePrefix(own, bits)) continue;
    kept.set(shape, have + 1);
    found.push({ bits, bytes: own });
  }
  i.free();
  return found;
}

const PREFIXES = new Set([...LEGACY, 0x26, 0x36, 0x3e]);

/** Whether a prefix changes nothing: disassemblers show such in ways of their own. */
function hasIdlePrefix(bytes: Uint8Array, bits: 16 | 32 | 64): boolean {
  const text = (b: Uint8Array): string => instructionOf(b, bits);
  const whole = text(bytes);
  for (let n = 0; n < bytes.length; n++) {
    const b = bytes[n] ?? 0;
    const rex = bits === 64 && (b & 0xf0) === 0x40;
    if (!PREFIXES.has(b) && !rex) return false;
    const without = Uint8Array.from([...bytes.slice(0, n), ...bytes.slice(n + 1), 0x90]);
    if (text(without) === whole) return true;
    // as REX without the bits that matter
    for (const bit of rex ? [1, 2, 4, 8] : []) {
      const fewer = Uint8Array.from(bytes);
      fewer[n] = b & ~bit;
      if (b & bit && text(fewer) === whole) return true;
    }
    if (rex) return false;
  }
  return false;
}

/** The first instruction's text, as if it ended at a fixed address. */
function instructionOf(bytes: Uint8Array, bits: 16 | 32 | 64): string {
  const decoder = new Decoder(bits, bytes, DecoderOptions.None);
  const i = decoder.decode();
  decoder.position = 0;
  decoder.ip = 0x8000n - BigInt(i.length);
  decoder.decodeOut(i);
  decoder.free();
  const text = `${Code[i.code]} ${i.toString()}`;
  i.free();
  return text;
}

/** PadLock: REP is part of these opcodes, and every disassembler has names of its own for them. */
const VIA = /^(Xstore|Xcrypt|Montmul|Xsha|Ccs|Via|Undoc)/;

function isWanted(code: Code): boolean {
  const o = CodeExt.opCode(code);
  const { encoding, isInstruction, isReservedNop, decoderOption } = o;
  const kinds = Array.from({ length: o.opCount }, (_, i) => OpCodeOperandKind[o.opKind(i)] ?? '');
  o.free();
  if (
    !isInstruction ||
    isReservedNop ||
    decoderOption !== 0 ||
    VIA.test(Code[code] ?? '') ||
    kinds.some((k) => /^(k|kp1|tmm|sibmem|bnd)(_|$)|mpx|mib/.test(k))
  )
    return false;
  return encoding === EncodingKind.Legacy || encoding === EncodingKind.VEX;
}

function draw(random: () => number, bits: 16 | 32 | 64): Uint8Array {
  const bytes: number[] = [];
  const pick = random();
  if (bits === 64 && pick < 64) {
    const map = 1 + (random() % 3);
    bytes.push(0xc4, (random() & 0xe0) | map, random(), random());
  } else {
    if (pick & 1) bytes.push(LEGACY[random() % LEGACY.length] ?? 0x66);
    if ((pick & 6) === 6) bytes.push(LEGACY[random() % 4] ?? 0x66);
    if (bits === 64 && pick & 8) bytes.push(0x40 | (random() & 15));
    bytes.push(...(MAPS[random() & 3] ?? []), random());
  }
  while (bytes.length < 15) bytes.push(random());
  return Uint8Array.from(bytes);
}

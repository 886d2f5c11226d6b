/**
 * Instructions that left generated code of late, decoded: a system instruction or device access that is met again costs a
 * comparison of its bytes. Derived, never state.
 */
import { Instruction } from 'iced-x86';
import { type PlainPort, plainPort } from './emulator/ports.ts';
import { type SimpleAccess, simpleAccess } from './emulator/simple.ts';

/** Entries, a power of two, and int32 words of a key: pc (two halves), CS.base, mode, 16 bytes of code. */
const ENTRIES = 256;
const KEY = 8;

/** One decoded instruction. */
export interface Known {
  readonly instruction: Instruction;
  /** What {@link simpleAccess} says; `null` until somebody asks. */
  simple: SimpleAccess | undefined | null;
  /** What {@link plainPort} says; `null` until somebody asks. */
  port: PlainPort | undefined | null;
}

/** A direct-mapped cache. */
export class InstructionCache {
  readonly #keys: Int32Array = new Int32Array(ENTRIES * KEY);
  readonly #known: (Known | undefined)[] = new Array<Known | undefined>(ENTRIES).fill(undefined);

  /**
   * The entry for code whose first 16 bytes are at `at` of `dv`. `decode` fills the instruction when it is not here, or
   * no longer.
   */
  find(
    dv: DataView,
    at: number,
    pcLo: number,
    pcHi: number,
    csBase: number,
    mode: number,
    decode: (into: Instruction) => void,
  ): Known {
    const n = (pcLo ^ (pcLo >>> 8)) & (ENTRIES - 1);
    const k = this.#keys;
    const i = n * KEY;
    const had = this.#known[n];
    const a = dv.getInt32(at, true);
    const b = dv.getInt32(at + 4, true);
    const c = dv.getInt32(at + 8, true);
    const d = dv.getInt32(at + 12, true);
    if (
      had !== undefined &&
      k[i] === pcLo &&
      k[i + 1] === pcHi &&
      k[i + 2] === csBase &&
      k[i + 3] === mode &&
      k[i + 4] === a &&
      k[i + 5] === b &&
      k[i + 6] === c &&
      k[i + 7] === d
    )
      return had;
    const known = had ?? { instruction: new Instruction(), simple: null, port: null };
    decode(known.instruction);
    known.simple = null;
    known.port = null;
    this.#known[n] = known;
    k.set([pcLo, pcHi, csBase, mode, a, b, c, d], i);
    return known;
  }
  /** What the entry's instruction is to a device. */
  simple(known: Known): SimpleAccess | undefined {
    if (known.simple === null) known.simple = simpleAccess(known.instruction);
    return known.simple;
  }
  /** What the entry's instruction is to a port. */
  port(known: Known): PlainPort | undefined {
    if (known.port === null) known.port = plainPort(known.instruction);
    return known.port;
  }
  /** Gives the decoded instructions back. */
  dispose(): void {
    for (const k of this.#known) k?.instruction.free();
    this.#known.fill(undefined);
  }
}

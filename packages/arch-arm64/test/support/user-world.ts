/**
 * The world in which single instructions run under Linux (`tools/user-oracle.c`) and on the engine: where code and data
 * lie, what they hold, and the register values a seed stands for.
 */
import { random, registerInputs } from './instances.ts';

/** Address of the instruction; code is readable and full of BRKs with varied immediates. */
export const CODE_SLOT = 0x2012_0000n;
export const CODE_BASE = 0x2000_0000n;
export const CODE_SIZE = 0x24_0000;
/** One writable page between two unmapped ones. */
export const WINDOW = 0x1000_1000n;
export const WINDOW_SIZE = 0x1000;

/** What the window holds before each case. */
export const WINDOW_PATTERN: Uint8Array = Uint8Array.from(
  { length: WINDOW_SIZE },
  (_, i) => ((Math.imul(i, 2654435761) >>> 24) ^ i) & 255,
);

/** The word at `address` of the code region where no case's instruction stands. */
export function codeFiller(address: number): number {
  return (0xd4200000 | (((Math.imul(address >>> 2, 2654435761) >>> 16) << 5) & 0x1fffe0)) >>> 0;
}

/** Registers before and after a case. */
export interface UserState {
  /** X0 to X30. */
  readonly x: bigint[];
  sp: bigint;
  pc: bigint;
  /** NZCV in bits 31 to 28. */
  nzcv: number;
  /** V0 to V31, 16 bytes each. */
  readonly v: Uint8Array;
}

/** Register values for a seed: general registers biased to edges, the rest random. */
function seededState(seed: number): UserState {
  const next = random(seed ^ 0x5eed);
  const v = new Uint8Array(512);
  const words = new Uint32Array(v.buffer);
  for (let i = 0; i < 128; i++) words[i] = next();
  return {
    x: registerInputs(seed),
    sp: WINDOW + 0x800n,
    pc: CODE_SLOT,
    nzcv: ((next() & 15) << 28) >>> 0,
    v,
  };
}

/** How a case ended. */
export type UserEnd = 'done' | 'segv' | 'bus' | 'ill';

/** One case: what runs, from what, and what came of it. */
export interface UserCase {
  /** Name of the form it is an instance of. */
  readonly form: string;
  readonly words: readonly number[];
  readonly seed: number;
  /** Registers that differ from {@link seededState}: index 0 to 30, or 31 for SP. */
  readonly given: ReadonlyMap<number, bigint>;
}

/** The registers a case starts with. */
export function startState(c: UserCase): UserState {
  const s = seededState(c.seed);
  for (const [n, value] of c.given) {
    if (n === 31) s.sp = value;
    else s.x[n] = value;
  }
  return s;
}

/** What came of a case. */
export interface UserResult {
  readonly end: UserEnd;
  readonly state: UserState;
  /** Changed bytes of the window, by offset. */
  readonly window: ReadonlyMap<number, number>;
}

/**
 * The world in which single instructions run under Linux (`tools/user-oracle.c`) and on the engine: where code and data
 * lie, what they hold, and the segments of each environment.
 */
import { Seg } from '../../src/isa/layout.ts';

/** Code region: readable, executable, full of INT3. */
export const CODE_BASE = 0x2000_0000;
export const CODE_SIZE = 0x100_0000;
/** The page in whose middle most instructions stand; some straddle its end. */
export const CODE_PAGE = 0x2080_0000;

/** Data: two writable pages, then a read-only one; unmapped pages on both sides. */
export const WINDOW = 0x1000_1000;
export const WINDOW_SIZE = 0x3000;
/** First read-only byte of the window. */
export const READ_ONLY = 0x2000;

/** What the window holds before each case. */
export const WINDOW_PATTERN: Uint8Array = Uint8Array.from(
  { length: WINDOW_SIZE },
  (_, i) => ((Math.imul(i, 2654435761) >>> 24) ^ i) & 255,
);

/** A segment descriptor of the local descriptor table, or a flat one of Linux. */
export interface TestSegment {
  readonly selector: number;
  readonly base: number;
  /** Last offset, or that of an expand-down segment's gap; scaled if `pages`. */
  readonly limit: number;
  readonly pages?: boolean;
  /** Descriptor type bits without Accessed: 0 read-only, 2 writable, 4 expand-down, 8 code, 0xa readable code. */
  readonly type: number;
  /** D/B. */
  readonly big?: boolean;
}

const FLAT = { base: 0, limit: 0xfffff, pages: true, big: true } as const;
const flatData: TestSegment = { ...FLAT, selector: 0x2b, type: 2 };

const ldt = (index: number): number => index * 8 + 7;
/** Segments in the LDT, by index. */
const LDT = {
  cs32: {
    selector: ldt(0),
    base: CODE_BASE,
    limit: (CODE_SIZE >> 12) - 1,
    pages: true,
    type: 0xa,
    big: true,
  },
  cs16: { selector: ldt(1), base: CODE_PAGE - 0x8000, limit: 0xffff, type: 0xa },
  ds32: { selector: ldt(2), base: WINDOW - 0x8000, limit: 0xa7ff, type: 2, big: true },
  es32: { selector: ldt(3), base: WINDOW - 0x123, limit: 0xffff, type: 2, big: true },
  // offsets above 1fffh: everything from WINDOW + 100h
  ss32: { selector: ldt(4), base: WINDOW - 0x1f00, limit: 0x1fff, type: 6, big: true },
  fs: { selector: ldt(5), base: WINDOW + 0x40, limit: 0x1fff, type: 2, big: true },
  gs: { selector: ldt(6), base: WINDOW - 0x8000, limit: 0xffff, type: 0, big: true },
  ds16: { selector: ldt(7), base: WINDOW - 0x8000, limit: 0xffff, type: 2 },
  es16: { selector: ldt(8), base: WINDOW - 0x7000, limit: 0x9fff, type: 2 },
  ss16: { selector: ldt(9), base: WINDOW - 0x4000, limit: 0xffff, type: 2 },
} as const satisfies Readonly<Record<string, TestSegment>>;

/** The LDT's segments in order of index. */
export const LDT_SEGMENTS: readonly TestSegment[] = Object.values(LDT);

/** An environment: code size and what the segment registers hold. */
export interface Environment {
  readonly name: '64' | '32' | '32seg' | '16seg';
  /** Its number in the oracle's protocol. */
  readonly number: number;
  readonly bits: 16 | 32 | 64;
  /** ES CS SS DS FS GS, {@link Seg}'s numbers. */
  readonly segments: readonly TestSegment[];
  /** Bases of FS and GS in 64-bit code. */
  readonly bases?: readonly [fs: bigint, gs: bigint];
}

const null64: TestSegment = { selector: 0, base: 0, limit: 0, type: 2 };
const long: Environment = {
  name: '64',
  number: 0,
  bits: 64,
  segments: [null64, { ...FLAT, selector: 0x33, type: 0xa, big: false }, flatData, null64, null64, null64],
  bases: [BigInt(WINDOW - 0x1_2340), BigInt(WINDOW + 0x7fff_0000)],
};
const flat32: Environment = {
  name: '32',
  number: 1,
  bits: 32,
  segments: [flatData, { ...FLAT, selector: 0x23, type: 0xa }, flatData, flatData, LDT.fs, LDT.gs],
};
const seg32: Environment = {
  name: '32seg',
  number: 2,
  bits: 32,
  segments: [LDT.es32, LDT.cs32, LDT.ss32, LDT.ds32, LDT.fs, LDT.gs],
};
const seg16: Environment = {
  name: '16seg',
  number: 3,
  bits: 16,
  segments: [LDT.es16, LDT.cs16, LDT.ss16, LDT.ds16, LDT.fs, LDT.gs],
};
/** All environments, by number. */
export const ENVIRONMENTS: readonly [
  long: Environment,
  flat32: Environment,
  seg32: Environment,
  seg16: Environment,
] = [long, flat32, seg32, seg16];

/** Linear base that an access through segment `n` of {@link Seg} adds. */
export function segmentBase(env: Environment, n: number): bigint {
  if (env.bits === 64)
    return n === Seg.FS ? (env.bases?.[0] ?? 0n) : n === Seg.GS ? (env.bases?.[1] ?? 0n) : 0n;
  return BigInt(env.segments[n]?.base ?? 0);
}

/** Bits of RFLAGS that cases set and compare: CF PF AF ZF SF DF OF. */
export const FLAGS_KEPT = 0xcd5;

/** Registers before and after a case. */
export interface UserState {
  /** RAX to R15 in encoding order. */
  readonly gpr: BigUint64Array;
  /** RIP (EIP, IP): an offset in CS. */
  rip: bigint;
  /** {@link FLAGS_KEPT} of RFLAGS. */
  flags: number;
  /** XMM0 to XMM15, 16 bytes each; absent where the form has nothing to do with them. */
  readonly xmm: Uint8Array | undefined;
}

/** Bytes laid into the window before the instruction runs. */
export interface Poke {
  /** Offset in the window. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** One case: what runs, from what. */
export interface UserCase {
  /** Name of the form it is an instance of. */
  readonly form: string;
  /** iced-x86's name of its encoding. */
  readonly code: string;
  readonly env: Environment;
  readonly bytes: Uint8Array;
  readonly start: UserState;
  readonly pokes: readonly Poke[];
  /** Flags that the architecture leaves undefined after it: not compared. */
  readonly undefinedFlags: number;
}

/** Linear address of a case's first byte. */
export function slotOf(c: UserCase): number {
  return Number(c.start.rip) + Number(segmentBase(c.env, Seg.CS));
}

/** An exception of the processor, as the instruction's end. */
export interface UserFault {
  readonly vector: number;
  readonly error: number;
  /** Page faults: the linear address. */
  readonly address: bigint;
}

/** What came of a case. */
export interface UserResult {
  /** Absent: it reached an INT3 of the code region, and rip is that INT3's offset. */
  readonly fault: UserFault | undefined;
  readonly state: UserState;
  /** Changed bytes of the window, by offset. */
  readonly window: Map<number, number>;
}

/**
 * VMSAv8-64 stage 1 of the EL1&0 regime (DDI 0487, D5; J1 AArch64.TranslationTableWalk): 4K, 16K and 64K granules,
 * 48-bit addresses, no hardware update of the access flag.
 */
import { PA_RANGES } from '../model.ts';
import { type Arm64State, type Pair, SR } from '../state.ts';
import { PAGE, packAttributes } from './attributes.ts';

/** Fault status codes by kind; the level is added (DDI 0487, ISS of a Data Abort, DFSC). */
export const FSC = {
  AddressSize: 0x00,
  Translation: 0x04,
  AccessFlag: 0x08,
  Permission: 0x0c,
  /** Synchronous external abort, not on a walk. */
  External: 0x10,
  /** Synchronous external abort on a walk, level 0. */
  ExternalWalk: 0x14,
  Alignment: 0x21,
  /** Unsupported exclusive or atomic access. */
  Exclusive: 0x35,
} as const;

/** How a walk ended. */
export const WalkEnd = {
  /** {@link WalkResult.pa} and attributes are valid. */
  Done: 0,
  /** Stage 1 fault: {@link WalkResult.fsc}. */
  Fault: 1,
  /** The descriptor's gpa has no stage 2 mapping now: {@link WalkResult.table}, {@link WalkResult.level}. */
  Stage2: 2,
  /** Reading the descriptor consumed poison: {@link WalkResult.table}, {@link WalkResult.level}. */
  External: 3,
} as const;
/** One of {@link WalkEnd}. */
export type WalkEndCode = 0 | 1 | 2 | 3;

/** Filled by {@link walk}; one object, reused. */
export interface WalkResult {
  /** Output address of the accessed byte. */
  pa: number;
  /** See `attributes.ts`. */
  attributes: number;
  fsc: number;
  /** Level reached, or at which it ended. */
  level: number;
  /** gpa of the descriptor that was read last. */
  table: number;
}
/** A fresh result. */
export function walkResult(): WalkResult {
  return { pa: 0, attributes: 0, fsc: 0, level: 0, table: 0 };
}

/** Outcome of reading a descriptor. */
export const TableRead = { Ok: 0, Stage2: 1, External: 2 } as const;
/** Reads guest memory for a walk. */
export interface TableReader {
  /** Reads 8 bytes at `gpa` (8-byte aligned) into `out`. */
  readTable(gpa: number, out: Pair): 0 | 1 | 2;
}

const descriptor: Pair = { lo: 0, hi: 0 };

/** `width` bits (at most 16) of a pair, from bit `at`. */
function field(lo: number, hi: number, at: number, width: number): number {
  const v = at >= 32 ? hi >>> (at - 32) : at === 0 ? lo : (lo >>> at) | (hi << (32 - at));
  return v & ((1 << width) - 1);
}

/** Bits [47:shift] of a pair as a number. */
function address(lo: number, hi: number, shift: number): number {
  const high = (hi & 0xffff) * 0x1_0000_0000;
  if (shift >= 32) return ((hi & 0xffff) >>> (shift - 32)) * 2 ** shift;
  return high + ((lo & -(2 ** shift)) >>> 0);
}

/** Granule sizes (log2) by TCR_EL1.TG0 and TG1; 0 = reserved, treated as 4K. */
const TG0: readonly number[] = [12, 16, 14, 12];
const TG1: readonly number[] = [12, 14, 12, 16];

/** Whether the top byte of this address is ignored (TCR_EL1.TBI0, TBI1 by bit 55). */
export function topByteIgnored(s: Arm64State, hi: number): boolean {
  return (s.hi(SR.TCR_EL1) & (hi & (1 << 23) ? 1 << 6 : 1 << 5)) !== 0;
}

/**
 * Translates one address with the MMU on. Nothing is cached or changed here; permissions are not checked. MAIR and the
 * tables are read as they are now.
 */
export function walk(
  s: Arm64State,
  paBits: number,
  lo: number,
  hi: number,
  reader: TableReader,
  out: WalkResult,
): WalkEndCode {
  const upper = (hi & (1 << 23)) !== 0;
  const tcrLo = s.lo(SR.TCR_EL1);
  const tcrHi = s.hi(SR.TCR_EL1);
  out.table = 0;
  const size = 64 - ((upper ? tcrLo >>> 16 : tcrLo) & 0x3f);
  const granule = ((upper ? TG1[(tcrLo >>> 30) & 3] : TG0[(tcrLo >>> 14) & 3]) as number) | 0;
  const disabled = (tcrLo & (upper ? 1 << 23 : 1 << 7)) !== 0;
  if (disabled || size > 48 || size < 25 || !inRange(s, lo, hi, size, upper))
    return fault(out, FSC.Translation, 0);

  const limit = 2 ** Math.min(PA_RANGES[tcrHi & 7] ?? 48, paBits);
  const stride = granule - 3;
  let level = 4 - Math.ceil((size - granule) / stride);
  let shift = granule + stride * (3 - level);
  let width = size - shift;
  const ttbr = upper ? SR.TTBR1_EL1 : SR.TTBR0_EL1;
  let table = address(s.lo(ttbr), s.hi(ttbr), Math.max(width + 3, 6));
  if (table >= limit) return fault(out, FSC.AddressSize, 0);

  let tableBits = 0;
  for (;;) {
    const at = table + field(lo, hi, shift, width) * 8;
    out.table = at;
    out.level = level;
    const r = reader.readTable(at, descriptor);
    if (r !== TableRead.Ok) return r === TableRead.Stage2 ? WalkEnd.Stage2 : WalkEnd.External;
    const { lo: dLo, hi: dHi } = descriptor;
    const kind = dLo & 3;
    if ((kind & 1) === 0 || (kind === 1 && !blockAllowed(granule, level)))
      return fault(out, FSC.Translation, level);
    if (kind === 3 && level < 3) {
      table = address(dLo, dHi, granule);
      if (table >= limit) return fault(out, FSC.AddressSize, level);
      tableBits |= dHi;
      level++;
      shift -= stride;
      width = stride;
      continue;
    }
    const base = address(dLo, dHi, shift);
    if (base >= limit) return fault(out, FSC.AddressSize, level);
    if ((dLo & (1 << 10)) === 0) return fault(out, FSC.AccessFlag, level);
    out.pa = base + offset(lo, hi, shift);
    out.attributes = leaf(s, dLo, dHi, tableBits, level, shift);
    return WalkEnd.Done;
  }
}

function fault(out: WalkResult, fsc: number, level: number): 1 {
  out.fsc = fsc + level;
  out.level = level;
  return WalkEnd.Fault;
}

/** Whether the bits above the input size are all copies of bit 55 (the top byte aside where it is ignored). */
function inRange(s: Arm64State, lo: number, hi: number, size: number, upper: boolean): boolean {
  const top = topByteIgnored(s, hi) ? 0x00ff_ffff : -1;
  const want = upper ? -1 : 0;
  if (size >= 32) {
    const mask = size === 32 ? top : top & (-1 << (size - 32));
    return ((hi ^ want) & mask) === 0;
  }
  return ((hi ^ want) & top) === 0 && ((lo ^ want) & (-1 << size)) === 0;
}

/** Blocks: 1 GiB and 2 MiB with 4K, 32 MiB with 16K, 512 MiB with 64K; never at level 3. */
function blockAllowed(granule: number, level: number): boolean {
  return granule === 12 ? level === 1 || level === 2 : level === 2;
}

/** Offset in the leaf as a number. */
function offset(lo: number, hi: number, shift: number): number {
  if (shift >= 32) return (hi & ((1 << (shift - 32)) - 1)) * 0x1_0000_0000 + (lo >>> 0);
  return lo & ((1 << shift) - 1);
}

/** Attributes of a leaf with the limits its tables set (APTable, UXNTable, PXNTable). */
function leaf(s: Arm64State, lo: number, hi: number, table: number, level: number, shift: number): number {
  let flags = 0;
  if (lo & (1 << 6) && !(table & (1 << 29))) flags |= PAGE.El0;
  if (lo & (1 << 7) || table & (1 << 30)) flags |= PAGE.ReadOnly;
  if (hi & (1 << 22) || table & (1 << 28)) flags |= PAGE.Uxn;
  if (hi & (1 << 21) || table & (1 << 27)) flags |= PAGE.Pxn;
  if (lo & (1 << 11)) flags |= PAGE.NotGlobal;
  const index = (lo >>> 2) & 7;
  const mair = ((index < 4 ? s.lo(SR.MAIR_EL1) : s.hi(SR.MAIR_EL1)) >>> ((index & 3) * 8)) & 0xff;
  if ((mair & 0xf0) === 0) flags |= PAGE.Device;
  return packAttributes(flags, mair, (lo >>> 8) & 3, level, shift);
}

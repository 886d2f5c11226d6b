/**
 * Page walks (AMD64 APM volume 2, chapter 5; Intel SDM volume 3A, chapter 4): no paging, 32-bit, PAE, 4 and 5 levels.
 * A function of its parameters and of a reader, so that nested paging walks with a root and a reader of its own.
 */
import { PAGE, PF, packAttributes, UNLIMITED, WANT } from './page.ts';
import type { Paging } from './paging.ts';

/** How a walk ended. */
export const WalkEnd = {
  /** {@link WalkResult.pa} and attributes are valid. */
  Done: 0,
  /** The guest's #PF: {@link WalkResult.errorCode}. */
  Fault: 1,
  /** The entry at {@link WalkResult.table} has no stage 2 mapping now (for writing: {@link WalkResult.tableWrite}). */
  Stage2: 2,
  /** Reading the entry at {@link WalkResult.table} consumed poison. */
  External: 3,
  /** The tables of a nested guest's host do not have it; the reader knows more. */
  Nested: 4,
  /** The lab has no frame left for a private copy of the table. */
  NoMemory: 5,
} as const;
/** One of {@link WalkEnd}. */
export type WalkEndCode = 0 | 1 | 2 | 3 | 4 | 5;

/** Filled by {@link walk}; one object, reused. */
export interface WalkResult {
  /** Physical address of the accessed byte. */
  pa: number;
  /** See `page.ts`. */
  attributes: number;
  /** Error code of #PF: P W U RSVD I PK. */
  errorCode: number;
  /** Level of the entry that was read last: 1 for a PTE. */
  level: number;
  /** Physical address of that entry. */
  table: number;
  /** The entry could not be written (A, D), or its table not reached for writing. */
  tableWrite: boolean;
}
/** A fresh result. */
export function walkResult(): WalkResult {
  return { pa: 0, attributes: 0, errorCode: 0, level: 0, table: 0, tableWrite: false };
}

/** Reads and marks entries for a walk; both answer with a {@link WalkEnd}, `Done` for success. */
export interface TableReader {
  /** Reads an entry of 4 or 8 bytes (of 4: `hi` is 0) at a physical address aligned to its size. */
  readTable(pa: number, size: 4 | 8, out: { lo: number; hi: number }): WalkEndCode;
  /** Writes the entry's low half back with A or D set. An observer's reader does nothing. */
  markTable(pa: number, lo: number): WalkEndCode;
}

/** Bits of an entry's low half. */
const ENTRY = {
  P: 1,
  RW: 2,
  US: 4,
  A: 0x20,
  D: 0x40,
  PS: 0x80,
  G: 0x100,
} as const;

/** The entry read last. A reader may walk itself (nested paging), so it counts only until the next call of one. */
const entry = { lo: 0, hi: 0 };

/**
 * Translates one linear address (outside long mode its low half counts). Sets A of every entry it goes through, and D
 * of the leaf for a write, once the access is known to be allowed.
 * @param want {@link WANT}
 */
export function walk(
  p: Paging,
  lo: number,
  hi: number,
  want: number,
  reader: TableReader,
  out: WalkResult,
): WalkEndCode {
  out.tableWrite = false;
  if (p.levels === 0) {
    out.pa = lo >>> 0;
    out.attributes = packAttributes(UNLIMITED, 0, 0, 0, 12);
    return WalkEnd.Done;
  }
  if (p.levels === 2) return walk32(p, lo, want, reader, out);
  let level: number = p.levels;
  let table = p.root;
  if (level === 3) {
    const end = pointer(p, lo >>> 30, reader, out);
    if (end !== WalkEnd.Done) return end;
    if ((entry.lo & ENTRY.P) === 0) return fault(p, 0, want, out);
    if (p.pdptesInMemory && pointerReserved(p.physicalBits)) return fault(p, PF.P | PF.RSVD, want, out);
    table = frame();
    level = 2;
  }
  // U/S and R/W of all levels
  let rights = ENTRY.RW | ENTRY.US;
  let noExec = 0;
  for (;;) {
    const shift = 3 + 9 * level;
    const at = table + indexAt(lo, hi, shift) * 8;
    out.table = at;
    out.level = level;
    const end = reader.readTable(at, 8, entry);
    if (end !== WalkEnd.Done) return end;
    const low = entry.lo;
    if ((low & ENTRY.P) === 0) return fault(p, 0, want, out);
    if (entry.hi & p.reservedHigh || lowReserved(p, level, low)) return fault(p, PF.P | PF.RSVD, want, out);
    rights &= low;
    noExec |= entry.hi;
    if (level > 1 && (low & ENTRY.PS) === 0) {
      table = frame();
      if ((low & ENTRY.A) === 0) {
        const marked = mark(reader, at, low | ENTRY.A, out);
        if (marked !== WalkEnd.Done) return marked;
      }
      level--;
      continue;
    }
    const within = shift === 12 ? lo & 0xfff : lo & ((1 << shift) - 1);
    const base = frame() - ((low & ((1 << shift) - 1) & -4096) >>> 0);
    const pat = ((low >>> 3) & 3) | ((low >>> (level === 1 ? 5 : 10)) & 4);
    const attributes = packAttributes(
      (rights & ENTRY.RW ? PAGE.Writable : 0) |
        (rights & ENTRY.US ? PAGE.User : 0) |
        (noExec < 0 ? PAGE.NoExec : 0) |
        (p.global && low & ENTRY.G ? PAGE.Global : 0),
      (entry.hi >>> 27) & 15,
      pat,
      level,
      shift,
    );
    return leaf(p, low, base + within, attributes, want, reader, out);
  }
}

/** 32-bit paging: two levels of 4-byte entries, 4 MiB pages with CR4.PSE, of up to 40 bits of physical address. */
function walk32(p: Paging, lo: number, want: number, reader: TableReader, out: WalkResult): WalkEndCode {
  let at = p.root + (lo >>> 22) * 4;
  out.table = at;
  out.level = 2;
  let end = reader.readTable(at, 4, entry);
  if (end !== WalkEnd.Done) return end;
  const pde = entry.lo;
  if ((pde & ENTRY.P) === 0) return fault(p, 0, want, out);
  if (p.pse && pde & ENTRY.PS) {
    const high = (pde >>> 13) & 0xff;
    // bits 20:13 are address bits 39:32, as far as the CPU has them; bit 21 must be 0
    const bits = Math.min(p.physicalBits, 40) - 32;
    if (pde & (1 << 21) || high >>> bits !== 0) return fault(p, PF.P | PF.RSVD, want, out);
    const pa = ((pde & 0xffc0_0000) >>> 0) + high * 0x1_0000_0000 + (lo & 0x3f_ffff);
    return leaf(p, pde, pa, attributes32(p, pde, pde, 10, 2, 22), want, reader, out);
  }
  if ((pde & ENTRY.A) === 0) {
    const marked = mark(reader, at, pde | ENTRY.A, out);
    if (marked !== WalkEnd.Done) return marked;
  }
  at = ((pde & -4096) >>> 0) + ((lo >>> 12) & 0x3ff) * 4;
  out.table = at;
  out.level = 1;
  end = reader.readTable(at, 4, entry);
  if (end !== WalkEnd.Done) return end;
  const pte = entry.lo;
  if ((pte & ENTRY.P) === 0) return fault(p, 0, want, out);
  const pa = ((pte & -4096) >>> 0) + (lo & 0xfff);
  return leaf(p, pte, pa, attributes32(p, pde & pte, pte, 5, 1, 12), want, reader, out);
}

function attributes32(
  p: Paging,
  rights: number,
  low: number,
  patAt: number,
  level: number,
  shift: number,
): number {
  return packAttributes(
    (rights & ENTRY.RW ? PAGE.Writable : 0) |
      (rights & ENTRY.US ? PAGE.User : 0) |
      (p.global && low & ENTRY.G ? PAGE.Global : 0),
    0,
    ((low >>> 3) & 3) | ((low >>> patAt) & 4),
    level,
    shift,
  );
}

/** Permissions of the leaf just read at `out.table`, then its A and D. */
function leaf(
  p: Paging,
  low: number,
  pa: number,
  attributes: number,
  want: number,
  reader: TableReader,
  out: WalkResult,
): WalkEndCode {
  out.pa = pa;
  const no = denied(p, attributes, want);
  if (no !== 0) {
    out.attributes = attributes;
    return fault(p, no, want, out);
  }
  const set = low | ENTRY.A | (want & WANT.Write ? ENTRY.D : 0);
  if (set !== low) {
    const marked = mark(reader, out.table, set, out);
    if (marked !== WalkEnd.Done) return marked;
  }
  out.attributes = set & ENTRY.D ? attributes | PAGE.Dirty : attributes;
  return WalkEnd.Done;
}

/**
 * Whether a translation forbids an access: 0, or the bits P and PK of the error code.
 * @param want {@link WANT}
 */
export function denied(p: Paging, attributes: number, want: number): number {
  const ofUser = (attributes & PAGE.User) !== 0;
  const asUser = (want & WANT.User) !== 0;
  if (want & WANT.Fetch) {
    if (attributes & PAGE.NoExec) return PF.P;
    return (asUser ? !ofUser : ofUser && p.smep) ? PF.P : 0;
  }
  let no = 0;
  if (asUser ? !ofUser : ofUser && p.smap && (want & WANT.NoSmap) === 0) no = PF.P;
  const strict = (want & WANT.Write) !== 0 && (asUser || p.wp);
  if (strict && (attributes & PAGE.Writable) === 0) no = PF.P;
  if (p.keys && ofUser) {
    const key = p.pkru >>> (((attributes >>> 8) & 15) * 2);
    if (key & 1 || (strict && key & 2)) no = PF.P | PF.PK;
  }
  return no;
}

/** Error code of #PF for an access: what the CPU adds to what the walk found. */
export function errorCode(p: Paging, found: number, want: number): number {
  return found | (want & (PF.W | PF.U)) | (want & WANT.Fetch && (p.nx || p.smep) ? PF.I : 0);
}

function fault(p: Paging, found: number, want: number, out: WalkResult): 1 {
  out.errorCode = errorCode(p, found, want);
  return WalkEnd.Fault;
}

function mark(reader: TableReader, at: number, low: number, out: WalkResult): WalkEndCode {
  const end = reader.markTable(at, low);
  if (end !== WalkEnd.Done) out.tableWrite = true;
  return end;
}

/** Bits [51:12] of {@link entry} as a number. */
function frame(): number {
  return ((entry.lo & -4096) >>> 0) + (entry.hi & 0xf_ffff) * 0x1_0000_0000;
}

/** Nine bits of a linear address. */
function indexAt(lo: number, hi: number, shift: number): number {
  if (shift >= 32) return (hi >>> (shift - 32)) & 0x1ff;
  return shift <= 23 ? (lo >>> shift) & 0x1ff : ((lo >>> 30) | (hi << 2)) & 0x1ff;
}

/** Bits of the low half that must be 0: PS where there is no such page, the low address bits of a large page. */
function lowReserved(p: Paging, level: number, low: number): boolean {
  if (level === 1) return false;
  if (level >= 4) return (low & (p.amd ? ENTRY.PS | ENTRY.G : ENTRY.PS)) !== 0;
  if ((low & ENTRY.PS) === 0) return false;
  if (level === 2) return (low & 0x1f_e000) !== 0;
  return !p.gib || (low & 0x3fff_e000) !== 0;
}

// ---- PAE pointers --------------------------------------------------------------------------------------------------

/** Brings pointer `n` to {@link entry}. */
function pointer(p: Paging, n: number, reader: TableReader, out: WalkResult): WalkEndCode {
  out.level = 3;
  out.table = p.root + 8 * n;
  if (p.pdptesInMemory) return reader.readTable(out.table, 8, entry);
  entry.lo = p.pdptes[2 * n] as number;
  entry.hi = p.pdptes[2 * n + 1] as number;
  return WalkEnd.Done;
}

/** Whether {@link entry}, present, has reserved bits of a PAE pointer set: 2:1, 8:5, and all above MAXPHYADDR. */
function pointerReserved(physicalBits: number): boolean {
  const high = -1 << (physicalBits - 32);
  return (entry.lo & 0x1e6) !== 0 || (entry.hi & high) !== 0;
}

/** What the guest's tables say of a page, packed into one word; and which accesses that allows. */

/** Bits of the attribute word: what all levels of the walk allow together. */
export const PAGE = {
  /** R/W at every level. */
  Writable: 1,
  /** U/S at every level. */
  User: 2,
  /** NX at any level (and EFER.NXE). */
  NoExec: 4,
  /** G of the leaf, and CR4.PGE: survives a write of CR3. */
  Global: 8,
  /** D of the leaf is set: a write needs no walk. */
  Dirty: 16,
} as const;
/** All bits a page can grant: no paging, or a level that limits nothing. */
export const UNLIMITED: number = PAGE.Writable | PAGE.User | PAGE.Dirty;

/**
 * Protection key in bits 11:8, index into the PAT (PAT, PCD, PWT) in 14:12, level of the leaf (1 = PTE) in 22:20, log2 of
 * its size in 29:24.
 */
export function packAttributes(
  flags: number,
  key: number,
  pat: number,
  level: number,
  shift: number,
): number {
  return flags | (key << 8) | (pat << 12) | (level << 20) | (shift << 24);
}
/** Log2 of the bytes the leaf covers. */
export function leafShift(attributes: number): number {
  return (attributes >>> 24) & 63;
}
/** Level of the leaf: 1 for a PTE, 2 for a PDE, 3 for a PDPTE; 0 without paging. */
export function leafLevel(attributes: number): number {
  return (attributes >>> 20) & 7;
}
/** Index into the PAT. */
export function patIndex(attributes: number): number {
  return (attributes >>> 12) & 7;
}
/** Protection key. */
export function protectionKey(attributes: number): number {
  return (attributes >>> 8) & 15;
}

/**
 * An access as walks and permissions see it. The lower bits lie where the error code of #PF has them; a bare read by
 * the supervisor is 0.
 */
export const WANT = {
  Write: 2,
  /** Made with user rights. */
  User: 4,
  /** Instruction fetch. */
  Fetch: 16,
  /** Supervisor data access that SMAP does not govern: an explicit one with EFLAGS.AC = 1. */
  NoSmap: 0x100,
} as const;

/** Bits of the error code of #PF (AMD64 APM volume 2, 8.2.15; Intel SDM volume 3A, 4.7). */
export const PF = { P: 1, W: 2, U: 4, RSVD: 8, I: 16, PK: 32 } as const;

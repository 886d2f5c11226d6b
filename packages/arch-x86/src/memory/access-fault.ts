/** The record of an access that could not be served. */
import { Access, type AccessInfo } from '@faultyard/engine';

/** Why an access could not be served. */
export const Cause = {
  None: 0,
  /** #PF with {@link AccessFault.errorCode}; the address is CR2. */
  PageFault: 1,
  /** A non-canonical address: #SS(0) through the stack segment, else #GP(0). */
  NonCanonical: 2,
  /** #AC(0). */
  Alignment: 3,
  /** A fetch beyond the limit of CS: #GP(0). */
  FetchLimit: 4,
  /** Stage 2 has no mapping for {@link AccessFault.gpa}, or none for writing. */
  Stage2: 5,
  /** Poison was consumed at {@link AccessFault.gpa}. */
  External: 6,
  /** No memslot at {@link AccessFault.gpa}, and no in-kernel device that answers here. */
  Device: 7,
  /** The lab has no frame left for a private copy. */
  NoMemory: 8,
  /** The page tables of a nested guest's host do not allow it; the nested reader knows more. */
  Nested: 9,
} as const;

/** The access that stopped the guest; one object, reused. */
export interface AccessFault {
  /** One of {@link Cause}. */
  cause: number;
  /** Error code of #PF. */
  errorCode: number;
  /** Linear address of the first byte in the page that failed. */
  lo: number;
  hi: number;
  /** Bytes of the access within that page. */
  size: number;
  /** `Access.Read`, `Write`, `Exec`, `ReadWrite`. */
  kind: number;
  ctx: number;
  cls: number;
  /** Physical address of the byte, or of the table entry when {@link walk} is set. */
  gpa: number;
  /** It was the page walk, not the access itself. */
  walk: boolean;
  /** Level of the walk that ended there, 1 for a PTE. */
  level: number;
  /** Stage 2 was asked for writing: stores, read-modify-writes, and walks that write. */
  write: boolean;
}
/** A fresh record. */
export function accessFault(): AccessFault {
  return {
    cause: 0,
    errorCode: 0,
    lo: 0,
    hi: 0,
    size: 0,
    kind: 0,
    ctx: 0,
    cls: 0,
    gpa: 0,
    walk: false,
    level: 0,
    write: false,
  };
}

/** Whether the CPU consumes poison by a class of access, or goes on with the data that stand there. */
export type PoisonRules = Readonly<Record<'load' | 'store' | 'fetch' | 'walk' | 'atomic', boolean>>;
/** Stores hand poison on; everything that needs the data consumes it. */
export const POISON_RULES: PoisonRules = { load: true, store: false, fetch: true, walk: true, atomic: true };

/** Whether an access consumes poison. */
export function consumes(rules: PoisonRules, kind: number): boolean {
  if (kind === Access.Exec) return rules.fetch;
  if (kind === Access.ReadWrite) return rules.atomic;
  return kind === Access.Write ? rules.store : rules.load;
}

/** Alignment in bytes that #AC demands of an access of `size` bytes (AMD64 APM volume 2, 8.2.18). */
export function naturalAlignment(size: number): number {
  if (size === 6) return 4;
  if (size === 10) return 8;
  return Math.min(size & -size, 16);
}

/** Fills the record from an access; `hi` is the high half that counts. */
export function describe(f: AccessFault, a: AccessInfo, hi: number, cause: number): void {
  f.cause = cause;
  f.errorCode = 0;
  f.lo = a.lo;
  f.hi = hi;
  f.size = a.size;
  f.kind = a.kind;
  f.ctx = a.ctx;
  f.cls = a.cls;
  f.gpa = 0;
  f.walk = false;
  f.level = 0;
  f.write = a.kind === Access.Write || a.kind === Access.ReadWrite;
}

/** What a stage 1 translation says of a page, packed into one word; and who may do what with it. */

/** Bits of the attribute word. */
export const PAGE = {
  /** AP[1]: EL0 has access. */
  El0: 1,
  /** AP[2]: read only. */
  ReadOnly: 2,
  Uxn: 4,
  Pxn: 8,
  /** Belongs to one ASID. */
  NotGlobal: 16,
  /** Device memory of any kind. */
  Device: 32,
} as const;
/** MAIR attribute byte in bits 15:8, shareability in 17:16, level of the leaf in 21:20, log2 of its size in 29:24. */
export function packAttributes(
  flags: number,
  mair: number,
  sh: number,
  level: number,
  shift: number,
): number {
  return flags | (mair << 8) | (sh << 16) | (level << 20) | (shift << 24);
}
/** Log2 of the bytes the leaf covers. */
export function leafShift(attributes: number): number {
  return (attributes >>> 24) & 63;
}
/** Level of the leaf, 0..3. */
export function leafLevel(attributes: number): number {
  return (attributes >>> 20) & 3;
}
/** MAIR attribute byte. */
export function memoryType(attributes: number): number {
  return (attributes >>> 8) & 0xff;
}
/** SH field. */
export function shareability(attributes: number): number {
  return (attributes >>> 16) & 3;
}

/** Kinds of access, as the engine numbers them. */
export const READ = 0;
export const WRITE = 1;
export const EXEC = 2;

/**
 * Whether an access is permitted (DDI 0487, D5.4: data and instruction access permissions).
 * @param el0 made with EL0's permissions
 * @param pan PSTATE.PAN applies to it
 */
export function permitted(
  attributes: number,
  access: number,
  el0: boolean,
  wxn: boolean,
  pan: boolean,
): boolean {
  const user = (attributes & PAGE.El0) !== 0;
  const writable = (attributes & PAGE.ReadOnly) === 0;
  if (access === EXEC) {
    if (el0) return (attributes & PAGE.Uxn) === 0 && !(wxn && user && writable);
    return (attributes & PAGE.Pxn) === 0 && !(user && writable) && !(wxn && writable);
  }
  if (el0 ? !user : pan && user) return false;
  return access === READ || writable;
}

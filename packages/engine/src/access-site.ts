/** An access site as one i32 constant, which generated code hands to the slow path. */
import type { AccessSite } from './node.ts';

/** Context number of a packed site that stands for "the current one". */
export const CURRENT_CONTEXT = 15;

/** Packs: total 0-6, cls 7-14, ctx 15-18, log2(align) 19-21, ordinal 22-25, log2(element) 26-27. */
export function packSite(s: AccessSite): number {
  const ctx = s.ctx ?? CURRENT_CONTEXT;
  return (
    s.total |
    (s.cls << 7) |
    (ctx << 15) |
    (Math.log2(s.align) << 19) |
    (s.ordinal << 22) |
    (Math.log2(s.size) << 26)
  );
}
/** Bytes of the whole access. */
export function siteTotal(p: number): number {
  return p & 127;
}
/** ISA-defined class. */
export function siteClass(p: number): number {
  return (p >>> 7) & 255;
}
/** Context, or {@link CURRENT_CONTEXT}. */
export function siteContext(p: number): number {
  return (p >>> 15) & 15;
}
/** Alignment demanded, in bytes. */
export function siteAlign(p: number): number {
  return 1 << ((p >>> 19) & 7);
}
/** Ordinal within the instruction. */
export function siteOrdinal(p: number): number {
  return (p >>> 22) & 15;
}
/** Bytes of one element. */
export function siteElement(p: number): number {
  return 1 << ((p >>> 26) & 3);
}

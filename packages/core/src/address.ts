/** Address kinds and their brands: a guest physical address cannot be passed where a host virtual one is meant. */

declare const kind: unique symbol;
type Branded<K extends string> = bigint & { readonly [kind]?: K };

/** Guest physical address (IPA on Arm), in bytes. */
export type Gpa = Branded<'gpa'>;
/** Guest virtual address, in bytes. */
export type Gva = Branded<'gva'>;
/** Host virtual address in the VMM process, in bytes. */
export type Hva = Branded<'hva'>;

/** Page size of host and stage 2, in bytes. */
export const PAGE_SIZE = 4096;
/** log2 of {@link PAGE_SIZE}. */
export const PAGE_SHIFT = 12;

/** Brands a guest physical address; accepts a safe integer or a bigint. */
export function gpa(n: bigint | number): Gpa {
  return BigInt.asUintN(64, BigInt(n)) as Gpa;
}
/** Brands a guest virtual address. */
export function gva(n: bigint | number): Gva {
  return BigInt.asUintN(64, BigInt(n)) as Gva;
}
/** Brands a host virtual address. */
export function hva(n: bigint | number): Hva {
  return BigInt.asUintN(64, BigInt(n)) as Hva;
}

/** A number below 2^53 from a public address; `undefined` when it does not fit. */
export function toNumber(a: bigint | number): number | undefined {
  const n = Number(a);
  return Number.isSafeInteger(n) && n >= 0 ? n : undefined;
}

/** `0x` and hexadecimal digits, for messages. */
export function hex(n: bigint | number): string {
  return `0x${n.toString(16)}`;
}

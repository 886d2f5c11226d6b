/** Named fields of registers, for printing: `[name, high bit, low bit]`. */
import type { FieldDef } from './msr/def.ts';

const bits = (names: Readonly<Record<string, number>>): FieldDef[] =>
  Object.entries(names)
    .map(([name, bit]): FieldDef => [name, bit, bit])
    .reverse();

/** RFLAGS (AMD64 APM volume 2, 3.1.6). */
export const RFLAGS_FIELDS: readonly FieldDef[] = [
  ...bits({ RF: 16, VM: 17, AC: 18, VIF: 19, VIP: 20, ID: 21 }),
  ...bits({ NT: 14 }),
  ['IOPL', 13, 12],
  ...bits({ CF: 0, PF: 2, AF: 4, ZF: 6, SF: 7, TF: 8, IF: 9, DF: 10, OF: 11 }),
];
/** CR0 (APM volume 2, 3.1.1). */
export const CR0_FIELDS: readonly FieldDef[] = bits({
  PE: 0,
  MP: 1,
  EM: 2,
  TS: 3,
  ET: 4,
  NE: 5,
  WP: 16,
  AM: 18,
  NW: 29,
  CD: 30,
  PG: 31,
});
/** CR4 (APM volume 2, 3.1.3). */
export const CR4_FIELDS: readonly FieldDef[] = bits({
  VME: 0,
  PVI: 1,
  TSD: 2,
  DE: 3,
  PSE: 4,
  PAE: 5,
  MCE: 6,
  PGE: 7,
  PCE: 8,
  OSFXSR: 9,
  OSXMMEXCPT: 10,
  UMIP: 11,
  LA57: 12,
  FSGSBASE: 16,
  PCIDE: 17,
  OSXSAVE: 18,
  SMEP: 20,
  SMAP: 21,
  PKE: 22,
});
/** DR6 (APM volume 2, 13.1.1.3). */
export const DR6_FIELDS: readonly FieldDef[] = bits({ B0: 0, B1: 1, B2: 2, B3: 3, BD: 13, BS: 14, BT: 15 });
/** DR7 (APM volume 2, 13.1.1.4). */
export const DR7_FIELDS: readonly FieldDef[] = [
  ...[3, 2, 1, 0].flatMap((n): FieldDef[] => [
    [`LEN${n}`, 19 + 4 * n, 18 + 4 * n],
    [`RW${n}`, 17 + 4 * n, 16 + 4 * n],
  ]),
  ...bits({ L0: 0, G0: 1, L1: 2, G1: 3, L2: 4, G2: 5, L3: 6, G3: 7, LE: 8, GE: 9, GD: 13 }),
];
/** EFER (APM volume 2, 3.1.7). */
export const EFER_FIELDS: readonly FieldDef[] = bits({
  SCE: 0,
  LME: 8,
  LMA: 10,
  NXE: 11,
  SVME: 12,
  FFXSR: 14,
});

/** Memory types: MTRRs and PAT. Stored only; all guest memory is write-back (arch/x86/kvm/mtrr.c). */
import { SR } from '../state.ts';
import { type MsrAccess, type MsrDef, MsrResult, type MsrResultCode } from './def.ts';
import { beyondPhysical, constant, refused } from './rules.ts';

/** UC, WC, WT, WP, WB; PAT also UC-. */
const MTRR_TYPES = 0b0111_0011;
const PAT_TYPES = 0b1111_0011;

const typeIn = (types: number, t: number): boolean => t < 8 && (types & (1 << t)) !== 0;
const eachByte = (a: MsrAccess, types: number): boolean => {
  for (let i = 0; i < 4; i++)
    if (!typeIn(types, (a.lo >>> (8 * i)) & 255) || !typeIn(types, (a.hi >>> (8 * i)) & 255)) return false;
  return true;
};
const types =
  (allowed: number) =>
  (a: MsrAccess): MsrResultCode =>
    eachByte(a, allowed) ? MsrResult.Ok : MsrResult.Refused;

/** MTRRdefType: type in 7:0, FE 10, E 11. */
function defType(a: MsrAccess): MsrResultCode {
  if (a.hi !== 0 || a.lo & ~0xcff) return MsrResult.Refused;
  return typeIn(MTRR_TYPES, a.lo & 0xff) ? MsrResult.Ok : MsrResult.Refused;
}
/** Variable ranges: base with its type, mask with V (bit 11). */
function variable(a: MsrAccess): MsrResultCode {
  if (beyondPhysical(a)) return MsrResult.Refused;
  if (a.index & 1) return a.lo & 0x7ff ? MsrResult.Refused : MsrResult.Ok;
  if (a.lo & 0xf00) return MsrResult.Refused;
  return typeIn(MTRR_TYPES, a.lo & 0xff) ? MsrResult.Ok : MsrResult.Refused;
}

const FIXED: readonly (readonly [index: number, name: string])[] = [
  [0x250, '64K_00000'],
  [0x258, '16K_80000'],
  [0x259, '16K_A0000'],
  ...[0, 1, 2, 3, 4, 5, 6, 7].map(
    (n) => [0x268 + n, `4K_${(0xc0000 + 0x8000 * n).toString(16).toUpperCase()}`] as const,
  ),
];

/** Rows. */
export const MEMORY_TYPE_MSRS: readonly MsrDef[] = [
  {
    index: 0xfe,
    name: 'MTRRCAP',
    doc: 'Memory type range registers there are: 8 variable, fixed, write-combining',
    fields: [
      ['WC', 10, 10],
      ['FIX', 8, 8],
      ['VCNT', 7, 0],
    ],
    read: constant(0x508),
    write: refused,
  },
  ...Array.from({ length: 16 }, (_, i): MsrDef => {
    const mask = (i & 1) !== 0;
    return {
      index: 0x200 + i,
      name: `MTRR_PHYS${mask ? 'MASK' : 'BASE'}${i >> 1}`,
      doc: mask ? 'Mask of a variable range' : 'Base and type of a variable range',
      keepsOnInit: true,
      check: variable,
    };
  }),
  ...FIXED.map(
    ([index, name]): MsrDef => ({
      index,
      name: `MTRR_FIX${name}`,
      doc: 'Types of eight fixed ranges',
      keepsOnInit: true,
      check: types(MTRR_TYPES),
    }),
  ),
  {
    index: 0x277,
    name: 'PAT',
    doc: 'Page attribute table: eight memory types',
    slot: SR.PAT,
    reset: 0x0007_0406_0007_0406n,
    listed: true,
    keepsOnInit: true,
    check: types(PAT_TYPES),
  },
  {
    index: 0x2ff,
    name: 'MTRR_DEF_TYPE',
    doc: 'Default memory type and enables',
    fields: [
      ['E', 11, 11],
      ['FE', 10, 10],
      ['TYPE', 7, 0],
    ],
    keepsOnInit: true,
    check: defType,
  },
];

/** Page walks: every combination of rights, at every level, of every kind of paging. */
import type { Case, CasePaging } from '../support/bare-image.ts';
import { AT, TABLE, TEST_PAGE } from '../support/bare-layout.ts';
import type { Suite } from './suite.ts';

type Paged = Exclude<CasePaging, 'none'>;
/** Bits of entries. */
const E = { P: 1, W: 2, U: 4, A: 0x20, D: 0x40, PS: 0x80, G: 0x100 } as const;
const NX = 1n << 63n;
/** A reserved bit for 40 and 48 bits of physical address. */
const RSVD = 1n << 51n;

/** Tables on the way to the test page, from the root. */
const LEVELS: Readonly<Record<Paged, readonly { readonly at: number; readonly to: number }[]>> = {
  '32': [
    { at: TABLE.pd32 + 0x400, to: TABLE.testPt32 },
    { at: TABLE.testPt32, to: AT.page },
  ],
  pae: [
    { at: TABLE.pdptPae + 8, to: TABLE.testPd },
    { at: TABLE.testPd, to: TABLE.testPt },
    { at: TABLE.testPt, to: AT.page },
  ],
  '4': [
    { at: TABLE.pml4 + 8, to: TABLE.testPdpt },
    { at: TABLE.testPdpt, to: TABLE.testPd },
    { at: TABLE.testPd, to: TABLE.testPt },
    { at: TABLE.testPt, to: AT.page },
  ],
  '5': [
    { at: TABLE.pml5 + 8, to: TABLE.testPml4 },
    { at: TABLE.testPml4, to: TABLE.testPdpt },
    { at: TABLE.testPdpt, to: TABLE.testPd },
    { at: TABLE.testPd, to: TABLE.testPt },
    { at: TABLE.testPt, to: AT.page },
  ],
};

/** An entry: address and bits, in the format of the paging. */
const entry = (paging: Paged, at: number, value: bigint): readonly (readonly [number, number])[] => [
  [at, Number(value & 0xffff_ffffn)],
  ...(paging === '32' ? [] : [[at + 4, Number(value >> 32n)] as const]),
];

/** Pokes of all levels; `bits[n]` replaces the usual rights of level n, counted from the leaf. PAE's PDPTE has only P. */
function mapping(
  paging: Paged,
  bits: readonly (bigint | undefined)[],
  leaf = 0,
): readonly (readonly [number, number])[] {
  const levels = LEVELS[paging];
  return levels.flatMap(({ at, to }, n) => {
    const fromLeaf = levels.length - 1 - n;
    const root = paging === 'pae' && n === 0;
    const usual = BigInt(root ? E.P : E.P | E.W | E.U);
    // a large page begins where its size allows
    const base = fromLeaf === leaf ? (leaf ? 0 : to) : to;
    return entry(paging, at, BigInt(base) | (bits[fromLeaf] ?? usual));
  });
}
const watchOf = (paging: Paged): readonly number[] => LEVELS[paging].map((l) => l.at).slice(-4);

const TEXT: Readonly<Record<string, string>> = {
  read: '  mov eax, dword ptr [RBX]',
  write: '  mov dword ptr [RBX], eax',
  fetch: '  jmp RBX',
  rmw: '  add dword ptr [RBX], eax',
  // an instruction that begins on a good page
  pk_read: '  xor ecx, ecx\n  xor edx, edx\n  .byte 0x0f, 0x01, 0xef\n  mov eax, dword ptr [RBX]',
  pk_write: '  xor ecx, ecx\n  xor edx, edx\n  .byte 0x0f, 0x01, 0xef\n  mov dword ptr [RBX], eax',
  pk_fetch: '  xor ecx, ecx\n  xor edx, edx\n  .byte 0x0f, 0x01, 0xef\n  jmp RBX',
  push: '  mov RSP, RBX\n  push RAX',
  stos: '  mov RDI, RBX\n  mov ecx, 4\n  cld\n  rep stosd',
  movs: '  mov RSI, RBX\n  mov RDI, RBX\n  cld\n  movsd',
  cmpxchg: '  lock cmpxchg dword ptr [RBX], ecx',
  // a translation that became better needs no flush; one that became worse needs INVLPG or a write to CR3
  better: '  mov eax, dword ptr [RBX]\n  or dword ptr [ESI], 2\n  mov dword ptr [RBX], eax',
  worse_invlpg:
    '  mov dword ptr [RBX], eax\n  and dword ptr [RSI], 0xfffffffd\n  invlpg [RBX]\n  mov dword ptr [RBX], eax',
  worse_cr3:
    '  mov dword ptr [RBX], eax\n  and dword ptr [RSI], 0xfffffffd\n  mov RAX, cr3\n  mov cr3, RAX\n  mov dword ptr [RBX], eax',
  absent_invlpg:
    '  mov eax, dword ptr [RBX]\n  and dword ptr [RSI], 0xfffffffe\n  invlpg [RBX]\n  mov eax, dword ptr [RBX]',
  absent_cr4:
    '  mov eax, dword ptr [RBX]\n  and dword ptr [RSI], 0xfffffffe\n  mov RAX, cr4\n  xor al, 0x80\n  mov cr4, RAX\n  mov eax, dword ptr [RBX]',
};
const registers = (text: string, width: 32 | 64): string =>
  text
    .replaceAll('[ESI]', width === 64 ? '[rsi]' : '[esi]')
    .replace(/\bR([A-Z]{2})\b/g, (_, r: string) => `${width === 64 ? 'r' : 'e'}${r.toLowerCase()}`);
const codes = (width: 32 | 64): Record<string, string> =>
  Object.fromEntries(Object.entries(TEXT).map(([n, t]) => [n, registers(t, width)]));

const ACCESS = ['read', 'write', 'fetch'] as const;
const CR0_WP = 0x1_0000;
const CR4 = { PSE: 0x10, PGE: 0x80, SMEP: 0x10_0000, SMAP: 0x20_0000, PKE: 0x40_0000 } as const;
const NXE = 0x800;
const AC = 0x4_0000;

const frame = (paging: Paged, at: bigint = TEST_PAGE[paging]): Pick<Case, 'mode' | 'paging' | 'regs'> => ({
  mode: paging === '32' || paging === 'pae' ? 'pm32' : 'long',
  paging,
  regs: { bx: at, ax: 0x1234, si: LEVELS[paging].at(-1)?.at ?? 0 },
});
/** UD2 and something to read at the test page. */
const CONTENT: readonly (readonly [number, number])[] = [
  [AT.page, 0x5678_0b0f],
  [AT.landing, 0x5678_0b0f],
];

/** Rights of the leaf and of the level above it, by everything that asks for them. */
function product(paging: Paged): Case[] {
  const out: Case[] = [];
  const canNx = paging !== '32';
  for (const code of ACCESS)
    for (const cpl of [0, 3] as const)
      for (let leaf = 0; leaf < (canNx ? 16 : 8); leaf++)
        for (let upper = 0; upper < 4; upper++)
          for (const wp of [0, CR0_WP])
            for (const efer of canNx ? [0, NXE] : [0]) {
              const bits = BigInt(leaf & 7) | (leaf & 8 ? NX : 0n);
              const above = BigInt(E.P | (upper << 1));
              out.push({
                ...frame(paging),
                code,
                cpl,
                cr0: wp,
                efer,
                poke: [...CONTENT, ...mapping(paging, [bits, above])],
                watch: watchOf(paging),
              });
            }
  return out;
}

/** SMEP, SMAP with EFLAGS.AC, and protection keys. */
function supervisor(paging: Paged): Case[] {
  const out: Case[] = [];
  const canNx = paging !== '32';
  // a push that faults at CPL 0 ends in a shutdown
  for (const code of [...ACCESS, 'rmw', 'push'])
    for (const cpl of code === 'push' ? ([3] as const) : ([0, 3] as const))
      for (const bits of [E.P, E.P | E.W, E.P | E.U, E.P | E.W | E.U, E.W | E.U, E.U])
        for (const cr4 of [CR4.SMEP, CR4.SMAP, CR4.SMEP | CR4.SMAP])
          for (const flags of [0, AC])
            for (const wp of [0, CR0_WP])
              for (const efer of canNx ? [0, NXE] : [0])
                out.push({
                  ...frame(paging),
                  ...{ code, cpl, cr4, flags, efer },
                  cr0: wp,
                  poke: [...CONTENT, ...mapping(paging, [BigInt(bits)])],
                  watch: watchOf(paging),
                });
  if (paging !== '4' && paging !== '5') return out;
  for (const code of ['pk_read', 'pk_write', 'pk_fetch'])
    for (const cpl of [0, 3] as const)
      for (const bits of [E.P, E.P | E.W, E.P | E.U, E.P | E.W | E.U, E.W | E.U])
        for (const key of [0n, 1n, 15n])
          for (const pkru of [0, 1, 2, 3, 4, 8, 0xc, 0x4000_0000, -0x8000_0000])
            for (const wp of [0, CR0_WP])
              out.push({
                ...frame(paging),
                ...{ code, cpl, cr4: CR4.PKE, efer: NXE, cr0: wp },
                regs: { bx: TEST_PAGE[paging], ax: pkru >>> 0 },
                poke: [...CONTENT, ...mapping(paging, [BigInt(bits) | (key << 59n)])],
                watch: watchOf(paging),
              });
  return out;
}

/** Every level: absent, reserved bits, large pages, rights that only one level takes away. */
function levels(paging: Paged): Case[] {
  const out: Case[] = [];
  const count = LEVELS[paging].length;
  const usual = BigInt(E.P | E.W | E.U);
  const variants: bigint[] = [
    0n,
    usual & ~BigInt(E.P),
    usual & ~BigInt(E.W),
    usual & ~BigInt(E.U),
    usual | BigInt(E.PS),
  ];
  variants.push(...[E.A, E.D, E.G, 0x200, 0x400, 0x800, 8, 0x10].map((b) => usual | BigInt(b)));
  variants.push(
    BigInt(E.D | E.PS),
    usual | BigInt(E.PS | E.D | E.G),
    usual | BigInt(E.PS | 0x1000),
    usual | BigInt(E.PS | 0x2000),
  );
  if (paging === '32')
    variants.push(usual | 0x20_0000n | BigInt(E.PS), usual | 0x2000n | BigInt(E.PS), usual | 0x10_0000n);
  else
    variants.push(
      ...[NX, RSVD, RSVD | NX, 1n << 52n, 1n << 62n].map((b) => usual | b),
      RSVD,
      RSVD | (usual & ~BigInt(E.U)),
      usual | BigInt(E.PS) | RSVD,
    );
  for (let n = 0; n < count; n++)
    for (const v of n === 0 ? variants.filter((b) => (b & 0x3000n) === 0n) : variants)
      for (const code of ['read', 'write', 'fetch'])
        for (const cpl of [0, 3] as const)
          for (const efer of paging === '32' ? [0] : [0, NXE])
            for (const cr4 of paging === '32' ? [0, CR4.PSE] : [0]) {
              // PDPTEs of PAE are read, and checked, when CR3 is loaded: another suite's
              if (paging === 'pae' && n === count - 1 && v !== 0n && v !== BigInt(E.P)) continue;
              // PSE-36: beyond 4 GiB is no memory
              if (code !== 'write' && paging === '32' && cr4 && v & 0x2000n && v & BigInt(E.PS)) continue;
              const bits: (bigint | undefined)[] = [];
              bits[n] = v;
              // a large page covers the first 4 MiB, 2 MiB or 1 GiB
              const large = n > 0 && (v & BigInt(E.PS)) !== 0n && (paging !== '32' || cr4 !== 0) ? n : 0;
              out.push({
                ...frame(paging, TEST_PAGE[paging] + (large ? BigInt(AT.landing) : 0n)),
                ...{ code, cpl, efer, cr4 },
                poke: [...CONTENT, ...mapping(paging, bits, large)],
                watch: watchOf(paging),
              });
            }
  return out;
}

/** Instructions that touch memory in other ways, page crossings, and translations that change. */
function more(paging: Paged): Case[] {
  const out: Case[] = [];
  const usual = BigInt(E.P | E.W | E.U);
  const ends: readonly (readonly (readonly [number, number])[])[] = [
    0n,
    BigInt(E.P),
    BigInt(E.P | E.W),
    BigInt(E.P | E.U),
    usual,
  ].map((v) =>
    entry(
      paging,
      (LEVELS[paging].at(-1)?.at ?? 0) + (paging === '32' ? 4 : 8),
      v && v | BigInt(AT.page - 0x1000),
    ),
  );
  for (const code of ['read', 'write', 'rmw', 'push', 'stos', 'movs', 'cmpxchg'])
    for (const cpl of code === 'push' ? ([3] as const) : ([0, 3] as const))
      for (const bits of [0n, BigInt(E.P), BigInt(E.P | E.W), BigInt(E.P | E.U), usual])
        for (const wp of [0, CR0_WP]) {
          out.push({ ...frame(paging), code, cpl, cr0: wp, poke: [...CONTENT, ...mapping(paging, [bits])] });
          for (const [k, second] of ends.entries())
            for (const at of [0xffen, 0xff8n]) {
              if (at === 0xff8n && (code !== 'stos' || k === 4)) continue;
              out.push({
                ...frame(paging, TEST_PAGE[paging] + at),
                ...{ code, cpl, cr0: wp },
                poke: [[AT.page + 0xffc, 0], ...mapping(paging, [bits]), ...second],
              });
            }
        }
  for (const code of ['better', 'worse_invlpg', 'worse_cr3', 'absent_invlpg', 'absent_cr4'])
    for (const bits of [E.P, E.P | E.W, E.P | E.W | E.G])
      for (const cr4 of [0, CR4.PGE]) {
        // a global translation outlives a write to CR3
        if (code === 'worse_cr3' && cr4 && bits & E.G) continue;
        if (code.startsWith('worse') && !(bits & E.W)) continue;
        out.push({
          ...frame(paging),
          ...{ code, cr0: CR0_WP, cr4 },
          poke: [...CONTENT, ...mapping(paging, [BigInt(bits)])],
          watch: watchOf(paging),
        });
      }
  return out;
}

const NAMES: Readonly<Record<Paged, string>> = { '32': '32-bit', pae: 'PAE', '4': '4-level', '5': '5-level' };
const suiteOf = (paging: Paged): readonly Suite[] => {
  const width = paging === '32' || paging === 'pae' ? 32 : 64;
  const all: Suite['codes'] = width === 32 ? { 32: codes(32) } : { 64: codes(64) };
  const others: Pick<Suite, 'with'> = paging === '4' ? {} : { with: ['qemu'] };
  return [
    {
      name: `paging-${paging}`,
      what: `${NAMES[paging]} rights, WP and NX by access and CPL -> #PF: error code, CR2, A and D`,
      codes: all,
      user: true,
      cases: () => product(paging),
      ...others,
    },
    {
      name: `paging-${paging}-levels`,
      what: `${NAMES[paging]} entries absent, reserved, large, restricted at each level -> #PF: error code, A and D`,
      codes: all,
      user: true,
      cases: () => [...levels(paging), ...more(paging)],
      ...others,
    },
    {
      name: `paging-${paging}-supervisor`,
      what: `${NAMES[paging]} SMEP, SMAP, AC and keys -> #PF: error code`,
      codes: all,
      user: true,
      cases: () => supervisor(paging),
      with: ['qemu'],
    },
  ];
};
/** Suites of page walks. */
export const pagingSuites: readonly Suite[] = (['32', 'pae', '4', '5'] as const).flatMap(suiteOf);

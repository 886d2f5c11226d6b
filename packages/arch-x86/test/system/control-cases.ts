/** Control and debug registers, EFER and other MSRs: what may be written, what reads back, and what faults. */
import type { Case } from '../support/bare-image.ts';
import { TABLE } from '../support/bare-layout.ts';
import type { Suite } from './suite.ts';

const codes32: Readonly<Record<string, string>> = {
  to_cr0: '  mov cr0, eax\n  mov ecx, cr0',
  to_cr2: '  mov cr2, eax\n  mov ecx, cr2',
  to_cr3: '  mov cr3, eax\n  mov ecx, cr3',
  to_cr4: '  mov cr4, eax\n  mov ecx, cr4',
  to_dr0: '  mov dr0, eax\n  mov ecx, dr0',
  to_dr3: '  mov dr3, eax\n  mov ecx, dr3',
  to_dr4: '  .byte 0x0f, 0x23, 0xe0\n  .byte 0x0f, 0x21, 0xe1',
  to_dr5: '  .byte 0x0f, 0x23, 0xe8\n  .byte 0x0f, 0x21, 0xe9',
  to_dr6: '  mov dr6, eax\n  mov ecx, dr6',
  to_dr7: '  mov dr7, eax\n  mov ecx, dr7',
  gd: '  mov dr7, eax\n  mov ecx, dr0',
  lmsw: '  lmsw ax\n  mov ecx, cr0',
  smsw: '  smsw ecx',
  clts: '  clts\n  mov ecx, cr0',
  wrmsr: '  wrmsr\n  rdmsr',
  rdmsr: '  rdmsr',
  xsetbv: '  .byte 0x0f, 0x01, 0xd1\n  .byte 0x0f, 0x01, 0xd0',
  xgetbv: '  .byte 0x0f, 0x01, 0xd0',
  cpuid_xsave:
    '  mov eax, 1\n  cpuid\n  mov eax, ecx\n  and eax, 0x0c000000\n  xor ebx, ebx\n  xor ecx, ecx\n  xor edx, edx',
};
const codes64: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Object.entries(codes32).map(([n, t]) => [
      n,
      /^(wrmsr|rdmsr|xsetbv|xgetbv|cpuid|smsw|lmsw)/.test(n)
        ? t.replace('mov ecx, cr0', 'mov rcx, cr0')
        : t.replace(/\be([ac]x)\b/g, 'r$1'),
    ]),
  ),
  to_cr8: '  .byte 0x44, 0x0f, 0x22, 0xc0\n  .byte 0x44, 0x0f, 0x20, 0xc1',
};
const codes: Suite['codes'] = { 32: codes32, 64: codes64 };

const HIGH = [0n, 1n << 32n, 1n << 63n, 0xffff_ffffn << 32n];
const PLACES: readonly Pick<Case, 'mode' | 'paging'>[] = [
  { mode: 'pm32' },
  { mode: 'pm32', paging: '32' },
  { mode: 'pm32', paging: 'pae' },
  { mode: 'long' },
  { mode: 'compat32' },
  { mode: 'long', paging: '5' },
];

function control(): Case[] {
  const out: Case[] = [];
  for (const place of PLACES) {
    const long = place.mode === 'long' || place.mode === 'compat32';
    const paged = long || place.paging !== undefined;
    const cr0 = paged ? 0x8000_0031 : 0x31;
    const highs = place.mode === 'long' ? HIGH : [0n];
    for (const high of highs) {
      const ax = (v: number): Pick<Case, 'regs'> => ({ regs: { ax: high | BigInt(v >>> 0) } });
      for (let bit = 0; bit < 32; bit++) {
        const value = (cr0 ^ (1 << bit)) >>> 0;
        // leaving protected mode, or long mode from compatibility mode, is another matter; so is paging without tables
        const leaves = (value & 1) === 0;
        const gone = (paged && bit === 31 && place.mode === 'compat32') || (!paged && bit === 31);
        if (!leaves && !gone)
          out.push(
            { ...place, code: 'to_cr0', ...ax(value) },
            { ...place, code: 'to_cr0', ...ax(value | 0x4000_0000) },
          );
      }
      for (const value of [
        cr0 | 0x2000_0000,
        cr0 | 0x6000_0000,
        cr0 & ~0x10,
        cr0 | 0x1ff0_ffc0,
        cr0 | 0x5_002e,
      ])
        out.push({ ...place, code: 'to_cr0', ...ax(value) });
      const cr4 = place.paging === '32' || !paged ? 0 : place.paging === '5' ? 0x1020 : 0x20;
      for (let bit = 0; bit < 32; bit++) {
        // bits that hang QEMU 7.2 where they are reserved, or that processors differ in; other paging is not prepared
        if (
          high !== 0n ||
          bit === 13 ||
          bit === 14 ||
          bit === 15 ||
          bit === 19 ||
          bit > 22 ||
          (bit === 5 && paged && !long)
        )
          continue;
        out.push({ ...place, code: 'to_cr4', ...ax((cr4 ^ (1 << bit)) >>> 0) });
      }
      const root = { '32': TABLE.pd32, pae: TABLE.pdptPae, '4': TABLE.pml4, '5': TABLE.pml5, none: 0 }[
        place.paging ?? (long ? '4' : 'none')
      ];
      for (const low of [0, 1, 8, 0x10, 0x18, 0x1f, 0xfff]) {
        if ((place.paging === 'pae' && low === 0xfff) || high !== 0n) continue;
        out.push({ ...place, code: 'to_cr3', ...ax(root | low) });
      }
      for (const v of [0, -1, 0x1234_5678])
        out.push(
          { ...place, code: 'to_cr2', ...ax(v) },
          { ...place, code: 'to_dr0', ...ax(v) },
          { ...place, code: 'to_dr3', ...ax(v) },
        );
      for (const v of [0, 0x400, 0x2000, 0xd800, 0xc000, 0x1000, 0xffff_0ff0, -1, 0x800, 0x1_0000]) {
        out.push({ ...place, code: 'to_dr7', ...ax(v & ~0x20ff) }, { ...place, code: 'to_dr6', ...ax(v) });
        for (const de of [0, 8])
          out.push(
            { ...place, code: 'to_dr4', cr4: de, ...ax(v) },
            { ...place, code: 'to_dr5', cr4: de, ...ax(v & ~0x20ff) },
          );
      }
      out.push({ ...place, code: 'gd', ...ax(0x2400) });
      if (place.mode === 'long')
        for (const v of [0, 1, 15, 16, 0x1f, -1]) out.push({ ...place, code: 'to_cr8', ...ax(v) });
    }
    for (const v of [0, 1, 2, 4, 8, 0xe, 0xf, 0xfff0, 0xffff, 0x10])
      out.push({ ...place, code: 'lmsw', regs: { ax: v } });
    for (const more of [0, 2, 8, 0x5_000e])
      out.push(
        { ...place, code: 'smsw', cr0: more, regs: { cx: -1n } },
        { ...place, code: 'clts', cr0: more },
      );
    // CPL 3
    for (const code of [
      'to_cr0',
      'to_cr3',
      'to_cr4',
      'to_dr0',
      'to_dr7',
      'lmsw',
      'clts',
      'wrmsr',
      'rdmsr',
      'xsetbv',
    ])
      out.push({
        ...place,
        code,
        cpl: 3,
        regs: { ax: 0x31, cx: 0xc000_0080 },
        cr4: code === 'xsetbv' ? 0x4_0000 : 0,
      });
    // XCR0
    for (const [lo, hi] of [
      [0, 0],
      [1, 0],
      [2, 0],
      [3, 0],
      [5, 0],
      [7, 0],
      [1, 1],
    ] as const)
      if (lo !== 7) out.push({ ...place, code: 'xsetbv', cr4: 0x4_0000, regs: { ax: lo, dx: hi } });
    for (const cx of [1, 2, 0x10]) out.push({ ...place, code: 'xsetbv', cr4: 0x4_0000, regs: { ax: 1, cx } });
    for (const cr4 of [0, 0x4_0000]) out.push({ ...place, code: 'cpuid_xsave', cr4 });
  }
  return out;
}

/** Reserved bits of CR4, and CR0.PG without CR0.PE. */
function reserved(): Case[] {
  // paging without protection hangs QEMU 7.2 as well
  const pg: Case[] = [
    { mode: 'pm32', code: 'to_cr0', regs: { ax: 0x8000_0030 } },
    { mode: 'long', code: 'to_cr0', regs: { ax: 0x8000_0030 } },
  ];
  const bits = [{ mode: 'pm32' }, { mode: 'long' }, { mode: 'compat32' }].flatMap((place) =>
    [15, 19, 26, 29, 30, 31].map(
      (bit) =>
        ({
          ...place,
          code: 'to_cr4',
          regs: { ax: ((place.mode === 'pm32' ? 0 : 0x20) | (1 << bit)) >>> 0 },
        }) as Case,
    ),
  );
  const high: Case[] = HIGH.slice(1).map((h) => ({ mode: 'long', code: 'to_cr4', regs: { ax: h | 0x20n } }));
  const roots: Case[] = [1n << 63n, 1n << 51n].map((h) => ({
    mode: 'long',
    code: 'to_cr3',
    regs: { ax: h | BigInt(TABLE.pml4) },
  }));
  return [...pg, ...bits, ...high, ...roots];
}

/** PDPTEs when CR3, CR0 or CR4 is written under PAE paging. */
function pdptes(): Case[] {
  const out: Case[] = [];
  for (let n = 0; n < 4; n++)
    for (const [lo, hi] of [
      ...[0, 1, 2, 3, 5, 9, 0x11, 0x21, 0x41, 0x81, 0x101, 0x201, 0x801].map((b) => [b, 0] as const),
      ...[0x100, 0x8_0000, 0x10_0000, 0x4000_0000, -0x8000_0000].map((b) => [1, b] as const),
      [0, -0x8000_0000],
    ] as const) {
      // another table, whose first entry is as it must be, but for the case at hand
      const table = TABLE.testPdpt + 0x20;
      out.push({
        mode: 'pm32',
        paging: 'pae',
        code: 'to_cr3',
        regs: { ax: table },
        poke: [
          [table, TABLE.pd | 1],
          [table + 8 * n, n === 0 ? TABLE.pd | lo : lo],
          [table + 8 * n + 4, hi],
        ],
      });
    }
  return out;
}

const MSRS: readonly (readonly [index: number, values: readonly bigint[]])[] = [
  [
    0xc000_0080,
    [
      0n,
      1n,
      0x100n,
      0x400n,
      0x500n,
      0x501n,
      0x800n,
      0xd01n,
      0x900n,
      0x2n,
      0x200n,
      0x1_0000n,
      1n << 32n,
      1n << 63n,
    ],
  ],
  [0xc000_0081, [0n, -1n, 0x23_0010_1234_5678n]],
  [0xc000_0082, [0n, 0x7fff_ffff_ffffn, 0x8000_0000_0000n, -0x8000_0000_0000n, 0x1_0000_0000_0000n, -1n]],
  [0xc000_0083, [0n, 0x7fff_ffff_ffffn, 0x8000_0000_0000n, -1n]],
  [0xc000_0084, [0n, 0xffff_ffffn, 0x3f_7fd5n]],
  [0xc000_0100, [0n, 0x7fff_ffff_ffffn, 0x8000_0000_0000n, -0x8000_0000_0000n, -1n]],
  [0xc000_0101, [0n, 0x7fff_ffff_ffffn, 0x8000_0000_0000n, -1n]],
  [0xc000_0102, [0n, 0x7fff_ffff_ffffn, 0x8000_0000_0000n, -1n]],
  [0x174, [0n, 0xffffn, 8n]],
  [0x175, [0n, 0x7fff_ffff_ffffn, 0x1234_5678n]],
  [0x176, [0n, 0x7fff_ffff_ffffn, 0x1234_5678n]],
  [0x277, [0x0007_0406_0007_0406n, 0n, 2n, 3n, 8n, 0x0505_0505_0505_0505n, 1n << 63n, 0x0700n]],
  [0x200, [0n, 0x8000_0000n, 6n, 2n, 7n, 0x8000_0006n, 1n << 50n]],
  [0x201, [0n, 0x800n, 0xfff0_0800n, 1n, 1n << 50n]],
  [0x20f, [0n, 0x800n, 1n]],
  [0x250, [0n, 0x0606_0606_0606_0606n, 2n, 0x0700n, 7n]],
  [0x26f, [0n, 0x0505n, 0x0300n]],
  [0x2ff, [0n, 0xc00n, 0xc06n, 0x806n, 2n, 0x1000n, 7n]],
  [0xfe, [0n, 0x508n]],
  [0x10, [0n]],
  [0x17, [0n]],
  [0x8b, [0n]],
  [0x3a, [0n, 1n]],
  [0x1a0, [0n, 1n]],
  [0xdead_beef, [0n, 1n]],
];
function msrs(): Case[] {
  const out: Case[] = [];
  for (const place of [
    { mode: 'pm32' },
    { mode: 'long' },
    { mode: 'pm32', paging: 'pae' },
  ] as const satisfies readonly Pick<Case, 'mode' | 'paging'>[])
    for (const [index, values] of MSRS)
      for (const v of values)
        out.push({
          ...place,
          code: 'wrmsr',
          regs: { cx: index, ax: v & 0xffff_ffffn, dx: (v >> 32n) & 0xffff_ffffn },
        });
  return out;
}

/** Suites of control registers. */
export const controlSuites: readonly Suite[] = [
  {
    name: 'control',
    what: 'MOV to and from CR, DR, XCR0, every bit, in every mode -> #GP, #UD, or what reads back',
    codes,
    cases: control,
  },
  {
    name: 'control-reserved',
    what: 'reserved bits of CR4, PG without PE -> #GP',
    codes,
    cases: reserved,
    with: ['kvm'],
  },
  {
    name: 'pdptes',
    what: 'PDPTEs with every bit -> #GP when CR3 is written',
    codes,
    cases: pdptes,
    with: ['qemu'],
  },
  { name: 'msr-values', what: 'values of MSRs -> #GP or what reads back', codes, cases: msrs },
];

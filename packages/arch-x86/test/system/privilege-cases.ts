/** Cases about tasks, privileges and flags for `case-image.ts`. */
import { CASE, type Case, descriptor, gateTo, SLOT } from '../support/case-image.ts';
import { CPL } from './segment-cases.ts';

/** Task switches: TSS kinds, sizes, and every part of the new task that may be wrong. */
export function tasks(): Case[] {
  const out: Case[] = [];
  const to = (selector: number): readonly [number, number] => [CASE.data + 4, selector];
  for (const code of ['jmp_m1632', 'call_m1632'] as const) {
    for (const limit of [0x2b, 0x2c, 0x66, 0x67, 0x68])
      for (const access of [0x81, 0x89])
        out.push({
          code,
          a: descriptor(access, limit, 0, access & 8 ? CASE.tss2 : CASE.tss16),
          poke: [to(SLOT.a)],
        });
    for (const selector of [
      0,
      SLOT.code0,
      SLOT.code3,
      SLOT.code1 | 1,
      SLOT.conforming,
      SLOT.conforming | 3,
      SLOT.absent,
      SLOT.data0,
      0xa0,
      4,
    ])
      out.push({ code, poke: [to(SLOT.tss2), [CASE.tss2 + 0x4c, selector]] });
    for (const selector of [0, SLOT.data0 | 1, SLOT.data3, SLOT.data0ro, SLOT.code0, SLOT.absent, 0xa0, 4])
      out.push({ code, poke: [to(SLOT.tss2), [CASE.tss2 + 0x50, selector]] });
    for (const at of [0x48, 0x54, 0x58, 0x5c])
      for (const selector of [0, SLOT.data3, SLOT.data0 | 3, SLOT.data0ro, SLOT.code0, SLOT.tss, 0xa0, 0xc])
        out.push({ code, poke: [to(SLOT.tss2), [CASE.tss2 + at, selector]] });
    for (const selector of [0, SLOT.ldt, SLOT.ldt | 4, SLOT.data0, 0xa0, SLOT.a])
      out.push({
        code,
        a: descriptor(0x02, 0xf, 0, CASE.ldt),
        poke: [to(SLOT.tss2), [CASE.tss2 + 0x60, selector]],
      });
    for (const flags of [0x4002, 0x3202, 0x4_0002, 0x20_0ed7])
      out.push({ code, poke: [to(SLOT.tss2), [CASE.tss2 + 0x24, flags]] });
    for (const cpl of CPL)
      for (const dpl of [0, 3])
        out.push({ code, cpl, a: gateTo(SLOT.tss2, 0, 0x85 | (dpl << 5)), poke: [to(SLOT.a | cpl)] });
  }
  // IRET of a nested task
  for (const access of [0x81, 0x83, 0x89, 0x8b, 0x0b, 0x82, 0x93])
    out.push({
      code: 'iretd',
      flags: 0x4000,
      a: descriptor(access, 0x67, 0, access & 8 ? CASE.tss2 : CASE.tss16),
      poke: [[CASE.tss, SLOT.a]],
    });
  for (const link of [0, 4, 0xa0, SLOT.data0])
    out.push({ code: 'iretd', flags: 0x4000, poke: [[CASE.tss, link]] });
  return out;
}

/** Privileged and sensitive instructions. */
export function privileges(): Case[] {
  const out: Case[] = [];
  const plain = [
    'cli',
    'sti',
    'pushfd',
    'hlt',
    'clts',
    'lmsw',
    'mov_cr0',
    'mov_dr7',
    'mov_dr4',
    'invlpg',
    'wbinvd',
    'rdtsc',
    'in_al',
    'in_eax',
    'int_0',
    'int3',
  ];
  for (const code of plain)
    for (const iopl of [0, 0x1000, 0x2000, 0x3000]) {
      out.push({ code, cpl: 3, flags: iopl, eax: CASE.data });
      if (code !== 'hlt' && !code.startsWith('in_')) out.push({ code, flags: iopl, eax: CASE.data & 0xfffe });
    }
  const all = [0x3f_7fd7, 0x2, 0x202, 0x3202, 0x4_4202, 0x1a_0002, 0x21_0402];
  // TF traps, and that is another matter
  for (const code of ['popfd', 'popfw'])
    for (const cpl of CPL)
      for (const iopl of [0, 0x3000])
        for (const value of all) out.push({ code, cpl, flags: iopl, stack: [value & ~0x100] });
  for (const cpl of CPL)
    for (const iopl of [0, 0x3000])
      for (const value of all)
        out.push({
          code: 'iretd',
          cpl,
          flags: iopl,
          stack: [CASE.landing, cpl === 3 ? SLOT.code3 : SLOT.code0, value & ~0x2_0100],
        });
  for (const eax of [0x21, 0x31, 0x35, 0x2000_0031, 0x6000_0031, 0x4000_0031, 0x1ff0_ffff & ~8, 0x0005_0031])
    out.push({ code: 'mov_to_cr0', eax }, { code: 'mov_to_cr0', eax, cpl: 3 });
  for (const eax of [0, 0x1000, 0x1fff, -1, 0x18]) out.push({ code: 'mov_to_cr3', eax });
  for (const eax of [
    // reserved bits are not asked for: QEMU 7.2 does not come back from them
    0, 1, 2, 4, 8, 0x10, 0x40, 0x80, 0x100, 0x200, 0x400,
  ])
    out.push({ code: 'mov_to_cr4', eax });
  for (const eax of [0, 0x400, 0xffff_0000 | 0, 0xd800, 0xffff_dfff | 0])
    out.push({ code: 'mov_to_dr7', eax: eax & ~0x2fff }, { code: 'mov_to_dr6', eax });
  for (const ecx of [0x10, 0xc000_0080, 0x174, 0xdead_beef | 0]) out.push({ code: 'rdmsr', ecx, cpl: 3 });
  for (const cpl of CPL) {
    out.push({
      code: 'lgdt',
      cpl,
      poke: [
        [CASE.data, (CASE.gdt << 16) | 0x9f],
        [CASE.data + 4, CASE.gdt >>> 16],
      ],
    });
    out.push({
      code: 'bound',
      cpl,
      ecx: 5,
      poke: [
        [CASE.data, 6],
        [CASE.data + 4, 9],
      ],
    });
    out.push({
      code: 'bound',
      cpl,
      ecx: 6,
      poke: [
        [CASE.data, 6],
        [CASE.data + 4, 9],
      ],
    });
  }
  // the I/O permission map
  for (const [base, bits] of [
    [0x68, 0],
    [0x68, -1],
    [0x66, 0],
    [0, 0],
    [0xffff, 0],
  ] as const)
    for (const code of ['in_al', 'in_eax'])
      out.push({
        code,
        cpl: 3,
        poke: [
          [CASE.tss + 0x64, base << 16],
          [CASE.tss + 0x74, bits],
          [CASE.gdt + SLOT.tss, ((CASE.tss << 16) | 0xff) >>> 0],
        ],
      });
  return out;
}

/** Cases of 64-bit and compatibility mode for `case-image-long.ts`. */
import { CASE, type Case, descriptor, gateTo, SLOT } from '../support/case-image.ts';
import { LONG_SLOT } from '../support/case-image-long.ts';
import { ACCESS, CPL } from './segment-cases.ts';

/** Code that runs as 32-bit code. */
const narrow = (text: string): string => `.code32\n${text}\n.code64`;
const STACK = CASE.stack3 - 0x100;

/** What the cases run. `eax` is a selector, `ecx` the selector of a stack. */
export const LONG_CODES: Readonly<Record<string, string>> = {
  mov_ds: '  mov ds, eax',
  mov_fs: '  mov fs, eax',
  mov_ss: '  mov ss, eax\n  nop',
  lar: '  lar ecx, eax',
  lar64: '  .byte 0x48, 0x0f, 0x02, 0xc8',
  lsl: '  lsl ecx, eax',
  verr: '  verr ax',
  verw: '  verw ax',
  lldt: '  lldt ax',
  ltr: '  ltr ax',
  push_fs: '  push fs\n  pop rcx',
  pop_fs: '  push rax\n  pop fs',
  pop_gs16: '  push rax\n  .byte 0x66, 0x0f, 0xa9',
  lss: `  lss ecx, [${CASE.data}]`,
  jmp32: `  .byte 0xff, 0x2c, 0x25\n  .long ${CASE.data}`,
  jmp16: `  .byte 0x66, 0xff, 0x2c, 0x25\n  .long ${CASE.data}`,
  call32: `  .byte 0xff, 0x1c, 0x25\n  .long ${CASE.data}`,
  call16: `  .byte 0x66, 0xff, 0x1c, 0x25\n  .long ${CASE.data}`,
  c_jmp32: narrow(`  .byte 0xff, 0x2d\n  .long ${CASE.data}`),
  c_call32: narrow(`  .byte 0xff, 0x1d\n  .long ${CASE.data}`),
  c_call_ptr: narrow(`  .byte 0x9a\n  .long ${CASE.landing}\n  .word ${LONG_SLOT.a}`),
  retfq: `  push rcx\n  push ${STACK}\n  push rax\n  push ${CASE.landing}\n  .byte 0x48, 0xcb`,
  retfq8: `  push rcx\n  push ${STACK}\n  push 1\n  push rax\n  push ${CASE.landing}\n  .byte 0x48, 0xca, 8, 0`,
  retf32: `  sub rsp, 16\n  mov dword ptr [rsp], ${CASE.landing}\n  mov dword ptr [rsp + 4], eax
  mov dword ptr [rsp + 8], ${STACK}\n  mov dword ptr [rsp + 12], ecx\n  .byte 0xcb`,
  iretq: `  push rcx\n  push ${STACK}\n  push rbx\n  push rax\n  push ${CASE.landing}\n  .byte 0x48, 0xcf`,
  iret32: `  sub rsp, 24\n  mov dword ptr [rsp], ${CASE.landing}\n  mov dword ptr [rsp + 4], eax
  mov dword ptr [rsp + 8], ebx\n  mov dword ptr [rsp + 12], ${STACK}\n  mov dword ptr [rsp + 16], ecx\n  .byte 0xcf`,
  c_retf: narrow(`  push ecx\n  push ${STACK}\n  push eax\n  push ${CASE.landing}\n  .byte 0xcb`),
  c_iret: narrow(`  push ecx\n  push ${STACK}\n  push ebx\n  push eax\n  push ${CASE.landing}\n  .byte 0xcf`),
  retfq_far: '  mov rdx, 0x800000000000\n  push rax\n  push rdx\n  .byte 0x48, 0xcb',
  iretq_far:
    '  mov rdx, 0x800000000000\n  push rcx\n  push rsp\n  push rbx\n  push rax\n  push rdx\n  .byte 0x48, 0xcf',
  syscall: '  syscall',
  c_syscall: narrow('  syscall'),
  sysretl: '  .byte 0x0f, 0x07',
  sysretq: '  .byte 0x48, 0x0f, 0x07',
  sysretq_far: '  mov rcx, 0x800000000000\n  .byte 0x48, 0x0f, 0x07',
  sysenter: '  sysenter',
  c_sysenter: narrow('  sysenter'),
  sysexit: `  mov edx, ${CASE.landing}\n  mov ecx, ${STACK}\n  .byte 0x0f, 0x35`,
  sysexitq: `  mov edx, ${CASE.landing}\n  mov ecx, ${STACK}\n  .byte 0x48, 0x0f, 0x35`,
  swapgs: '  swapgs',
  c_swapgs: narrow('  .byte 0x0f, 0x01, 0xf8'),
  fsbase: `  mov rdx, cr4\n  or edx, 0x10000\n  mov cr4, rdx\n  mov edx, eax\n  wrfsbase edx\n  rdgsbase rcx`,
  fsbase_off: '  rdfsbase rcx',
  fsbase_far: '  mov rdx, cr4\n  or edx, 0x10000\n  mov cr4, rdx\n  mov rdx, 0x800000000000\n  wrfsbase rdx',
  pushfq: '  pushfq\n  pop rcx',
  popfq: '  push rbx\n  popfq',
  popf16: '  .byte 0x66, 0x53\n  .byte 0x66, 0x9d',
  cli: '  cli',
  sti: '  sti\n  nop',
  hlt: '  hlt',
  mov_cr0: '  mov cr0, rax',
  mov_cr4: '  mov rdx, cr4\n  xor edx, eax\n  mov cr4, rdx',
  mov_cr8: '  mov cr8, rax\n  mov rcx, cr8\n  xor edx, edx\n  mov cr8, rdx',
  mov_dr7_high: '  mov rdx, 0x100000400\n  mov dr7, rdx',
  mov_dr6_high: '  mov rdx, 0x1ffff0ff0\n  mov dr6, rdx',
  sgdt: `  sgdt [${CASE.data}]\n  mov eax, dword ptr [${CASE.data + 2}]\n  mov ecx, dword ptr [${CASE.data + 6}]`,
  arpl: narrow('  arpl cx, ax'),
  invlpg: '  invlpg [rax]',
  invlpg_far: '  mov rdx, 0x800000000000\n  invlpg [rdx]',
  rdmsr: '  rdmsr',
  wrmsr: '  mov rdx, 0\n  wrmsr',
  wrmsr_far: '  mov edx, 0x8000\n  wrmsr',
  rdtscp: '  rdtscp\n  mov eax, 0\n  mov ecx, 0',
  int_0: '  int 0',
};

const UPPER_A = CASE.gdt + LONG_SLOT.a + 8;
const far = (selector: number, offset: number = CASE.landing): readonly (readonly [number, number])[] => [
  [CASE.data, offset],
  [CASE.data + 4, selector],
];
const far16 = (selector: number): readonly (readonly [number, number])[] => [
  [CASE.data, ((selector << 16) | CASE.landing) >>> 0],
];

/** Loads in 64-bit mode. */
export function longLoads(): Case[] {
  const out: Case[] = [];
  for (const code of ['mov_ds', 'mov_fs', 'mov_ss', 'lar', 'lsl', 'verr', 'verw'])
    for (const cpl of CPL)
      for (const rpl of [0, 3])
        for (const access of ACCESS)
          out.push({ code, cpl, a: descriptor(access, 0xf_ffff, 0xc, 0x1234_0000), eax: SLOT.a | rpl });
  // QEMU loads a null TR, and dies of it
  for (const code of [
    'mov_ds',
    'mov_fs',
    'mov_ss',
    'lar',
    'lar64',
    'lsl',
    'pop_fs',
    'pop_gs16',
    'lldt',
    'ltr',
  ])
    for (const cpl of CPL)
      for (const eax of [
        0,
        1,
        2,
        3,
        4,
        7,
        0xc,
        0xc0,
        0xcf,
        0xd0,
        0xffff,
        SLOT.data0,
        SLOT.data3,
        SLOT.code0,
        SLOT.narrow3,
      ])
        if (code !== 'ltr' || eax > 3 || cpl === 3) out.push({ code, cpl, eax });
  for (const code of ['lldt', 'ltr'])
    for (const cpl of CPL)
      for (const access of ACCESS)
        for (const upper of [0, 0x100])
          out.push({
            code,
            cpl,
            a: descriptor(access, 0x67, 0, CASE.tss),
            eax: SLOT.a,
            poke: [[UPPER_A + 4, upper]],
          });
  // a base that is not canonical; QEMU loads it, and of a TSS it dies
  for (const high of [0x7fff, 0xffff_8000])
    out.push({
      code: 'lldt',
      a: descriptor(0x82, 0x67, 0, CASE.tss),
      eax: SLOT.a,
      poke: [[UPPER_A, high]],
    });
  for (const cpl of CPL) for (const code of ['push_fs', 'sgdt']) out.push({ code, cpl });
  for (const eax of [0, 1, 2, 3]) for (const cpl of CPL) out.push({ code: 'lss', cpl, poke: far(eax) });
  for (const [ecx, eax] of [
    [0, 3],
    [3, 0],
    [0x10, 0x13],
  ] as const)
    out.push({ code: 'arpl', compatibility: true, eax, ecx });
  return out;
}

/** Far transfers out of 64-bit and compatibility mode. */
export function longTransfers(): Case[] {
  const out: Case[] = [];
  for (const [code, compatibility] of [
    ['jmp32', false],
    ['call32', false],
    ['c_jmp32', true],
    ['c_call32', true],
  ] as const)
    for (const cpl of CPL)
      for (const flags of [0xa, 0xc, 0xe])
        for (const access of ACCESS) {
          const isCode = (access & 0x18) === 0x18;
          if (!isCode && flags !== 0xc) continue;
          const gate = !(access & 0x10);
          const a = gate ? gateTo(SLOT.code0, CASE.landing, access) : descriptor(access, 0xf_ffff, flags);
          out.push({ code, compatibility, cpl, a, poke: far(SLOT.a | cpl) });
        }
  // through 64-bit gates to every kind of code
  for (const [code, compatibility] of [
    ['jmp32', false],
    ['call32', false],
    ['c_call32', true],
  ] as const)
    for (const cpl of CPL)
      for (const flags of [0xa, 0xc, 0xe])
        for (const access of ACCESS.filter((x) => (x & 0x18) === 0x18 || (x & 0x9f) === 0x93))
          out.push({
            code,
            compatibility,
            cpl,
            a: gateTo(SLOT.b, CASE.landing, 0xec),
            b: descriptor(access, 0xf_ffff, flags),
            poke: far(SLOT.a | cpl),
          });
  for (const selector of [
    0,
    3,
    0xd0,
    4,
    SLOT.data0,
    SLOT.code16,
    SLOT.code1 | 1,
    SLOT.conforming | 3,
    LONG_SLOT.tss,
  ])
    for (const cpl of CPL) {
      for (const code of ['jmp32', 'call32']) out.push({ code, cpl, poke: far(selector) });
      for (const code of ['jmp16', 'call16']) out.push({ code, cpl, poke: far16(selector) });
    }
  // the upper half of a gate, and the inner stack
  const gate = gateTo(SLOT.code0, CASE.landing, 0xec);
  for (const cpl of CPL)
    for (const [at, v] of [
      [UPPER_A, 0x8000],
      [UPPER_A, 0x7fff],
      [UPPER_A + 4, 0x100],
      [UPPER_A + 4, 0x1f00],
      [CASE.tss + 8, 0x8000],
    ] as const)
      out.push({ code: 'call32', cpl, a: gate, poke: [...far(SLOT.a | cpl), [at, v]] });
  out.push(...longReturns());
  return out;
}

function longReturns(): Case[] {
  const out: Case[] = [];
  for (const [code, compatibility] of [
    ['retfq', false],
    ['retfq8', false],
    ['retf32', false],
    ['iretq', false],
    ['iret32', false],
    ['c_retf', true],
    ['c_iret', true],
  ] as const) {
    for (const cpl of CPL)
      for (const rpl of [0, 3])
        for (const flags of [0xa, 0xc, 0xe])
          for (const access of ACCESS.filter((x) => (x & 0x18) === 0x18))
            out.push({
              code,
              compatibility,
              cpl,
              a: descriptor(access, 0xf_ffff, flags),
              eax: SLOT.a | rpl,
              ecx: rpl === 3 ? SLOT.data3 : SLOT.data0,
              ebx: 2,
            });
    for (const cpl of CPL)
      for (const eax of [
        0,
        3,
        0xd0,
        4,
        SLOT.data0,
        SLOT.code0,
        SLOT.code3,
        SLOT.narrow0,
        SLOT.narrow3,
        SLOT.code1 | 1,
      ])
        for (const ecx of [0, 1, 3, SLOT.data0, SLOT.data3, SLOT.data1 | 1, SLOT.code3, 0xd3])
          out.push({ code, compatibility, cpl, eax, ecx, ebx: 2 });
    // outer stack of every kind
    for (const access of ACCESS)
      for (const eax of [SLOT.code3, SLOT.narrow3])
        out.push({ code, compatibility, a: descriptor(access), eax, ecx: SLOT.a | 3, ebx: 2 });
  }
  for (const cpl of CPL) {
    const cs = cpl ? SLOT.code3 : SLOT.code0;
    const ss = cpl ? SLOT.data3 : SLOT.data0;
    for (const code of ['retfq_far', 'iretq_far']) out.push({ code, cpl, eax: cs, ecx: ss, ebx: 2 });
    for (const flags of [0, 0x3000])
      for (const ebx of [0x3f_7ed7, 0x202, 0x3202, 0x4002, 0x4_0002, 0x1a_0002])
        out.push({ code: 'iretq', cpl, flags, eax: cs, ecx: ss, ebx: ebx & ~0x2_0000 });
  }
  out.push({ code: 'iretq', flags: 0x4000, eax: SLOT.code0, ecx: SLOT.data0, ebx: 2 });
  return out;
}

/** System calls, control registers and flags in long mode. */
export function longSystem(): Case[] {
  const out: Case[] = [];
  const flags = [0x2, 0x247, 0x4_4ed7, 0x21_0202, 0x3202];
  for (const cpl of CPL)
    for (const f of flags) {
      out.push({ code: 'syscall', cpl, flags: f & ~0x1_0100 });
      out.push({ code: 'c_syscall', compatibility: true, cpl, flags: f & ~0x1_0100 });
      for (const code of ['sysretl', 'sysretq']) out.push({ code, cpl, ecx: CASE.landing, ebx: f & ~0x100 });
    }
  for (const cpl of CPL) {
    for (const code of [
      'sysretq_far',
      'swapgs',
      'fsbase',
      'fsbase_off',
      'fsbase_far',
      'pushfq',
      'cli',
      'sti',
      'invlpg',
      'invlpg_far',
      'rdtscp',
      'int_0',
      'mov_dr7_high',
      'mov_dr6_high',
    ])
      out.push({ code, cpl, eax: 0x1_4000, ebx: 2 });
    out.push({ code: 'c_swapgs', compatibility: true, cpl });
    for (const code of ['popfq', 'popf16'])
      for (const iopl of [0, 0x3000])
        for (const ebx of [0x3f_7ed7, 0x2, 0x202, 0x3202, 0x4_4202])
          out.push({ code, cpl, flags: iopl, ebx });
    for (const eax of [0, 5, 15, 16, 0x100]) out.push({ code: 'mov_cr8', cpl, eax });
  }
  out.push(
    { code: 'hlt', cpl: 3 },
    { code: 'sysenter' },
    { code: 'sysexit' },
    { code: 'sysexitq' },
    { code: 'sysexit', cpl: 3 },
    { code: 'c_sysenter', compatibility: true },
  );
  // values that are #GP are not asked for: QEMU 7.2 does not come back from them
  out.push({ code: 'mov_cr0', eax: 0x8005_0033 | 0 });
  for (const eax of [0x80, 0x10, 4, 0x100]) out.push({ code: 'mov_cr4', eax });
  for (const ecx of [0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0082, 0xc000_0083, 0x176]) {
    out.push({ code: 'rdmsr', ecx }, { code: 'rdmsr', ecx, cpl: 3 }, { code: 'wrmsr', ecx, eax: 0x7000 });
    out.push({ code: 'wrmsr_far', ecx, eax: 0 });
  }
  for (const eax of [0x501, 0x100, 0xd01, 0x1_0501]) out.push({ code: 'wrmsr', ecx: 0xc000_0080, eax });
  return out;
}

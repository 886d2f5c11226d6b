/** SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS in every mode, and addresses that are not canonical. */
import type { Case, CaseMode } from '../support/bare-image.ts';
import { AT, SEL, USER } from '../support/bare-layout.ts';
import type { Suite } from './suite.ts';

const CALLS: Readonly<Record<string, string>> = {
  syscall: '  .byte 0x0f, 0x05',
  sysret: '  .byte 0x0f, 0x07',
  sysenter: '  .byte 0x0f, 0x34',
  sysexit: '  .byte 0x0f, 0x35',
  swapgs: '  .byte 0x0f, 0x01, 0xf8',
};
const codes: Suite['codes'] = {
  16: CALLS,
  32: CALLS,
  64: {
    ...Object.fromEntries(Object.entries(CALLS).map(([n, t]) => [n, `  mov r11, rbx\n${t}`])),
    sysretq: '  mov r11, rbx\n  .byte 0x48, 0x0f, 0x07',
    sysexitq: '  mov r11, rbx\n  .byte 0x48, 0x0f, 0x35',
    swapgs: '  swapgs\n  mov ecx, 0xc0000101\n  rdmsr\n  mov ebx, eax\n  mov ecx, 0xc0000102\n  rdmsr',
    gsbase: '  mov rax, qword ptr gs:[rbx]',
  },
};
/** MOV RBX, R11 and UD2 where calls lead (in 32-bit code: DEC ESP and MOV EBX, EBX). */
const LANDING: readonly (readonly [number, number])[] = [
  [AT.landing, 0x0fdb_894c],
  [AT.landing + 4, 0x0b],
];
const star = (call: number, ret: number, eip: number): readonly [number, bigint] => [
  0xc000_0081,
  (BigInt(ret) << 48n) | (BigInt(call) << 32n) | BigInt(eip),
];

function calls(): Case[] {
  const out: Case[] = [];
  const places: readonly (readonly [CaseMode, 0 | 3])[] = [
    ['real', 0],
    ['v86', 3],
    ['pm16', 0],
    ['pm32', 0],
    ['pm32', 3],
    ['compat32', 0],
    ['compat32', 3],
    ['long', 0],
    ['long', 3],
  ];
  for (const [mode, cpl] of places) {
    const long = mode === 'long' || mode === 'compat32';
    for (const sce of long ? [0, 1] : [0]) {
      for (const [call, ret] of [
        [SEL.long0, SEL.code3],
        [SEL.code0, SEL.code3 & ~3],
        [SEL.code0 | 3, 0x3b],
        [0, 0],
        [0xfff8, 0xfff0],
      ] as const) {
        const msr: Case['msr'] = [
          star(call, ret, AT.landing),
          [0xc000_0082, BigInt(AT.landing)],
          [0xc000_0083, BigInt(AT.landing)],
          [0xc000_0084, 0x4_7700n],
        ];
        for (const flags of [0, 0x4_0cd5])
          out.push({
            mode,
            cpl,
            code: 'syscall',
            efer: sce,
            msr,
            flags,
            poke: LANDING,
            regs: { bx: 0x1234 },
          });
        for (const code of mode === 'long' ? ['sysret', 'sysretq'] : ['sysret'])
          for (const cx of [BigInt(AT.landing + (long ? USER : 0)), 0x1_0000_8000n])
            for (const bx of [2, 0x3_7fd5, 0x24_4ed5])
              out.push({ mode, cpl, code, efer: sce, msr, poke: LANDING, regs: { cx, bx } });
      }
      if (mode === 'long')
        for (const cx of [0x7fff_ffff_f000n, 0x8000_0000_0000n, -0x8000_0000_0000n, 0x1_0000_0000_0000n])
          for (const code of ['sysret', 'sysretq'])
            out.push({
              mode,
              cpl,
              code,
              efer: sce,
              msr: [star(SEL.long0, SEL.code3, 0)],
              poke: LANDING,
              regs: { cx, bx: 2 },
            });
    }
    for (const cs of [0, 3, SEL.code0, SEL.code0 | 3, 0xfff8, 0x1_0008, 0x10_0000])
      for (const flags of [0, 0x6_4dd5 & ~0x2_0100]) {
        const msr: Case['msr'] = [
          [0x174, BigInt(cs)],
          [0x175, BigInt(AT.stack0)],
          [0x176, BigInt(AT.landing)],
        ];
        out.push({ mode, cpl, code: 'sysenter', msr, flags, poke: LANDING });
        for (const code of mode === 'long' ? ['sysexit', 'sysexitq'] : ['sysexit'])
          for (const dx of [0n, 0x8000_0000_0000n].map(
            (high) => high | BigInt(AT.landing + (long ? USER : 0)),
          ))
            for (const cx of [BigInt(AT.stack3), BigInt(AT.stack3) - 0x9000_0000_0000n])
              out.push({ mode, cpl, code, msr, flags, poke: LANDING, regs: { dx, cx } });
      }
    out.push({
      mode,
      cpl,
      code: 'swapgs',
      msr: long
        ? [
            [0xc000_0101, 0x1111_2222n],
            [0xc000_0102, -0x3333n],
          ]
        : [],
    });
  }
  return out;
}

const ACCESS: Readonly<Record<string, string>> = {
  read: '  mov rax, qword ptr [rbx]',
  write: '  mov qword ptr [rbx], rax',
  read1: '  mov al, byte ptr [rbx]',
  read2: '  mov ax, word ptr [rbx]',
  rmw: '  add qword ptr [rbx], rax',
  read_rbp: '  mov rbp, rbx\n  mov rax, qword ptr [rbp]',
  read_rsp: '  mov rsp, rbx\n  mov rax, qword ptr [rsp]',
  read_ss: '  mov rax, qword ptr ss:[rbx]',
  read_ds_rbp: '  mov rbp, rbx\n  mov rax, qword ptr ds:[rbp]',
  read_fs: '  mov rax, qword ptr fs:[rbx]',
  push: '  mov rsp, rbx\n  push rax',
  pop: '  mov rsp, rbx\n  pop rax',
  call: '  mov rsp, rbx\n  call 1f\n1: nop',
  ret: '  mov rsp, rbx\n  ret',
  enter: '  mov rsp, rbx\n  enter 8, 0',
  leave: '  mov rbp, rbx\n  leave',
  jmp: '  jmp rbx',
  jmp_mem: '  mov rax, 0x7000\n  mov qword ptr [rax], rbx\n  jmp qword ptr [rax]',
  call_reg: '  call rbx',
  ret_to: '  push rbx\n  ret',
  iretq: '  mov rax, rsp\n  push 0x10\n  push rax\n  push 2\n  push 0x40\n  push rbx\n  iretq',
  iretq_rsp:
    '  push 0x10\n  push rbx\n  push 2\n  push 0x40\n  lea rax, [rip + 1f]\n  push rax\n  iretq\n1: nop',
  retfq: '  push 0x40\n  push rbx\n  .byte 0x48, 0xcb',
  movs: '  mov rsi, rbx\n  mov rdi, 0x7000\n  movsq',
  stos: '  mov rdi, rbx\n  stosq',
  lods: '  mov rsi, rbx\n  lodsq',
  scas: '  mov rdi, rbx\n  scasq',
  cmps: '  mov rsi, 0x7000\n  mov rdi, rbx\n  cmpsq',
  outs: '  mov rsi, rbx\n  mov dx, 0x80\n  outsb',
  ins: '  mov rdi, rbx\n  mov dx, 0x80\n  insb',
  xlat: '  xor eax, eax\n  xlatb',
  lgdt: '  lgdt [rbx]',
  sgdt: '  sgdt [rbx]',
  lidt_base: '  mov rax, 0x7000\n  mov word ptr [rax], 0xfff\n  mov qword ptr [rax + 2], rbx\n  lgdt [rax]',
  invlpg: '  invlpg [rbx]',
  clflush: '  clflush [rbx]',
  prefetch: '  prefetcht0 [rbx]',
  lea: '  lea rax, [rbx]',
  bt: '  bt qword ptr [rbx], rcx',
  cmpxchg16b: '  cmpxchg16b [rbx]',
  fxsave: '  fxsave [rbx]',
  movups: '  movups xmm0, [rbx]',
  movaps: '  movaps xmm0, [rbx]',
  lgs: '  .byte 0x48, 0x0f, 0xb5, 0x03',
  a32: '  mov eax, dword ptr [ebx]',
  disp: '  mov eax, dword ptr [rbx + 0x7fffffff]',
  verr: '  verr word ptr [rbx]',
  wrfsbase: '  wrfsbase rbx',
  wrgsbase: '  wrgsbase rbx',
};
const ADDRESSES = [
  ...[0x7fff_ffff_fff8n, 0x7fff_ffff_fff9n, 0x7fff_ffff_ffffn, 0x8000_0000_0000n, 0x8000_0000_0008n],
  ...[-0x8000_0000_0000n, -0x8000_0000_0008n, -0x8000_0000_0001n, 0x1_0000_0000_0000n, 0xff_ffff_ffff_fff8n],
  ...[
    0x100_0000_0000_0000n,
    -0x100_0000_0000_0000n,
    -0x100_0000_0000_0008n,
    -8n,
    -1n,
    0x1234_5678_9abc_def0n,
  ],
];

function canonical(): Case[] {
  const out: Case[] = [];
  for (const paging of ['4', '5'] as const)
    for (const cpl of [0, 3] as const)
      for (const code of Object.keys(ACCESS)) {
        if (cpl === 3 && /7000|^lgdt|^invlpg|^outs|^ins$|^iretq|^retfq/.test(`${ACCESS[code]}${code}`))
          continue;
        for (const bx of ADDRESSES) {
          // a stack that faults at CPL 0 ends in a shutdown
          if (cpl === 0 && /^(push|pop|call|ret|enter|leave|read_rsp|iretq_rsp)$/.test(code)) continue;
          // GDTs that are not there
          if (code === 'lidt_base') continue;
          out.push({
            mode: 'long',
            paging,
            cpl,
            code,
            cr4: 0x200 | (code.endsWith('base') ? 0x1_0000 : 0),
            regs: { bx },
          });
        }
      }
  return out;
}

/** Suites of fast calls. */
export const callSuites: readonly Suite[] = [
  {
    name: 'fast-calls',
    what: 'SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS by mode, CPL and MSRs -> where they lead, #UD, #GP',
    codes,
    cases: calls,
  },
  {
    name: 'canonical',
    what: 'addresses that are not canonical by instruction -> #GP, #SS or #PF',
    codes: { 64: ACCESS },
    cases: canonical,
    user: true,
  },
];

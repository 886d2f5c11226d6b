/** Exceptions in every mode: the vector, the error code, what is pushed and where; and gates of every kind. */
import { type Case, type CaseMode, cplOf } from '../support/bare-image.ts';
import { AT, descriptor, gate, SEL } from '../support/bare-layout.ts';
import type { Suite } from './suite.ts';

/** Code of each width: the same text, with what differs by width in capitals. */
const TEXT: Readonly<Record<string, string>> = {
  div: '  xor dx, dx\n  mov ax, 5\n  div dx',
  div_big: '  mov dx, 5\n  mov ax, 5\n  mov cx, 2\n  div cx',
  div8: '  mov ax, 0x1234\n  mov cl, 1\n  div cl',
  idiv_edge: '  mov dx, 0x8000\n  mov ax, 1\n  mov cx, -1\n  idiv cx',
  idiv32_edge: '  mov edx, 0xffffffff\n  mov eax, 0x80000000\n  mov ecx, -1\n  idiv ecx',
  aam0: '  .byte 0xd4, 0',
  int1: '  .byte 0xf1',
  int3: '  int3',
  int3_long: '  .byte 0xcd, 3',
  int4: '  .byte 0xcd, 4',
  into: '  mov al, 0x7f\n  inc al\n  .byte 0xce',
  into_not: '  xor al, al\n  .byte 0xce',
  bound: '  mov eax, AT\n  mov word ptr [EAX], 6\n  mov word ptr [EAX + 2], 9\n  mov cx, 5\n  .byte PRE62',
  ud2: '  ud2',
  ud0: '  .byte 0x0f, 0xff, 0xc0',
  ud1: '  .byte 0x0f, 0xb9, 0xc0',
  lock_nop: '  .byte 0xf0, 0x90',
  lock_cmp: '  .byte 0xf0, 0x39, 0x07',
  lock_reg: '  .byte 0xf0, 0x01, 0xc0',
  lea_reg: '  .byte 0x8d, 0xc0',
  mov_cs: '  .byte 0x8e, 0xc8',
  mov_seg6: '  .byte 0x8e, 0xf0',
  group5_7: '  .byte 0xff, 0xf8',
  group3_1: '  .byte 0xf6, 0xc8, 0',
  group11: '  .byte 0xc6, 0xc8, 0',
  long_15: '  .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90',
  long_16:
    '  .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90',
  fninit: '  fninit',
  fwait: '  fwait',
  emms: '  emms',
  movaps: '  movaps xmm0, xmm1',
  ldmxcsr: '  mov eax, AT\n  mov dword ptr [EAX], 0x10000\n  ldmxcsr [EAX]',
  movaps_odd: '  mov eax, AT + 1\n  movaps xmm0, [EAX]',
  fxsave_odd: '  mov eax, AT + 8\n  fxsave [EAX]',
  cmpxchg8b_reg: '  .byte 0x0f, 0xc7, 0xc8',
  cli: '  cli',
  sti: '  sti\n  nop',
  pushf: '  .byte 0x9c\n  pop ax\n  and ax, 0xfd7f',
  hlt: '  hlt',
  clts: '  clts',
  in_al: '  in al, 0x71\n  xor al, al',
  out_al: '  out 0x80, al',
  insb: '  mov edi, AT\n  mov dx, 0x71\n  insb',
  outsb: '  mov esi, AT\n  mov dx, 0x80\n  outsb',
  rdtsc: '  rdtsc\n  xor eax, eax\n  xor edx, edx',
  rdpmc: '  mov ecx, 0x7fff\n  rdpmc',
  rdmsr: '  mov ecx, 0xc0000080\n  rdmsr',
  wrmsr: '  mov ecx, 0xdeadbee0\n  wrmsr',
  invd: '  invd',
  wbinvd: '  wbinvd',
  invlpg: '  mov eax, AT\n  invlpg [EAX]',
  lgdt: '  mov eax, AT\n  lgdt [EAX]',
  sidt: '  mov eax, AT\n  sidt [EAX]',
  smsw: '  smsw cx',
  lmsw: '  smsw ax\n  lmsw ax',
  sldt: '  sldt cx',
  str: '  str cx',
  lar: '  mov ax, 0x10\n  lar cx, ax',
  arpl: '  .byte 0x63, 0xc8',
  mov_from_cr0: '  .byte 0x0f, 0x20, 0xc0',
  mov_from_cr1: '  .byte 0x0f, 0x20, 0xc8',
  mov_from_cr5: '  .byte 0x0f, 0x20, 0xe8',
  mov_from_dr4: '  .byte 0x0f, 0x21, 0xe0',
  mov_from_dr6: '  .byte 0x0f, 0x21, 0xf0',
  sysenter: '  .byte 0x0f, 0x34',
  sysexit: '  .byte 0x0f, 0x35',
  syscall: '  .byte 0x0f, 0x05',
  sysret: '  .byte 0x0f, 0x07',
  swapgs: '  .byte 0x0f, 0x01, 0xf8',
  rdtscp: '  .byte 0x0f, 0x01, 0xf9\n  xor eax, eax\n  xor edx, edx',
  monitor: '  .byte 0x0f, 0x01, 0xc8',
  xgetbv: '  xor ecx, ecx\n  .byte 0x0f, 0x01, 0xd0',
  xsetbv: '  xor ecx, ecx\n  mov eax, 2\n  xor edx, edx\n  .byte 0x0f, 0x01, 0xd1',
  rsm: '  .byte 0x0f, 0xaa',
  push_es: '  .byte 0x06\n  pop ax',
  daa: '  mov al, 0x9a\n  .byte 0x27\n  and al, 0xff',
  les: '  mov eax, AT\n  mov dword ptr [EAX], 0x12345678\n  .byte PREc4',
  callf: '  .byte 0x9a, 0, 0, 0, 0, 0, 0',
  salc: '  stc\n  .byte 0xd6',
  pusha: '  .byte 0x60, 0x61',
  rdfsbase: '  .byte 0xf3, 0x0f, 0xae, 0xc0',
  rdpid: '  .byte 0xf3, 0x0f, 0xc7, 0xf8\n  xor eax, eax',
  clac: '  .byte 0x0f, 0x01, 0xca',
  rdpkru: '  xor ecx, ecx\n  .byte 0x0f, 0x01, 0xee',
  vmcall: '  mov eax, 0x7777\n  .byte 0x0f, 0x01, 0xc1\n  xor eax, eax',
  vmrun: '  .byte 0x0f, 0x01, 0xd8',
  clgi: '  .byte 0x0f, 0x01, 0xdd',
  vmxon: '  mov eax, AT\n  .byte 0xf3, 0x0f, 0xc7, 0x30',
  jmp_far: '  .byte 0xff, 0x28',
  pop_ss: '  push 0\n  .byte 0x17',
  enter: '  enter 8, 0\n  leave',
  crc32: '  .byte 0xf2, 0x0f, 0x38, 0xf0, 0xc1',
  popcnt: '  .byte 0xf3, 0x0f, 0xb8, 0xc1',
  vex: '  .byte 0xc4, 0xe2, 0x78, 0xf2, 0xc1',
};
const INT_N = [0, 1, 2, 5, 6, 7, 8, 10, 13, 14, 17, 0x10, 0x1f, 0x80, 0x81, 0xff];
for (const n of INT_N) (TEXT as Record<string, string>)[`int_${n}`] = `  .byte 0xcd, ${n}`;

/** Code that only exists in some widths. */
const ONLY: Readonly<Record<string, readonly number[]>> = { pushf: [16, 32] };

function codesOf(width: 16 | 32 | 64): Record<string, string> {
  const pre = width === 16 ? '0x67, 0x66, ' : '';
  return Object.fromEntries(
    Object.entries(TEXT)
      .filter(([n]) => !ONLY[n] || ONLY[n].includes(width))
      .map(([n, t]) => [
        n,
        t
          .replaceAll(
            'PRE62',
            width === 64 ? '0x62, 0x08' : `${width === 16 ? '0x67, ' : '0x66, '}0x62, 0x08`,
          )
          .replaceAll('PREc4', `${pre}0xc4, 0x08`)
          // operands lie in the segment's first page behind the interrupt vectors, or at AT.data
          .replace(/\bAT\b/g, width === 16 ? '0x7800' : String(AT.data))
          .replaceAll('[EAX', width === 64 ? '[rax' : '[eax')
          .replaceAll('pop ax', width === 64 ? 'pop rax' : width === 32 ? 'pop eax' : 'pop ax'),
      ]),
  );
}
const ALL: Suite['codes'] = { 16: codesOf(16), 32: codesOf(32), 64: codesOf(64) };

/** Modes and privileges. */
const PLACES: readonly (readonly [CaseMode, 0 | 3])[] = [
  ['real', 0],
  ['v86', 3],
  ['pm16', 0],
  ['pm16', 3],
  ['pm32', 0],
  ['pm32', 3],
  ['compat16', 0],
  ['compat16', 3],
  ['compat32', 0],
  ['compat32', 3],
  ['long', 0],
  ['long', 3],
];
const widthName = (m: CaseMode): 16 | 32 | 64 =>
  m === 'long' ? 64 : m === 'pm32' || m === 'compat32' ? 32 : 16;
/** What leaves the case behind in ways that are not its own. */
const skip = (code: string, mode: CaseMode): boolean =>
  // interrupts of the BIOS, HLT without interrupts, far pointers to nowhere
  (mode === 'real' &&
    (code === 'hlt' || code === 'callf' || code === 'jmp_far' || code === 'lgdt' || code === 'pop_ss')) ||
  (code === 'hlt' && mode !== 'v86') ||
  (code === 'lgdt' && mode !== 'v86') ||
  (mode === 'v86' && (code === 'callf' || code === 'jmp_far')) ||
  (code === 'les' && (mode === 'real' || mode === 'v86'));

const CR0_SETTINGS = [0, 2, 4, 8, 0xa, 0x20, 0x2c] as const;

/** Each instruction in each mode; FPU and SSE instructions with every setting of CR0. */
function each(): Case[] {
  const out: Case[] = [];
  for (const [mode, cpl] of PLACES)
    for (const code of Object.keys(ALL[widthName(mode)] ?? {})) {
      if (skip(code, mode)) continue;
      const fpu = /^(fninit|fwait|emms|movaps|ldmxcsr|fxsave|movaps_odd)/.test(code);
      // user data: long and 32-bit code uses physical addresses, which users do not have under paging
      const alias = cpl === 3 && (mode === 'long' || mode === 'compat32') ? 'none' : 'own';
      if (alias === 'none' && /AT\b/.test(TEXT[code] ?? '')) continue;
      for (const iopl of mode === 'v86' ? [0, 0x3000] : cpl === 3 ? [0, 0x3000] : [0])
        for (const cr4 of fpu || code === 'xgetbv' || code === 'xsetbv'
          ? [0, 0x200, 0x4_0200]
          : code === 'smsw' || code === 'sidt' || code === 'sldt' || code === 'str'
            ? [0, 0x800]
            : code === 'rdtsc' || code === 'rdtscp'
              ? [0, 4]
              : code === 'mov_from_dr4'
                ? [0, 8]
                : code === 'rdfsbase'
                  ? [0, 0x1_0000]
                  : [0])
          for (const cr0 of fpu ? CR0_SETTINGS : [0])
            out.push({ mode, cpl, code, flags: iopl, cr4, cr0, regs: { bx: AT.data } });
    }
  return out;
}

/** Descriptors 6 and 80h of the IDT with every access byte, and what they may lead to. */
function gates(): Case[] {
  const out: Case[] = [];
  const idt32 = (vector: number, selector: number, access: number): [number, number][] => {
    const [lo, hi] = gate(selector, AT.landing, access);
    return [
      [AT.code16 + AT.landing, 0x0b0f],
      [AT.idt32 + vector * 8, lo],
      [AT.idt32 + vector * 8 + 4, hi],
    ];
  };
  const idt64 = (vector: number, selector: number, access: number, ist = 0, high = 0): [number, number][] => {
    const [lo, hi] = gate(selector, AT.landing, access, ist);
    return [
      [AT.code16 + AT.landing, 0x0b0f],
      [AT.idt64 + vector * 16, lo],
      [AT.idt64 + vector * 16 + 4, hi],
      [AT.idt64 + vector * 16 + 8, high],
    ];
  };
  const places = PLACES.filter(([m]) => m === 'pm32' || m === 'long' || m === 'v86' || m === 'compat32');
  for (const [mode, cpl] of places) {
    const long = mode === 'long' || mode === 'compat32';
    for (const [code, vector] of [
      ['div', 0],
      ['int_128', 0x80],
    ] as const)
      for (let access = 0; access < 256; access++) {
        const task = !long && (access & 0x1f) === 5;
        out.push({
          ...{ mode, cpl, code },
          poke: long ? idt64(vector, SEL.long0, access) : idt32(vector, task ? SEL.tss2 : SEL.code0, access),
        });
      }
    // where gates lead
    for (const selector of [
      0,
      1,
      3,
      SEL.code0,
      SEL.code0 | 3,
      SEL.long0,
      SEL.long0 | 3,
      SEL.code3,
      SEL.long3,
      SEL.data0,
      SEL.conforming,
      SEL.absent,
      SEL.code16,
      SEL.tss2,
      SEL.ldt,
      0xf8,
      0x100,
      0xfffc,
      4,
      0xc,
      0x14,
    ])
      for (const code of ['div', 'int_128'])
        for (const access of long ? [0xee, 0xef] : [0xee, 0xef, 0xe6, 0xe5])
          out.push({
            ...{ mode, cpl, code },
            poke: long
              ? idt64(code === 'div' ? 0 : 0x80, selector, access)
              : idt32(code === 'div' ? 0 : 0x80, selector, access),
          });
    if (long) {
      for (let ist = 0; ist < 8; ist++)
        for (const sp of [AT.stack0, AT.stack0 - 8, AT.stack0 - 1])
          out.push({
            mode,
            cpl,
            code: 'div',
            sp: cpl === 3 ? AT.stack3 : sp,
            poke: idt64(0, SEL.long0, 0x8e, ist),
          });
      for (const high of [0x7fff, 0x8000, 0x1_0000, -1, -0x8000])
        out.push({ mode, cpl, code: 'div', poke: idt64(0, SEL.long0, 0x8e, 0, high) });
      // stacks of the TSS
      for (const [lo, hi] of [
        [AT.stackTss - 4, 0],
        [AT.stackTss, 0x8000],
        [AT.stackTss, -0x8000],
        [0, 1],
      ] as const)
        for (const field of [4, 0x24])
          out.push({
            ...{ mode, cpl, code: 'div' },
            poke: [
              ...idt64(0, SEL.long0, 0x8e, field === 4 ? 0 : 1),
              [AT.tss64 + field, lo],
              [AT.tss64 + field + 4, hi],
            ],
          });
    } else {
      for (const ss of [
        0,
        1,
        3,
        SEL.data0,
        SEL.data0 | 1,
        SEL.data3,
        SEL.code0,
        SEL.readOnly,
        SEL.absent,
        SEL.data1,
        SEL.data1 | 1,
        0x100,
        4,
        0xc,
        SEL.a,
      ])
        for (const esp of ss === SEL.data0 ? [AT.stackTss, AT.stackTss - 2] : [AT.stackTss])
          out.push({
            ...{ mode, cpl, code: 'div' },
            poke: [
              [AT.tss32 + 8, ss],
              [AT.tss32 + 4, esp],
              [AT.gdt + SEL.a, descriptor(0x13)[0]],
              [AT.gdt + SEL.a + 4, descriptor(0x13)[1]],
            ],
          });
    }
  }
  return out;
}

/** Alignment checks: CPL 3 with AM and AC; never at CPL 0. */
const ALIGNED: Readonly<Record<string, string>> = {
  read1: '  mov al, byte ptr [RBX]',
  read2: '  mov ax, word ptr [RBX]',
  read4: '  mov eax, dword ptr [RBX]',
  write2: '  mov word ptr [RBX], ax',
  write4: '  mov dword ptr [RBX], eax',
  add4: '  add dword ptr [RBX], eax',
  xchg4: '  xchg dword ptr [RBX], eax',
  push: '  mov RSP, RBX\n  push RAX',
  pop: '  mov RSP, RBX\n  pop RAX',
  call: '  mov RSP, RBX\n  call 1f\n1: nop',
  movsw: '  mov RSI, RBX\n  mov RDI, RBX\n  movsw',
  stosd: '  mov RDI, RBX\n  stosd',
  cmpxchg8b: '  cmpxchg8b [RBX]',
  lgdt: '  sgdt [RBX]',
  far: '  .byte 0x0f, 0xb4, 0x0b',
  bt: '  bt dword ptr [RBX], ecx',
  movups: '  movups xmm0, [RBX]',
  movsd: '  movsd xmm0, [RBX]',
  fxsave: '  fxsave [RBX]',
  shld: '  shld dword ptr [RBX], eax, 3',
  xlat: '  xlatb',
};
const ALIGNED_64: Readonly<Record<string, string>> = {
  read8: '  mov rax, qword ptr [rbx]',
  write8: '  mov qword ptr [rbx], rax',
  stosq: '  mov rdi, rbx\n  stosq',
  cmpxchg16b: '  cmpxchg16b [rbx]',
};
const sized = (text: string, r: string): string =>
  text.replace(/\bR([A-Z]{2})\b/g, (_, n: string) => `${r}${n.toLowerCase()}`);
const alignedCodes: Suite['codes'] = {
  16: Object.fromEntries(
    Object.entries(ALIGNED).map(([n, t]) => [n, sized(t, '').replaceAll('\n  mov sp, bx', '')]),
  ),
  32: Object.fromEntries(Object.entries(ALIGNED).map(([n, t]) => [n, sized(t, 'e')])),
  64: Object.fromEntries([
    ...Object.entries(ALIGNED).map(([n, t]) => [n, sized(t, 'r')]),
    ...Object.entries(ALIGNED_64),
  ]),
};
function alignment(): Case[] {
  const out: Case[] = [];
  for (const [mode, cpl] of PLACES) {
    if (mode === 'real') continue;
    for (const code of Object.keys(alignedCodes[widthName(mode)] ?? {}))
      for (const cr0 of [0, 0x4_0000])
        for (const flags of [0, 0x4_0000]) {
          if (cpl === 0 && !(cr0 && flags)) continue;
          for (const more of [0, 1, 2, 4, 8]) {
            const c: Case = { mode, cpl, code, cr0, flags, cr4: 0x200 };
            const user = cplOf(c) === 3 && (mode === 'long' || mode === 'compat32') ? 0x200_0000 : 0;
            // 16-bit segments: inside the stack's page
            const at = widthName(mode) === 16 ? 0xd800 : AT.data + user;
            out.push({
              ...c,
              regs: { bx: at + more },
              poke: [AT.data, 0xd800, AT.data16 + 0xd800].flatMap((a) =>
                [0, 4, 8, 12, 16, 20].map((n) => [a + n, 0] as const),
              ),
            });
          }
        }
  }
  return out;
}

/** Suites of exceptions. */
export const exceptionSuites: readonly Suite[] = [
  {
    name: 'exceptions',
    what: 'what faults or traps, in every mode -> vector, error code, frame',
    codes: ALL,
    cases: each,
  },
  {
    name: 'gates',
    what: 'gates of every kind, their targets and stacks -> which exception, which stack',
    codes: ALL,
    // KVM's backend, not KVM, delivers exceptions there
    with: ['qemu'],
    cases: gates,
  },
  {
    name: 'alignment',
    user: true,
    what: 'CR0.AM and EFLAGS.AC by size and CPL -> #AC',
    codes: alignedCodes,
    cases: alignment,
  },
];

/**
 * The long-mode sister of `case-image.ts`: cases begin at CPL 0 or 3 of 64-bit or compatibility mode. Handlers run on a
 * stack of the IST. Memory is mapped one to one, for users too. Of a result's fields, `cr0`, `tss.eip` and `tss descriptor` hold
 * R11 and the bases of FS and GS.
 */
import {
  CASE,
  CASE_BYTES,
  type Case,
  descriptor,
  long,
  RESULT,
  SLOT,
  WITH_CODE,
  withCases,
} from './case-image.ts';

/** Values that the fast system calls find in their MSRs. */
const LONG = {
  /** Level 4, 3, and the page directory of the first GiB. */
  pages: 0x3_0000,
  ist: 0x1_f800,
  kernelGs: 0x7000_1000,
  gsBase: 0x6000_2000,
  fsBase: 0x5000_3000,
  /** SYSRET: compatibility code at +0, stack +8, 64-bit code +16. */
  sysret: 0xb0,
  syscall: 0x08,
} as const;

const GDT: readonly (readonly [number, readonly [number, number]])[] = [
  [SLOT.code0, descriptor(0x9b, 0xf_ffff, 0xa)],
  [SLOT.data0, descriptor(0x93)],
  [SLOT.code3 & ~7, descriptor(0xfb, 0xf_ffff, 0xa)],
  [SLOT.data3 & ~7, descriptor(0xf3)],
  [SLOT.tss, descriptor(0x89, 0x67, 0, CASE.tss)],
  [SLOT.conforming, descriptor(0x9f, 0xf_ffff, 0xa)],
  [SLOT.absent, descriptor(0x1b, 0xf_ffff, 0xa)],
  [SLOT.data0ro, descriptor(0x91)],
  [SLOT.code16, descriptor(0x9b, 0xffff, 0)],
  [SLOT.ldt, descriptor(0x82, 0xf, 0, CASE.ldt)],
  [SLOT.data1, descriptor(0xb3)],
  [SLOT.code1, descriptor(0xbb, 0xf_ffff, 0xa)],
  [SLOT.narrow0, descriptor(0x9b)],
  [SLOT.narrow3 & ~7, descriptor(0xfb)],
];
// the TSS takes two slots: A moves out of the way
const GDT_BYTES = 0xd0;

/** Selectors that differ from `SLOT`: TSS and LDT take 16 bytes. */
export const LONG_SLOT = { tss: 0xb8, a: 0x30, b: 0x40, ldt: 0x80 } as const;

function runner(codes: Readonly<Record<string, string>>, count: number): string {
  const gdt: number[] = new Array(GDT_BYTES / 4).fill(0);
  for (const [selector, [lo, hi]] of GDT) {
    const at = selector === SLOT.tss ? LONG_SLOT.tss : selector;
    gdt[at / 4] = lo;
    gdt[at / 4 + 1] = hi;
  }
  const stubs = Array.from(
    { length: 33 },
    (_, v) => `.balign 16
${WITH_CODE.includes(v) ? '' : '  push 0'}
  push ${v === 32 ? -128 : v}
  jmp common`,
  );
  const wrmsr = (index: number, lo: string | number, hi: string | number = 0): string => `
  mov ecx, ${index}
  mov eax, ${lo}
  mov edx, ${hi}
  wrmsr`;
  return `
.code32
multiboot:
  .long 0x1badb002, 0x10000, 0 - 0x1badb002 - 0x10000
  .long multiboot, multiboot, 0, 0, start
start:
  cli
  cld
  // no interrupts of the board
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  mov esp, ${CASE.stack0}
  // the first GiB in pages of 2 MiB
  mov dword ptr [${LONG.pages}], ${LONG.pages + 0x1007}
  mov dword ptr [${LONG.pages + 0x1000}], ${LONG.pages + 0x2007}
  mov edi, ${LONG.pages + 0x2000}
  mov eax, 0xe7
  mov ecx, 512
1: mov dword ptr [edi], eax
  add edi, 8
  add eax, 0x200000
  loop 1b
  mov esi, gdt
  mov edi, ${CASE.gdt}
  mov ecx, ${GDT_BYTES / 4}
  rep movsd
  mov eax, 0x620
  mov cr4, eax
  mov eax, ${LONG.pages}
  mov cr3, eax
${wrmsr(0xc000_0080, 0x101)}
  mov eax, 0x80000021
  mov cr0, eax
  lgdt [gdtr]
  .byte 0xea
  .long long_start
  .word ${SLOT.code0}
.code64
long_start:
  mov edi, ${CASE.idt}
  mov eax, offset stubs
  mov ecx, 32
1: call gate
  add eax, 16
  loop 1b
  mov edi, ${CASE.idt + 0x80 * 16}
  call gate
  mov word ptr [${CASE.idt + 0x80 * 16 + 4}], 0xee01
  mov word ptr [${CASE.landing}], 0x80cd
  lidt [idtr]
  mov dword ptr [case], offset cases
  mov dword ptr [result], ${CASE.results}
next:
  mov ebp, dword ptr [case]
  cmp ebp, cases + ${count * CASE_BYTES}
  jae finish
  mov eax, 0x80000021
  mov cr0, rax
  mov eax, 0x620
  mov cr4, rax
  lgdt [gdtr]
  mov esi, offset gdt
  mov edi, ${CASE.gdt}
  mov ecx, ${GDT_BYTES / 4}
  rep movsd
  mov edi, ${CASE.tss}
  xor eax, eax
  mov ecx, 0x40
  rep stosd
  mov dword ptr [${CASE.tss + 4}], ${CASE.stackTss}
  mov dword ptr [${CASE.tss + 12}], ${CASE.stackTss - 0x400}
  mov dword ptr [${CASE.tss + 0x24}], ${LONG.ist}
  mov dword ptr [${CASE.tss + 0x64}], 0xffff0000
  mov esi, offset ldt
  mov edi, ${CASE.ldt}
  mov ecx, 4
  rep movsd
  mov ax, ${LONG_SLOT.ldt}
  lldt ax
  mov ax, ${LONG_SLOT.tss}
  ltr ax
${wrmsr(0xc000_0080, 0x501)}
${wrmsr(0xc000_0081, CASE.landing, ((LONG.sysret << 16) | LONG.syscall) >>> 0)}
${wrmsr(0xc000_0082, 'offset syscalled')}
${wrmsr(0xc000_0083, 'offset syscalled')}
${wrmsr(0xc000_0084, 0x4_4600)}
${wrmsr(0xc000_0102, LONG.kernelGs)}
${wrmsr(0x174, SLOT.code0)}
${wrmsr(0x175, CASE.stackTss - 0x800)}
${wrmsr(0x176, 'offset syscalled')}
  mov eax, dword ptr [ebp]
  mov dword ptr [${CASE.gdt + LONG_SLOT.a}], eax
  mov eax, dword ptr [ebp + 4]
  mov dword ptr [${CASE.gdt + LONG_SLOT.a + 4}], eax
  mov eax, dword ptr [ebp + 8]
  mov dword ptr [${CASE.gdt + LONG_SLOT.b}], eax
  mov eax, dword ptr [ebp + 12]
  mov dword ptr [${CASE.gdt + LONG_SLOT.b + 4}], eax
  mov edi, ${CASE.stack0 - 64}
  cmp byte ptr [ebp + 24], 0
  je 1f
  mov edi, ${CASE.stack3 - 64}
1: mov ebx, edi
  // stack words are 8 bytes wide in 64-bit mode: the case says how
  lea esi, [ebp + 32]
  mov ecx, 5
  rep movsd
  lea esi, [ebp + 60]
  mov ecx, 4
2: mov edi, dword ptr [esi]
  mov eax, dword ptr [esi + 4]
  test edi, edi
  jz 3f
  mov dword ptr [edi], eax
3: add esi, 8
  loop 2b
  mov edx, ${SLOT.data0}
  mov eax, ${SLOT.code0}
  mov r8d, ${SLOT.narrow0}
  cmp byte ptr [ebp + 24], 0
  je 4f
  mov edx, ${SLOT.data3}
  mov eax, ${SLOT.code3}
  mov r8d, ${SLOT.narrow3}
4: cmp byte ptr [ebp + 25], 0
  cmovne eax, r8d
  mov ds, edx
  mov es, edx
  mov fs, edx
  mov gs, edx
  push rdx
  push rbx
  mov r8d, dword ptr [ebp + 28]
  push r8
  push rax
  mov r8d, dword ptr [ebp + 20]
  push r8
${wrmsr(0xc000_0100, LONG.fsBase)}
${wrmsr(0xc000_0101, LONG.gsBase)}
  mov eax, dword ptr [ebp + 16]
  mov ecx, dword ptr [ebp + 52]
  mov ebx, dword ptr [ebp + 56]
  mov edx, 0x55
  mov esi, 0x66
  mov edi, 0x77
  mov r11d, dword ptr [ebp + 56]
  iretq
gate: // edi: entry, eax: handler
  mov word ptr [rdi], ax
  mov word ptr [rdi + 2], ${SLOT.code0}
  mov word ptr [rdi + 4], 0x8e01
  mov edx, eax
  shr edx, 16
  mov word ptr [rdi + 6], dx
  mov qword ptr [rdi + 8], 0
  add edi, 16
  ret
syscalled:
  int 0x80
common:
  push rax
  push rcx
  push rdx
  push rbx
  push rdi
  push rsi
  mov ebx, esp
  cld
  mov edi, dword ptr [result]
  movzx eax, byte ptr [rbx + 48]
  stosd
  mov eax, dword ptr [rbx + 56]
  stosd
  mov eax, dword ptr [rbx + 64]
  stosd
  movzx eax, word ptr [rbx + 72]
  mov ecx, dword ptr [rbx + 96]
  shl ecx, 16
  or eax, ecx
  stosd
  mov eax, dword ptr [rbx + 80]
  stosd
  mov eax, dword ptr [rbx + 88]
  stosd
  mov eax, ds
  mov ecx, es
  shl ecx, 16
  movzx eax, ax
  or eax, ecx
  stosd
  mov eax, fs
  mov ecx, gs
  shl ecx, 16
  movzx eax, ax
  or eax, ecx
  stosd
  mov eax, dword ptr [rbx + 40]
  stosd
  mov eax, dword ptr [rbx + 32]
  stosd
  mov eax, dword ptr [${CASE.gdt + LONG_SLOT.a + 4}]
  stosd
  mov eax, dword ptr [${CASE.gdt + LONG_SLOT.b + 4}]
  stosd
  sldt ecx
  shl ecx, 16
  str eax
  movzx eax, ax
  or eax, ecx
  stosd
  mov eax, r11d
  stosd
  mov ecx, 0xc0000100
  rdmsr
  stosd
  mov ecx, 0xc0000101
  rdmsr
  stosd
  mov dword ptr [result], edi
  add dword ptr [case], ${CASE_BYTES}
  mov eax, ${SLOT.data0}
  mov ss, eax
  mov esp, ${CASE.stack0}
  cld
  jmp next
finish:
  mov dword ptr [${CASE.results - 4}], ${count * RESULT.length * 4}
  mov esi, ${CASE.results}
  mov ecx, ${count * RESULT.length * 4}
6: mov dx, 0x3fd
  in al, dx
  test al, 0x20
  jz 6b
  mov dx, 0x3f8
  outsb
  loop 6b
  mov al, 0
  out 0xf4, al
7: hlt
  jmp 7b
  .balign 8
gdtr: .word ${GDT_BYTES - 1}
  .quad ${CASE.gdt}
  .balign 8
idtr: .word 0xfff
  .quad ${CASE.idt}
  .balign 4
case: .long 0
result: .long 0
gdt: ${long(gdt)}
ldt: ${long([...descriptor(0x93), ...descriptor(0xf3)])}
  .balign 16
stubs:
${stubs.join('\n')}
${Object.entries(codes)
  .map(([name, text]) => `${name}:\n${text}\n  int 0x80`)
  .join('\n')}
  .balign 4
cases:
`;
}

/** Assembles an image. */
export function longCaseImage(codes: Readonly<Record<string, string>>, cases: readonly Case[]): Uint8Array {
  return withCases(runner(codes, cases.length), cases);
}

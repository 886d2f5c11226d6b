/**
 * The program of bare-metal case images: it puts the processor into each case's state, and its handlers (16, 32 and 64
 * bits wide) write down what comes of it. See `bare-image.ts` for what a case is.
 */
import {
  AT,
  CASE,
  descriptor,
  field,
  GDT_BYTES,
  MAPPED,
  RECORD,
  SEL,
  SHUTDOWN,
  TABLE,
} from './bare-layout.ts';

/** Variables that outlive a reset, in doublewords from AT.kept. */
const KEPT = {
  magic: AT.kept,
  result: AT.kept + 4,
  at: AT.kept + 8,
  index: AT.kept + 12,
  events: AT.kept + 16,
  undo: AT.kept + 20,
  raw: AT.kept + 0x100,
  /** Entries of 12 bytes: address and old value of memory, then index and old value of MSRs. */
  undoList: AT.kept - 0x4000,
} as const;
const MAGIC = 0x0ca5_e0f1;
/** What CR2 holds before a case. */
const CR2_BEFORE = 0x0bad_cafe;
const raw = (name: Parameters<typeof field>[0]): number => KEPT.raw + field(name);

const WITH_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21, 29, 30]);
const VECTORS = [...Array.from({ length: 32 }, (_, v) => v), 0x80];
const long = (values: readonly number[]): string => `.long ${values.map((v) => v >>> 0).join(', ')}`;

const GDT: readonly (readonly [selector: number, readonly [number, number]])[] = [
  [SEL.code0, descriptor(0x9b)],
  [SEL.data0, descriptor(0x93)],
  [SEL.code3, descriptor(0xfb)],
  [SEL.data3, descriptor(0xf3)],
  [SEL.tss32, descriptor(0x89, 0x67, 0, AT.tss32)],
  [SEL.tss64, descriptor(0x89, 0x67, 0, AT.tss64)],
  [SEL.long0, descriptor(0x9b, 0xf_ffff, 0xa)],
  [SEL.long3, descriptor(0xfb, 0xf_ffff, 0xa)],
  [SEL.code16, descriptor(0x9b, 0xffff, 0, AT.code16)],
  [SEL.data16, descriptor(0x93, 0xffff, 0, AT.data16)],
  [SEL.code16u, descriptor(0xfb, 0xffff, 0, AT.code16)],
  [SEL.data16u, descriptor(0xf3, 0xffff, 0, AT.data16)],
  [SEL.conforming, descriptor(0x9f)],
  [SEL.absent, descriptor(0x1b)],
  [SEL.readOnly, descriptor(0x91)],
  [SEL.tss2, descriptor(0x89, 0x67, 0, AT.tss2)],
  [SEL.ldt, descriptor(0x82, 0xf, 0, AT.ldt)],
  [SEL.data1, descriptor(0xb3)],
  [SEL.code1, descriptor(0xbb)],
  [SEL.ldt64, descriptor(0x82, 0xf, 0, AT.ldt)],
];

/** TSS of protected mode: stacks of CPL 0 and 1, and no I/O map. */
const TSS32: readonly number[] = Array.from({ length: 28 }, (_, n) => {
  const at = n * 4;
  if (at === 4) return AT.stackTss;
  if (at === 8) return SEL.data0;
  if (at === 12) return AT.stack1;
  if (at === 16) return SEL.data1 | 1;
  return at === 0x64 ? 0x68_0000 : 0;
});
/** TSS of long mode: stacks of CPL 0 and 1, IST 1 and 2. */
const TSS64: readonly number[] = Array.from({ length: 28 }, (_, n) => {
  const at = n * 4;
  if (at === 4) return AT.stackTss;
  if (at === 0xc) return AT.stack1;
  if (at === 0x24) return AT.ist1;
  if (at === 0x2c) return AT.ist2;
  return at === 0x64 ? 0x68_0000 : 0;
});
/** The other task: at the landing, flat segments. */
const TSS2: readonly number[] = Array.from({ length: 26 }, (_, n) => {
  const at = n * 4;
  if (at === 4) return AT.stackTss;
  if (at === 8) return SEL.data0;
  if (at === 0x20) return AT.landing;
  if (at === 0x24) return 2;
  if (at === 0x38) return AT.stack0 - 0x400;
  if (at === 0x4c) return SEL.code0;
  if (at >= 0x48 && at <= 0x54) return SEL.data0;
  if (at >= 0x28 && at <= 0x44) return 0x1111 * n;
  return at === 0x64 ? 0xffff_0000 : 0;
});
/** The same, 16 bits wide. */
const TSS16: readonly number[] = [
  ...[0, AT.stackTss & 0xffff, SEL.data0, 0, 0, 0, 0],
  ...[AT.landing, 2, 0x111, 0x222, 0x333, 0x444, (AT.stack0 - 0x400) & 0xffff, 0x555, 0x666, 0x777],
  ...[SEL.data0, SEL.code0, SEL.data0, SEL.data0, 0],
];

const gdtWords = (): readonly number[] => {
  const out: number[] = new Array(GDT_BYTES / 4).fill(0);
  for (const [selector, [lo, hi]] of GDT) {
    out[(selector & ~7) / 4] = lo;
    out[(selector & ~7) / 4 + 1] = hi;
  }
  return out;
};

/** Names of the general registers of a case and of a record, in order. */
export const GPRS = ['ax', 'bx', 'cx', 'dx', 'si', 'di', 'bp'] as const;
/** A field of the case at EBP: SS may be anything. */
const at = (name: keyof typeof CASE, more = 0): string => `ds:[ebp + ${CASE[name] + more}]`;

/** The 16-bit half: entry into real mode and its handlers. It lies at offset 0 of its segment, before the cases' code. */
export function program16(codes: Readonly<Record<string, string>>): string {
  const stubs = VECTORS.map((v) => `stub_${v}:\n  push ${v}\n  jmp common`).join('\n');
  const saved = GPRS.map((r, n) => `  mov dword ptr cs:[raw + ${field('rax') + 8 * n}], e${r}`).join('\n');
  return `
.code16
enter: // protected mode, 16 bits wide
  mov eax, dword ptr [case + ${CASE.cr0}]
  mov cr0, eax
  .byte 0xea
  .word real, ${AT.code16 >>> 4}
real:
  mov ss, word ptr cs:[case + ${CASE.ss}]
  mov esp, dword ptr cs:[case + ${CASE.rsp}]
  push word ptr cs:[case + ${CASE.rflags}]
  push word ptr cs:[case + ${CASE.cs}]
  push word ptr cs:[case + ${CASE.rip}]
  push word ptr cs:[case + ${CASE.ds}]
  push word ptr cs:[case + ${CASE.ds}]
  push word ptr cs:[case + ${CASE.ds}]
  push word ptr cs:[case + ${CASE.ds}]
${GPRS.map((r, n) => `  mov e${r}, dword ptr cs:[case + ${CASE.gprs + 8 * n}]`).join('\n')}
  pop ds
  pop es
  pop fs
  pop gs
  iret
common: // on the stack: vector, IP, CS, FLAGS
  push ds
  push ${AT.code16 >>> 4}
  pop ds
${saved.replaceAll('cs:', '')}
  mov word ptr [raw + ${field('ds:es') + 2}], es
  mov word ptr [raw + ${field('fs:gs')}], fs
  mov word ptr [raw + ${field('fs:gs') + 2}], gs
  pop word ptr [raw + ${field('ds:es')}]
  pop word ptr [raw + ${field('vector')}]
  mov dword ptr [raw + ${field('frame')}], esp
  pop word ptr [raw + ${field('rip')}]
  pop word ptr [raw + ${field('cs')}]
  pop word ptr [raw + ${field('rflags')}]
  mov dword ptr [raw + ${field('rsp')}], esp
  mov word ptr [raw + ${field('ss')}], ss
  mov eax, cr0
  mov dword ptr [raw + ${field('cr0')}], eax
  or eax, 1
  lgdt [gdtr]
  mov cr0, eax
  .byte 0x66, 0xea
back: .long 0
  .word ${SEL.code0}
  .balign 4
gdtr: .word ${GDT_BYTES - 1}
  .long ${AT.gdt}
  .balign 4
case: .fill ${CASE.lists}, 1, 0
  .balign 4
raw: .fill ${RECORD}, 1, 0
${stubs}
${Object.entries(codes)
  .map(([name, text]) => `${name}:\n${text}\n  ud2`)
  .join('\n')}
`;
}

/** Symbols of the 16-bit half that the rest needs. */
export interface Labels16 {
  readonly [name: string]: bigint;
}

/** The image's first part, at AT.image. */
export function program(
  half: { readonly bytes: Uint8Array; readonly symbols: Labels16 },
  codes32: Readonly<Record<string, string>>,
  codes64: Readonly<Record<string, string>>,
): string {
  const low = (name: string): number => AT.code16 + Number(half.symbols[name]);
  const stub = (v: number): string => `  .balign 16
${WITH_CODE.has(v) ? '' : '  push 0'}
  push ${v === 0x80 ? '-128' : v}
  jmp common`;
  const stubs = VECTORS.map((v) => `${stub(v)}32`).join('\n');
  const stubs64 = VECTORS.map((v) => `${stub(v)}64`).join('\n');
  const copy = (from: string, to: number, doublewords: number): string =>
    `  mov esi, ${from}\n  mov edi, ${to}\n  mov ecx, ${doublewords}\n  rep movsd\n`;
  return `
.code32
multiboot:
  .long 0x1badb002, 0x10000, 0 - 0x1badb002 - 0x10000
  .long multiboot, multiboot, 0, 0, start
  .long failed, enter_iretd, enter_iretq, ${AT.results}
start:
  cli
  cld
  mov eax, 0x21
  mov cr0, eax
  xor eax, eax
  mov cr4, eax
  mov esp, ${AT.stackHome}
  // interrupt controllers off
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
${copy('half', AT.code16, Math.ceil(half.bytes.length / 4))}
  mov dword ptr [${low('back')}], from_real
  // IDTs: gates of DPL 3 at INT3, INTO, BOUND and 80h
  mov edi, ${AT.idt32}
  mov eax, stubs32
1: call gate32
  add eax, 16
  cmp edi, ${AT.idt32 + 256}
  jb 1b
  mov edi, ${AT.idt32 + 0x80 * 8}
  call gate32
  mov byte ptr [${AT.idt32 + 3 * 8 + 5}], 0xee
  mov byte ptr [${AT.idt32 + 4 * 8 + 5}], 0xee
  mov byte ptr [${AT.idt32 + 0x80 * 8 + 5}], 0xee
  mov edi, ${AT.idt64}
  mov eax, stubs64
1: call gate64
  add eax, 16
  cmp edi, ${AT.idt64 + 512}
  jb 1b
  mov edi, ${AT.idt64 + 0x80 * 16}
  call gate64
  mov byte ptr [${AT.idt64 + 3 * 16 + 5}], 0xee
  mov byte ptr [${AT.idt64 + 4 * 16 + 5}], 0xee
  mov byte ptr [${AT.idt64 + 0x80 * 16 + 5}], 0xee
  mov edi, ${AT.ivt}
  mov ecx, 256
  mov eax, ${((AT.code16 >>> 4) << 16) | Number(half.symbols['stub_128'])}
  rep stosd
  mov edi, ${AT.ivt}
${VECTORS.map((v) => `  mov dword ptr [edi + ${v * 4}], ${((AT.code16 >>> 4) << 16) | Number(half.symbols[`stub_${v}`])}`).join('\n')}
  mov dword ptr [${AT.landing}], 0x0b0f
  cmp dword ptr [${KEPT.magic}], ${MAGIC}
  je reset
  mov dword ptr [${KEPT.magic}], ${MAGIC}
  mov dword ptr [${KEPT.result}], ${AT.results + 4}
  mov dword ptr [${KEPT.at}], ${AT.cases}
  mov dword ptr [${KEPT.index}], 0
  mov dword ptr [${KEPT.undo}], ${KEPT.undoList}
  jmp next
reset: // a shutdown ended the case
  mov eax, ${SHUTDOWN}
failed: // EAX: why there is no exception to write down
  mov esp, ${AT.stackHome}
  mov ebx, eax
  mov edi, ${KEPT.raw}
  xor eax, eax
  mov ecx, ${RECORD / 4}
  rep stosd
  mov dword ptr [${raw('vector')}], ebx
  jmp end
next:
  mov ebp, dword ptr [${KEPT.at}]
  cmp dword ptr ${at('size')}, 0
  je finish
  mov esp, ${AT.stackHome}
${copy('gdt', AT.gdt, GDT_BYTES / 4)}${copy('tss32', AT.tss32, TSS32.length)}${copy('tss64', AT.tss64, TSS64.length)}
${copy('tss2', AT.tss2, TSS2.length)}${copy('tss16', AT.tss16, TSS16.length / 2)}${copy('ldt', AT.ldt, 4)}
  lgdt [gdtr]
  lidt [idtr32]
  jmp ${SEL.code0}:1f
1:
  mov edi, ${KEPT.raw}
  xor eax, eax
  mov ecx, ${RECORD / 4}
  rep stosd
  mov eax, ${SEL.data0}
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov ax, ${SEL.data3}
  mov fs, ax
  mov gs, ax
  xor eax, eax
  lldt ax
  mov ax, ${SEL.ldt}
  lldt ax
  mov eax, 0x400
  mov dr7, eax
  mov eax, 0xffff0ff0
  mov dr6, eax
  mov eax, ${CR2_BEFORE}
  mov cr2, eax
  // memory and MSRs, with what was there before
  mov ebx, dword ptr [${KEPT.undo}]
  lea esi, [ebp + ${CASE.lists}]
  mov ecx, dword ptr ${at('pokes')}
  jecxz 2f
1: lodsd
  mov edi, eax
  mov eax, dword ptr [edi]
  mov dword ptr [ebx], edi
  mov dword ptr [ebx + 4], eax
  add ebx, 12
  lodsd
  mov dword ptr [edi], eax
  loop 1b
2: mov ecx, dword ptr ${at('msrs')}
  jecxz 2f
1: push ecx
  lodsd
  mov ecx, eax
  rdmsr
  mov dword ptr [ebx], ecx
  mov dword ptr [ebx + 4], eax
  mov dword ptr [ebx + 8], edx
  lodsd
  mov edx, dword ptr [esi]
  add esi, 4
  wrmsr
  pop ecx
  add ebx, 12
  loop 1b
2: mov dword ptr [${KEPT.undo}], ebx
  mov eax, dword ptr ${at('events')}
  mov dword ptr [${KEPT.events}], eax
  // into the case's mode
  cmp dword ptr ${at('env')}, 2
  je enter_real
  mov eax, dword ptr ${at('cr4')}
  mov cr4, eax
  mov eax, dword ptr ${at('cr3')}
  mov cr3, eax
  mov eax, dword ptr ${at('efer')}
  test eax, eax
  jz 1f
  xor edx, edx
  mov ecx, 0xc0000080
  wrmsr
1: cmp dword ptr ${at('env')}, 1
  je enter_long
  mov ax, ${SEL.tss32}
  ltr ax
  lidt [idtr32]
  mov eax, dword ptr ${at('cr0')}
  mov cr0, eax
  jmp 1f
1: test dword ptr ${at('rflags')}, 0x20000
  jz 1f
  push dword ptr ${at('ds')}
  push dword ptr ${at('ds')}
  push dword ptr ${at('ds')}
  push dword ptr ${at('ds')}
  mov eax, ${SEL.data0}
  jmp 2f
1: mov eax, dword ptr ${at('ds')}
  test dword ptr ${at('cs')}, 3
  jnz 2f
  mov edx, dword ptr ${at('rsp')}
  mov ss, word ptr ${at('ss')}
  mov esp, edx
  jmp 3f
2: push dword ptr ${at('ss')}
  push dword ptr ${at('rsp')}
3: push dword ptr ${at('rflags')}
  push dword ptr ${at('cs')}
  push dword ptr ${at('rip')}
  push eax
  push eax
  push eax
  push eax
${GPRS.map((r, n) => `  mov e${r}, dword ptr ${at('gprs', 8 * n)}`).join('\n')}
  pop gs
  pop fs
  pop es
  pop ds
enter_iretd:
  iretd
enter_real:
  mov esi, ebp
  mov edi, ${low('case')}
  mov ecx, ${CASE.lists / 4}
  rep movsd
  mov edi, ${low('raw')}
  xor eax, eax
  mov ecx, ${RECORD / 4}
  rep stosd
  lidt [idtr16]
  mov ax, ${SEL.data16}
  mov es, ax
  mov fs, ax
  mov gs, ax
  mov ss, ax
  mov ds, ax
  jmp ${SEL.code16}:${Number(half.symbols['enter'])}
from_real:
  mov eax, ${SEL.data0}
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov esp, ${AT.stackHome}
  mov esi, ${low('raw')}
  mov edi, ${KEPT.raw}
  mov ecx, ${RECORD / 4}
  rep movsd
  call controls
  mov eax, dword ptr [${low('raw') + field('cr0')}]
  mov dword ptr [${raw('cr0')}], eax
  jmp end
controls:
  mov eax, cr0
  mov dword ptr [${raw('cr0')}], eax
  mov eax, cr2
  mov dword ptr [${raw('cr2')}], eax
  mov eax, cr4
  mov dword ptr [${raw('cr4')}], eax
  mov eax, dr6
  mov dword ptr [${raw('dr6')}], eax
  mov eax, dr7
  mov dword ptr [${raw('dr7')}], eax
  mov ecx, 0xc0000080
  rdmsr
  mov dword ptr [${raw('efer')}], eax
  ret
gate32: // EDI: entry, EAX: handler
  mov word ptr [edi], ax
  mov word ptr [edi + 2], ${SEL.code0}
  mov word ptr [edi + 4], 0x8e00
  mov edx, eax
  shr edx, 16
  mov word ptr [edi + 6], dx
  add edi, 8
  ret
gate64:
  call gate32
  mov word ptr [edi - 6], ${SEL.long0}
  xor edx, edx
  mov dword ptr [edi], edx
  mov dword ptr [edi + 4], edx
  add edi, 8
  ret
common32: // on the stack: vector, error code, EIP, CS, EFLAGS, and SS:ESP, and of V86 ES, DS, FS, GS
  push ds
  push es
  push fs
  push gs
  pushad
  mov eax, ${SEL.data0}
  mov ds, ax
  mov es, ax
  cld
  lea eax, [esp + 48]
  mov dword ptr [${raw('frame')}], eax
  movzx eax, byte ptr [esp + 48]
  mov dword ptr [${raw('vector')}], eax
${[
  ['error', 52],
  ['rip', 56],
  ['cs', 60],
  ['rflags', 64],
  ['rax', 28],
  ['rbx', 16],
  ['rcx', 24],
  ['rdx', 20],
  ['rsi', 4],
  ['rdi', 0],
  ['rbp', 8],
]
  .map(([f, o]) => `  mov eax, dword ptr [esp + ${o}]\n  mov dword ptr [${raw(f as 'rip')}], eax`)
  .join('\n')}
  mov word ptr [${raw('inner ss')}], ss
  lea eax, [esp + 68]
  mov dword ptr [${raw('rsp')}], eax
  mov word ptr [${raw('ss')}], ss
${(['ds:es', 'fs:gs'] as const)
  .flatMap((f, k) =>
    [0, 2].map((h) => `  mov ax, word ptr [esp + ${44 - 8 * k - 2 * h}]\n  mov word ptr [${raw(f) + h}], ax`),
  )
  .join('\n')}
  test byte ptr [esp + 66], 2
  jz 1f
${[80, 76, 84, 88]
  .map((o, k) => {
    const f = raw(k < 2 ? 'ds:es' : 'fs:gs') + (k % 2) * 2;
    return `  mov ax, word ptr [esp + ${o}]\n  mov word ptr [${f}], ax`;
  })
  .join('\n')}
  jmp 2f
1: test byte ptr [esp + 60], 3
  jz 3f
2: mov eax, dword ptr [esp + 68]
  mov dword ptr [${raw('rsp')}], eax
  mov eax, dword ptr [esp + 72]
  mov dword ptr [${raw('ss')}], eax
3: str word ptr [${raw('tr:ldtr')}]
  sldt word ptr [${raw('tr:ldtr') + 2}]
  mov eax, cr0
  mov dword ptr [${raw('cr0')}], eax
  mov eax, cr2
  mov dword ptr [${raw('cr2')}], eax
  mov eax, cr4
  mov dword ptr [${raw('cr4')}], eax
  mov eax, dr6
  mov dword ptr [${raw('dr6')}], eax
  mov eax, dr7
  mov dword ptr [${raw('dr7')}], eax
  mov ecx, 0xc0000080
  rdmsr
  mov dword ptr [${raw('efer')}], eax
  cmp dword ptr [${KEPT.events}], 0
  je 4f
  dec dword ptr [${KEPT.events}]
  mov esi, ${KEPT.raw}
  mov edi, dword ptr [${KEPT.result}]
  mov ecx, ${RECORD / 4}
  mov ebx, edi
  rep movsd
  mov eax, dword ptr [${KEPT.index}]
  shl eax, 8
  or dword ptr [ebx], eax
  mov dword ptr [${KEPT.result}], edi
  popad
  pop gs
  pop fs
  pop es
  pop ds
  add esp, 8
  iretd
4: mov eax, ${SEL.data0}
  mov ss, ax
  mov esp, ${AT.stackHome}
  jmp leave
leave: // with paging, perhaps: 32-bit code at CPL 0
  xor eax, eax
  mov ax, ${SEL.data0}
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov esp, ${AT.stackHome}
  mov eax, cr4
  and eax, 0x10b0
  mov cr4, eax
  mov eax, 0x21
  mov cr0, eax
  jmp 1f
1: xor eax, eax
  mov cr4, eax
  mov cr3, eax
  cmp dword ptr [${raw('efer')}], 0
  je end
  xor edx, edx
  mov ecx, 0xc0000080
  wrmsr
end: // flat protected mode without paging
  cld
  mov ebp, dword ptr [${KEPT.at}]
  mov edx, ${raw('watch0')}
  xor ecx, ecx
  // a reset brought the image's memory back
  cmp byte ptr [${raw('vector')}], ${SHUTDOWN}
  je 3f
1: mov esi, dword ptr ds:[ebp + ecx * 4 + ${CASE.watch}]
  test esi, esi
  jz 2f
  mov eax, dword ptr [esi]
  mov dword ptr [edx + ecx * 4], eax
2: inc ecx
  cmp ecx, 4
  jb 1b
3: mov esi, ${KEPT.raw}
  mov edi, dword ptr [${KEPT.result}]
  mov ebx, edi
  mov ecx, ${RECORD / 4}
  rep movsd
  mov dword ptr [${KEPT.result}], edi
  mov eax, dword ptr [${KEPT.index}]
  shl eax, 8
  or dword ptr [ebx], eax
  inc dword ptr [${KEPT.index}]
  mov eax, dword ptr [ebp]
  add dword ptr [${KEPT.at}], eax
  // memory and MSRs as they were
  mov ebx, dword ptr [${KEPT.undo}]
  mov esi, dword ptr ${at('msrs')}
1: cmp ebx, ${KEPT.undoList}
  jbe 3f
  sub ebx, 12
  test esi, esi
  jz 2f
  dec esi
  mov ecx, dword ptr [ebx]
  mov eax, dword ptr [ebx + 4]
  mov edx, dword ptr [ebx + 8]
  wrmsr
  jmp 1b
2: mov edi, dword ptr [ebx]
  mov eax, dword ptr [ebx + 4]
  mov dword ptr [edi], eax
  jmp 1b
3: mov dword ptr [${KEPT.undo}], ebx
  jmp next
finish:
  mov ecx, dword ptr [${KEPT.result}]
  sub ecx, ${AT.results + 4}
  mov dword ptr [${AT.results}], ecx
  add ecx, 4
  mov esi, ${AT.results}
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
enter_long:
  mov eax, dword ptr ${at('cr0')}
  mov cr0, eax
  jmp ${SEL.long0}:1f
.code64
1: mov ax, ${SEL.tss64}
  ltr ax
  lidt [idtr64]
  mov eax, dword ptr [rbp + ${CASE.ss}]
  push rax
  push qword ptr [rbp + ${CASE.rsp}]
  mov eax, dword ptr [rbp + ${CASE.rflags}]
  push rax
  mov eax, dword ptr [rbp + ${CASE.cs}]
  push rax
  push qword ptr [rbp + ${CASE.rip}]
  mov eax, dword ptr [rbp + ${CASE.ds}]
  mov ds, ax
  mov es, ax
${GPRS.map((r, n) => `  mov r${r}, qword ptr [rbp + ${CASE.gprs + 8 * n}]`).join('\n')}
enter_iretq:
  iretq
common64: // on the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS
  push rax
  push rbx
  push rcx
  push rdx
  push rsi
  push rdi
  push rbp
  mov qword ptr [${raw('rax')}], rax
  mov qword ptr [${raw('rbx')}], rbx
  mov qword ptr [${raw('rcx')}], rcx
  mov qword ptr [${raw('rdx')}], rdx
  mov qword ptr [${raw('rsi')}], rsi
  mov qword ptr [${raw('rdi')}], rdi
  mov qword ptr [${raw('rbp')}], rbp
  cld
  lea rax, [rsp + 56]
  mov qword ptr [${raw('frame')}], rax
  movzx eax, byte ptr [rsp + 56]
  mov dword ptr [${raw('vector')}], eax
  mov eax, dword ptr [rsp + 64]
  mov dword ptr [${raw('error')}], eax
  mov rax, qword ptr [rsp + 72]
  mov qword ptr [${raw('rip')}], rax
  mov eax, dword ptr [rsp + 80]
  mov dword ptr [${raw('cs')}], eax
  mov eax, dword ptr [rsp + 88]
  mov dword ptr [${raw('rflags')}], eax
  mov rax, qword ptr [rsp + 96]
  mov qword ptr [${raw('rsp')}], rax
  mov eax, dword ptr [rsp + 104]
  mov dword ptr [${raw('ss')}], eax
  mov word ptr [${raw('ds:es')}], ds
  mov word ptr [${raw('ds:es') + 2}], es
  mov word ptr [${raw('fs:gs')}], fs
  mov word ptr [${raw('fs:gs') + 2}], gs
  mov word ptr [${raw('inner ss')}], ss
  str word ptr [${raw('tr:ldtr')}]
  sldt word ptr [${raw('tr:ldtr') + 2}]
  mov rax, cr0
  mov dword ptr [${raw('cr0')}], eax
  mov rax, cr2
  mov qword ptr [${raw('cr2')}], rax
  mov rax, cr4
  mov dword ptr [${raw('cr4')}], eax
  mov rax, dr6
  mov dword ptr [${raw('dr6')}], eax
  mov rax, dr7
  mov dword ptr [${raw('dr7')}], eax
  mov ecx, 0xc0000080
  rdmsr
  mov dword ptr [${raw('efer')}], eax
  cmp dword ptr [${KEPT.events}], 0
  je 1f
  dec dword ptr [${KEPT.events}]
  mov esi, ${KEPT.raw}
  mov edi, dword ptr [${KEPT.result}]
  mov ecx, ${RECORD / 4}
  mov ebx, edi
  rep movsd
  mov eax, dword ptr [${KEPT.index}]
  shl eax, 8
  or dword ptr [rbx], eax
  mov dword ptr [${KEPT.result}], edi
  pop rbp
  pop rdi
  pop rsi
  pop rdx
  pop rcx
  pop rbx
  pop rax
  add rsp, 16
  iretq
1: mov esp, ${AT.stackHome}
  mov eax, leave
  push ${SEL.code0}
  push rax
  .byte 0x48, 0xcb
.code32
  .balign 8
gdtr: .word ${GDT_BYTES - 1}
  .long ${AT.gdt}
  .balign 8
idtr16: .word 0x3ff
  .long 0
  .balign 8
idtr32: .word 0x7ff
  .long ${AT.idt32}
  .balign 8
idtr64: .word 0xfff
  .quad ${AT.idt64}
gdt: ${long(gdtWords())}
tss32: ${long(TSS32)}
tss64: ${long(TSS64)}
tss2: ${long(TSS2)}
tss16: .word ${TSS16.join(', ')}
ldt: ${long([...descriptor(0x93), ...descriptor(0xf3)])}
  .balign 16
stubs32:
${stubs}
.code64
  .balign 16
stubs64:
${stubs64}
  .balign 4
half:
  .byte ${[...half.bytes, 0, 0, 0].join(', ')}
.code32
  .balign 16
${Object.entries(codes32)
  .map(([name, text]) => `${name}:\n${text}\n  ud2`)
  .join('\n')}
.code64
${Object.entries(codes64)
  .map(([name, text]) => `${name}:\n${text}\n  ud2`)
  .join('\n')}
`;
}

/** Page tables, at AT.tables: supervisors' map of the first 32 MiB, users' behind it. */
export function pageTables(): Uint8Array {
  const out = new Uint8Array(AT.cases - AT.tables);
  const dv = new DataView(out.buffer);
  const put = (address: number, value: number): void => dv.setUint32(address - AT.tables, value, true);
  for (let n = 0; n < MAPPED >>> 22; n++) {
    put(TABLE.pd32 + 4 * n, (TABLE.pt32 + 0x1000 * n) | 0x27);
    put(TABLE.pd32 + 4 * (n + (MAPPED >>> 22)), (TABLE.pt32 + 0x1000 * (n + 8)) | 0x27);
  }
  for (let n = 0; n < MAPPED >>> 12; n++) {
    put(TABLE.pt32 + 4 * n, (n << 12) | 0x63);
    put(TABLE.pt32 + 0x8000 + 4 * n, (n << 12) | 0x67);
  }
  for (let n = 0; n < MAPPED >>> 21; n++) {
    put(TABLE.pd + 8 * n, (n << 21) | 0xe3);
    put(TABLE.pd + 8 * (n + (MAPPED >>> 21)), (n << 21) | 0xe7);
  }
  put(TABLE.pdptPae, TABLE.pd | 1);
  put(TABLE.pml5, TABLE.pml4 | 0x27);
  put(TABLE.pml4, TABLE.pdpt | 0x27);
  put(TABLE.pdpt, TABLE.pd | 0x27);
  return out;
}

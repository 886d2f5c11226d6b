/**
 * Bare-metal images that run many small cases, here and under qemu-system-x86_64: each case changes a descriptor or a
 * word of memory, runs a few instructions at CPL 0 or 3 of 32-bit protected mode, and ends in an interrupt, whose frame and
 * what it left behind is the result. Results lie in memory, and leave through the serial port.
 */
import { assemble } from '../../src/asm/assemble.ts';

/** Where things lie. */
export const CASE = {
  gdt: 0x1_0000,
  idt: 0x1_1000,
  tss: 0x1_2000,
  tss2: 0x1_2400,
  /** The same task with a 16-bit TSS. */
  tss16: 0x1_2800,
  ldt: 0x1_3000,
  /** Operands in memory. */
  data: 0x1_4000,
  /** A landing place below 64 KiB: INT 80h. */
  landing: 0x8000,
  stack0: 0x1_e000,
  /** Stack that TSS and exceptions of CPL 3 use. */
  stackTss: 0x1_f000,
  stack3: 0x2_2000,
  image: 0x10_0000,
  /** Segments of virtual-8086 mode. */
  v86Data: 0x1_0000,
  v86Stack: 0x2_0000,
  results: 0x40_0000,
} as const;

/** Selectors of the GDT. `a` and `b` are the case's own; `a2` and `b2` are their upper halves. */
export const SLOT = {
  code0: 0x08,
  data0: 0x10,
  code3: 0x1b,
  data3: 0x23,
  tss: 0x28,
  a: 0x30,
  a2: 0x38,
  b: 0x40,
  b2: 0x48,
  conforming: 0x50,
  absent: 0x58,
  data0ro: 0x60,
  code16: 0x68,
  tss2: 0x70,
  ldt: 0x80,
  data1: 0x90,
  code1: 0x98,
  /** In images of long mode: 32-bit code of CPL 0 and 3. */
  narrow0: 0xa8,
  narrow3: 0xb3,
} as const;

/** A descriptor of base 0 (or another). `access`: P, DPL, S and type. */
export function descriptor(
  access: number,
  limit = 0xf_ffff,
  flags = 0xc,
  base = 0,
): readonly [number, number] {
  return [
    ((base << 16) | (limit & 0xffff)) >>> 0,
    (((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf_0000) | (flags << 20) | (base & 0xff00_0000)) >>>
      0,
  ];
}
/** A gate. */
export function gateTo(
  selector: number,
  offset: number,
  access: number,
  count = 0,
): readonly [number, number] {
  return [
    ((selector << 16) | (offset & 0xffff)) >>> 0,
    ((offset & 0xffff_0000) | (access << 8) | count) >>> 0,
  ];
}

/** One case. What is left out is 0, or as the image has it. */
export interface Case {
  /** Label of the code it runs. */
  readonly code: string;
  readonly cpl?: 0 | 3;
  /** In images of long mode: it begins in compatibility mode. */
  readonly compatibility?: boolean;
  readonly flags?: number;
  readonly a?: readonly [number, number];
  readonly b?: readonly [number, number];
  readonly eax?: number;
  readonly ecx?: number;
  readonly ebx?: number;
  /** Words at the stack pointer, at most 5. */
  readonly stack?: readonly number[];
  /** Memory to change, at most 4: address and doubleword. */
  readonly poke?: readonly (readonly [address: number, value: number])[];
}

/** Bytes of a case in an image. */
export const CASE_BYTES = 96;
/** Doublewords of a result, in order. */
export const RESULT = [
  'vector',
  'error',
  'eip',
  'cs:ss',
  'eflags',
  'esp',
  'ds:es',
  'fs:gs',
  'eax',
  'ecx',
  'a',
  'b',
  'tr:ldtr',
  'cr0',
  'tss.eip',
  'tss descriptor',
] as const;

const GDT: readonly (readonly [number, readonly [number, number]])[] = [
  [SLOT.code0, descriptor(0x9b)],
  [SLOT.data0, descriptor(0x93)],
  [SLOT.code3 & ~7, descriptor(0xfb)],
  [SLOT.data3 & ~7, descriptor(0xf3)],
  [SLOT.tss, descriptor(0x89, 0x67, 0, CASE.tss)],
  [SLOT.conforming, descriptor(0x9f)],
  [SLOT.absent, descriptor(0x1b)],
  [SLOT.data0ro, descriptor(0x91)],
  [SLOT.code16, descriptor(0x9b, 0xffff, 0)],
  [SLOT.tss2, descriptor(0x89, 0x67, 0, CASE.tss2)],
  [SLOT.ldt, descriptor(0x82, 0xf, 0, CASE.ldt)],
  [SLOT.data1, descriptor(0xb3)],
  [SLOT.code1, descriptor(0xbb)],
];
const GDT_BYTES = 0xa0;
/** Vectors whose exceptions push an error code. */
export const WITH_CODE: readonly number[] = [8, 10, 11, 12, 13, 14, 17];

/** A line of doublewords. */
export const long = (values: readonly number[]): string => `.long ${values.map((v) => v >>> 0).join(', ')}`;

/** The new task of TSS 2: at the landing, flat segments. */
const TSS2: readonly number[] = Array.from({ length: 26 }, (_, n) => {
  const at = n * 4;
  if (at === 4) return CASE.stackTss;
  if (at === 8) return SLOT.data0;
  if (at === 0x20) return CASE.landing;
  if (at === 0x24) return 2;
  if (at === 0x38) return CASE.stack0 - 0x400;
  if (at === 0x4c) return SLOT.code0;
  if (at >= 0x48 && at <= 0x54) return SLOT.data0;
  if (at >= 0x28 && at <= 0x44) return 0x1111 * n;
  return at === 0x64 ? 0xffff_0000 : 0;
});

/** The same, 16 bits wide. */
const TSS16: readonly number[] = [
  ...[0, CASE.stackTss & 0xffff, SLOT.data0, 0, 0, 0, 0],
  ...[CASE.landing, 2, 0x111, 0x222, 0x333, 0x444, (CASE.stack0 - 0x400) & 0xffff, 0x555, 0x666, 0x777],
  ...[SLOT.data0, SLOT.code0, SLOT.data0, SLOT.data0, 0],
];

function runner(codes: Readonly<Record<string, string>>, count: number): string {
  const gdt: number[] = new Array(GDT_BYTES / 4).fill(0);
  for (const [at, [lo, hi]] of GDT) {
    gdt[at / 4] = lo;
    gdt[at / 4 + 1] = hi;
  }
  const stubs = Array.from(
    { length: 33 },
    (_, v) => `.balign 16
${WITH_CODE.includes(v) ? '' : '  push 0'}
  push ${v === 32 ? 0x80 : v}
  jmp common`,
  );
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
  // IDT: gates of DPL 0; INT 80h may be used by everybody
  mov edi, ${CASE.idt}
  mov eax, stubs
  mov ecx, 32
1: call gate
  add eax, 16
  loop 1b
  mov edi, ${CASE.idt + 0x80 * 8}
  call gate
  mov word ptr [${CASE.idt + 0x80 * 8 + 4}], 0xee00
  mov word ptr [${CASE.landing}], 0x80cd
  lidt [idtr]
  mov ebp, cases
  mov dword ptr [case], ebp
  mov dword ptr [result], ${CASE.results}
next:
  mov ebp, dword ptr [case]
  cmp ebp, cases + ${count * CASE_BYTES}
  jae finish
  mov eax, 0x21
  mov cr0, eax
  xor eax, eax
  mov cr4, eax
  mov cr3, eax
  mov eax, 0x400
  mov dr7, eax
  lgdt [gdtr]
  // tables as they were
  mov esi, gdt
  mov edi, ${CASE.gdt}
  mov ecx, ${GDT_BYTES / 4}
  rep movsd
  mov edi, ${CASE.tss}
  xor eax, eax
  mov ecx, 0x40
  rep stosd
  mov dword ptr [${CASE.tss + 4}], ${CASE.stackTss}
  mov dword ptr [${CASE.tss + 8}], ${SLOT.data0}
  mov dword ptr [${CASE.tss + 12}], ${CASE.stackTss - 0x400}
  mov dword ptr [${CASE.tss + 16}], ${SLOT.data1 | 1}
  mov dword ptr [${CASE.tss + 0x64}], 0xffff0000
  mov esi, tss2
  mov edi, ${CASE.tss2}
  mov ecx, 26
  rep movsd
  mov esi, tss16
  mov edi, ${CASE.tss16}
  mov ecx, 11
  rep movsd
  mov esi, ldt
  mov edi, ${CASE.ldt}
  mov ecx, 4
  rep movsd
  xor eax, eax
  lldt ax
  mov ax, ${SLOT.ldt}
  lldt ax
  mov ax, ${SLOT.tss}
  ltr ax
  // the case's own
  mov eax, dword ptr [ebp]
  mov dword ptr [${CASE.gdt + SLOT.a}], eax
  mov eax, dword ptr [ebp + 4]
  mov dword ptr [${CASE.gdt + SLOT.a + 4}], eax
  mov eax, dword ptr [ebp + 8]
  mov dword ptr [${CASE.gdt + SLOT.b}], eax
  mov eax, dword ptr [ebp + 12]
  mov dword ptr [${CASE.gdt + SLOT.b + 4}], eax
  mov edi, ${CASE.stack0 - 32}
  cmp dword ptr [ebp + 24], 0
  je 1f
  mov edi, ${CASE.stack3 - 32}
1: mov ebx, edi
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
  mov esp, ebx
  mov edx, ${SLOT.data0}
  cmp dword ptr [ebp + 24], 0
  je 4f
  mov esp, ${CASE.stackTss}
  mov edx, ${SLOT.data3}
  push edx
  push ebx
4: push dword ptr [ebp + 28]
  mov eax, ${SLOT.code0}
  cmp dword ptr [ebp + 24], 0
  je 5f
  mov eax, ${SLOT.code3}
5: push eax
  push dword ptr [ebp + 20]
  test dword ptr [ebp + 28], 0x20000
  jz 6f
  // virtual-8086 mode: data from 1000:0, stack 2000:1FE0, code from FFFF:0 on
  mov esp, ${CASE.stackTss}
  mov eax, ${CASE.v86Data >>> 4}
  push eax
  push eax
  push eax
  push eax
  push ${CASE.v86Stack >>> 4}
  push ${CASE.stack3 - 32 - CASE.v86Stack}
  push dword ptr [ebp + 28]
  push 0xffff
  mov eax, dword ptr [ebp + 20]
  sub eax, 0xffff0
  push eax
6:
  mov eax, dword ptr [ebp + 16]
  mov ecx, dword ptr [ebp + 52]
  mov ebx, dword ptr [ebp + 56]
  mov ds, dx
  mov es, dx
  mov fs, dx
  mov gs, dx
  mov edx, 0x55
  mov esi, 0x66
  mov edi, 0x77
  iretd
gate: // edi: entry, eax: handler
  mov word ptr [edi], ax
  mov word ptr [edi + 2], ${SLOT.code0}
  mov word ptr [edi + 4], 0x8e00
  mov edx, eax
  shr edx, 16
  mov word ptr [edi + 6], dx
  add edi, 8
  ret
common: // on the stack: vector, error code, EIP, CS, EFLAGS, and from CPL 3 ESP, SS
  push ds
  push es
  push fs
  push gs
  pushad
  mov eax, ${SLOT.data0}
  mov ds, ax
  mov es, ax
  cld
  mov edi, dword ptr [result]
  mov eax, dword ptr [esp + 48]
  stosd
  mov eax, dword ptr [esp + 52]
  stosd
  mov eax, dword ptr [esp + 56]
  stosd
  mov edx, esp
  lea ecx, [esp + 68]
  mov ebx, ss
  mov eax, dword ptr [esp + 60]
  test al, 3
  jz 1f
  mov ecx, dword ptr [esp + 68]
  mov ebx, dword ptr [esp + 72]
1: shl ebx, 16
  movzx eax, ax
  or eax, ebx
  stosd
  mov eax, dword ptr [esp + 64]
  stosd
  mov eax, ecx
  stosd
  movzx eax, word ptr [esp + 44]
  mov ebx, dword ptr [esp + 40]
  shl ebx, 16
  or eax, ebx
  stosd
  movzx eax, word ptr [esp + 36]
  mov ebx, dword ptr [esp + 32]
  shl ebx, 16
  or eax, ebx
  stosd
  mov eax, dword ptr [esp + 28]
  stosd
  mov eax, dword ptr [esp + 24]
  stosd
  mov eax, dword ptr [${CASE.gdt + SLOT.a + 4}]
  stosd
  mov eax, dword ptr [${CASE.gdt + SLOT.b + 4}]
  stosd
  xor eax, eax
  sldt ax
  shl eax, 16
  str ax
  stosd
  mov eax, cr0
  stosd
  mov eax, dword ptr [${CASE.tss + 0x20}]
  stosd
  mov eax, dword ptr [${CASE.gdt + SLOT.tss + 4}]
  stosd
  mov dword ptr [result], edi
  add dword ptr [case], ${CASE_BYTES}
  mov eax, ${SLOT.data0}
  mov ss, ax
  mov esp, ${CASE.stack0}
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
  .balign 4
gdtr: .word ${GDT_BYTES - 1}
  .long ${CASE.gdt}
  .balign 4
idtr: .word 0x7ff
  .long ${CASE.idt}
  .balign 4
case: .long 0
result: .long 0
gdt: ${long(gdt)}
tss2: ${long(TSS2)}
tss16: .word ${TSS16.join(', ')}
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

/** Assembles an image. `codes`: what cases run, by label. */
export function caseImage(codes: Readonly<Record<string, string>>, cases: readonly Case[]): Uint8Array {
  return withCases(runner(codes, cases.length), cases);
}

/** Assembles a runner that ends with the label `cases`, and puts the cases behind it. */
export function withCases(text: string, cases: readonly Case[]): Uint8Array {
  const { bytes, symbols } = assemble(text, { origin: CASE.image, bits: 32 });
  const table = Uint32Array.from(cases.flatMap((c) => words(c, Number(symbols[c.code]))));
  const image = new Uint8Array(bytes.length + table.byteLength);
  image.set(bytes);
  image.set(new Uint8Array(table.buffer), bytes.length);
  return image;
}

/** A case as doublewords. */
function words(c: Case, code: number): readonly number[] {
  const out = [
    ...(c.a ?? [0, 0]),
    ...(c.b ?? [0, 0]),
    c.eax ?? 0,
    code,
    (c.cpl ?? 0) | (c.compatibility ? 0x100 : 0),
    (c.flags ?? 0) | 2,
    ...Array.from({ length: 5 }, (_, n) => c.stack?.[n] ?? 0),
    c.ecx ?? 0,
    c.ebx ?? 0,
    ...Array.from({ length: 4 }, (_, n) => c.poke?.[n] ?? [0, 0]).flat(),
  ];
  return [...out, ...new Array(CASE_BYTES / 4 - out.length).fill(0)];
}

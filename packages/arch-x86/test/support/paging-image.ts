/**
 * A bare-metal image that makes one access a case through page tables of the case's own, here and under
 * qemu-system-x86_64: in long mode, at CPL 0 or 3, under CR0, CR4, EFER and PKRU as the case has them. What its handlers
 * see, and what the access left in the tables, lies in memory and leaves through the serial port.
 */
import { createVm } from '@faultyard/core';
import { runQemuSystem } from '@faultyard/testkit/oracle';
import { assemble } from '../../src/asm/assemble.ts';
import { type X86Vcpu, x86 } from '../../src/index.ts';
import { Seg } from '../../src/isa/layout.ts';
import { CR0 } from '../../src/state.ts';

/** MAXPHYADDR on both sides: what QEMU's translator has. */
export const PHYSICAL_BITS = 40;

const IMAGE = 0x10_0000;
/** Physical places. The image's page tables and stacks, the case's tables by level, its page, the results. */
const AT = {
  pml4: 0x20_0000,
  pdpt: 0x20_1000,
  kernel: 0x20_2000,
  user: 0x20_3000,
  idt: 0x20_4000,
  tss: 0x20_5000,
  gdt: 0x20_6000,
  stack0: 0x20_a000,
  stack3: 0x20_c000,
  table: { 3: 0x21_1000, 2: 0x21_2000, 1: 0x21_3000 } as Readonly<Record<number, number>>,
  data: 0x80_0000,
  results: 0x100_0000,
} as const;
/** Linear address of the second PML4 entry, which is the case's. */
const VA = 0x80_0000_0000n;
/** Linear distance of the user's alias of all memory. */
const ALIAS = 0x4000_0000;
const CASE_BYTES = 64;
const RESULT_BYTES = 32;
const CASES_OFFSET = 0x4000;

/** Accesses: what stands before INT 80h. Code at the case's page is INT 80h itself. */
export const CODES: Readonly<Record<Kind, string>> = {
  read: 'mov al, [rdi]',
  write: 'mov [rdi], al',
  fetch: 'jmp rdi',
};
/** Kind of access. */
export type Kind = 'read' | 'write' | 'fetch';

/** One case. */
export interface PagingCase {
  readonly kind: Kind;
  readonly cpl: 0 | 3;
  /** Entries of levels 4 to 1; `leaf` is the level of the last one that counts, whose address is filled in. */
  readonly entries: readonly [bigint, bigint, bigint, bigint];
  readonly leaf: 1 | 2 | 3;
  readonly cr4?: number;
  readonly wp?: boolean;
  readonly nxe?: boolean;
  readonly ac?: boolean;
  readonly pkru?: number;
}
const BASE_CR4 = 0x6a0;
const FLAG = { user: 1, nxe: 2, wp: 4, ac: 8 } as const;

function runner(count: number): {
  readonly code: Uint8Array;
  readonly stubs: Readonly<Record<string, bigint>>;
} {
  const withCode = [8, 10, 11, 12, 13, 14, 17];
  const vectors = Array.from(
    { length: 33 },
    (_, v) => `.balign 16
${withCode.includes(v) ? '' : '  push 0'}
  push ${v === 32 ? 0x80 : v}
  jmp common`,
  ).join('\n');
  const stubs = Object.entries(CODES)
    .map(([k, text]) => `stub_${k}: ${text}\n  int 0x80`)
    .join('\n');
  const text = `
.code32
multiboot:
  .long 0x1badb002, 0x10000, 0 - 0x1badb002 - 0x10000
  .long multiboot, multiboot, 0, 0, start
start:
  cli
  cld
  mov esp, ${AT.stack0}
  // page tables: the first GiB for the kernel, and again behind it for the user
  mov edi, ${AT.pml4}
  xor eax, eax
  mov ecx, 0x5000
  rep stosd
  mov dword ptr [${AT.pml4}], ${AT.pdpt | 7}
  mov dword ptr [${AT.pdpt}], ${AT.kernel | 7}
  mov dword ptr [${AT.pdpt + 8}], ${AT.user | 7}
  mov eax, 0xe3
  xor edi, edi
1: mov dword ptr [edi*8 + ${AT.kernel}], eax
  lea ebx, [eax + 4]
  mov dword ptr [edi*8 + ${AT.user}], ebx
  add eax, 0x200000
  inc edi
  cmp edi, 32
  jb 1b
  mov eax, ${BASE_CR4}
  mov cr4, eax
  mov eax, ${AT.pml4}
  mov cr3, eax
  mov ecx, 0xc0000080
  mov eax, 0x900
  xor edx, edx
  wrmsr
  mov eax, 0x80010033
  mov cr0, eax
  lgdt [gdtr]
  push 8
  push long
  retf
.balign 8
gdtr: .word 0x37
  .long ${AT.gdt}
  .word 0
idtr: .word 0xfff
  .long ${AT.idt}, 0
.balign 8
gdt: .quad 0, 0x00209b0000000000, 0x00cf93000000ffff, 0x0020fb0000000000, 0x00cff3000000ffff
  .quad ${0x0000_8900_0000_0067n | (BigInt(AT.tss & 0xff_ffff) << 16n) | (BigInt(AT.tss >>> 24) << 56n)}, 0
.code64
gate: // of the handler at rax, in the slot at rdi
  mov word ptr [rdi], ax
  mov dword ptr [rdi + 2], 0xee000008
  mov word ptr [rdi + 2], 8
  mov word ptr [rdi + 4], 0xee00
  mov rcx, rax
  shr rcx, 16
  mov word ptr [rdi + 6], cx
  mov qword ptr [rdi + 8], 0
  add rdi, 16
  ret
long:
  mov ax, 0x10
  mov ss, ax
  mov rsp, ${AT.stack0}
  mov rdi, ${AT.idt}
  mov rax, offset vectors
  mov ebx, 32
1: call gate
  add rax, 16
  dec ebx
  jnz 1b
  mov rdi, ${AT.idt + 0x800}
  call gate
  lidt [idtr]
  mov dword ptr [${AT.tss + 4}], ${AT.stack0}
  mov ax, 0x28
  ltr ax
  mov r15, ${IMAGE + CASES_OFFSET}
  mov r14, ${AT.results}
next:
  cmp r15, ${IMAGE + CASES_OFFSET + count * CASE_BYTES}
  jae finish
  // its tables and its page
  mov rax, [r15]
  mov [${AT.pml4 + 8}], rax
  mov rax, [r15 + 8]
  mov [${AT.table[3]}], rax
  mov rax, [r15 + 16]
  mov [${AT.table[2]}], rax
  mov rax, [r15 + 24]
  mov [${AT.table[1]}], rax
  mov dword ptr [${AT.data + 0x10}], 0x909080cd
  mov r12d, [r15 + 40]
  mov eax, ${BASE_CR4 & ~0x80}
  mov cr4, rax
  mov eax, [r15 + 36]
  or eax, ${BASE_CR4}
  mov cr4, rax
  mov ecx, 0xc0000080
  rdmsr
  and eax, 0xfffff7ff
  test r12d, ${FLAG.nxe}
  jz 1f
  or eax, 0x800
1: wrmsr
  mov eax, 0x80000033
  test r12d, ${FLAG.wp}
  jz 1f
  or eax, 0x10000
1: mov cr0, rax
  test dword ptr [r15 + 36], 0x400000
  jz 1f
  mov eax, [r15 + 48]
  xor ecx, ecx
  xor edx, edx
  wrpkru
1: xor eax, eax
  mov cr2, rax
  mov rdi, ${VA}
  mov eax, [r15 + 32]
  add rdi, rax
  mov ebx, [r15 + 44]
  mov edx, 2
  test r12d, ${FLAG.ac}
  jz 1f
  or edx, 0x40000
1: mov al, 0x5a
  test r12d, ${FLAG.user}
  jnz 1f
  push rdx
  popfq
  jmp rbx
1: push 0x23
  push ${AT.stack3 + ALIAS}
  push rdx
  push 0x1b
  add rbx, ${ALIAS}
  push rbx
  iretq
.balign 16
vectors:
${vectors}
common:
  push 2
  popfq
  mov r13, rax
  pop rax
  mov [r14], ax
  pop rax
  mov [r14 + 2], ax
  mov rax, cr2
  mov [r14 + 4], rax
  mov rax, [${AT.pml4 + 8}]
  mov [r14 + 12], eax
  mov rax, [${AT.table[3]}]
  mov [r14 + 16], eax
  mov rax, [${AT.table[2]}]
  mov [r14 + 20], eax
  mov rax, [${AT.table[1]}]
  mov [r14 + 24], eax
  mov [r14 + 28], r13b
  mov al, [${AT.data + 0x10}]
  mov [r14 + 29], al
  mov word ptr [r14 + 30], 0
  mov rsp, ${AT.stack0}
  add r14, ${RESULT_BYTES}
  add r15, ${CASE_BYTES}
  jmp next
finish:
  mov rsi, ${AT.results}
  mov ecx, ${count * RESULT_BYTES}
1: mov dx, 0x3fd
2: in al, dx
  test al, 0x20
  jz 2b
  mov dx, 0x3f8
  lodsb
  out dx, al
  dec ecx
  jnz 1b
  mov dx, 0xf4
  out dx, al
  hlt
.balign 16
${stubs}
`;
  // the GDT has no place of its own until now
  const { bytes, symbols } = assemble(text.replace(`.long ${AT.gdt}\n`, '.long gdt\n'), {
    origin: IMAGE,
    bits: 32,
  });
  return { code: bytes, stubs: symbols };
}

/** The image of some cases. */
function pagingImage(cases: readonly PagingCase[]): Uint8Array {
  const { code, stubs } = runner(cases.length);
  if (code.length > CASES_OFFSET) throw new Error(`the runner has ${code.length} bytes`);
  const image = new Uint8Array(CASES_OFFSET + cases.length * CASE_BYTES);
  image.set(code);
  const dv = new DataView(image.buffer);
  cases.forEach((c, n) => {
    const at = CASES_OFFSET + n * CASE_BYTES;
    const next = [AT.table[3], AT.table[2], AT.table[1]] as readonly number[];
    for (let level = 4; level >= 1; level--) {
      const i = 4 - level;
      const frame = level === c.leaf ? (level === 3 ? 0 : AT.data) : level > c.leaf ? (next[i] as number) : 0;
      const ps = level === c.leaf && level > 1 ? 0x80n : 0n;
      const entry = level < c.leaf ? 0n : (c.entries[i] as bigint) | BigInt(frame) | ps;
      dv.setBigUint64(at + 8 * i, entry, true);
    }
    dv.setUint32(at + 32, c.leaf === 3 ? AT.data + 0x10 : 0x10, true);
    dv.setUint32(at + 36, c.cr4 ?? 0, true);
    const flags =
      (c.cpl === 3 ? FLAG.user : 0) | (c.nxe ? FLAG.nxe : 0) | (c.wp ? FLAG.wp : 0) | (c.ac ? FLAG.ac : 0);
    dv.setUint32(at + 40, flags, true);
    dv.setUint32(at + 44, Number(stubs[`stub_${c.kind}`]), true);
    dv.setUint32(at + 48, c.pkru ?? 0, true);
  });
  return image;
}

/** A result in words: vector, error code and CR2, low bits of the entries, AL, the byte at the page. */
function words(dv: DataView, at: number): string {
  const vector = dv.getUint16(at, true);
  const code = vector === 14 ? ` ${dv.getUint16(at + 2, true).toString(16)}` : '';
  const cr2 = dv.getBigUint64(at + 4, true).toString(16);
  const entries = [12, 16, 20, 24].map((o) => (dv.getUint32(at + o, true) & 0xfff).toString(16));
  const bytes = [28, 29].map((o) => dv.getUint8(at + o).toString(16));
  return `${vector}${code} ${cr2} ${entries.join('.')} ${bytes.join('.')}`;
}
function results(bytes: Uint8Array, count: number): string[] {
  if (bytes.length !== count * RESULT_BYTES) throw new Error(`${bytes.length} bytes of results`);
  const dv = new DataView(bytes.buffer, bytes.byteOffset);
  return Array.from({ length: count }, (_, n) => words(dv, n * RESULT_BYTES));
}

/** Results under QEMU's translator. */
export function pagingUnderQemu(cases: readonly PagingCase[]): string[] {
  const ran = runQemuSystem({
    program: 'qemu-system-x86_64',
    kernel: pagingImage(cases),
    machine: 'pc,accel=tcg',
    cpu: `max,phys-bits=${PHYSICAL_BITS}`,
    memory: 64,
    args: ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'],
  });
  if (ran.stdout.length === 0) throw new Error(`QEMU printed nothing: ${ran.stderr}`);
  return results(ran.stdout, cases.length);
}

/** Results here. */
export function pagingHere(cases: readonly PagingCase[]): string[] {
  const features = { pku: true, smep: true, smap: true, pdpe1gb: true, nx: true };
  const arch = x86({ model: 'skylake', physicalBits: PHYSICAL_BITS, features });
  const vm = createVm({ arch, memslots: [{ gpa: 0n, size: 64n << 20n }] });
  try {
    vm.write(IMAGE, pagingImage(cases));
    const v = vm.vcpus[0];
    if (!v) throw new Error('no vCPU');
    const x = v.arch as X86Vcpu;
    const s = x.state;
    s.setSys(0, CR0.PE | CR0.ET, 0);
    const flat = { selector: 0x10, attr: 0xc93, limit: -1, baseLo: 0, baseHi: 0 };
    for (const n of [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const) Object.assign(s.segment(n), flat);
    Object.assign(s.segment(Seg.CS), { ...flat, selector: 8, attr: 0xc9b });
    s.setIp(IMAGE + 32, 0);
    x.modeChanged();
    x.translationChanged();
    const e = v.run(100_000_000);
    if (e.kind !== 'io') throw new Error(`exit ${e.kind} at ${v.pc.toString(16)}`);
    return results(vm.memory.read(AT.results, cases.length * RESULT_BYTES), cases.length);
  } finally {
    vm.dispose();
  }
}

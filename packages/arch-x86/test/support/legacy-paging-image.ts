/**
 * As `paging-image.ts`, for 32-bit and PAE paging: one access a case, from 32-bit protected mode at CPL 0 or 3. Paging is
 * switched on for the access alone.
 */
import { createVm } from '@faultyard/core';
import { runQemuSystem } from '@faultyard/testkit/oracle';
import { assemble } from '../../src/asm/assemble.ts';
import { type X86Vcpu, x86 } from '../../src/index.ts';
import { Seg } from '../../src/isa/layout.ts';
import { CR0, CR4 } from '../../src/state.ts';
import { CODES, type Kind, PHYSICAL_BITS } from './paging-image.ts';

const IMAGE = 0x10_0000;
/** Physical places. */
const AT = {
  idt: 0x20_0000,
  tss: 0x20_1000,
  stack0: 0x20_4000,
  stack3: 0x20_6000,
  /** 32-bit: the directory, tables of the first 32 MiB for the kernel and for the user. */
  directory: 0x21_0000,
  kernelTables: 0x22_0000,
  userTables: 0x23_0000,
  /** PAE: pointers, directories by GiB. */
  pointers: 0x24_0000,
  directories: 0x24_1000,
  /** The case's page table, in both. */
  table: 0x25_0000,
  data: 0x80_0000,
  results: 0x100_0000,
} as const;
const ALIAS = 0x4000_0000;
/** Linear address of the case's page. */
const VA = 0x8000_0010;
const CASE_BYTES = 32;
const RESULT_BYTES = 24;
const CASES_OFFSET = 0x4000;
const FLAG = { user: 1, nxe: 2, wp: 4, ac: 8 } as const;

/** One case. */
export interface LegacyCase {
  readonly kind: Kind;
  readonly cpl: 0 | 3;
  readonly pae: boolean;
  /** Bits of the directory's entry, and of the table's; addresses are filled in (`large`: that of the page). */
  readonly pde: bigint;
  readonly pte: bigint;
  readonly large?: boolean;
  readonly cr4?: number;
  readonly wp?: boolean;
  readonly nxe?: boolean;
  readonly ac?: boolean;
}

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
    .map(([k, text]) => `stub_${k}: ${text.replaceAll('rdi', 'edi')}\n  int 0x80`)
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
  lgdt [gdtr]
  push 8
  push go
  retf
.balign 8
gdtr: .word 0x2f
  .long gdt
idtr: .word 0x7ff
  .long ${AT.idt}
.balign 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff
  .quad ${0x0000_8900_0000_0067n | (BigInt(AT.tss & 0xff_ffff) << 16n) | (BigInt(AT.tss >>> 24) << 56n)}
gate: // of the handler at eax, in the slot at edi
  mov word ptr [edi], ax
  mov word ptr [edi + 2], 8
  mov word ptr [edi + 4], 0xee00
  mov ecx, eax
  shr ecx, 16
  mov word ptr [edi + 6], cx
  add edi, 8
  ret
go:
  mov ax, 0x10
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov edi, ${AT.idt}
  mov eax, vectors
  mov ebx, 32
1: call gate
  add eax, 16
  dec ebx
  jnz 1b
  mov edi, ${AT.idt + 0x80 * 8}
  call gate
  lidt [idtr]
  mov dword ptr [${AT.tss + 4}], ${AT.stack0}
  mov dword ptr [${AT.tss + 8}], 0x10
  mov ax, 0x28
  ltr ax
  // 32-bit: page tables of 32 MiB, twice
  xor ecx, ecx
  mov eax, 0x63
1: mov dword ptr [ecx*4 + ${AT.kernelTables}], eax
  lea ebx, [eax + 4]
  mov dword ptr [ecx*4 + ${AT.userTables}], ebx
  add eax, 0x1000
  inc ecx
  cmp ecx, 8192
  jb 1b
  xor ecx, ecx
  mov eax, ${AT.kernelTables | 0x27}
  mov ebx, ${AT.userTables | 0x27}
1: mov dword ptr [ecx*4 + ${AT.directory}], eax
  mov dword ptr [ecx*4 + ${AT.directory + (ALIAS >>> 22) * 4}], ebx
  add eax, 0x1000
  add ebx, 0x1000
  inc ecx
  cmp ecx, 8
  jb 1b
  // PAE: pages of 2 MiB, twice
  mov dword ptr [${AT.pointers}], ${AT.directories | 1}
  mov dword ptr [${AT.pointers + 8}], ${(AT.directories + 0x1000) | 1}
  mov dword ptr [${AT.pointers + 16}], ${(AT.directories + 0x2000) | 1}
  xor ecx, ecx
  mov eax, 0xe3
1: mov dword ptr [ecx*8 + ${AT.directories}], eax
  lea ebx, [eax + 4]
  mov dword ptr [ecx*8 + ${AT.directories + 0x1000}], ebx
  add eax, 0x200000
  inc ecx
  cmp ecx, 16
  jb 1b
  mov dword ptr [case], ${IMAGE + CASES_OFFSET}
  mov dword ptr [result], ${AT.results}
next:
  mov ebp, dword ptr [case]
  cmp ebp, ${IMAGE + CASES_OFFSET + count * CASE_BYTES}
  jae finish
  mov eax, [ebp + 8]
  mov [${AT.directory + (0x8000_0000 >>> 22) * 4}], eax
  mov [${AT.directories + 0x2000}], eax
  mov eax, [ebp + 12]
  mov [${AT.directories + 0x2004}], eax
  mov eax, [ebp + 16]
  mov [${AT.table}], eax
  mov eax, [ebp + 20]
  mov [${AT.table + 4}], eax
  mov dword ptr [${AT.data + 0x10}], 0x909080cd
  mov esi, [ebp]
  mov ecx, 0xc0000080
  rdmsr
  and eax, 0xfffff7ff
  test esi, ${FLAG.nxe}
  jz 1f
  or eax, 0x800
1: wrmsr
  mov eax, [ebp + 4]
  mov cr4, eax
  mov ecx, ${AT.directory}
  test eax, ${CR4.PAE}
  jz 1f
  mov ecx, ${AT.pointers}
1: mov cr3, ecx
  xor eax, eax
  mov cr2, eax
  mov edx, 2
  test esi, ${FLAG.ac}
  jz 1f
  or edx, 0x40000
1: mov ebx, [ebp + 24]
  mov edi, ${VA}
  mov eax, 0x80000033
  test esi, ${FLAG.wp}
  jz 1f
  or eax, 0x10000
1: mov cr0, eax
  mov al, 0x5a
  test esi, ${FLAG.user}
  jnz 1f
  push edx
  popfd
  jmp ebx
1: mov cx, 0x23
  mov ds, cx
  push 0x23
  push ${AT.stack3 + ALIAS}
  push edx
  push 0x1b
  add ebx, ${ALIAS}
  push ebx
  iretd
.balign 16
vectors:
${vectors}
common:
  push 2
  popfd
  mov cx, 0x10
  mov ds, cx
  mov bl, al
  mov ecx, cr2
  mov eax, 0x33
  mov cr0, eax
  mov edx, dword ptr [result]
  mov [edx + 4], ecx
  mov [edx + 16], bl
  pop eax
  mov [edx], ax
  pop eax
  mov [edx + 2], ax
  mov ebp, dword ptr [case]
  mov eax, [${AT.directory + (0x8000_0000 >>> 22) * 4}]
  test dword ptr [ebp + 4], ${CR4.PAE}
  jz 1f
  mov eax, [${AT.directories + 0x2000}]
1: mov [edx + 8], eax
  mov eax, [${AT.table}]
  mov [edx + 12], eax
  mov al, [${AT.data + 0x10}]
  mov [edx + 17], al
  mov word ptr [edx + 18], 0
  mov dword ptr [edx + 20], 0
  mov esp, ${AT.stack0}
  add dword ptr [result], ${RESULT_BYTES}
  add dword ptr [case], ${CASE_BYTES}
  jmp next
finish:
  mov esi, ${AT.results}
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
.balign 4
case: .long 0
result: .long 0
.balign 16
${stubs}
`;
  const { bytes, symbols } = assemble(text, { origin: IMAGE, bits: 32 });
  return { code: bytes, stubs: symbols };
}

/** The image of some cases. */
function image(cases: readonly LegacyCase[]): Uint8Array {
  const { code, stubs } = runner(cases.length);
  if (code.length > CASES_OFFSET) throw new Error(`the runner has ${code.length} bytes`);
  const out = new Uint8Array(CASES_OFFSET + cases.length * CASE_BYTES);
  out.set(code);
  const dv = new DataView(out.buffer);
  cases.forEach((c, n) => {
    const at = CASES_OFFSET + n * CASE_BYTES;
    const flags =
      (c.cpl === 3 ? FLAG.user : 0) | (c.nxe ? FLAG.nxe : 0) | (c.wp ? FLAG.wp : 0) | (c.ac ? FLAG.ac : 0);
    dv.setUint32(at, flags, true);
    dv.setUint32(at + 4, (c.cr4 ?? 0) | (c.pae ? CR4.PAE : 0), true);
    dv.setBigUint64(at + 8, c.pde | (c.large ? BigInt(AT.data) | 0x80n : BigInt(AT.table)), true);
    dv.setBigUint64(at + 16, c.large ? 0n : c.pte | BigInt(AT.data), true);
    dv.setUint32(at + 24, Number(stubs[`stub_${c.kind}`]), true);
  });
  return out;
}

/** A result in words: vector, error code, CR2, low bits of the two entries, AL, the byte at the page. */
function results(bytes: Uint8Array, count: number): string[] {
  if (bytes.length !== count * RESULT_BYTES) throw new Error(`${bytes.length} bytes of results`);
  const dv = new DataView(bytes.buffer, bytes.byteOffset);
  return Array.from({ length: count }, (_, n) => {
    const at = n * RESULT_BYTES;
    const vector = dv.getUint16(at, true);
    const code = vector === 14 ? ` ${dv.getUint16(at + 2, true).toString(16)}` : '';
    const entries = [8, 12].map((o) => (dv.getUint32(at + o, true) & 0xfff).toString(16));
    const moved = [16, 17].map((o) => dv.getUint8(at + o).toString(16));
    return `${vector}${code} ${dv.getUint32(at + 4, true).toString(16)} ${entries.join('.')} ${moved.join('.')}`;
  });
}

/** Results under QEMU's translator. */
export function legacyUnderQemu(cases: readonly LegacyCase[]): string[] {
  const ran = runQemuSystem({
    program: 'qemu-system-x86_64',
    kernel: image(cases),
    machine: 'pc,accel=tcg',
    cpu: `max,phys-bits=${PHYSICAL_BITS}`,
    memory: 64,
    args: ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'],
  });
  if (ran.stdout.length === 0) throw new Error(`QEMU printed nothing: ${ran.stderr}`);
  return results(ran.stdout, cases.length);
}

/** Results here. */
export function legacyHere(cases: readonly LegacyCase[]): string[] {
  const features = { smep: true, smap: true, nx: true, pse36: true };
  const arch = x86({ model: 'skylake', physicalBits: PHYSICAL_BITS, features });
  const vm = createVm({ arch, memslots: [{ gpa: 0n, size: 64n << 20n }] });
  try {
    vm.write(IMAGE, image(cases));
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

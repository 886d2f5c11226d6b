/**
 * All guest cases of events as one multiboot image for qemu-system-x86_64: for each, memory and registers as the case has
 * them, the program until INT FFh, and 1 KiB of what its handlers wrote down to the serial port.
 */
import { missing, runQemuSystem } from '@faultyard/testkit/oracle';
import { assemble } from '../../src/asm/assemble.ts';
import type { EventCase } from './event-script.ts';
import { memoryOf } from './event-script.ts';
import { VM } from './event-vm.ts';

const BASE = 0x10_0000;
/** Tables and stack of the runner itself, behind the image. */
const TABLES = 0x70_0000;
const STACK = 0x71_0000;
/** Bytes a case. */
const LOG_BYTES = 0x400;
const PROGRAM = 'qemu-system-x86_64';
const PAGE = 4096;
/** The program's end: vector FFh, whose stub jumps to `finish`. */
const END = VM.stubs + 0xff * 16;

/** Why QEMU cannot be asked, or undefined. */
export const missingQemu = (): string | undefined => missing(PROGRAM);

const RUNNER = `
.code32
multiboot:
  .long 0x1badb002, 0x10000, 0 - 0x1badb002 - 0x10000
  .long multiboot, multiboot, end, end, start
start:
  cli
  cld
  // no interrupts of the board
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  mov esp, ${STACK}
  mov edi, ${TABLES}
  mov ecx, 0xc00
  xor eax, eax
  rep stosd
  mov dword ptr [${TABLES}], ${TABLES + 0x1027}
  mov dword ptr [${TABLES + 0x1000}], ${TABLES + 0x2027}
  mov dword ptr [${TABLES + 0x2000}], 0xe7
  mov dword ptr [${TABLES + 0x2008}], 0x2000e7
  mov dword ptr [${TABLES + 0x2010}], 0x4000e7
  mov dword ptr [${TABLES + 0x2018}], 0x6000e7
  mov eax, 0x6a0
  mov cr4, eax
  mov eax, ${TABLES}
  mov cr3, eax
  mov ecx, 0xc0000080
  rdmsr
  or eax, 0x100
  wrmsr
  mov eax, 0x80050033
  mov cr0, eax
  lgdt [gdtr]
  ljmp 8, long64
gdtr: .word 0x37
  .long gdt
  .balign 8
gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
.code64
long64:
  mov qword ptr [case], cases
next:
  mov eax, ${TABLES}
  mov cr3, rax
  mov rsp, ${STACK}
  mov rsi, qword ptr [case]
  mov ebx, dword ptr [rsi]
  test ebx, ebx
  jz done
  mov edi, 0x1000
  mov ecx, ${(0x9f000 - 0x1000) / 8}
  xor eax, eax
  rep stosq
  add rsi, 8
chunk:
  mov edi, dword ptr [rsi]
  mov ecx, dword ptr [rsi + 4]
  add rsi, 8
  rep movsb
  dec ebx
  jnz chunk
  // INT FFh ends the case
  mov byte ptr [${END}], 0xb8
  mov dword ptr [${END + 1}], finish
  mov word ptr [${END + 5}], 0xe0ff
  lgdt [tables]
  lidt [tables + 10]
  mov byte ptr [${VM.gdt + 0x2d}], 0x89
  mov eax, 0x28
  ltr ax
  mov eax, 16
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov fs, eax
  mov gs, eax
  mov eax, ${VM.pages}
  mov cr3, rax
  mov ecx, 0xc0000080
  xor edx, edx
  mov eax, 0x500
  wrmsr
  mov eax, 0xffff0ff0
  mov dr6, rax
  mov rax, qword ptr [rsi]
  mov dr0, rax
  mov rax, qword ptr [rsi + 8]
  mov dr1, rax
  mov rax, qword ptr [rsi + 16]
  mov dr2, rax
  mov rax, qword ptr [rsi + 24]
  mov dr3, rax
  lea rax, [rsi + 40]
  mov qword ptr [case], rax
  mov rax, qword ptr [rsi + 32]
  mov rsp, ${VM.stack}
  push 2
  popfq
  mov dr7, rax
  xor eax, eax
  xor ebx, ebx
  xor ecx, ecx
  xor edx, edx
  xor esi, esi
  xor edi, edi
  push 2
  popfq
  jmp ${VM.code}
finish:
  xor eax, eax
  mov dr7, rax
  mov eax, ${TABLES}
  mov cr3, rax
  mov esi, ${VM.log}
  mov ecx, ${LOG_BYTES}
print:
  mov edx, 0x3fd
1: in al, dx
  test al, 0x20
  jz 1b
  mov edx, 0x3f8
  lodsb
  out dx, al
  dec ecx
  jnz print
  jmp next
done:
  // until the last byte has left
  mov edx, 0x3fd
1: in al, dx
  test al, 0x40
  jz 1b
  mov edx, 0xf4
  out dx, eax
  hlt
tables: .word 0x37
  .quad ${VM.gdt}
  .word 0xfff
  .quad ${VM.idt}
  .balign 8
case: .quad 0
cases:
`;

/** The record of a case: chunks of memory, DR0 to DR3, DR7. */
function record(c: EventCase): Uint8Array {
  const { memory, labels } = memoryOf(c);
  const chunks: (readonly [number, Uint8Array])[] = [];
  for (let at = 0; at < memory.length; at += PAGE) {
    const page = memory.subarray(at, at + PAGE);
    const last = page.findLastIndex((b) => b !== 0);
    if (last >= 0) chunks.push([at, page.subarray(0, last + 1)]);
  }
  const bytes = chunks.reduce((n, [, b]) => n + 8 + b.length, 8) + 40;
  const out = new Uint8Array((bytes + 7) & ~7);
  const v = new DataView(out.buffer);
  v.setUint32(0, chunks.length, true);
  let at = 8;
  for (const [where, b] of chunks) {
    v.setUint32(at, where, true);
    v.setUint32(at + 4, b.length, true);
    out.set(b, at + 8);
    at += 8 + b.length;
  }
  const regs = new Map([['dr7', 0x400n]]);
  for (const a of c.actions) {
    const [word, name = '', value = '0'] = a.split(' ');
    if (word !== 'set') continue;
    regs.set(
      name,
      value.startsWith('@') ? BigInt(labels.get(value.slice(1)) as number) : BigInt(`0x${value}`),
    );
  }
  for (const [i, r] of ['dr0', 'dr1', 'dr2', 'dr3', 'dr7'].entries())
    v.setBigUint64(at + 8 * i, regs.get(r) ?? 0n, true);
  // the next record follows directly
  return out.subarray(0, at + 40);
}

/** The image. */
function eventImage(cases: readonly EventCase[]): Uint8Array {
  const records = cases.map(record);
  const size = records.reduce((n, r) => n + r.length, 0) + 8;
  const runner = assemble(`${RUNNER}\n.skip ${size}\nend:\n`, { origin: BASE, bits: 32 });
  const out = runner.bytes.slice();
  let at = Number(runner.symbols['cases']) - BASE;
  for (const r of records) {
    out.set(r, at);
    at += r.length;
  }
  return out;
}

/** What the handlers saw in each case, as the log holds it. */
export function runEventImage(cases: readonly EventCase[], cpu: string): readonly Uint8Array[] {
  const ran = runQemuSystem({
    program: PROGRAM,
    kernel: eventImage(cases),
    machine: 'pc,accel=tcg',
    cpu,
    memory: 32,
    timeout: 20_000,
    args: ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'],
  });
  if (ran.stdout.length !== cases.length * LOG_BYTES)
    throw new Error(`QEMU printed ${ran.stdout.length} bytes, ${cases.length} cases: ${ran.stderr}`);
  return cases.map((_, i) => ran.stdout.slice(i * LOG_BYTES, (i + 1) * LOG_BYTES));
}

/** x86-64: the machine is a PC; guests start by multiboot 1 and end through the exit port at F4h. */
import { assemble, x86 } from '@faultyard/arch-x86';
import { type AnyPlugin, createVm, type Vcpu, type Vm } from '@faultyard/core';
import { bootMultiboot, pcBoard, pcMemory } from '@faultyard/vmm';
import { BLOCKS_PER_FUNCTION, FUNCTIONS, generator } from './cold.ts';
import { type Access, type GuestRun, type Subject, VALUE } from './subject.ts';

const LOAD = 0x10_0000;
/** Behind the loader's code: page tables and stack; cold code's list of calls and its functions. */
const TABLES = 0x18_0000;
const STACK = 0x19_0000;
const CALLS = 0x20_0000;
const CODE = 0x30_0000;
const DATA = 0x300_0000;
/** A hole in guest memory; on QEMU's `pc` the HPET, whose identification register at 0 ignores stores. */
const DEVICE = 0xfed0_0000;
/** The port of POST codes, which nobody reads. */
const PORT = 0x80;

/** A multiboot header with address fields, and code that begins in 32-bit protected mode. */
function kernel(code: string, size: number = 0): Uint8Array {
  const text = `.code32
    .long 0x1badb002, 0x10000, -0x1baeb002
    .long ${LOAD}, ${LOAD}, ${size ? LOAD + size : 0}, 0, ${LOAD + 0x20}
    ${code}`;
  return assemble(text, { origin: LOAD }).bytes;
}

/** From protected to long mode: identity map of the first GiB in 2 MiB pages, and of the device's GiB likewise. */
const LONG = `
    mov dword ptr [${TABLES}], ${TABLES + 0x1003}
    mov dword ptr [${TABLES + 0x1000}], ${TABLES + 0x2003}
    mov dword ptr [${TABLES + 0x1018}], ${TABLES + 0x3003}
    mov edi, ${TABLES + 0x2000}
    mov eax, 0x83
  1:
    mov [edi], eax
    lea edx, [eax + 0xc0000000]
    mov [edi + 0x1000], edx
    add eax, 0x200000
    add edi, 8
    cmp edi, ${TABLES + 0x3000}
    jne 1b
    mov eax, ${TABLES}
    mov cr3, eax
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000001
    mov cr0, eax
    lgdt [gdtr]
    jmp 8:long
  gdt:
    .quad 0, 0x00209a0000000000, 0x0000920000000000
  gdtr:
    .word 23
    .long gdt
    .code64
  long:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, ${STACK}`;

const OFF = `
    mov al, 0
    out 0xf4, al
  2:
    hlt
    jmp 2b`;

/** Calls every function in the list, twice. */
const CALLER = `${LONG}
    mov ebp, ${DATA}
    mov r15d, 2
  again:
    mov ebx, ${CALLS}
  next:
    mov eax, [rbx]
    add ebx, 4
    test eax, eax
    jz finished
    call rax
    jmp next
  finished:
    dec r15d
    jnz again
    ${OFF}`;

const line = (text: string): Uint8Array => assemble(text, { bits: 64 }).bytes;

/** Functions of eight blocks with short forward branches, and the list of calls. */
function coldImage(): Uint8Array {
  const random = generator();
  const wide = ['rax', 'rcx', 'rdx', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13'];
  const low = ['eax', 'ecx', 'edx', 'esi', 'edi', 'r8d', 'r9d', 'r10d', 'r11d', 'r12d', 'r13d'];
  const of = (list: readonly string[]): string => list[random(list.length)] as string;
  const work = Array.from({ length: 2000 }, () => {
    const kinds = [
      () => `add ${of(wide)}, ${of(wide)}`,
      () => `xor ${of(wide)}, ${of(wide)}`,
      () => `add ${of(wide)}, ${random(4096)}`,
      () => `sub ${of(wide)}, ${random(4096)}`,
      () => `add ${of(low)}, ${of(low)}`,
      () => `lea ${of(wide)}, [${of(wide)} + ${of(wide)}*4 + ${random(128)}]`,
      () => `mov ${of(wide)}, ${of(wide)}`,
      () => `mov ${of(low)}, ${random(65536)}`,
      () => `mov ${of(wide)}, [rbp + ${8 * random(512)}]`,
      () => `mov [rbp + ${8 * random(512)}], ${of(wide)}`,
    ];
    return line((kinds[random(kinds.length)] as () => string)());
  });
  const compare = Array.from({ length: 200 }, () => line(`cmp ${of(wide)}, ${of(wide)}`));
  const test = Array.from({ length: 64 }, () => line(`test ${of(low)}, ${1 << random(16)}`));
  /** Jcc with a displacement of 8 bits: e ne b ae a be ge l g le z nz. */
  const conditions = [0x74, 0x75, 0x72, 0x73, 0x77, 0x76, 0x7d, 0x7c, 0x7f, 0x7e];
  const RET = 0xc3;
  const JMP = 0xeb;

  const code: number[] = [];
  const starts: number[] = [];
  const pick = (list: readonly Uint8Array[]): Uint8Array => list[random(list.length)] as Uint8Array;
  for (let f = 0; f < FUNCTIONS; f++) {
    starts.push(CODE + code.length);
    const blocks: number[] = [];
    const branches: { readonly at: number; readonly block: number }[] = [];
    for (let block = 0; block < BLOCKS_PER_FUNCTION; block++) {
      blocks.push(code.length);
      for (let n = 3 + random(4); n > 0; n--) code.push(...pick(work));
      if (block === BLOCKS_PER_FUNCTION - 1) {
        code.push(RET);
        break;
      }
      const kind = random(4);
      if (kind < 2) code.push(...pick(compare));
      else if (kind === 2) code.push(...pick(test));
      const skip = Math.min(block + 2, BLOCKS_PER_FUNCTION - 1);
      const opcode = kind < 2 ? conditions[random(10)] : kind === 2 ? 0x74 : JMP;
      code.push(opcode as number, 0);
      branches.push({ at: code.length, block: kind === 3 ? block + 1 : skip });
    }
    for (const b of branches) code[b.at - 1] = (blocks[b.block] ?? 0) - b.at;
  }
  const bytes = new Uint8Array(CODE - LOAD + code.length);
  bytes.set(kernel(CALLER, bytes.length));
  new Int32Array(bytes.buffer, CALLS - LOAD, starts.length).set(starts);
  bytes.set(code, CODE - LOAD);
  return bytes;
}

function run(image: Uint8Array, clock: { now(): number }, plugins: readonly AnyPlugin[] = []): GuestRun {
  const vm = createVm({ arch: x86(), plugins, memslots: pcMemory(128 << 20) });
  const board = pcBoard(vm);
  const cpu = bootMultiboot(vm, image).vcpu;
  const started = clock.now();
  const end = vm.drive(board.handler as never);
  const ms = clock.now() - started;
  const result = { instructions: cpu.retired, ms, text: board.uart.text };
  vm.dispose();
  if (end.exit.kind !== 'io') throw new Error(`the guest ended with ${end.exit.kind}: ${end.why}`);
  return result;
}

const operation = (a: Access): string =>
  a.exit === 'io' ? (a.write ? 'out dx, eax' : 'in eax, dx') : a.write ? 'mov [rbx], eax' : 'mov eax, [rbx]';

function device(access: Access, paging: boolean): { vm: Vm; cpu: Vcpu } {
  const vm = createVm({ arch: x86(), memslots: pcMemory(4 << 20) });
  const text = operation(access).replace('rbx', paging ? 'rbx' : 'ebx');
  const image = kernel(`${paging ? LONG : ''}
    mov eax, ${VALUE}
    mov ebx, ${DEVICE}
    mov edx, ${PORT}
    jmp 1f
    .align 64
  1:
    ${text}
    jmp 1b`);
  return { vm: vm as Vm, cpu: bootMultiboot(vm as Vm, image).vcpu };
}

/** The subject. */
export const x86Subject: Subject = {
  name: 'x86-64',
  tag: 'x86',
  qemu: {
    binary: 'qemu-system-x86_64',
    arguments: (image) =>
      `-M pc -m 128 -accel tcg -display none -serial stdio -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=1 -kernel ${image}`.split(
        ' ',
      ),
  },
  off: () => kernel(OFF),
  run,
  cold: coldImage,
  wanted: { ratio: 0.2 },
  accesses: [
    { name: 'device store', exit: 'mmio', write: true, wanted: 5, loop: 2, at: DEVICE, size: 4096 },
    { name: 'device load', exit: 'mmio', write: false, wanted: 3, loop: 2, at: DEVICE, size: 4096 },
    { name: 'out', exit: 'io', write: true, wanted: 5, loop: 2, at: PORT, size: 4 },
    { name: 'in', exit: 'io', write: false, wanted: 3, loop: 2, at: PORT, size: 4 },
  ],
  device,
  theirDevice: (access, count) => ({
    name: access.exit === 'io' ? 'port 80h' : 'HPET register',
    image: kernel(`${LONG}
    mov ebx, ${DEVICE}
    mov edx, ${PORT}
    mov ecx, ${count}
  1:
    ${operation(access)}
    dec ecx
    jnz 1b
    ${OFF}`),
  }),
};

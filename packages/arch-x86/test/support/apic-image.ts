/**
 * A bare-metal guest of several CPUs in long mode that tries out interrupt controllers: it starts the others by INIT and
 * SIPI, sends every kind of IPI, takes timer interrupts of the local APIC and the 8254 through 8259 and I/O APIC, and moves
 * to x2APIC mode. Every handler writes its vector into a log of its CPU; what the boot CPU collects of logs and registers is
 * the result: it does not depend on real time.
 */
import { assemble } from '../../src/asm/assemble.ts';

/** Where things lie. */
export const APIC_IMAGE = { image: 0x10_0000, results: 0x80_0000 } as const;
const PML4 = 0x7_0000;
const IDT = 0x7_6000;
const STACKS = 0x4_0000;
const LOGS = 0x5_0000;
/** Doublewords written to the results, and CPUs that were started. */
const COUNT = 0x5_f000;
const STARTED = 0x5_f008;
/** Pages where CPUs begin, by SIPI vector. */
const ENTRY = [0x8000, 0x9000] as const;
/** Offsets in a log: how many entries, the first; whether #GP came; whether its CPU is in x2APIC mode. */
const LOG = { first: 4, fault: 0xff0, x2: 0xff8 } as const;

/** Who runs it: what differs there is left out, or asked only there. */
export type ApicHost = 'kvm' | 'qemu';

const WITH_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21, 29, 30]);
const reg = (n: number): string => `dword ptr [rbx + ${n}]`;
const put = (n: number, v: number): string => `  mov ${reg(n)}, ${v | 0}\n`;
const get = (n: number): string => `  mov eax, ${reg(n)}\n  call emit\n`;
/** Sends an IPI by ICR, with a destination in ICR2. */
const ipi = (icr: number, to = 0): string => put(0x310, to << 24) + put(0x300, icr);
const SELF = 0x4_0000;
const ALL = 0x8_0000;
const OTHERS = 0xc_0000;
/**
 * Lets interrupts in until the boot CPU's log has so many entries. By HLT, for not every KVM looks at STI before the next
 * exit.
 */
const take = (n: number): string => `  mov esi, ${n}\n  call take\n`;
/** Puts a CPU's log into the results, and empties it. */
const log = (cpu: number): string => `  mov edi, ${LOGS + 0x1000 * cpu}\n  call emitlog\n`;
/** Waits until a CPU's log has so many entries. */
const wait = (cpu: number, n: number): string =>
  `  mov edi, ${LOGS + 0x1000 * cpu}\n  mov esi, ${n}\n  call waitlog\n`;
const rdmsr = (n: number): string => `  mov ecx, ${n}\n  call tryrdmsr\n`;
const wrmsr = (n: number, lo: number, hi = 0): string =>
  `  mov ecx, ${n}\n  mov eax, ${lo | 0}\n  mov edx, ${hi | 0}\n  call trywrmsr\n`;
const io = (register: number, v: number): string =>
  `  mov edx, 0xfec00000\n  mov dword ptr [rdx], ${register}\n  mov dword ptr [rdx + 16], ${v | 0}\n`;
const ioGet = (register: number): string =>
  `  mov edx, 0xfec00000\n  mov dword ptr [rdx], ${register}\n  mov eax, dword ptr [rdx + 16]\n  call emit\n`;
const out = (port: number, v: number): string => `  mov al, ${v}\n  mov dx, ${port}\n  out dx, al\n`;
const mark = (n: number): string => `  mov eax, ${0xa000_0000 | n}\n  call emit\n`;
const sleep = '  sti\n  hlt\n  cli\n';

/** One CPU: priorities and timers. */
function alone(host: ApicHost): string {
  const irqs = host === 'kvm' ? [0x10] : [0x14];
  return `
${mark(1)}
${[0x31, 0x41, 0x51, 0x42].map((v) => ipi(SELF | v)).join('')}
${get(0x210) + get(0x220) + take(4) + get(0x210) + log(0)}
${mark(2)}
${put(0x80, 0x40)}
${[0x31, 0x45, 0x51].map((v) => ipi(SELF | v)).join('')}
${take(1) + get(0xa0) + get(0x220) + log(0)}
${put(0x80, 0x30) + take(1) + log(0)}
  mov eax, 2
  mov cr8, rax
${get(0x80)}
${put(0x80, 0x57)}
  mov rax, cr8
  call emit
${put(0x80, 0) + take(1) + log(0)}
${mark(3)}
${ipi(SELF | 0x60) + take(4) + get(0x110) + log(0)}
${mark(4)}
${put(0x3e0, 0xb) + put(0x320, 0x40) + put(0x380, 100_000)}
${sleep + get(0x390) + log(0)}
${put(0x320, 0x2_0041) + put(0x380, 10_000_000)}
${sleep + sleep + sleep + put(0x320, 0x3_0041) + log(0)}
${put(0x380, 0)}
${mark(5)}
${out(0x20, 0x11) + out(0x21, 0x20) + out(0x21, 4) + out(0x21, 1)}
${out(0xa0, 0x11) + out(0xa1, 0x28) + out(0xa1, 2) + out(0xa1, 1)}
${out(0x21, 0xfe) + out(0xa1, 0xff) + put(0x350, 0x700)}
${out(0x43, 0x30) + out(0x40, 0) + out(0x40, 8)}
${sleep + log(0)}
${out(0x43, 0x34) + out(0x40, 0x9c) + out(0x40, 0x2e)}
${sleep + sleep + sleep + out(0x21, 0xff) + log(0)}
  in al, 0x21
  movzx eax, al
  call emit
${put(0x350, 0x1_0000)}
${mark(6)}
${irqs.map((r) => io(r + 1, 0) + io(r, 0x50)).join('')}
${out(0x43, 0x30) + out(0x40, 0) + out(0x40, 8)}
${sleep + log(0)}
${irqs.map((r) => ioGet(r) + io(r, 0x1_0050) + ioGet(r)).join('')}
${host === 'kvm' ? ioGet(1) : ''}`;
}

/** Vectors sent by lowest priority. */
const LOWEST = [0x70, 0x71, 0x72, 0x73] as const;

/** Waits until every CPU has the ones that hash to it. */
function lowestTaken(cpus: number): string {
  const of = (n: number): number => LOWEST.filter((v) => v % cpus === n).length;
  const others = Array.from({ length: cpus - 1 }, (_, n) => wait(n + 1, of(n + 1))).join('');
  return others + take(of(0));
}

/** The others start; IPIs of every kind. */
function together(host: ApicHost, cpus: number): string {
  const others = Array.from({ length: cpus - 1 }, (_, n) => n + 1);
  const all = [0, ...others];
  const logs = all.map(log).join('');
  // started CPUs write that they were
  return `
${mark(16)}
${ipi(OTHERS | 0xc500)}
  call delay
${ipi(OTHERS | 0x8500)}
  call delay
${ipi(OTHERS | 0x4608) + others.map((n) => wait(n, 1)).join('')}
  call delay
${ipi(OTHERS | 0x4608)}
  call delay
  mov eax, dword ptr [${STARTED}]
  call emit
${logs}
${mark(17)}
${others.map((n) => ipi(0x4061, n) + wait(n, 1)).join('') + logs}
${mark(18)}
${ipi(0x4862, (1 << cpus) - 1) + others.map((n) => wait(n, 1)).join('') + take(1) + logs}
${mark(19)}
${ipi(ALL | 0x4063) + others.map((n) => wait(n, 1)).join('') + take(1) + logs}
${ipi(OTHERS | 0x4064) + others.map((n) => wait(n, 1)).join('') + logs}
${ipi(0x4065, 0xff) + others.map((n) => wait(n, 1)).join('') + take(1) + logs}
${mark(20)}
${ipi(0x4400, 1) + wait(1, 1) + logs}
${mark(21)}
${host === 'kvm' ? LOWEST.map((v) => ipi(0x4900 | v, (1 << cpus) - 1)).join('') : ''}
${host === 'kvm' ? lowestTaken(cpus) : ''}
${logs}
${mark(22)}
${ipi(0xc500, 1)}
  call delay
${ipi(0x4061, 1)}
  call delay
${log(1) + ipi(0x4609, 1) + wait(1, 1)}
  call delay
${ipi(0x4066, 1) + wait(1, 2) + log(1)}`;
}

/** Registers of KVM's local APIC: what writes leave, and x2APIC mode. */
const KVM_ONLY = `
${mark(32)}
${[0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x3e0, 0xd0, 0xe0, 0x310, 0xf0]
  .map((r) => put(r, -1) + get(r))
  .join('')}
${put(0xf0, 0x1ff) + put(0xe0, -1) + put(0xd0, 0x0100_0000) + get(0x30) + get(0x20) + get(0x280)}
${put(0xf0, 0xff) + [0x320, 0x350].map((r) => put(r, 0x20) + get(r)).join('') + put(0xf0, 0x1ff)}
${put(0x320, 0x1_0000) + put(0x3e0, 0xb)}
${mark(33)}
${wrmsr(0x1b, 0xfee0_0500) + wrmsr(0x1b, 0xfee0_0d01) + rdmsr(0x802)}
${wrmsr(0x1b, 0xfee0_0d00)}
  mov dword ptr [${LOGS + LOG.x2}], 1
${rdmsr(0x1b) + rdmsr(0x802) + rdmsr(0x803) + rdmsr(0x80d) + rdmsr(0x80e) + rdmsr(0x831) + rdmsr(0x80b)}
${wrmsr(0x83f, 0x45) + take(1) + log(0) + wrmsr(0x83f, 0x145)}
${wrmsr(0x830, 0x10_0045) + wrmsr(0x830, 0x4_0046) + take(1) + log(0) + rdmsr(0x830)}
${wrmsr(0x808, 0x50) + rdmsr(0x808) + rdmsr(0x80a) + wrmsr(0x808, 0) + wrmsr(0x808, 0, 1) + wrmsr(0x80d, 1)}
${wrmsr(0x828, 0) + wrmsr(0x828, 1) + wrmsr(0x82f, 1) + rdmsr(0x82f) + rdmsr(0x810) + rdmsr(0x840)}
${get(0x20)}
${wrmsr(0x832, 0x4_0043)}
  rdtsc
  shl rdx, 32
  or rax, rdx
  add rax, 1000000
  mov rdx, rax
  shr rdx, 32
  mov ecx, 0x6e0
  wrmsr
${sleep + log(0) + rdmsr(0x6e0)}
${wrmsr(0x832, 0x1_0000) + wrmsr(0x1b, 0xfee0_0900) + wrmsr(0x1b, 0xfee0_0100) + rdmsr(0x808)}
${wrmsr(0x1b, 0xfee0_0d00) + wrmsr(0x1b, 0xfee0_0900)}
  mov dword ptr [${LOGS + LOG.x2}], 0
${get(0x20) + put(0xf0, 0x1ff)}`;

/** All CPUs in x2APIC mode: IPIs by ICR's 64 bits. */
function together2(cpus: number): string {
  const others = Array.from({ length: cpus - 1 }, (_, n) => n + 1);
  const waits = others.map((n) => wait(n, 1)).join('');
  const logs = [0, ...others].map(log).join('');
  const icr = (lo: number, hi = 0): string => wrmsr(0x830, lo, hi);
  return `
${mark(34)}
${others.map((n) => ipi(0x4077, n) + wait(n, 1)).join('')}
  call delay
${logs + wrmsr(0x1b, 0xfee0_0d00)}
  mov dword ptr [${LOGS + LOG.x2}], 1
${others.map((n) => icr(0x61, n) + wait(n, 1)).join('') + logs}
${icr(0x862, (1 << cpus) - 1) + waits + take(1) + logs}
${icr(0x63, -1) + waits + take(1) + logs + icr(0x64 | OTHERS) + waits + logs}
${icr(0x65, 0xff) + icr(0x866, 0x1_0001)}
  call delay
${logs + icr(0x400, 1) + wait(1, 1) + logs}
${LOWEST.map((v) => icr(0x900 | v, (1 << cpus) - 1)).join('') + lowestTaken(cpus) + logs}`;
}

/** Where a CPU begins: in real mode, at a page. Its DI says which page. */
function entry(at: number, n: number, ap: number, gdt: number): Uint8Array {
  const text = `
.code16
  cli
  xor ax, ax
  mov ds, ax
  mov di, ${n}
  lgdt [table]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  .byte 0x66, 0xea
  .long ${ap}
  .word 0x18
  .balign 4
table: .word 0x1f
  .long ${gdt}
`;
  return assemble(text, { origin: at, bits: 16 }).bytes;
}

function program(host: ApicHost, cpus: number, entries: readonly Uint8Array[]): string {
  const stubs = Array.from(
    { length: 256 },
    (_, v) =>
      `  .balign 16\n${WITH_CODE.has(v) ? '' : '  push 0\n'}  push ${v > 127 ? v - 256 : v}\n  jmp common`,
  ).join('\n');
  const bytes = (b: Uint8Array): string => `.byte ${[...b].join(', ')}`;
  return `
.code32
multiboot:
  .long 0x1badb002, 0x10000, 0 - 0x1badb002 - 0x10000
  .long multiboot, multiboot, 0, 0, start
start:
  cli
  cld
  mov edi, ${COUNT}
  xor eax, eax
  mov ecx, 8
  rep stosd
  mov edi, ${LOGS}
  mov ecx, ${0x8000 / 4}
  rep stosd
${entries.map((b, n) => `  mov esi, entry${n}\n  mov edi, ${ENTRY[n]}\n  mov ecx, ${b.length}\n  rep movsb`).join('\n')}
  // 4 GiB in pages of 2 MiB, to themselves
  mov edi, ${PML4}
  xor eax, eax
  mov ecx, ${0x6000 / 4}
  rep stosd
  mov dword ptr [${PML4}], ${PML4 + 0x1003}
${[0, 1, 2, 3].map((n) => `  mov dword ptr [${PML4 + 0x1000 + 8 * n}], ${PML4 + 0x2003 + 0x1000 * n}`).join('\n')}
  mov edi, ${PML4 + 0x2000}
  mov eax, 0x83
  mov ecx, 2048
1: mov dword ptr [edi], eax
  add edi, 8
  add eax, 0x200000
  dec ecx
  jnz 1b
  // interrupt gates
  mov edi, ${IDT}
  mov eax, stubs
  mov ecx, 256
2: mov edx, eax
  and edx, 0xffff
  or edx, 0x80000
  mov dword ptr [edi], edx
  mov edx, eax
  mov dx, 0x8e00
  mov dword ptr [edi + 4], edx
  mov dword ptr [edi + 8], 0
  mov dword ptr [edi + 12], 0
  add edi, 16
  add eax, 16
  dec ecx
  jnz 2b
  lgdt [gdtr]
  mov ebp, boot
  jmp enter
ap:
  mov ax, 0x10
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov ebp, started
enter:
  mov eax, 0x20
  mov cr4, eax
  mov eax, ${PML4}
  mov cr3, eax
  mov ecx, 0xc0000080
  rdmsr
  or eax, 0x100
  wrmsr
  mov eax, 0x80000011
  mov cr0, eax
  .byte 0xea
  .long long
  .word 8
  .balign 8
gdt: .quad 0, 0x00209b0000000000, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdtr: .word 0x1f
  .long gdt
idtr: .word 0xfff
  .quad ${IDT}
.code64
long:
  mov eax, 0x10
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov ebp, ebp
  mov ebx, 0xfee00000
  mov eax, dword ptr [rbx + 0x20]
  shr eax, 24
  lea esp, [rax + 1]
  shl esp, 13
  add esp, ${STACKS}
  lidt [idtr]
${put(0xf0, 0x1ff) + put(0xe0, -1)}
  lea ecx, [rax + 24]
  mov edx, 1
  shl edx, cl
  mov dword ptr [rbx + 0xd0], edx
  jmp rbp
started: // EDI: which entry
  movzx edi, di
  shl eax, 12
  add eax, ${LOGS}
  add edi, 0x90
  mov ecx, dword ptr [rax]
  mov byte ptr [rax + rcx + 4], dil
  lock inc dword ptr [${STARTED}]
  inc dword ptr [rax]
1: sti
  hlt
  jmp 1b
boot:
${out(0x21, 0xff) + out(0xa1, 0xff) + put(0x320, 0x1_0000) + put(0x350, 0x1_0000) + put(0x360, 0x1_0000)}
${put(0x80, 0)}
${alone(host)}
${cpus > 1 ? together(host, cpus) : ''}
${host === 'kvm' ? KVM_ONLY : ''}
${host === 'kvm' && cpus > 1 ? together2(cpus) : ''}
  mov ecx, dword ptr [${COUNT}]
  shl ecx, 2
  mov dword ptr [${APIC_IMAGE.results}], ecx
  add ecx, 4
  mov esi, ${APIC_IMAGE.results}
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
3: cli
  hlt
  jmp 3b

emit: // EAX to the results
  push rcx
  mov ecx, dword ptr [${COUNT}]
  mov dword ptr [rcx * 4 + ${APIC_IMAGE.results + 4}], eax
  inc dword ptr [${COUNT}]
  pop rcx
  ret
emitlog: // the log at RDI
  mov ecx, dword ptr [rdi]
  mov eax, ecx
  or eax, 0xee000000
  call emit
  xor esi, esi
1: cmp esi, ecx
  jae 2f
  movzx eax, byte ptr [rdi + rsi + ${LOG.first}]
  call emit
  inc esi
  jmp 1b
2: mov dword ptr [rdi], 0
  ret
waitlog: // until the log at RDI has ESI entries
  mov ecx, 200000000
1: cmp dword ptr [rdi], esi
  jae 2f
  pause
  dec ecx
  jnz 1b
  mov eax, 0xdead0000
  call emit
2: ret
take: // sleeps until the log of the boot CPU has ESI entries
  mov edi, ${LOGS}
1: cmp dword ptr [rdi], esi
  jae 2f
  sti
  hlt
  cli
  jmp 1b
2: ret
delay:
  mov ecx, 60000
1: pause
  dec ecx
  jnz 1b
  ret
tryrdmsr: // ECX: its value, or that it is refused
  mov dword ptr [${LOGS + LOG.fault}], 0
  xor eax, eax
  xor edx, edx
  rdmsr
  call emit
  mov eax, edx
  call emit
  jmp tried
trywrmsr:
  mov dword ptr [${LOGS + LOG.fault}], 0
  wrmsr
tried:
  mov eax, dword ptr [${LOGS + LOG.fault}]
  add eax, 0xcc000000
  call emit
  ret
common: // on the stack: vector, error code, RIP
  push rax
  push rcx
  push rdx
  push r15
  mov r15, rsp
  sub r15, ${STACKS + 1}
  shr r15, 13
  shl r15, 12
  add r15, ${LOGS}
  mov al, byte ptr [rsp + 32]
  cmp al, 13
  je fault
  mov ecx, dword ptr [r15]
  mov byte ptr [r15 + rcx + ${LOG.first}], al
  inc dword ptr [r15]
  cmp al, 32
  jb done
  cmp al, 0xff
  je done
  cmp al, 0x30
  jb pic
  cmp al, 0x77
  je switch
  cmp al, 0x60
  jne eoi
  mov edx, 0xfee00300
  mov dword ptr [rdx], ${SELF | 0x55}
  mov dword ptr [rdx], ${SELF | 0x71}
  mov ecx, dword ptr [r15]
1: sti
  hlt
  cli
  cmp dword ptr [r15], ecx
  je 1b
  mov ecx, dword ptr [r15]
  mov byte ptr [r15 + rcx + ${LOG.first}], 0xfe
  inc dword ptr [r15]
eoi:
  cmp dword ptr [r15 + ${LOG.x2}], 0
  jne 3f
  mov edx, 0xfee000b0
  mov dword ptr [rdx], 0
  jmp done
3: mov ecx, 0x80b
  xor eax, eax
  xor edx, edx
  wrmsr
done:
  pop r15
  pop rdx
  pop rcx
  pop rax
  add rsp, 16
  iretq
switch: // to x2APIC mode
  mov edx, 0xfee000b0
  mov dword ptr [rdx], 0
  mov ecx, 0x1b
  rdmsr
  or eax, 0x400
  wrmsr
  mov dword ptr [r15 + ${LOG.x2}], 1
  jmp done
pic:
  mov al, 0x20
  out 0x20, al
  jmp done
fault: // RDMSR and WRMSR have 2 bytes
  mov dword ptr [r15 + ${LOG.fault}], 1
  add qword ptr [rsp + 48], 2
  jmp done
${entries.map((b, n) => `entry${n}: ${bytes(b)}`).join('\n')}
  .balign 16
stubs:
${stubs}
`;
}

/** Assembles the image for a number of CPUs (1 to 8). */
export function apicImage(host: ApicHost, cpus: number): Uint8Array {
  const build = (ap: number, gdt: number): ReturnType<typeof assemble> => {
    const entries = ENTRY.map((at, n) => entry(at, n, ap, gdt));
    return assemble(program(host, cpus, entries), { origin: APIC_IMAGE.image, bits: 32 });
  };
  const { symbols } = build(0, 0);
  return build(Number(symbols['ap']), Number(symbols['gdt'])).bytes;
}

/** Results as doublewords, in hexadecimal, by phase. */
export function phases(results: Uint8Array): Readonly<Record<string, string>> {
  const out: Record<string, string> = {};
  const dv = new DataView(results.buffer, results.byteOffset, results.byteLength);
  let phase = 'none';
  for (let at = 0; at + 4 <= results.length; at += 4) {
    const v = dv.getUint32(at, true);
    if (v >>> 16 === 0xa000) phase = `phase ${v & 0xffff}`;
    else out[phase] = `${out[phase] ?? ''} ${v.toString(16)}`.trim();
  }
  return out;
}

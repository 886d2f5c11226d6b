/** The guest's program: it sets itself up, says that it is ready, does the work of its kind, and reports its end. */
import { CMCI_EN, McaMsr } from '../../bits.ts';
import { APIC, AREA, AT, CMCI_VECTOR, SELECTOR } from './layout.ts';
import { machineCheckCode } from './machine-check.ts';
import type { GuestSetup } from './setup.ts';
import { note, rdmsr, say, stopSaying, wrmsr } from './text.ts';

/** Bank that errors go to. */
const BANK = 9;
const AUTH = 0x6874_7541;

/** RDI is the vCPU's own memory, RSI its TSS selector. */
function start(s: GuestSetup): string {
  return `
start:
    mov r15, rdi
    lgdt [${AT.pointers}]
    lidt [${AT.pointers + 16}]
    mov byte ptr [rsi+${AT.gdt + 5}], 0x89
    ltr si
    lea rsp, [r15+${AREA.stack}]
    xor eax, eax
    xor ecx, ecx
    cpuid
    xor eax, eax
    cmp ebx, ${AUTH}
    sete al
    mov [r15+${AREA.amd}], rax
    mov eax, 0x80000007
    xor ecx, ecx
    cpuid
    mov [r15+${AREA.recovery}], ebx
    mov rax, cr4
    ${s.cr4mce ? 'or rax, 0x40' : 'and rax, ~0x40'}
    mov cr4, rax
    ${s.lmce ? wrmsr(McaMsr.MCG_EXT_CTL, 1n) : ''}
    ${s.mcgCtl === undefined ? '' : wrmsr(McaMsr.MCG_CTL, s.mcgCtl)}
    ${s.mcCtl === undefined ? '' : wrmsr(McaMsr.MC0_CTL + 4 * BANK, s.mcCtl)}`;
}

const spin = `
    mov ecx, 200
1:  dec ecx
    jnz 1b`;

/** An access of the probe: it counts as done if no #GP came. */
function probing(access: string, told: string): string {
  return `
    mov qword ptr [r15+${AREA.fault}], 0
    ${access}
    cmp qword ptr [r15+${AREA.fault}], 0
    jne 1f
    ${told}
1:`;
}
function probe(s: GuestSetup): string {
  const { write, read } = s;
  return [
    s.hwcr === undefined ? '' : wrmsr(McaMsr.HWCR, s.hwcr),
    s.featCtl === undefined ? '' : wrmsr(McaMsr.FEAT_CTL, s.featCtl),
    write ? probing(wrmsr(write.msr, write.value), `mov ecx, ecx\n${note('wrote', 'rcx')}`) : '',
    read === undefined ? '' : probing(rdmsr(read), `mov ecx, ecx\n${note('read', 'rcx', 'rax')}`),
  ].join('\n');
}

/** What the main program does between `ready` and its end. */
function work(s: GuestSetup): string {
  const again = s.second ? `${say('again')}${spin}` : '';
  switch (s.kind) {
    case 'destat':
    case 'fixed':
      return `call poll${again}`;
    case 'idle':
      return `${again}\n    hlt`;
    case 'cmci':
      return 'sti\n    hlt\n    cli';
    case 'probe':
      return probe(s);
    default:
      return `${spin}
    ${s.touch === undefined ? '' : `mov rax, [${s.touch}]`}
    ${again}
    ${spin}`;
  }
}

function prologue(s: GuestSetup): string {
  switch (s.kind) {
    case 'destat':
    case 'fixed':
      // as Linux does when it brings a CPU up
      return 'call poll';
    case 'cmci':
      return `
    ${wrmsr(McaMsr.MC0_CTL2 + BANK, s.ctl2 ? CMCI_EN : 0n)}
    mov eax, ${APIC}
    mov dword ptr [rax+0xf0], 0x1ff
    mov dword ptr [rax+0x2f0], ${CMCI_VECTOR | (s.masked ? 1 << 16 : 0)}`;
    default:
      return '';
  }
}

/** Into user mode with IOPL 3, so that it can say where it is. */
const toUser = `
    push ${SELECTOR.userData}
    lea rax, [r15+${AREA.userStack}]
    push rax
    push 0x3002
    push ${SELECTOR.userCode}
    lea rax, [rip+main]
    push rax
    iretq`;

const exceptions = `
protection:
    push rax
    push rbx
    push rdx
    push r13
    mov rax, [rsp+40]
    mov rbx, [rsp+48]
    and ebx, 3
    movzx edx, word ptr [rax]
    mov ecx, ecx
    ${note('trap', 13, 'rax', 'rbx', 'rcx', 'rdx')}
    mov rbx, [rsp+32]
    mov [r13+56], rbx
    cmp edx, 0x300f
    je 1f
    cmp edx, 0x320f
    jne stray
1:  lea rbx, [rip+mc_begin]
    cmp rax, rbx
    jb 1f
    lea rbx, [rip+mc_end]
    cmp rax, rbx
    jae 1f
    ${note('panic')}
    ${stopSaying('panic')}
1:  mov qword ptr [r15+${AREA.fault}], 1
    add qword ptr [rsp+40], 2
    pop r13
    pop rdx
    pop rbx
    pop rax
    add rsp, 8
    iretq
double_fault:
    pop rbx
    pop rax
    ${note('trap', 8, 'rax', 0, 'rcx', 0)}
stray:
    ${stopSaying('stray')}
nmi:
    iretq
cmci:
    push rax
    push r13
    ${note('irq', CMCI_VECTOR)}
    mov eax, ${APIC}
    mov dword ptr [rax+0xb0], 0
    pop r13
    pop rax
    iretq`;

/** The whole program. */
export function program(s: GuestSetup): string {
  return `${start(s)}
    ${prologue(s)}
    ${s.cpl === 3 ? toUser : ''}
main:
    ${say('ready')}
    ${work(s)}
others:
    ${s.kind === 'probe' ? '' : note('end')}
    ${stopSaying('end')}
${exceptions}
${machineCheckCode(s)}`;
}

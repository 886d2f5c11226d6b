/**
 * Machine-check code of the guest: the poller of Linux 6.19.0 in miniature, with its write of MCA_DESTAT or without, and a
 * #MC handler that grades as Linux does (arch/x86/kernel/cpu/mce/severity.c).
 */
import { McaMsr, SmcaRegister } from '../../bits.ts';
import { AREA, SELECTOR } from './layout.ts';
import type { GuestSetup } from './setup.ts';
import { banks, note, rdmsr, readBank, stopSaying, wrmsr } from './text.ts';

/** Looks at every bank, writes down what it holds, and clears it: MCA_DESTAT of a deferred error first, then STATUS. */
function poller(s: GuestSetup): string {
  const destat = `
    bt r8, 44
    jnc poll_status
    cmp qword ptr [r15+${AREA.amd}], 1
    jne poll_status
    mov ecx, edi
    shl ecx, 4
    add ecx, ${McaMsr.SMCA + SmcaRegister.DESTAT}
    ${wrmsr(undefined, 0n)}
    mov r11d, 1`;
  return `
poll:
    ${rdmsr(McaMsr.MCG_STATUS)}
    ${banks(
      'poll',
      `bt r8, 63
    jnc poll_next
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    bt r8, 58
    jnc 1f
    ${readBank(2, 'r9')}
1:  bt r8, 59
    jnc 1f
    ${readBank(3, 'r10')}
1:  ${note('poll', 'rdi', 'r8', 'r9', 'r10')}
    ${s.kind === 'destat' ? destat : ''}
poll_status:
    lea ecx, [rdi*4+${McaMsr.MC0_STATUS}]
    ${wrmsr(undefined, 0n)}
    ${note('cleared', 'rdi', 'r11')}`,
    )}
    ret`;
}

/** Registers that the handler saves; RIP is behind them. */
const SAVED = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
] as const;
const RIP = 8 * SAVED.length;

/** Worst of the banks: nothing, dealt with, the interrupted program's end, the system's. */
const WORST = { none: 0, handled: 1, kill: 2, panic: 3 } as const;

/** Grades the bank in EDI, STATUS in R8, MCG_STATUS in R12, CPL in RBX. R11 is the worst so far, R10 what was handled. */
function grade(): string {
  const on = (bit: number, to: string): string => `bt r8, ${bit}\n    jc ${to}`;
  const off = (bit: number, to: string): string => `bt r8, ${bit}\n    jnc ${to}`;
  return `
    ${on(57, 'mc_panic')}
    cmp qword ptr [r15+${AREA.amd}], 1
    jne mc_intel
    ${on(44, 'mc_handled')}
    ${off(61, 'mc_next')}
    ${off(62, '1f')}
    test qword ptr [r15+${AREA.recovery}], 1
    jz mc_panic
1:  test qword ptr [r15+${AREA.recovery}], 2
    jz mc_panic
    jmp mc_required
mc_intel:
    ${off(60, 'mc_next')}
    test r12d, 4
    jz mc_panic
    test r12d, 3
    jz mc_panic
    test ebx, ebx
    jnz 1f
    test r12d, 1
    jz mc_panic
1:  mov eax, r8d
    and eax, 0xefff
    ${on(55, '1f')}
    mov edx, eax
    and edx, 0xfff0
    cmp edx, 0xc0
    je mc_handled
    cmp eax, 0x17a
    je mc_handled
    ${off(56, 'mc_next')}
    jmp mc_handled
1:  ${on(56, '1f')}
    ${off(62, 'mc_panic')}
    jmp mc_next
1:  ${on(62, 'mc_panic')}
    ${off(59, 'mc_panic')}
    ${off(58, 'mc_panic')}
    test r12d, 2
    jz mc_next
    cmp eax, 0x134
    je mc_required
    cmp eax, 0x150
    jne mc_panic
mc_required:
    test ebx, ebx
    jz mc_panic
    mov r11d, ${WORST.kill}
    bts r10, rdi
    jmp mc_next
mc_handled:
    bts r10, rdi
    cmp r11d, ${WORST.handled}
    jae mc_next
    mov r11d, ${WORST.handled}`;
}

/** What the handler does after it wrote the machine check down. */
function handling(s: GuestSetup): string {
  const done = wrmsr(McaMsr.MCG_STATUS, 0n);
  if (s.kind === 'holds') return stopSaying('holds');
  if (s.kind !== 'handler') return `${done}\n    jmp mc_return`;
  return `
    xor r10d, r10d
    xor r11d, r11d
    ${banks(
      'mc',
      `bt r8, 63
    jnc mc_next
    bt r8, ${s.scan === 'S' ? 56 : 61}
    jnc mc_next
    ${grade()}`,
    )}
    test r12d, 1
    jnz 1f
    test ebx, ebx
    jz mc_panic
    mov r11d, ${WORST.kill}
1:  ${banks(
    'clear',
    `bt r10, rdi
    jnc clear_next
    lea ecx, [rdi*4+${McaMsr.MC0_STATUS}]
    ${wrmsr(undefined, 0n)}`,
  )}
    ${done}
    cmp r11d, ${WORST.kill}
    jne mc_return
    ${note('kill')}
    lea rax, [rip+others]
    mov [rsp+${RIP}], rax
    mov qword ptr [rsp+${RIP + 8}], ${SELECTOR.code}
    mov qword ptr [rsp+${RIP + 16}], 2
    lea rax, [r15+${AREA.stack}]
    mov [rsp+${RIP + 24}], rax
    mov qword ptr [rsp+${RIP + 32}], ${SELECTOR.data}
    jmp mc_return
mc_panic:
    ${note('panic')}
    ${stopSaying('panic')}`;
}

/** Poller and handler; their code is from `mc_begin` to `mc_end`, where a fault of WRMSR is fatal. */
export function machineCheckCode(s: GuestSetup): string {
  return `
mc_begin:
${poller(s)}
machine_check:
    ${SAVED.toReversed()
      .map((r) => `push ${r}`)
      .join('\n    ')}
    ${rdmsr(McaMsr.MCG_STATUS)}
    mov r12, rax
    mov rbx, [rsp+${RIP + 8}]
    and ebx, 3
    mov r10, -1
    xor r11d, r11d
    xor r9d, r9d
    ${banks(
      'first',
      `bt r8, 63
    jnc first_next
    mov r10, rdi
    mov r11, r8
    ${readBank(2, 'r9')}
    jmp first_done`,
    )}
    mov rax, [rsp+${RIP}]
    ${note('machineCheck', 'r12', 'rbx', 'r10', 'r11', 'r9', 'rax')}
    ${handling(s)}
mc_return:
    ${SAVED.map((r) => `pop ${r}`).join('\n    ')}
    iretq
mc_end:`;
}

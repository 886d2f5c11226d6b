/** Cases of virtual-8086 mode for `case-image.ts`; code lies right above 1 MiB and is reached as FFFF:xxxx. */
import { CASE, type Case } from '../support/case-image.ts';

const DATA = CASE.data - CASE.v86Data;
const VM = 0x2_0000;

/** 16-bit code that ends in HLT, which is #GP there: INT needs IOPL 3. */
const code = (text: string): string => `.code16\n${text}\n  hlt\n.code32`;

/** What the cases run. */
export const V86_CODES: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries({
    nop: '  nop',
    cli: '  cli',
    sti: '  sti\n  nop',
    pushf: '  pushf\n  pop cx',
    pushfd: '  .byte 0x66, 0x9c\n  pop ecx',
    popf: '  push ax\n  popf\n  nop',
    popfd: '  push eax\n  .byte 0x66, 0x9d\n  nop',
    int80: '  int 0x80',
    int20: '  int 0x20',
    int3: '  int3',
    into: '  into',
    iret: `  push ax\n  push ${CASE.landing >>> 4}\n  push 0\n  iret`,
    iretd: `  push eax\n  push dword ${CASE.landing >>> 4}\n  push dword 0\n  iretd`,
    in_al: '  in al, 0x71\n  mov al, 0',
    mov_ds: `  mov ds, ax\n  mov cx, word ptr [${DATA}]\n  mov ax, ds`,
    mov_ss: '  mov ss, ax\n  nop\n  mov ax, ss',
    pop_es: '  push ax\n  pop es\n  mov cx, es',
    lds: `  lds cx, [${DATA}]\n  mov ax, ds`,
    jmp_far: `  jmp far [${DATA}]`,
    call_far: `  call far [${DATA}]`,
    retf: `  push ax\n  push 0\n  retf`,
    mov_cr0: '  mov eax, cr0',
    mov_dr7: '  mov eax, dr7',
    clts: '  clts',
    smsw: '  smsw ecx\n  and ecx, 0xffff',
    lmsw: '  lmsw ax',
    lgdt: `  lgdt [${DATA}]`,
    sgdt: `  sgdt [${DATA}]\n  mov ecx, dword ptr [${DATA + 2}]`,
    sldt: '  sldt ax',
    str: '  str ax',
    lldt: '  lldt ax',
    ltr: '  ltr ax',
    lar: '  lar cx, ax',
    lsl: '  lsl cx, ax',
    verr: '  verr ax',
    arpl: '  arpl cx, ax',
    invlpg: `  invlpg [${DATA}]`,
    wbinvd: '  wbinvd',
    rdmsr: '  rdmsr',
    rdtsc: '  rdtsc\n  mov eax, 0',
    syscall: '  syscall',
    sysret: '  .byte 0x0f, 0x07',
    sysexit: '  .byte 0x0f, 0x35',
  }).map(([name, text]) => [`v_${name}`, code(text)]),
);

/** Every instruction with IOPL 0 and 3. */
export function v86(): Case[] {
  const out: Case[] = [];
  const flags = [0x2, 0x202, 0x3202, 0x4002, 0x24_0002, 0x1_0047];
  for (const name of Object.keys(V86_CODES))
    for (const iopl of [0, 0x3000]) {
      const of = { code: name, flags: VM | iopl };
      const selector = name === 'v_jmp_far' || name === 'v_call_far' || name === 'v_lds';
      if (/popf|iret/.test(name)) for (const eax of flags) out.push({ ...of, eax });
      else if (selector) out.push({ ...of, poke: [[CASE.data, ((CASE.landing >>> 4) << 16) | 0]] });
      else out.push({ ...of, eax: CASE.landing >>> 4, ecx: 0x1234 });
    }
  return out;
}

/** x86 under the conformance suite: its programs, run in 64-bit mode at CPL 0 with memory identity mapped. */
import type { Code, Step, Subject } from '@faultyard/testkit';
import { assemble, disassemble, x86 } from '../../src/index.ts';

const RAM = 0x4000_0000;
/** PML4, and behind it the PDPT: pages of 1 GiB. */
const TABLE = RAM + 0xf_0000;

const address = (gpa: number): string => `mov r9d, ${gpa}`;
const LOAD = {
  1: 'movzx eax, byte ptr [r9]',
  2: 'movzx eax, word ptr [r9]',
  4: 'mov eax, dword ptr [r9]',
  8: 'mov rax, qword ptr [r9]',
} as const;
const STORE = {
  1: 'mov byte ptr [r9], bl',
  2: 'mov word ptr [r9], bx',
  4: 'mov dword ptr [r9], ebx',
  8: 'mov qword ptr [r9], rbx',
} as const;

function lines(s: Step): string[] {
  switch (s.do) {
    case 'compute':
      return Array.from({ length: s.times }, (_, i) => (i % 2 ? 'ror rdx, 7' : 'add rdx, 1'));
    case 'load':
      return [address(s.gpa), LOAD[s.size]];
    case 'store':
      return [address(s.gpa), `mov ebx, ${s.value}`, STORE[s.size]];
    case 'count':
      return [
        address(s.gpa),
        `mov ecx, ${s.times}`,
        'again: mov eax, dword ptr [r9]',
        'inc eax',
        'mov dword ptr [r9], eax',
        'dec ecx',
        'jnz again',
      ];
    case 'spin':
      return ['here: jmp here'];
    case 'end':
      return ['hlt'];
  }
}

function program(steps: readonly Step[]): Code {
  const parts = steps.map((s) => assemble(lines(s).join('\n')).bytes);
  const last: number[] = [];
  const instructions: number[] = [];
  let at = 0;
  for (const p of parts) {
    const all = disassemble(p);
    instructions.push(all.length);
    last.push(at + Number(all.at(-1)?.pc ?? 0n));
    at += p.length;
  }
  return { bytes: Uint8Array.from(parts.flatMap((p) => [...p])), instructions, last };
}

/** x86 as a subject. */
export function x86Subject(): Subject {
  return {
    name: 'x86',
    arch: x86(),
    ram: RAM,
    hole: 0x900_0000,
    result: 'rax',
    end: 'hlt',
    assemble: program,
    start(vcpu, entry) {
      // present, writable; the pages of 1 GiB global and accessed, dirty
      vcpu.vm.poke(TABLE, BigInt(TABLE + 0x1000) | 0x23n);
      vcpu.vm.poke(TABLE + 0x1000, 0xe3n);
      vcpu.vm.poke(TABLE + 0x1008, 0x4000_00e3n);
      for (const r of ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'r8', 'r9', 'r10', 'r11'])
        vcpu.set(r, 0);
      vcpu.set('cr3', TABLE);
      vcpu.set('cr4', 0x6a0); // PAE PGE OSFXSR OSXMMEXCPT
      vcpu.set('cr0', 0x8005_0033n); // PG AM WP NE ET MP PE
      vcpu.set('efer', 0x500);
      vcpu.set('cs.attr', 0xa9b);
      vcpu.set('cs.base', 0);
      vcpu.set('cs', 8);
      for (const s of ['ds', 'es', 'ss']) vcpu.set(`${s}.attr`, 0xc93);
      vcpu.pc = BigInt(entry);
    },
  };
}

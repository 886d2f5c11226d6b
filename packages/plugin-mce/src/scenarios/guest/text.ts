/** Pieces of assembly that every chapter of the guest uses. R15 is the vCPU's own memory, R13 is for records. */
import { McaMsr } from '../../bits.ts';
import { AREA, PORT, SAYS } from './layout.ts';
import { KIND } from './record.ts';

/** Writes a record down: registers or numbers of up to 32 bits. */
export function note(kind: keyof typeof KIND, ...values: readonly (string | number)[]): string {
  const put = values.map((v, i) =>
    typeof v === 'number' ? `mov qword ptr [r13+${8 * i + 8}], ${v}` : `mov [r13+${8 * i + 8}], ${v}`,
  );
  return `
    mov r13, [r15+${AREA.count}]
    shl r13, 6
    lea r13, [r15+r13+${AREA.records}]
    mov qword ptr [r13], ${KIND[kind]}
    ${put.join('\n    ')}
    inc qword ptr [r15+${AREA.count}]`;
}

/** Says where the guest is. */
export function say(what: keyof typeof SAYS): string {
  return `
    mov al, ${SAYS[what]}
    out ${PORT}, al`;
}

/** Says it, and stops there for good. */
export function stopSaying(what: keyof typeof SAYS): string {
  return `${say(what)}
9:  pause
    jmp 9b`;
}

/** RDMSR of `msr`, a number or nothing for the one in ECX: all 64 bits in RAX. */
export function rdmsr(msr?: number): string {
  return `${msr === undefined ? '' : `mov ecx, ${msr}`}
    rdmsr
    shl rdx, 32
    or rax, rdx`;
}

/** WRMSR of a number to `msr`, or to the one in ECX. */
export function wrmsr(msr: number | undefined, value: bigint): string {
  return `${msr === undefined ? '' : `mov ecx, ${msr}`}
    mov eax, ${value & 0xffff_ffffn}
    mov edx, ${value >> 32n}
    wrmsr`;
}

/** Reads register `offset` (0 CTL to 3 MISC) of the bank in EDI into `to`. */
export function readBank(offset: number, to: string): string {
  return `lea ecx, [rdi*4+${McaMsr.MC0_CTL + offset}]
    ${rdmsr()}
    mov ${to}, rax`;
}

/** Goes round a bank loop: EDI from 0 to MCG_CAP's count in ESI; `each` goes to `next` when it has done with one. */
export function banks(name: string, each: string): string {
  return `
    ${rdmsr(McaMsr.MCG_CAP)}
    movzx esi, al
    xor edi, edi
${name}_bank:
    cmp edi, esi
    jae ${name}_done
    ${readBank(1, 'r8')}
    ${each}
${name}_next:
    inc edi
    jmp ${name}_bank
${name}_done:`;
}

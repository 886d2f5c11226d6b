/**
 * VMCALL and VMMCALL as KVM has them (arch/x86/kvm/x86.c, kvm_emulate_hypercall and emulator_fix_hypercall): the vendor's
 * own is a hypercall, the other's is #UD to the processor and patched by KVM to the right one
 * (KVM_X86_QUIRK_FIX_HYPERCALL_INSN, on unless a VMM turns it off).
 */
import { type Instruction, Mnemonic } from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import type { Operation, Operations } from './operation.ts';

/** Numbers and answers of include/uapi/linux/kvm_para.h. */
const KVM_HC_VAPIC_POLL_IRQ = 1;
const KVM_ENOSYS = -1000;
const KVM_EPERM = -1;

/** Opcode of each, behind 0F 01. */
const MODRM = { Intel: 0xc1, AMD: 0xd9 } as const;

function hypercall(own: 'Intel' | 'AMD'): Operation {
  return (m: Machine, i: Instruction): NextStep => {
    const s = m.state;
    if (m.model.vendor !== own) {
      const t = m.memory.begin();
      for (const [n, byte] of [0x0f, 0x01, MODRM[m.model.vendor]].entries())
        t.write((s.pcLo + n) | 0, s.pcHi, 1, byte);
      if (t.failed) return m.faulted();
      t.commit();
      return Next.Run;
    }
    const step = own === 'AMD' ? m.intercepted('vmmcall') : undefined;
    if (step !== undefined) return step;
    const wide = s.code === 8;
    const number = s.lo(R.RAX);
    const known = number === KVM_HC_VAPIC_POLL_IRQ && (!wide || s.hi(R.RAX) === 0);
    const result = s.cpl !== 0 ? KVM_EPERM : known ? 0 : KVM_ENOSYS;
    s.set(R.RAX, result, wide ? result >> 31 : 0);
    s.advance(i.length);
    return Next.Run;
  };
}

/** This chapter's instructions. */
export const HYPERCALL_OPERATIONS: Operations = new Map([
  [Mnemonic.Vmcall, hypercall('Intel')],
  [Mnemonic.Vmmcall, hypercall('AMD')],
]);

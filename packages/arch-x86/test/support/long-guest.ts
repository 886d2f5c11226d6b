/** A guest that enters 64-bit mode by itself: real mode, LGDT, PAE, EFER.LME, paging, a far jump. */
import { createVm, type Vcpu, type Vm } from '@faultyard/core';
import { assemble, type ModelName, x86 } from '../../src/index.ts';

/**
 * A VM of 64 KiB whose vCPU enters 64-bit mode, the first GiB identity-mapped in one page, and goes on at `text` (1000h,
 * HLT behind it) with RSP = 8000h, CR4 = PAE OSFXSR OSXMMEXCPT OSXSAVE. 2000h to bfffh are the test's.
 */
export function longGuest(text: string, model: ModelName = 'zen3'): Vm {
  const vm = createVm({ arch: x86({ model }), memslots: [{ gpa: 0n, size: 0x1_0000n }] });
  const v = vm.vcpus[0] as Vcpu;
  vm.poke(0xd000, 0xe023n);
  vm.poke(0xe000, 0xf023n);
  vm.poke(0xf000, 0xe3n);
  vm.poke(0x708, 0x00af_9b00_0000_ffffn);
  vm.poke(0x710, 0x00cf_9300_0000_ffffn);
  vm.write(0x6f0, Uint8Array.of(0x17, 0, 0, 7, 0, 0));
  const enter = `.code16
    lgdt [6f0h]
    mov eax, 0d000h
    mov cr3, eax
    mov eax, 40620h
    mov cr4, eax
    mov ecx, 0c0000080h
    rdmsr
    or eax, 100h
    wrmsr
    mov eax, 80050033h
    mov cr0, eax
    mov ax, 10h
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 8000h`;
  const bytes = assemble(enter, { origin: 0x800 }).bytes;
  // jmp 8:1000h
  vm.write(0x800, Uint8Array.of(...bytes, 0xea, 0, 0x10, 8, 0));
  vm.write(0x1000, assemble(`${text}\nhlt`, { origin: 0x1000 }).bytes);
  for (const [name, value] of Object.entries({ cs: 0, 'cs.base': 0, rip: 0x800 })) v.set(name, value);
  return vm;
}

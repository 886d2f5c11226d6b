/** SMM's memory: KVM's address space 1 of a VM, with a stage 2 of its own (arch/x86/include/asm/kvm_host.h). */
import { Stage2, type Vm } from '@faultyard/core';

const spaces: WeakMap<Vm, Stage2> = new WeakMap();

/** Stage 2 of address space 1; made when a vCPU of the VM first enters SMM. */
export function smmStage2(vm: Vm): Stage2 {
  let s = spaces.get(vm);
  if (!s) {
    s = new Stage2(vm.mm, vm.memslots, vm.stage2.rules, 1);
    s.onZap((gfn, count, pfn) => {
      for (const v of vm.vcpus) v.arch.zapped(gfn, count, pfn);
    });
    spaces.set(vm, s);
  }
  return s;
}

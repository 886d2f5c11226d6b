/** KVM_ARM_VCPU_INIT and PSCI CPU_ON: the state a vCPU starts from (arch/arm64/kvm/reset.c). */
import { PS, SR } from './state.ts';
import type { Arm64Vcpu } from './vcpu.ts';

/** Puts registers, events and the TLB to their reset values; power is the caller's. */
export function reset(v: Arm64Vcpu): void {
  const s = v.state;
  for (let n = 0; n < 32; n++) s.setX(n, 0, 0);
  s.i32.fill(0, v.cpu.regAddr('v', 0) >>> 2, (v.cpu.regAddr('v', 31) >>> 2) + 4);
  s.sys.fill(0);
  s.ps = PS.EL1h | PS.DAIF;
  s.nzcv = 0;
  v.sysregs.reset(v);
  for (const slot of [SR.SP_EL0, SR.SP_EL1]) s.setSp(slot, 0, 0);
  // vcpu_id to affinity: 16 vCPUs per Aff0 (arch/arm64/kvm/sys_regs.c, reset_mpidr)
  s.put(SR.MPIDR_EL1, 0x8000_0000 | (v.id & 0xf) | ((v.id >> 4) << 8), 0);
  s.setPc(0, 0);
  v.clearExclusive();
  v.serrors.pending = false;
  v.serrors.queue = [];
  v.waiting = false;
  v.eventRegister = false;
  v.pendingEvents.restore('none');
  v.tlb.dropAll();
}

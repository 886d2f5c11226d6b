/**
 * A reset of the VM as QEMU does it: registers as they were, pages that are bad replaced, MCG_STATUS 0; MCG_CTL, MCG_EXT_CTL
 * and every bank stay. An error that waits in a bank waits for the next kernel.
 */
import { stop, type Vcpu, type Verdict } from '@faultyard/core';
import { McaMsr } from '../bits.ts';
import { setMsrs } from './guest-cpu.ts';
import type { RememberPages } from './poison.ts';
import type { MceRelay } from './relay.ts';

/** Resets; `start` puts each vCPU where the board's firmware begins. */
export function resetVm(relay: MceRelay, start: (vcpu: Vcpu) => void): Verdict {
  const lost = (relay.step('remember') as RememberPages | undefined)?.renew(relay.vm);
  if (lost !== undefined) {
    relay.say('error', lost);
    return stop('exit 1');
  }
  for (const { id } of relay.vm.vcpus) {
    const vcpu = relay.cpu(id);
    const e = vcpu.op('x86-get-vcpu-events', {});
    vcpu.op('x86-set-vcpu-events', {
      ...e,
      exception: {
        ...e.exception,
        injected: false,
        pending: false,
        nr: 0,
        hasErrorCode: false,
        hasPayload: false,
      },
      interrupt: { ...e.interrupt, injected: false, shadow: 0 },
      nmi: { injected: false, pending: 0, masked: false },
      smi: { ...e.smi, smm: false, pending: false, smmInsideNmi: false },
    });
    setMsrs(vcpu, [[McaMsr.MCG_STATUS, 0n]]);
    start(vcpu);
  }
  relay.wasReset();
  return { verdict: 'run' };
}

/** The steps of QEMU's relay: make the guest a machine check, or end as a VMM whose own memory is bad. */
import { stop, type Vm } from '@faultyard/core';
import { McaMsr, McgStatus } from '../bits.ts';
import { pointer } from './event.ts';
import { broadcasts, getMsr, guestCpu } from './guest-cpu.ts';
import { rememberPages } from './poison.ts';
import { MceRelay, RESET, type RelayOptions, type RelayStep } from './relay.ts';
import { FILLER, type QemuVersion, shapeOf } from './shape.ts';

/** Choices of {@link injectStep}. */
export interface InjectOptions {
  /** Whose shapes; default `10.0`. */
  readonly qemu?: QemuVersion;
  /** Whether other vCPUs get the filler. Default `cpu`: where the guest's CPU broadcasts, and never for AMD since 9.1. */
  readonly broadcast?: 'cpu' | 'never';
}

/** MCG_EXT_CTL.LMCE_EN: the guest wants machine checks for one CPU alone. */
const LMCE_EN = 1n;

/** Makes a bad page of the guest a machine check in bank 9 of the vCPU, and the filler of the others. */
export function injectStep(o: InjectOptions = {}): RelayStep {
  return {
    name: 'inject',
    on: (e, relay) => {
      if (e.gpa === undefined || !relay.reaches(e)) return 'next';
      const vcpu = relay.cpu(e.vcpu);
      const cpu = guestCpu(vcpu);
      const shape = shapeOf(e.code, e.gpa, { vendor: cpu.vendor, qemu: o.qemu ?? '10.0' });
      const asIntel = cpu.vendor === 'Intel' || o.qemu === '9.0';
      const lmce = asIntel && ((getMsr(vcpu, McaMsr.MCG_EXT_CTL) ?? 0n) & LMCE_EN) !== 0n;
      const mce = lmce ? { ...shape, mcgStatus: shape.mcgStatus | McgStatus.LMCE_S } : shape;
      relay.put(e.vcpu, mce);
      if (asIntel && !lmce && o.broadcast !== 'never' && broadcasts(cpu))
        for (const { id } of relay.vm.vcpus) if (id !== e.vcpu) relay.put(id, FILLER);
      const at = `QEMU addr ${pointer(e.hva)} and GUEST addr ${pointer(e.gpa)}`;
      relay.say(
        e.code === 'BUS_MCEERR_AR' ? 'error' : 'warning',
        `Guest MCE Memory Error at ${at} of type ${e.code} injected`,
      );
      return relay.resetRequested ? RESET : { verdict: 'run' };
    },
  };
}

/** Memory that is not the guest's, or a guest that cannot be told: warn, or end with status 1 where data are needed. */
export function ownStep(): RelayStep {
  const flags = { actionRequired: false, recursive: false };
  return {
    name: 'own',
    on: (e, relay) => {
      if (e.code === 'BUS_MCEERR_AR') {
        relay.say('error', `QEMU got Hardware memory error at addr ${pointer(e.hva)}`);
        relay.emit({ recipient: 'hypervisor', action: 'fatal', flags });
        return stop('exit 1');
      }
      if (relay.recoverable(e)) {
        const what = `Hardware memory error at addr ${pointer(e.hva)} of type ${e.code}`;
        relay.say('warning', `${what} for memory used by QEMU itself instead of guest system!`);
      }
      relay.emit({ recipient: 'hypervisor', action: 'ignore', flags });
      return { verdict: 'run' };
    },
  };
}

/** A relay as QEMU has it; steps of your own go before its three, which remember the page, inject, or end. */
export function mceRelay(
  vm: Vm,
  o: RelayOptions & InjectOptions = {},
  ...first: readonly RelayStep[]
): MceRelay {
  return new MceRelay(vm, [...first, rememberPages(), injectStep(o), ownStep()], o);
}

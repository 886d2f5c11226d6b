/** What a VMM sets up before a vCPU runs: banks, and what CPUID says of recovery. */
import { FaultyardError, type Vcpu, type Vm } from '@faultyard/core';
import { FeatCtl, McaMsr, McgCap } from '../bits.ts';
import { setMsrs } from './guest-cpu.ts';

/** Choices of a VMM. */
export interface MceSetup {
  /** MCG_CAP; default {@link DEFAULT_CAP}, with LMCE_P if `lmce`. */
  readonly mcgCap?: bigint;
  /** Offers machine checks for one CPU alone. */
  readonly lmce?: boolean;
  /** CPUID 80000007h EBX[1]: the system can go on after an uncorrected error. Default: for AMD. */
  readonly succor?: boolean;
  /** EBX[0]: an overflow does not hide what cannot be recovered. Default: for AMD. */
  readonly overflowRecov?: boolean;
}

/** MCG_CAP of QEMU's CPUs, whoever made them: CTL_P, SER_P, 10 banks. */
export const DEFAULT_CAP: bigint = McgCap.CTL_P | McgCap.SER_P | 10n;

const AUTH = 0x6874_7541;
const RECOVERY = 0x8000_0007;

/**
 * Gives every vCPU its banks (KVM_X86_SETUP_MCE) and its CPUID (KVM_SET_CPUID2).
 * @throws KvmError EINVAL for a MCG_CAP that KVM does not support; FaultyardError FY_POLICY for LMCE where KVM lacks it.
 */
export function setupMachineChecks(vm: Vm, o: MceSetup = {}): void {
  const cap = o.mcgCap ?? (o.lmce ? DEFAULT_CAP | McgCap.LMCE_P : DEFAULT_CAP);
  if (o.lmce && !(vm.op('x86-get-mce-cap-supported', {}) & McgCap.LMCE_P))
    throw new FaultyardError('FY_POLICY', {
      policy: 'mce',
      why: 'KVM has no LMCE here',
      fix: 'take the Intel backend, or leave lmce away',
    });
  const entries = vm.op('get-supported-cpuid', {});
  const amd = entries.find((e) => e.function === 0)?.ebx === AUTH;
  const bits = ((o.overflowRecov ?? amd) ? 1 : 0) | ((o.succor ?? amd) ? 2 : 0);
  const told = entries.map((e) =>
    e.function === RECOVERY ? { ...e, ebx: ((e.ebx & ~3) | (amd ? bits : 0)) >>> 0 } : e,
  );
  for (const v of vm.vcpus as readonly Vcpu[]) {
    v.op('set-cpuid2', { entries: told });
    v.op('x86-setup-mce', { mcgCap: cap });
    if (o.lmce) setMsrs(v, [[McaMsr.FEAT_CTL, FeatCtl.LOCKED | FeatCtl.LMCE_ENABLED]]);
  }
}

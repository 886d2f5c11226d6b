/** KVM_EXIT_ARM_SEA and its place in `struct kvm_run`. */
import { type ExitCodec, type ExitMap, type Gpa, type Gva, gpa, gva } from '@faultyard/core';
import { seaKnobs } from './knobs.ts';

declare module '@faultyard/core' {
  interface ExitMap {
    /**
     * KVM_EXIT_ARM_SEA (41): a synchronous external abort of the guest that nobody on the host claimed. Nothing in
     * the guest has changed; pc is the aborting instruction.
     */
    'arm-sea': {
      /** arm_sea.flags as userspace reads them. */
      readonly flags: bigint;
      /** Sanitised ESR_EL2 (64 bits). */
      readonly esr: bigint;
      /** FAR_EL2 with its tag bits; absent (0 in the struct) when ESR.FnV is set. */
      readonly gva?: Gva;
      /** Page of the fault IPA, 4 KiB aligned; absent (0 in the struct) when KVM has none. */
      readonly gpa?: Gpa;
    };
  }
  interface CapMap {
    'arm-sea-to-user': true;
  }
}

/** KVM_EXIT_ARM_SEA_FLAG_GPA_VALID of the merged ABI. */
export const SEA_FLAG_GPA_VALID = 1n;

/** Meaning of arm_sea.flags under the knob `gvaFlag`. */
export function seaFlags(v1: boolean, gvaValid: boolean, gpaValid: boolean): bigint {
  return v1 ? (gvaValid ? 1n : 0n) | (gpaValid ? 2n : 0n) : gpaValid ? 1n : 0n;
}

/** Codec of the exit: 32 bytes from offset 32, in the order that the knobs say. */
export const armSeaCodec: ExitCodec<'arm-sea'> = {
  kind: 'arm-sea',
  name: 'KVM_EXIT_ARM_SEA',
  number: (knobs) => Number(seaKnobs(knobs).capExitNumbers.split('/')[1]),
  encode: (e, run, knobs) => {
    const esrFirst = seaKnobs(knobs).payloadLayout === 'esrFirst';
    run.setBigUint64(esrFirst ? 40 : 32, e.flags, true);
    run.setBigUint64(esrFirst ? 32 : 40, e.esr, true);
    run.setBigUint64(48, e.gva ?? 0n, true);
    run.setBigUint64(56, e.gpa ?? 0n, true);
  },
  decode: (run, knobs): ExitMap['arm-sea'] => {
    const k = seaKnobs(knobs);
    const esrFirst = k.payloadLayout === 'esrFirst';
    const flags = run.getBigUint64(esrFirst ? 40 : 32, true);
    const esr = run.getBigUint64(esrFirst ? 32 : 40, true);
    const gpaValid = (flags & (k.gvaFlag === 'v1flag' ? 2n : 1n)) !== 0n;
    return {
      flags,
      esr,
      ...((esr >> 10n) & 1n ? {} : { gva: gva(run.getBigUint64(48, true)) }),
      ...(gpaValid ? { gpa: gpa(run.getBigUint64(56, true)) } : {}),
    };
  },
};

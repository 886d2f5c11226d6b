/** Exits of system instructions. */
import type { ExitCodec } from '@faultyard/core';

declare module '@faultyard/core' {
  interface ExitMap {
    /**
     * KVM_EXIT_SET_TPR (11): without an interrupt controller in the kernel, the guest lowered CR8 (arch/x86/kvm/svm/svm.c,
     * cr8_write_interception). The write is done; kvm_run.cr8 has the new value.
     */
    'set-tpr': Record<never, never>;
  }
}

/** Codecs of the exits. */
export const SYSTEM_EXITS: { readonly 'set-tpr': ExitCodec<'set-tpr'> } = {
  'set-tpr': {
    kind: 'set-tpr',
    name: 'KVM_EXIT_SET_TPR',
    number: () => 11,
    encode: () => {},
    decode: () => ({}),
  },
};

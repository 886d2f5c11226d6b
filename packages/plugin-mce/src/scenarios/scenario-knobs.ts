/** Choices of the VMM that a cell is run with, beside the plugin's own knobs. Set by hand they go before the row's own. */
import type { KnobDef } from '@faultyard/core';

/** Knobs of the scenarios, by bare name. */
export const SCENARIO_KNOBS: Readonly<Record<string, KnobDef>> = {
  qemu: {
    values: ['10.0', '9.0'],
    default: '10.0',
    meaning: "shapes of relayed errors: AMD's own for AMD guests, or Intel's for everybody, as up to 9.0",
    source: 'QEMU "i386: Fix MCE support for AMD hosts"; target/i386/kvm/kvm.c',
  },
  requireSerP: {
    values: ['yes', 'no'],
    default: 'yes',
    meaning:
      'whether errors are relayed only if MCG_CAP has SER_P, which keeps AMD Linux from acting on them',
    source: 'QEMU target/i386/kvm/kvm.c, kvm_arch_on_sigbus_vcpu; no is ours',
  },
};

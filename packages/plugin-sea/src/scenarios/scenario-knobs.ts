/** Choices of the VMM and of the harness that a cell is run with, beside the plugin's own knobs. */
import type { KnobDef } from '@faultyard/core';

/** Knobs of the scenarios, by bare name. */
export const SCENARIO_KNOBS: Readonly<Record<string, KnobDef>> = {
  replay: {
    values: ['events', 'eventsWithIabt', 'oneReg', 'none'],
    default: 'events',
    meaning:
      'how the VMM replays an abort: KVM_SET_VCPU_EVENTS, with the proposed iabt extension, registers, not',
    source: 'Documentation/virt/kvm/api.rst 4.31, 4.32',
  },
  hole: {
    values: ['memslot', 'userfault', 'none'],
    default: 'none',
    meaning: 'how the VMM takes a bad page away: split its memslot, withhold it by userfault (proposed), not',
    source: 'virt/kvm/kvm_main.c; KVM userfault series',
  },
  threshold: {
    range: [1, 1_000_000],
    default: 1,
    meaning: 'distinct bad pages at which the VMM stops the guest to restart it elsewhere',
    source: 'series that led to KVM_EXIT_ARM_SEA, cover letters',
  },
  unknownCounts: {
    values: ['each', 'never', 'byGva'],
    default: 'each',
    meaning: 'how events without a page count towards the threshold',
    source: 'a choice of this VMM',
  },
  nisvToUser: {
    values: ['on', 'off'],
    default: 'on',
    meaning:
      'KVM_CAP_ARM_NISV_TO_USER: accesses to a hole without syndrome leave as exit 28, or fail with ENOSYS',
    source: 'Documentation/virt/kvm/api.rst 7.20; arch/arm64/kvm/mmio.c',
  },
  backing: {
    values: ['4K', 'THP', 'hugetlb2M', 'hugetlb1G'],
    default: '4K',
    meaning: 'what the host backs the victim page with',
    source: 'mm/memory-failure.c',
  },
};

/** What a suite of bare-metal cases is, and the processors it is compared on. */
import type { X86PluginOptions } from '../../src/index.ts';
import type { Case, Codes } from '../support/bare-image.ts';

/** Cases about one thing. */
export interface Suite {
  /** Name of its recordings. */
  readonly name: string;
  /** Stimulus and what is observed, one sentence. */
  readonly what: string;
  readonly codes: Codes;
  readonly cases: () => readonly Case[];
  /** Its cases at CPL 3 of long mode need only what a processor does without its kernel. */
  readonly user?: boolean;
  /** Which others it is compared with. Default both. */
  readonly with?: readonly Other[];
}

/** Implementations that are not ours. */
export const OTHERS = ['qemu', 'kvm'] as const;
/** One of them. */
export type Other = (typeof OTHERS)[number];

/** `-cpu` of QEMU: everything its translator can do, as an AMD processor. */
export const QEMU_CPU = 'max,vendor=AuthenticAMD,la57=on,monitor=off';

/** The processor that is like QEMU's: AMD, 40 bits of physical address. */
const LIKE_QEMU: X86PluginOptions = {
  model: 'zen3',
  physicalBits: 40,
  features: { la57: true, pcid: false, invpcid: false, pku: true, umip: true, rdpid: false },
};
/** The processor that is like the recorded KVM's: Intel, with what KVM supported there. */
const LIKE_KVM: X86PluginOptions = {
  model: 'skylake',
  physicalBits: 48,
  features: {
    ...{ la57: true, smep: false, smap: false, pku: false, pcid: false, invpcid: false, fsgsbase: false },
    ...{ umip: true, bmi1: false, bmi2: false, adx: false, movbe: false, popcnt: false, xsave: false },
    ...{ clflushopt: false, clwb: false, rdtscp: false, pdpe1gb: false, lahf_lm: true, abm: false },
  },
};
/** How ours is made to be compared with another. */
export const OURS: Readonly<Record<Other, X86PluginOptions>> = { qemu: LIKE_QEMU, kvm: LIKE_KVM };

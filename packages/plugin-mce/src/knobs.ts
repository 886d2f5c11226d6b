/** Every choice that a version of KVM, its backend, a proposal or a module parameter makes for machine checks. */
import type { KnobDef } from '@faultyard/core';

/** Values of the plugin's knobs, by bare name; what each means is in {@link MCE_KNOBS}. */
export interface MceKnobs {
  readonly smcaDestat: 'reject' | 'ignore' | 'validate' | 'full';
  readonly deferredFillsDestat: 'off' | 'on';
  readonly razwi: 'off' | 'on' | 'aliased';
  readonly gated: 'off' | 'on';
  readonly ignoreMsrs: 'off' | 'on';
  readonly userExit: 'off' | 'on';
  readonly hwcrRule: 'new' | '6.12' | '6.1';
  readonly backend: 'cpu' | 'AMD' | 'Intel';
  readonly rasCpuid: 'kvm' | 'qemu' | 'cpu';
  readonly hostMc: 'sigbus' | 'erratum383';
}

type MceKnobIds = { readonly [K in keyof MceKnobs as `mce.${K}`]: MceKnobs[K] };

declare module '@faultyard/core' {
  interface KnobMap extends MceKnobIds {}
}

const of = <const V extends string>(
  values: readonly [V, ...V[]],
  fallback: NoInfer<V>,
  meaning: string,
  source: string,
): KnobDef<V> => ({ values, default: fallback, meaning, source });

/** Knobs of the plugin, by bare name; defaults are the newest KVM. */
export const MCE_KNOBS: { readonly [K in keyof MceKnobs]: KnobDef<MceKnobs[K]> } = {
  smcaDestat: of(
    ['reject', 'ignore', 'validate', 'full'],
    'reject',
    'what MCA_DESTAT of a bank does: unknown, as in every KVM so far; 0 that drops writes; 0 that takes only 0; or stored, with the rule of MCi_STATUS',
    'KVM list, "[RFC] AMD VM crashing on deferred memory error injection", Feb 2026; arch/x86/kvm/x86.c',
  ),
  deferredFillsDestat: of(
    ['off', 'on'],
    'off',
    'with smcaDestat=full: an injected deferred error also fills MCA_DESTAT and MCA_DEADDR, and MCA_DEADDR exists',
    'AMD64 APM volume 2, 9.3.3 (MCA_DESTAT); no KVM does it',
  ),
  razwi: of(
    ['off', 'on', 'aliased'],
    'off',
    'registers of the SMCA window that smcaDestat does not take: unknown; read 0 and ignore writes; the same, with CTL, STATUS, ADDR and MISC0 of the legacy bank in their places',
    'AMD PPR (unimplemented MCA registers); no KVM does it',
  ),
  gated: of(
    ['off', 'on'],
    'off',
    'smcaDestat and razwi hold only for guests whose CPUID has SMCA',
    'KVM list, Feb 2026: features that are not advertised',
  ),
  ignoreMsrs: of(
    ['off', 'on'],
    'off',
    'ignore_msrs: MSRs that KVM does not know read 0 and drop writes; values that it refuses stay refused',
    'arch/x86/kvm/x86.c, kvm_do_msr_access',
  ),
  userExit: of(
    ['off', 'on'],
    'off',
    'the VMM enabled KVM_CAP_X86_USER_SPACE_MSR for all reasons when it made the VM',
    'Documentation/virt/kvm/api.rst, KVM_CAP_X86_USER_SPACE_MSR',
  ),
  hwcrRule: of(
    ['new', '6.12', '6.1'],
    'new',
    'what HWCR takes: McStatusWrEn, TscFreqSel, and CpuidUserDis where the guest has it; without CpuidUserDis; or McStatusWrEn alone, which then stays',
    'arch/x86/kvm/x86.c, MSR_K7_HWCR in 6.1, 6.12 and later',
  ),
  backend: of(
    ['cpu', 'AMD', 'Intel'],
    'cpu',
    'which part of KVM runs the guest: that of the CPU model, or SVM or VMX; only VMX has CMCI, LMCE and FEAT_CTL',
    'arch/x86/kvm/vmx/vmx.c, kvm_caps.supported_mce_cap and vmx_set_msr; svm/svm.c',
  ),
  rasCpuid: of(
    ['kvm', 'qemu', 'cpu'],
    'kvm',
    'CPUID 80000007h EBX until KVM_SET_CPUID2: 0 as KVM_GET_SUPPORTED_CPUID gives it; OVERFLOW_RECOV and SUCCOR as QEMU 9.1 adds for AMD; or what the CPU model has',
    'arch/x86/kvm/cpuid.c, leaf 80000007h; QEMU target/i386/kvm/kvm.c',
  ),
  hostMc: of(
    ['sigbus', 'erratum383'],
    'sigbus',
    "a real machine check while the guest runs: the host handles it as one of user mode, or (SVM) it bears the signature of family 10h's erratum 383 and the guest triple faults",
    'arch/x86/kvm/svm/svm.c, svm_handle_mce',
  ),
};

/** The plugin's knobs out of a VM's. */
export function mceKnobs(all: Readonly<Record<string, unknown>>): MceKnobs {
  return Object.fromEntries(Object.keys(MCE_KNOBS).map((k) => [k, all[`mce.${k}`]])) as unknown as MceKnobs;
}

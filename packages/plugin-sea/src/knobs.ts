/** Every choice that hardware, host firmware or a version of KVM makes on the way of a guest's external abort. */
import type { Delivery } from '@faultyard/arch-arm64';
import type { KnobDef } from '@faultyard/core';

/** Values of the plugin's knobs, by bare name; what each means is in {@link SEA_KNOBS}. */
export interface SeaKnobs {
  readonly hostRas: '0' | '1';
  readonly vmRas: '0' | '1' | '2' | '3';
  readonly deliverLoad: Delivery;
  readonly deliverStore: Delivery;
  readonly deliverFetch: Delivery;
  readonly deliverWalk: Delivery;
  readonly deliverCmo: Delivery;
  readonly deliverAtomic: Delivery;
  readonly storeConsumes: 'none' | 'sea';
  readonly set: '0' | '2' | '3';
  readonly ea: '0' | '1';
  readonly fnv: '0' | '1';
  readonly farTagBits: 'untouched' | 'unknown';
  readonly wnrOnAtomics: '0' | '1';
  readonly trappedIL: '1' | '0';
  readonly apei: 'absent' | 'claims' | 'fails' | 'duplicate' | 'fatal';
  readonly notify: 'exit' | 'sigbusOptIn' | 'sigbusAlways';
  readonly capEnabled: 'off' | 'on';
  readonly walkRule: 'merged' | 'v2' | 'rfc1' | 'rfc3';
  readonly vncrRule: 'dataAbortsOnly' | 'anyEC' | 'none';
  readonly esrMask: 'FE00077F' | 'FE001DFF' | 'raw' | 'noIL';
  readonly gvaFlag: 'none' | 'v1flag';
  readonly payloadLayout: 'flagsFirst' | 'esrFirst';
  readonly capExitNumbers: '245/41' | '244/41' | '242/40' | '240/40';
  readonly gpaSource: 'atTranslate' | 'rawHpfar';
  readonly atFailure: 'silentRetry' | 'exitNoGpa';
  readonly guestRasGate: 'none' | 'required';
  readonly injectFnV: '0' | 'copy';
  readonly injectLevel: 's1ptwOnly' | 'copy';
  readonly injectIL: 'copyTrapped' | 'always1';
  readonly eventsCommit: 'immediate' | 'nextRun';
  readonly eventsUninit: 'ENOEXEC' | 'allow';
  readonly eventsAtomic: 'no' | 'yes';
  readonly eventsWithIabt: 'no' | 'yes';
  readonly serrorInjection: 'softwareEntry' | 'vseOnly';
  readonly vserrorTopByte: 'BD' | 'BF';
  readonly serrorWhilePending: 'mergeIntoOne' | 'queue';
  readonly rasRegs: 'RAZ' | 'UNDEF';
}

type SeaKnobIds = { readonly [K in keyof SeaKnobs as `sea.${K}`]: SeaKnobs[K] };

declare module '@faultyard/core' {
  interface KnobMap extends SeaKnobIds {}
}

const of = <const V extends string>(
  values: readonly [V, ...V[]],
  fallback: NoInfer<V>,
  meaning: string,
  source: string,
): KnobDef<V> => ({ values, default: fallback, meaning, source });

const delivery = (what: string): KnobDef<Delivery> =>
  of(
    ['sync', 'async', 'none'],
    'sync',
    `how the CPU reports an error met by ${what}: at the instruction, as an SError, or not at all`,
    'DDI 0487 D20 (RAS PE architecture)',
  );

/** Knobs of the plugin, by bare name; defaults are Linux 6.19. */
export const SEA_KNOBS: { readonly [K in keyof SeaKnobs]: KnobDef<SeaKnobs[K]> } = {
  // ---- hardware -----------------------------------------------------------------------------------------------
  hostRas: of(
    ['0', '1'],
    '1',
    'FEAT_RAS of the host CPU; without it HCR_EL2.TEA does nothing and a guest abort never reaches KVM',
    'DDI 0487 HCR_EL2.TEA; arch/arm64/kvm/hyp/include/hyp/switch.h',
  ),
  vmRas: of(
    ['0', '1', '2', '3'],
    '0',
    'ID_AA64PFR0_EL1.RAS that the VM advertises; decides whether ESR.SET is shown and RAS registers exist',
    'arch/arm64/kvm/sys_regs.c',
  ),
  deliverLoad: delivery('loads'),
  deliverStore: delivery('stores that consume the error'),
  deliverFetch: delivery('instruction fetches'),
  deliverWalk: delivery('translation table walks'),
  deliverCmo: delivery('cache maintenance by address'),
  deliverAtomic: delivery('atomics and exclusives'),
  storeConsumes: of(
    ['none', 'sea'],
    'none',
    'whether a store to a bad granule meets the error at all',
    'DDI 0487 D20',
  ),
  set: of(
    ['0', '2', '3'],
    '0',
    'ESR.SET of the report: 0 recoverable, 2 uncontainable, 3 restartable',
    'DDI 0487 ESR_ELx',
  ),
  ea: of(['0', '1'], '0', 'ESR.EA of the report', 'DDI 0487 ESR_ELx'),
  fnv: of(
    ['0', '1'],
    '0',
    'ESR.FnV of the report: FAR_EL2 is unknown (only with FSC 0x10)',
    'DDI 0487 ESR_ELx',
  ),
  farTagBits: of(
    ['untouched', 'unknown'],
    'untouched',
    'bits 63:56 of FAR_EL2: as the guest used them, or a pattern, as the architecture allows for any external abort',
    'DDI 0487 FAR_EL2',
  ),
  wnrOnAtomics: of(
    ['0', '1'],
    '0',
    'ESR.WnR reported for an atomic (UNKNOWN by the architecture)',
    'DDI 0487 ESR_ELx',
  ),
  trappedIL: of(['1', '0'], '1', 'ESR.IL of the report', 'DDI 0487 ESR_ELx'),
  // ---- host ---------------------------------------------------------------------------------------------------
  apei: of(
    ['absent', 'claims', 'fails', 'duplicate', 'fatal'],
    'absent',
    'what the host firmware interface answers when KVM offers it the error',
    'drivers/acpi/apei/ghes.c, arch/arm64/kernel/acpi.c',
  ),
  // ---- KVM ----------------------------------------------------------------------------------------------------
  notify: of(
    ['exit', 'sigbusOptIn', 'sigbusAlways'],
    'exit',
    'how userspace learns of an unclaimed abort: exit 41, or SIGBUS as in the first three postings',
    'KVM_CAP_ARM_SIGBUS_ON_SEA RFC v1-v3; arch/arm64/kvm/mmu.c',
  ),
  capEnabled: of(
    ['off', 'on'],
    'off',
    'KVM_CAP_ARM_SEA_TO_USER when the VM is made; it can be enabled later, never disabled',
    'Documentation/virt/kvm/api.rst 7.45',
  ),
  walkRule: of(
    ['merged', 'v2', 'rfc1', 'rfc3'],
    'merged',
    'which aborts on table walks KVM keeps as its own: S1PTW=1, S1PTW=0, all, none',
    'arch/arm64/kvm/mmu.c host_owns_sea and its history',
  ),
  vncrRule: of(
    ['dataAbortsOnly', 'anyEC', 'none'],
    'dataAbortsOnly',
    'the test for aborts on the VNCR page in hypervisor context',
    'arch/arm64/kvm/mmu.c, nested.c',
  ),
  esrMask: of(
    ['FE00077F', 'FE001DFF', 'raw', 'noIL'],
    'FE00077F',
    'which bits of ESR_EL2 arm_sea.esr shows; the merged mask adds SET when the VM has RAS',
    'arch/arm64/kvm/mmu.c',
  ),
  gvaFlag: of(
    ['none', 'v1flag'],
    'none',
    'arm_sea.flags: bit 0 = GPA valid, or as in v1/v2 bit 0 = GVA valid and bit 1 = GPA valid',
    'include/uapi/linux/kvm.h and v1/v2 postings',
  ),
  payloadLayout: of(
    ['flagsFirst', 'esrFirst'],
    'flagsFirst',
    'order of the payload in struct kvm_run: flags, esr, gva, gpa; or esr, flags, gva, gpa',
    'include/uapi/linux/kvm.h and v1/v2 postings',
  ),
  capExitNumbers: of(
    ['245/41', '244/41', '242/40', '240/40'],
    '245/41',
    'numbers of capability and exit: merged, v3, v2, v1',
    'include/uapi/linux/kvm.h and postings',
  ),
  gpaSource: of(
    ['atTranslate', 'rawHpfar'],
    'atTranslate',
    'where the IPA comes from: AT S1E1R on FAR, or HPFAR_EL2 as it stands (kernels up to 6.12/6.14)',
    'arch/arm64/kvm/hyp/include/hyp/fault.h',
  ),
  atFailure: of(
    ['silentRetry', 'exitNoGpa'],
    'silentRetry',
    'what KVM does when AT on FAR fails: enter the guest again, or report without gpa',
    'arch/arm64/kvm/hyp/include/hyp/fault.h',
  ),
  guestRasGate: of(
    ['none', 'required'],
    'none',
    'whether the exit needs RAS in the VM',
    'review of v1: capability independent of ID registers',
  ),
  injectFnV: of(['0', 'copy'], '0', 'FnV in ESR_EL1 of an injected abort', 'arch/arm64/kvm/inject_fault.c'),
  injectLevel: of(
    ['s1ptwOnly', 'copy'],
    's1ptwOnly',
    'walk level in ESR_EL1: only for S1PTW=1, or copied from the trapped ESR',
    'arch/arm64/kvm/inject_fault.c',
  ),
  injectIL: of(
    ['copyTrapped', 'always1'],
    'copyTrapped',
    'IL in ESR_EL1: of the trapped ESR, or 1 (7.2 cycle)',
    'arch/arm64/kvm/inject_fault.c',
  ),
  eventsCommit: of(
    ['immediate', 'nextRun'],
    'immediate',
    'KVM_SET_VCPU_EVENTS builds the exception at once (6.17), or at the next KVM_RUN',
    'arch/arm64/kvm/guest.c',
  ),
  eventsUninit: of(
    ['ENOEXEC', 'allow'],
    'ENOEXEC',
    'events before KVM_ARM_VCPU_INIT',
    'arch/arm64/kvm/arm.c',
  ),
  eventsAtomic: of(
    ['no', 'yes'],
    'no',
    'whether a refused SError half leaves the injected SEA behind',
    'arch/arm64/kvm/guest.c',
  ),
  eventsWithIabt: of(
    ['no', 'yes'],
    'no',
    'whether KVM has the proposed ext_iabt_pending and ext_abt_esr of kvm_vcpu_events',
    'KVM: arm64: "A couple of improvements for VMM to inject external abort to guest" (not merged)',
  ),
  serrorInjection: of(
    ['softwareEntry', 'vseOnly'],
    'softwareEntry',
    'an unmasked SError is built at once (6.17), or always pended in HCR_EL2.VSE',
    'arch/arm64/kvm/inject_fault.c',
  ),
  vserrorTopByte: of(
    ['BD', 'BF'],
    'BD',
    'top byte of ESR_EL1 for a software SError entry: IL missing, or after the fix',
    'arch/arm64/kvm/inject_fault.c; "Fix missing ESR_ELx.IL"',
  ),
  serrorWhilePending: of(
    ['mergeIntoOne', 'queue'],
    'mergeIntoOne',
    'a second SError before the first is delivered; queue is not what any kernel does',
    'arch/arm64/kvm/inject_fault.c',
  ),
  rasRegs: of(
    ['RAZ', 'UNDEF'],
    'UNDEF',
    'error record registers of a VM without RAS: read-as-zero (before 6.17), or UNDEFINED',
    'arch/arm64/kvm/sys_regs.c',
  ),
};

/** Knobs of VMs seen so far: exits ask every time. */
const known: WeakMap<object, SeaKnobs> = new WeakMap();

/** The plugin's knobs out of a VM's. */
export function seaKnobs(all: Readonly<Record<string, unknown>>): SeaKnobs {
  let own = known.get(all);
  if (!own) {
    own = Object.fromEntries(Object.keys(SEA_KNOBS).map((k) => [k, all[`sea.${k}`]])) as unknown as SeaKnobs;
    known.set(all, own);
  }
  return own;
}

/** Capabilities of KVM/x86. */
import type { CapDef } from '@faultyard/core';
import { EVENT_CAPS } from './events/ops.ts';
import { IRQCHIP_CAPS } from './ops/irqchip.ts';

/** Capabilities of KVM/x86 that the architecture itself brings. */
export const X86_CAPS: readonly CapDef[] = [
  ...EVENT_CAPS,
  ...IRQCHIP_CAPS,
  {
    name: 'ext-cpuid',
    kvm: 'KVM_CAP_EXT_CPUID',
    number: 7,
    meaning: 'KVM_GET_SUPPORTED_CPUID and KVM_SET_CPUID2 exist',
  },
  {
    name: 'mp-state',
    kvm: 'KVM_CAP_MP_STATE',
    number: 14,
    meaning: 'KVM_GET_MP_STATE and KVM_SET_MP_STATE exist',
  },
  {
    name: 'vcpu-events',
    kvm: 'KVM_CAP_VCPU_EVENTS',
    number: 41,
    meaning: 'KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS exist',
  },
  {
    name: 'debugregs',
    kvm: 'KVM_CAP_DEBUGREGS',
    number: 50,
    meaning: 'KVM_GET_DEBUGREGS and KVM_SET_DEBUGREGS exist',
  },
  { name: 'xsave', kvm: 'KVM_CAP_XSAVE', number: 55, meaning: 'KVM_GET_XSAVE and KVM_SET_XSAVE exist' },
  { name: 'xcrs', kvm: 'KVM_CAP_XCRS', number: 56, meaning: 'KVM_GET_XCRS and KVM_SET_XCRS exist' },
  {
    name: 'tsc-control',
    kvm: 'KVM_CAP_TSC_CONTROL',
    number: 60,
    meaning: 'KVM_SET_TSC_KHZ takes any frequency',
  },
  { name: 'get-tsc-khz', kvm: 'KVM_CAP_GET_TSC_KHZ', number: 61, meaning: 'KVM_GET_TSC_KHZ exists' },
  {
    name: 'x86-user-space-msr',
    kvm: 'KVM_CAP_X86_USER_SPACE_MSR',
    number: 188,
    enable: 'vm',
    argument: 7n,
    meaning: 'refused (1), unknown (2) or filtered (4) MSR accesses leave as KVM_EXIT_X86_RDMSR and WRMSR',
  },
  {
    name: 'x86-msr-filter',
    kvm: 'KVM_CAP_X86_MSR_FILTER',
    number: 189,
    meaning: 'KVM_X86_SET_MSR_FILTER exists',
  },
  { name: 'sregs2', kvm: 'KVM_CAP_SREGS2', number: 200, meaning: 'KVM_GET_SREGS2 and KVM_SET_SREGS2 exist' },
];

/** What a VMM learns of a vCPU's machine-check state through KVM's operations, and how it changes it. */
import type { Vcpu } from '@faultyard/core';
import { McaMsr } from '../bits.ts';
import type { GuestVendor } from './shape.ts';

/** "Auth", the first word of AMD's name. */
const AUTH = 0x6874_7541;
/** KVM_MP_STATE_*. */
const RUNNABLE = 0;
const HALTED = 3;

/** Reads one MSR by KVM_GET_MSRS; `undefined` where KVM refuses. */
export function getMsr(vcpu: Vcpu, index: number): bigint | undefined {
  return vcpu.op('get-msrs', { indices: [index] })[0];
}
/** Writes MSRs by KVM_SET_MSRS; how many were taken. */
export function setMsrs(vcpu: Vcpu, values: readonly (readonly [index: number, data: bigint])[]): number {
  return vcpu.op('set-msrs', { msrs: values.map(([index, data]) => ({ index, data })) });
}

/** A bank's registers. */
export interface Bank {
  readonly ctl: bigint;
  readonly status: bigint;
  readonly addr: bigint;
  readonly misc: bigint;
}
/** Reads bank `i`. */
export function getBank(vcpu: Vcpu, i: number): Bank {
  const at = McaMsr.MC0_CTL + 4 * i;
  const [ctl = 0n, status = 0n, addr = 0n, misc = 0n] = vcpu.op('get-msrs', {
    indices: [at, at + 1, at + 2, at + 3],
  });
  return { ctl, status, addr, misc };
}

/** What the VMM told the guest that its CPU is (KVM_GET_CPUID2). */
export interface GuestCpu {
  readonly vendor: GuestVendor;
  readonly family: number;
  readonly model: number;
}
/** Vendor, family and model out of CPUID leaves 0 and 1. */
export function guestCpu(vcpu: Vcpu): GuestCpu {
  const entries = vcpu.op('get-cpuid2', {});
  const leaf = (n: number): (typeof entries)[number] | undefined => entries.find((e) => e.function === n);
  const eax = leaf(1)?.eax ?? 0;
  const family = (eax >>> 8) & 0xf;
  const extended = family === 0xf ? (eax >>> 20) & 0xff : 0;
  return {
    vendor: leaf(0)?.ebx === AUTH ? 'AMD' : 'Intel',
    family: family + extended,
    model: ((eax >>> 4) & 0xf) | ((eax >>> 12) & 0xf0),
  };
}

/** Whether a machine check of this CPU reaches every logical CPU (family 6 from model 14 on, and later families). */
export function broadcasts({ family, model }: GuestCpu): boolean {
  return family > 6 || (family === 6 && model >= 14);
}

/** The exception that waits for a vCPU or is on its way in (KVM_GET_VCPU_EVENTS). */
export function queuedException(vcpu: Vcpu): number | undefined {
  const { exception } = vcpu.op('x86-get-vcpu-events', {});
  return exception.injected || exception.pending ? exception.nr : undefined;
}
/** Queues an exception without error code (KVM_SET_VCPU_EVENTS), and lets a halted vCPU run. */
export function queueException(vcpu: Vcpu, nr: number): void {
  const e = vcpu.op('x86-get-vcpu-events', {});
  const exception = { ...e.exception, injected: true, pending: false, nr, hasErrorCode: false, errorCode: 0 };
  vcpu.op('x86-set-vcpu-events', { ...e, exception: { ...exception, hasPayload: false, payload: 0n } });
  if (vcpu.op('get-mp-state', {}) === HALTED) vcpu.op('set-mp-state', { mpState: RUNNABLE });
}

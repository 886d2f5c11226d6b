/**
 * MSR accesses that leave to userspace: KVM_CAP_X86_USER_SPACE_MSR, KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR
 * (Documentation/virt/kvm/api.rst; arch/x86/kvm/x86.c, kvm_msr_user_space).
 */
import { type ExitCodec, FaultyardError, type Vcpu } from '@faultyard/core';

/** KVM_MSR_EXIT_REASON_*. */
export const MsrExitReason = { Inval: 1, Unknown: 2, Filter: 4 } as const;

declare module '@faultyard/core' {
  interface ExitMap {
    /**
     * KVM_EXIT_X86_RDMSR (29): the guest read an MSR that KVM refuses (reason 1), does not know (2) or that is
     * filtered (4). {@link answerMsr} gives the value, or #GP.
     */
    'x86-rdmsr': { readonly reason: number; readonly index: number };
    /** KVM_EXIT_X86_WRMSR (30): the guest wrote one. Done when the VMM runs on, or #GP with error 1. */
    'x86-wrmsr': { readonly reason: number; readonly index: number; readonly data: bigint };
  }
}

/** kvm_run.msr: error u8 @32, reason u32 @40, index u32 @44, data u64 @48. */
export const MSR_ERROR = 32;
/** Offset of the data in kvm_run. */
export const MSR_DATA = 48;

const head = (run: DataView, e: { readonly reason: number; readonly index: number }): void => {
  run.setUint8(MSR_ERROR, 0);
  run.setUint32(40, e.reason, true);
  run.setUint32(44, e.index, true);
};

/** Codecs of the exits. */
export const MSR_EXITS: {
  readonly 'x86-rdmsr': ExitCodec<'x86-rdmsr'>;
  readonly 'x86-wrmsr': ExitCodec<'x86-wrmsr'>;
} = {
  'x86-rdmsr': {
    kind: 'x86-rdmsr',
    name: 'KVM_EXIT_X86_RDMSR',
    number: () => 29,
    encode: (e, run) => head(run, e),
    decode: (run) => ({ reason: run.getUint32(40, true), index: run.getUint32(44, true) }),
  },
  'x86-wrmsr': {
    kind: 'x86-wrmsr',
    name: 'KVM_EXIT_X86_WRMSR',
    number: () => 30,
    encode: (e, run) => {
      head(run, e);
      run.setBigUint64(MSR_DATA, e.data, true);
    },
    decode: (run) => ({
      reason: run.getUint32(40, true),
      index: run.getUint32(44, true),
      data: run.getBigUint64(MSR_DATA, true),
    }),
  },
};

/**
 * The VMM's answer to the pending MSR exit, written to the kvm_run page: a value for a read (for a write: done), or
 * `refuse`, which gives the guest #GP(0).
 * @throws FaultyardError FY_EXIT_ANSWER when the vCPU's last exit is no MSR access; FY_ARGUMENT for a number that is not
 * whole.
 */
export function answerMsr(vcpu: Vcpu, value: bigint | number | 'refuse'): void {
  const kind = vcpu.exit?.kind ?? 'of an MSR';
  if (kind !== 'x86-rdmsr' && kind !== 'x86-wrmsr')
    throw new FaultyardError('FY_EXIT_ANSWER', {
      kind,
      vcpu: vcpu.id,
      why: vcpu.exit ? 'is no access to an MSR' : 'is not pending',
      fix: 'answer x86-rdmsr or x86-wrmsr, before running again',
    });
  if (typeof value === 'number' && !Number.isInteger(value))
    throw new FaultyardError('FY_ARGUMENT', {
      what: 'value',
      value,
      why: 'is not a whole number',
      fix: "give a bigint, a whole number or 'refuse'",
    });
  const run = vcpu.kvmRun;
  run.setUint8(MSR_ERROR, value === 'refuse' ? 1 : 0);
  if (value !== 'refuse') run.setBigUint64(MSR_DATA, BigInt.asUintN(64, BigInt(value)), true);
}

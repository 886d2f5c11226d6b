/** The operations of machine checks, with their structures (include/uapi/linux/kvm.h; arch/x86/include/uapi/asm/kvm.h). */
import type { OpCodec, OpDef, Vcpu, Vm } from '@faultyard/core';
import type { KvmX86Mce } from './set-mce.ts';

declare module '@faultyard/core' {
  interface OpMap {
    /**
     * KVM_X86_SETUP_MCE: gives the vCPU banks. EINVAL for 0 or more than 32 of them, and for bits of MCG_CAP that
     * KVM_X86_GET_MCE_CAP_SUPPORTED does not have.
     */
    'x86-setup-mce': { readonly on: 'vcpu'; readonly arg: { readonly mcgCap: bigint }; readonly result: 0 };
    /** KVM_X86_SET_MCE: an error for a bank. EINVAL for a bank that is not there, and without STATUS.VAL. */
    'x86-set-mce': { readonly on: 'vcpu'; readonly arg: KvmX86Mce; readonly result: 0 };
    /** KVM_X86_GET_MCE_CAP_SUPPORTED, of the system: bits of MCG_CAP. */
    'x86-get-mce-cap-supported': {
      readonly on: 'vm';
      readonly arg: Record<never, never>;
      readonly result: bigint;
    };
  }
  interface CapMap {
    mce: true;
  }
}

const setupCodec: OpCodec<'x86-setup-mce'> = {
  size: 8,
  decode: (a) => ({ mcgCap: a.getBigUint64(0, true) }),
  encode: (v, out) => out.setBigUint64(0, BigInt.asUintN(64, v.mcgCap), true),
};
/** struct kvm_x86_mce: status @0, addr @8, misc @16, mcg_status @24, bank u8 @32, padding to 64. */
const setCodec: OpCodec<'x86-set-mce'> = {
  size: 64,
  decode: (a) => ({
    status: a.getBigUint64(0, true),
    addr: a.getBigUint64(8, true),
    misc: a.getBigUint64(16, true),
    mcgStatus: a.getBigUint64(24, true),
    bank: a.getUint8(32),
  }),
  encode: (v, out) => {
    for (let at = 0; at < 64; at++) out.setUint8(at, 0);
    for (const [i, x] of [v.status, v.addr, v.misc, v.mcgStatus].entries())
      out.setBigUint64(8 * i, BigInt.asUintN(64, x), true);
    out.setUint8(32, v.bank);
  },
};
const supportedCodec: OpCodec<'x86-get-mce-cap-supported'> = {
  size: 8,
  decode: () => ({}),
  encode: (_, out) => out.setBigUint64(0, 0n, true),
  result: (cap, out) => out.setBigUint64(0, cap, true),
};

/** Who carries the operations out. */
export interface MceOperations {
  setup(vcpu: Vcpu, mcgCap: bigint): void;
  set(vcpu: Vcpu, m: KvmX86Mce): void;
  readonly supported: bigint;
}

const op = <N extends 'x86-setup-mce' | 'x86-set-mce' | 'x86-get-mce-cap-supported'>(d: OpDef<N>): OpDef<N> =>
  d;

/** The operations; `of` finds what carries them out in a VM. */
// biome-ignore lint/suspicious/noExplicitAny: operations of any name
export function mceOps(of: (vm: Vm) => MceOperations): readonly OpDef<any>[] {
  return [
    op<'x86-setup-mce'>({
      name: 'x86-setup-mce',
      kvm: 'KVM_X86_SETUP_MCE',
      ioctl: 0x4008_ae9c,
      on: 'vcpu',
      codec: setupCodec,
      run: (vcpu, { mcgCap }) => {
        of(vcpu.vm).setup(vcpu, mcgCap);
        return 0;
      },
    }),
    op<'x86-set-mce'>({
      name: 'x86-set-mce',
      kvm: 'KVM_X86_SET_MCE',
      ioctl: 0x4040_ae9e,
      on: 'vcpu',
      codec: setCodec,
      run: (vcpu, m) => {
        of(vcpu.vm).set(vcpu, m);
        return 0;
      },
    }),
    op<'x86-get-mce-cap-supported'>({
      name: 'x86-get-mce-cap-supported',
      kvm: 'KVM_X86_GET_MCE_CAP_SUPPORTED',
      ioctl: 0x8008_ae9d,
      on: 'vm',
      codec: supportedCodec,
      run: (vm) => of(vm).supported,
    }),
  ];
}

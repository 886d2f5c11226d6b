/** KVM_GET_REGS, KVM_SET_REGS (struct kvm_regs; arch/x86/kvm/x86.c, __get_regs and __set_regs). */
import type { OpCodec, OpDef, Vcpu } from '@faultyard/core';
import { FL } from '../isa/flags.ts';
import { high, join, low } from '../state.ts';
import type { X86Vcpu } from '../vcpu.ts';

/** Members of struct kvm_regs in order, and the slot of each. */
const SLOTS = {
  rax: 0,
  rbx: 3,
  rcx: 1,
  rdx: 2,
  rsi: 6,
  rdi: 7,
  rsp: 4,
  rbp: 5,
  r8: 8,
  r9: 9,
  r10: 10,
  r11: 11,
  r12: 12,
  r13: 13,
  r14: 14,
  r15: 15,
} as const;
type Slot = keyof typeof SLOTS;
const NAMES = Object.keys(SLOTS) as readonly Slot[];

/** struct kvm_regs, 144 bytes. */
export type KvmRegs = Readonly<Record<Slot | 'rip' | 'rflags', bigint>>;

declare module '@faultyard/core' {
  interface OpMap {
    /** KVM_GET_REGS: general registers, RIP, RFLAGS. */
    'get-regs': { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: KvmRegs };
    /** KVM_SET_REGS: never refused; bit 1 of RFLAGS is set, an exception that waits is dropped. */
    'set-regs': { readonly on: 'vcpu'; readonly arg: KvmRegs; readonly result: 0 };
  }
}

const of = (v: Vcpu): X86Vcpu => v.arch as X86Vcpu;

function getRegs(v: X86Vcpu): KvmRegs {
  const s = v.state;
  const general = Object.fromEntries(NAMES.map((n) => [n, join(s.lo(SLOTS[n]), s.hi(SLOTS[n]))]));
  return { ...(general as Record<Slot, bigint>), rip: v.pc, rflags: BigInt(s.flags >>> 0) };
}
function setRegs(v: X86Vcpu, r: KvmRegs): 0 {
  const s = v.state;
  for (const n of NAMES) s.set(SLOTS[n], low(r[n]), high(r[n]));
  v.pc = r.rip;
  s.flags = low(r.rflags) | FL.One;
  v.events.exception.pending = false;
  v.modeChanged();
  return 0;
}

const ALL = [...NAMES, 'rip', 'rflags'] as const;
const SIZE = 8 * ALL.length;
const encode = (r: KvmRegs, out: DataView): void => {
  for (const [i, n] of ALL.entries()) out.setBigUint64(8 * i, BigInt.asUintN(64, r[n]), true);
};
const getCodec: OpCodec<'get-regs'> = {
  size: SIZE,
  decode: () => ({}),
  encode: () => {},
  result: encode,
};
const setCodec: OpCodec<'set-regs'> = {
  size: SIZE,
  decode: (a) => Object.fromEntries(ALL.map((n, i) => [n, a.getBigUint64(8 * i, true)])) as KvmRegs,
  encode,
};

/** Operations of this chapter. */
export const REGISTER_OPS: readonly [OpDef<'get-regs'>, OpDef<'set-regs'>] = [
  {
    name: 'get-regs',
    kvm: 'KVM_GET_REGS',
    ioctl: 0x8090_ae81,
    on: 'vcpu',
    codec: getCodec,
    run: (v) => getRegs(of(v)),
  },
  {
    name: 'set-regs',
    kvm: 'KVM_SET_REGS',
    ioctl: 0x4090_ae82,
    on: 'vcpu',
    codec: setCodec,
    run: (v, r) => setRegs(of(v), r),
  },
];

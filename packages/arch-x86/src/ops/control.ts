/** KVM_GET/SET_DEBUGREGS, KVM_GET/SET_MP_STATE, KVM_GET/SET_TSC_KHZ, KVM_TRANSLATE (arch/x86/kvm/x86.c). */
import { KvmError, type OpCodec, type OpDef, type Vcpu } from '@faultyard/core';
import { acceptStartup } from '../irqchip/placing.ts';
import { high, join, low, SR } from '../state.ts';
import type { X86Vcpu } from '../vcpu.ts';

/** struct kvm_debugregs, 128 bytes. */
export interface KvmDebugregs {
  /** DR0 to DR3. */
  readonly db: readonly bigint[];
  readonly dr6: bigint;
  readonly dr7: bigint;
  readonly flags: bigint;
}
/** KVM_MP_STATE_*. */
export const MpState = {
  Runnable: 0,
  Uninitialized: 1,
  InitReceived: 2,
  Halted: 3,
  SipiReceived: 4,
  ApResetHold: 9,
} as const;
/** struct kvm_translation. */
export interface KvmTranslation {
  readonly physicalAddress: bigint;
  readonly valid: boolean;
}

declare module '@faultyard/core' {
  interface OpMap {
    /** KVM_GET_DEBUGREGS: DR0 to DR3, DR6, DR7. */
    'get-debugregs': {
      readonly on: 'vcpu';
      readonly arg: Record<never, never>;
      readonly result: KvmDebugregs;
    };
    /** KVM_SET_DEBUGREGS: EINVAL for flags, and for bits above 31 of DR6 or DR7. */
    'set-debugregs': { readonly on: 'vcpu'; readonly arg: KvmDebugregs; readonly result: 0 };
    /** KVM_GET_MP_STATE: a KVM_MP_STATE_*. */
    'get-mp-state': { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: number };
    /** KVM_SET_MP_STATE: EINVAL for all but RUNNABLE without an interrupt controller in the kernel. */
    'set-mp-state': { readonly on: 'vcpu'; readonly arg: { readonly mpState: number }; readonly result: 0 };
    /** KVM_GET_TSC_KHZ: frequency of the vCPU's TSC. */
    'get-tsc-khz': { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: number };
    /** KVM_SET_TSC_KHZ: 0 for the model's own frequency. */
    'set-tsc-khz': { readonly on: 'vcpu'; readonly arg: { readonly khz: number }; readonly result: 0 };
    /** KVM_TRANSLATE: where a linear address leads for a read by the supervisor. Sets no accessed bits. */
    translate: {
      readonly on: 'vcpu';
      readonly arg: { readonly linearAddress: bigint };
      readonly result: KvmTranslation;
    };
  }
}

const of = (v: Vcpu): X86Vcpu => v.arch as X86Vcpu;

function getDebugregs(v: X86Vcpu): KvmDebugregs {
  const s = v.state;
  const at = (n: number): bigint => join(s.sysLo(n), s.sysHi(n));
  return { db: [0, 1, 2, 3].map((n) => at(SR.DR0 + n)), dr6: at(SR.DR6), dr7: at(SR.DR7), flags: 0n };
}
function setDebugregs(v: X86Vcpu, d: KvmDebugregs): 0 {
  const no = (why: string): never => {
    throw new KvmError('KVM_SET_DEBUGREGS', 'EINVAL', why);
  };
  if (d.flags !== 0n) no('flags must be 0');
  if (high(d.dr6) !== 0 || high(d.dr7) !== 0) no('bits above 31 of DR6 or DR7');
  const s = v.state;
  for (let n = 0; n < 4; n++) s.setSys(SR.DR0 + n, low(d.db[n] ?? 0n), high(d.db[n] ?? 0n));
  // fixed bits read as they always do (x86.h, kvm_dr6_fixed; DR7 bit 10)
  s.setSys(SR.DR6, (low(d.dr6) & 0x1_e00f) | 0xfffe_0ff0 | (v.cpuid.has('rtm') ? 0 : 0x1_0000), 0);
  s.setSys(SR.DR7, low(d.dr7) | 0x400, 0);
  v.modeChanged();
  return 0;
}

function setMpState(v: X86Vcpu, mpState: number): 0 {
  const states: readonly number[] = Object.values(MpState);
  const { apic } = v;
  if (!states.includes(mpState) || (apic === undefined && mpState !== MpState.Runnable))
    throw new KvmError('KVM_SET_MP_STATE', 'EINVAL', `state ${mpState} is not one of this vCPU`);
  // obsolete: it is waiting for SIPI, with one pending
  const sipi = mpState === MpState.SipiReceived;
  if ((sipi || mpState === MpState.InitReceived) && !v.events.initAllowed())
    throw new KvmError('KVM_SET_MP_STATE', 'EINVAL', 'the vCPU holds INIT back');
  if (sipi && apic) apic.pendingSipi = true;
  v.waiting = mpState === MpState.Halted || mpState === MpState.ApResetHold;
  v.mpState = sipi ? MpState.InitReceived : v.waiting ? MpState.Runnable : mpState;
  v.attend();
  return 0;
}

const bytes128 = (d: KvmDebugregs, out: DataView): void => {
  for (let n = 0; n < 4; n++) out.setBigUint64(8 * n, BigInt.asUintN(64, d.db[n] ?? 0n), true);
  out.setBigUint64(32, BigInt.asUintN(64, d.dr6), true);
  out.setBigUint64(40, BigInt.asUintN(64, d.dr7), true);
  out.setBigUint64(48, BigInt.asUintN(64, d.flags), true);
};
const getDebugCodec: OpCodec<'get-debugregs'> = {
  size: 128,
  decode: () => ({}),
  encode: () => {},
  result: (d, out) => {
    for (let n = 56; n < 128; n += 8) out.setBigUint64(n, 0n, true);
    bytes128(d, out);
  },
};
const setDebugCodec: OpCodec<'set-debugregs'> = {
  size: 128,
  decode: (a) => ({
    db: [0, 1, 2, 3].map((n) => a.getBigUint64(8 * n, true)),
    dr6: a.getBigUint64(32, true),
    dr7: a.getBigUint64(40, true),
    flags: a.getBigUint64(48, true),
  }),
  encode: bytes128,
};
const getMpCodec: OpCodec<'get-mp-state'> = {
  size: 4,
  decode: () => ({}),
  encode: () => {},
  result: (n, out) => out.setUint32(0, n, true),
};
const setMpCodec: OpCodec<'set-mp-state'> = {
  size: 4,
  decode: (a) => ({ mpState: a.getUint32(0, true) }),
  encode: ({ mpState }, out) => out.setUint32(0, mpState, true),
};
/** struct kvm_translation: linear u64, physical u64, valid, writeable, usermode u8. */
const translateCodec: OpCodec<'translate'> = {
  size: 24,
  decode: (a) => ({ linearAddress: a.getBigUint64(0, true) }),
  encode: ({ linearAddress }, out) => out.setBigUint64(0, linearAddress, true),
  result: (t, out) => {
    out.setBigUint64(8, BigInt.asUintN(64, t.physicalAddress), true);
    out.setUint8(16, t.valid ? 1 : 0);
    // KVM says so whatever the tables allow (kvm_arch_vcpu_ioctl_translate)
    out.setUint8(17, 1);
    out.setUint8(18, 0);
  },
};

/** Operations of this chapter. */
export const CONTROL_OPS: readonly [
  OpDef<'get-debugregs'>,
  OpDef<'set-debugregs'>,
  OpDef<'get-mp-state'>,
  OpDef<'set-mp-state'>,
  OpDef<'get-tsc-khz'>,
  OpDef<'set-tsc-khz'>,
  OpDef<'translate'>,
] = [
  {
    name: 'get-debugregs',
    kvm: 'KVM_GET_DEBUGREGS',
    ioctl: 0x8080_aea1,
    on: 'vcpu',
    cap: 'debugregs',
    codec: getDebugCodec,
    run: (v) => getDebugregs(of(v)),
  },
  {
    name: 'set-debugregs',
    kvm: 'KVM_SET_DEBUGREGS',
    ioctl: 0x4080_aea2,
    on: 'vcpu',
    cap: 'debugregs',
    codec: setDebugCodec,
    run: (v, d) => setDebugregs(of(v), d),
  },
  {
    name: 'get-mp-state',
    kvm: 'KVM_GET_MP_STATE',
    ioctl: 0x8004_ae98,
    on: 'vcpu',
    cap: 'mp-state',
    codec: getMpCodec,
    run: (v) => {
      acceptStartup(of(v));
      return of(v).waiting ? MpState.Halted : of(v).mpState;
    },
  },
  {
    name: 'set-mp-state',
    kvm: 'KVM_SET_MP_STATE',
    ioctl: 0x4004_ae99,
    on: 'vcpu',
    cap: 'mp-state',
    codec: setMpCodec,
    run: (v, { mpState }) => setMpState(of(v), mpState),
  },
  {
    name: 'get-tsc-khz',
    kvm: 'KVM_GET_TSC_KHZ',
    ioctl: 0xaea3,
    on: 'vcpu',
    cap: 'get-tsc-khz',
    immediate: () => ({}),
    run: (v) => of(v).tsc.khz,
  },
  {
    name: 'set-tsc-khz',
    kvm: 'KVM_SET_TSC_KHZ',
    ioctl: 0xaea2,
    on: 'vcpu',
    cap: 'tsc-control',
    immediate: (n) => ({ khz: Number(BigInt.asUintN(32, n)) }),
    run: (v, { khz }) => {
      of(v).tsc.khz = khz || of(v).model.tscKhz;
      of(v).apic?.timer.tscChanged();
      return 0;
    },
  },
  {
    name: 'translate',
    kvm: 'KVM_TRANSLATE',
    ioctl: 0xc018_ae85,
    on: 'vcpu',
    codec: translateCodec,
    run: (v, { linearAddress }) => {
      const { gpa } = of(v).walk(linearAddress, 'read');
      return { physicalAddress: gpa ?? -1n, valid: gpa !== undefined };
    },
  },
];

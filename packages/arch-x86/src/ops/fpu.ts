/** KVM_GET/SET_FPU, KVM_GET/SET_XSAVE, KVM_GET/SET_XCRS (arch/x86/kvm/x86.c). */
import { KvmError, type OpCodec, type OpDef, type Vcpu } from '@faultyard/core';
import { pkruOffset } from '../cpuid/supported.ts';
import { high, join, low, SR } from '../state.ts';
import { mxcsrMask } from '../system/x87.ts';
import { supportedComponents } from '../system/xsave.ts';
import type { X86Vcpu } from '../vcpu.ts';
import { Fx, view } from '../x87.ts';

/** struct kvm_fpu, 416 bytes. MXCSR is not in it: KVM leaves the member alone. */
export interface KvmFpu {
  /** ST0 to ST7, 16 bytes each, of which 10 count. */
  readonly fpr: Uint8Array;
  readonly fcw: number;
  readonly fsw: number;
  /** One bit a register: not empty. */
  readonly ftwx: number;
  readonly lastOpcode: number;
  readonly lastIp: bigint;
  readonly lastDp: bigint;
  /** XMM0 to XMM15. */
  readonly xmm: Uint8Array;
}
/** struct kvm_xcr. */
export interface KvmXcr {
  readonly xcr: number;
  readonly value: bigint;
}

declare module '@faultyard/core' {
  interface OpMap {
    /** KVM_GET_FPU: x87 and XMM registers. */
    'get-fpu': { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: KvmFpu };
    /** KVM_SET_FPU: never refused. */
    'set-fpu': { readonly on: 'vcpu'; readonly arg: KvmFpu; readonly result: 0 };
    /** KVM_GET_XSAVE: an XSAVE area in standard form, 4096 bytes. */
    'get-xsave': { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: Uint8Array };
    /** KVM_SET_XSAVE: EINVAL for components or bits of MXCSR that are not there. */
    'set-xsave': { readonly on: 'vcpu'; readonly arg: { readonly region: Uint8Array }; readonly result: 0 };
    /** KVM_GET_XCRS: XCR0. */
    'get-xcrs': {
      readonly on: 'vcpu';
      readonly arg: Record<never, never>;
      readonly result: readonly KvmXcr[];
    };
    /** KVM_SET_XCRS: EINVAL for a value XSETBV would refuse; other registers than XCR0 are passed over. */
    'set-xcrs': {
      readonly on: 'vcpu';
      readonly arg: { readonly xcrs: readonly KvmXcr[] };
      readonly result: 0;
    };
  }
}

const of = (v: Vcpu): X86Vcpu => v.arch as X86Vcpu;
const LEGACY = 512;
const XSTATE_BV = 512;
const REGION = 4096;

/** The first 416 bytes of an FXSAVE image. */
function image(v: X86Vcpu): Uint8Array {
  const a = new Uint8Array(LEGACY);
  v.x87.saveLegacy(a, 'offsets');
  view(a).setInt32(Fx.Mxcsr, v.x87.mxcsr, true);
  view(a).setInt32(Fx.MxcsrMask, mxcsrMask(v), true);
  a.set(v.x87.xmm, Fx.Xmm);
  return a;
}

function getFpu(v: X86Vcpu): KvmFpu {
  const a = image(v);
  const d = view(a);
  return {
    fpr: a.slice(Fx.St, Fx.Xmm),
    fcw: d.getUint16(0, true),
    fsw: d.getUint16(2, true),
    ftwx: a[4] as number,
    lastOpcode: d.getUint16(6, true),
    lastIp: d.getBigUint64(8, true),
    lastDp: d.getBigUint64(16, true),
    xmm: a.slice(Fx.Xmm, Fx.Xmm + 256),
  };
}
function setFpu(v: X86Vcpu, f: KvmFpu): 0 {
  const a = new Uint8Array(LEGACY);
  const d = view(a);
  a.set(f.fpr.subarray(0, 128), Fx.St);
  d.setUint16(0, f.fcw, true);
  d.setUint16(2, f.fsw, true);
  a[4] = f.ftwx;
  d.setUint16(6, f.lastOpcode, true);
  d.setBigUint64(8, f.lastIp, true);
  d.setBigUint64(16, f.lastDp, true);
  v.x87.restoreLegacy(a, 'offsets');
  v.x87.xmm.set(f.xmm.subarray(0, 256));
  return 0;
}

function getXsave(v: X86Vcpu): Uint8Array {
  const out = new Uint8Array(REGION);
  out.set(image(v));
  const components = supportedComponents(v);
  view(out).setUint32(XSTATE_BV, components, true);
  if (components & 0x200) view(out).setInt32(pkruOffset(v.model.vendor), v.state.sysLo(SR.PKRU), true);
  return out;
}
function setXsave(v: X86Vcpu, region: Uint8Array): 0 {
  const no = (why: string): never => {
    throw new KvmError('KVM_SET_XSAVE', 'EINVAL', why);
  };
  const a = new Uint8Array(REGION);
  a.set(region.subarray(0, REGION));
  const d = view(a);
  const bv = d.getUint32(XSTATE_BV, true);
  if (d.getUint32(XSTATE_BV + 4, true) !== 0 || bv & ~supportedComponents(v))
    no('components that are not there');
  const mxcsr = d.getUint32(Fx.Mxcsr, true);
  if (mxcsr & ~mxcsrMask(v)) no('reserved bits of MXCSR');
  if (bv & 1) v.x87.restoreLegacy(a, 'offsets');
  else v.x87.clear();
  if (bv & 3) v.x87.mxcsr = mxcsr;
  if (bv & 2) v.x87.xmm.set(a.subarray(Fx.Xmm, Fx.Xmm + 256));
  else v.x87.xmm.fill(0);
  const pkru = bv & 0x200 ? d.getInt32(pkruOffset(v.model.vendor), true) : 0;
  if (supportedComponents(v) & 0x200) v.state.setSys(SR.PKRU, pkru, 0);
  v.translationChanged();
  return 0;
}

/** __kvm_set_xcr: x87 always; nothing beyond what CPUID lists. */
function setXcrs(v: X86Vcpu, xcrs: readonly KvmXcr[]): 0 {
  const no = (why: string): never => {
    throw new KvmError('KVM_SET_XCRS', 'EINVAL', why);
  };
  if (xcrs.length > 16) no('more than 16 registers');
  const x = xcrs.find((r) => r.xcr === 0);
  if (!x) return 0;
  if (high(x.value) !== 0 || low(x.value) & ~supportedComponents(v) || !(x.value & 1n))
    no('XCR0 cannot be that');
  v.state.setSys(SR.XCR0, low(x.value), 0);
  return 0;
}

const putFpu = (f: KvmFpu, out: DataView): void => {
  const u8 = new Uint8Array(out.buffer, out.byteOffset);
  u8.set(f.fpr, 0);
  out.setUint16(128, f.fcw, true);
  out.setUint16(130, f.fsw, true);
  out.setUint8(132, f.ftwx);
  out.setUint16(134, f.lastOpcode, true);
  out.setBigUint64(136, f.lastIp, true);
  out.setBigUint64(144, f.lastDp, true);
  u8.set(f.xmm, 152);
};
const bytes = (a: DataView, at: number, n: number): Uint8Array =>
  new Uint8Array(a.buffer, a.byteOffset + at, n).slice();
const getFpuCodec: OpCodec<'get-fpu'> = { size: 416, decode: () => ({}), encode: () => {}, result: putFpu };
const setFpuCodec: OpCodec<'set-fpu'> = {
  size: 416,
  decode: (a) => ({
    fpr: bytes(a, 0, 128),
    fcw: a.getUint16(128, true),
    fsw: a.getUint16(130, true),
    ftwx: a.getUint8(132),
    lastOpcode: a.getUint16(134, true),
    lastIp: a.getBigUint64(136, true),
    lastDp: a.getBigUint64(144, true),
    xmm: bytes(a, 152, 256),
  }),
  encode: putFpu,
};
const putRegion = (r: Uint8Array, out: DataView): void => new Uint8Array(out.buffer, out.byteOffset).set(r);
const getXsaveCodec: OpCodec<'get-xsave'> = {
  size: REGION,
  decode: () => ({}),
  encode: () => {},
  result: putRegion,
};
const setXsaveCodec: OpCodec<'set-xsave'> = {
  size: REGION,
  decode: (a) => ({ region: bytes(a, 0, REGION) }),
  encode: ({ region }, out) => putRegion(region, out),
};
/** struct kvm_xcrs: nr_xcrs u32, flags u32, 16 entries of xcr u32, reserved u32, value u64, 128 bytes of padding. */
const XCRS = 392;
const putXcrs = (xcrs: readonly KvmXcr[], out: DataView): void => {
  out.setUint32(0, xcrs.length, true);
  out.setUint32(4, 0, true);
  for (const [i, x] of xcrs.entries()) {
    out.setUint32(8 + 16 * i, x.xcr, true);
    out.setBigUint64(16 + 16 * i, x.value, true);
  }
};
const getXcrsCodec: OpCodec<'get-xcrs'> = {
  size: XCRS,
  decode: () => ({}),
  encode: () => {},
  result: putXcrs,
};
const setXcrsCodec: OpCodec<'set-xcrs'> = {
  size: XCRS,
  decode: (a) => {
    const n = a.getUint32(0, true);
    if (n > 16 || a.getUint32(4, true) !== 0)
      throw new KvmError('KVM_SET_XCRS', 'EINVAL', 'more than 16 registers, or flags');
    return {
      xcrs: Array.from({ length: n }, (_, i) => ({
        xcr: a.getUint32(8 + 16 * i, true),
        value: a.getBigUint64(16 + 16 * i, true),
      })),
    };
  },
  encode: ({ xcrs }, out) => putXcrs(xcrs, out),
};

/** Operations of this chapter. */
export const FPU_OPS: readonly [
  OpDef<'get-fpu'>,
  OpDef<'set-fpu'>,
  OpDef<'get-xsave'>,
  OpDef<'set-xsave'>,
  OpDef<'get-xcrs'>,
  OpDef<'set-xcrs'>,
] = [
  {
    name: 'get-fpu',
    kvm: 'KVM_GET_FPU',
    ioctl: 0x81a0_ae8c,
    on: 'vcpu',
    codec: getFpuCodec,
    run: (v) => getFpu(of(v)),
  },
  {
    name: 'set-fpu',
    kvm: 'KVM_SET_FPU',
    ioctl: 0x41a0_ae8d,
    on: 'vcpu',
    codec: setFpuCodec,
    run: (v, f) => setFpu(of(v), f),
  },
  {
    name: 'get-xsave',
    kvm: 'KVM_GET_XSAVE',
    ioctl: 0x9000_aea4,
    on: 'vcpu',
    cap: 'xsave',
    codec: getXsaveCodec,
    run: (v) => getXsave(of(v)),
  },
  {
    name: 'set-xsave',
    kvm: 'KVM_SET_XSAVE',
    ioctl: 0x5000_aea5,
    on: 'vcpu',
    cap: 'xsave',
    codec: setXsaveCodec,
    run: (v, { region }) => setXsave(of(v), region),
  },
  {
    name: 'get-xcrs',
    kvm: 'KVM_GET_XCRS',
    ioctl: 0x8188_aea6,
    on: 'vcpu',
    cap: 'xcrs',
    codec: getXcrsCodec,
    run: (v) => {
      const s = of(v).state;
      return [{ xcr: 0, value: join(s.sysLo(SR.XCR0), s.sysHi(SR.XCR0)) }];
    },
  },
  {
    name: 'set-xcrs',
    kvm: 'KVM_SET_XCRS',
    ioctl: 0x4188_aea7,
    on: 'vcpu',
    cap: 'xcrs',
    codec: setXcrsCodec,
    run: (v, { xcrs }) => setXcrs(of(v), xcrs),
  },
];

/**
 * KVM_GET_MSRS, KVM_SET_MSRS, KVM_GET_MSR_INDEX_LIST, KVM_X86_SET_MSR_FILTER (arch/x86/kvm/x86.c, msr_io). The first two
 * stop at the first entry that fails and return how many were done.
 */
import { KvmError, type OpCodec, type OpDef, type Vcpu, type Vm } from '@faultyard/core';
import { MsrResult } from '../msr/def.ts';
import type { MsrFilterSetting } from '../msr/filter.ts';
import { high, join, low } from '../state.ts';
import type { X86Vcpu } from '../vcpu.ts';

/** struct kvm_msr_entry. */
export interface KvmMsr {
  readonly index: number;
  readonly data: bigint;
}

declare module '@faultyard/core' {
  interface OpMap {
    /** KVM_GET_MSRS: the values up to the first that cannot be read. E2BIG for more than 255. */
    'get-msrs': {
      readonly on: 'vcpu';
      readonly arg: { readonly indices: readonly number[] };
      readonly result: readonly bigint[];
    };
    /** KVM_SET_MSRS: how many were set; it stops at the first that is refused, those before it stay. E2BIG. */
    'set-msrs': {
      readonly on: 'vcpu';
      readonly arg: { readonly msrs: readonly KvmMsr[] };
      readonly result: number;
    };
    /** KVM_GET_MSR_INDEX_LIST (of the system): `room` indices fit. E2BIG where there are more. */
    'get-msr-index-list': {
      readonly on: 'vm';
      readonly arg: { readonly room?: number };
      readonly result: readonly number[];
    };
    /** KVM_X86_SET_MSR_FILTER: EINVAL for what the filter cannot be. */
    'x86-set-msr-filter': { readonly on: 'vm'; readonly arg: MsrFilterSetting; readonly result: 0 };
  }
}

/** MAX_IO_MSRS: entries of one call. */
const MOST = 256;
const of = (v: Vcpu): X86Vcpu => v.arch as X86Vcpu;
function fits(kvm: string, n: number): void {
  if (n >= MOST) throw new KvmError(kvm, 'E2BIG', `${n} MSRs; at most ${MOST - 1}`);
}

function getMsrs(v: X86Vcpu, indices: readonly number[]): readonly bigint[] {
  fits('KVM_GET_MSRS', indices.length);
  const out: bigint[] = [];
  for (const index of indices) {
    if (v.msrs.read(index, true) !== MsrResult.Ok) break;
    out.push(join(v.msrs.value.lo, v.msrs.value.hi));
  }
  return out;
}
function setMsrs(v: X86Vcpu, list: readonly KvmMsr[]): number {
  fits('KVM_SET_MSRS', list.length);
  const rip = v.pc;
  let n = 0;
  for (const { index, data } of list) {
    if (v.msrs.write(index, low(data), high(data), true) !== MsrResult.Ok) break;
    n++;
  }
  v.pc = rip;
  return n;
}

/** struct kvm_msrs: nmsrs u32 @0, then entries of index u32, reserved u32, data u64 from 8 on. */
const ENTRY = 16;
const entryAt = (n: number): number => 8 + ENTRY * n;
function room(a: DataView, n: number, bytes: number, kvm: string): void {
  if (a.byteLength < bytes) throw new KvmError(kvm, 'EFAULT', `${n} entries want ${bytes} bytes`);
}
const getCodec: OpCodec<'get-msrs'> = {
  size: 8,
  decode: (a) => {
    const n = a.getUint32(0, true);
    fits('KVM_GET_MSRS', n);
    room(a, n, entryAt(n), 'KVM_GET_MSRS');
    return { indices: Array.from({ length: n }, (_, i) => a.getUint32(entryAt(i), true)) };
  },
  encode: ({ indices }, out) => {
    out.setUint32(0, indices.length, true);
    for (const [i, index] of indices.entries()) out.setUint32(entryAt(i), index, true);
  },
  result: (values, out) => {
    for (const [i, x] of values.entries()) out.setBigUint64(entryAt(i) + 8, x, true);
  },
  ret: (values) => values.length,
};
const setCodec: OpCodec<'set-msrs'> = {
  size: 8,
  decode: (a) => {
    const n = a.getUint32(0, true);
    fits('KVM_SET_MSRS', n);
    room(a, n, entryAt(n), 'KVM_SET_MSRS');
    return {
      msrs: Array.from({ length: n }, (_, i) => ({
        index: a.getUint32(entryAt(i), true),
        data: a.getBigUint64(entryAt(i) + 8, true),
      })),
    };
  },
  encode: ({ msrs }, out) => {
    out.setUint32(0, msrs.length, true);
    for (const [i, m] of msrs.entries()) {
      out.setUint32(entryAt(i), m.index, true);
      out.setBigUint64(entryAt(i) + 8, BigInt.asUintN(64, m.data), true);
    }
  },
};

/** KVM's answers are the same for all vCPUs: the first one's. */
const first = (vm: Vm): X86Vcpu => (vm.vcpus[0] as Vcpu).arch as X86Vcpu;
const listed = (vm: Vm): readonly number[] => first(vm).msrs.table.listed;
/** struct kvm_msr_list: nmsrs u32 @0, then the indices. */
const listCodec: OpCodec<'get-msr-index-list'> = {
  size: 4,
  decode: (a) => ({ room: Math.min(a.getUint32(0, true), Math.floor((a.byteLength - 4) / 4)) }),
  encode: ({ room: n }, out) => out.setUint32(0, n ?? 0, true),
  result: (list, out) => {
    out.setUint32(0, list.length, true);
    for (const [i, index] of list.entries()) out.setUint32(4 + 4 * i, index, true);
  },
  // E2BIG says how many there are
  refused: (vm, out) => out.setUint32(0, listed(vm as Vm).length, true),
};

/** struct kvm_msr_filter: flags u32 @0, 16 ranges of flags, nmsrs, base u32 and a pointer from 8 on. */
const RANGE = 24;
const filterCodec: OpCodec<'x86-set-msr-filter'> = {
  size: 8 + 16 * RANGE,
  decode: (a, user) => {
    const ranges: MsrFilterSetting['ranges'][number][] = [];
    for (let n = 0; n < 16; n++) {
      const at = 8 + RANGE * n;
      const count = a.getUint32(at + 4, true);
      const base = a.getUint32(at + 8, true);
      const flags = a.getUint32(at, true);
      if (count === 0) continue;
      if (count > 8 * 0x600) throw new KvmError('KVM_X86_SET_MSR_FILTER', 'EINVAL', 'a bitmap is too long');
      const bitmap = user.load(a.getBigUint64(at + 16, true), Math.ceil(count / 64) * 8);
      ranges.push({ flags, base, count, bitmap });
    }
    return { flags: a.getUint32(0, true), ranges };
  },
  encode: (s, out) => {
    out.setUint32(0, s.flags, true);
    for (const [n, r] of s.ranges.entries()) {
      const at = 8 + RANGE * n;
      out.setUint32(at, r.flags, true);
      out.setUint32(at + 4, r.count, true);
      out.setUint32(at + 8, r.base, true);
    }
  },
};

/** Operations of this chapter. */
export const MSR_OPS: readonly [
  OpDef<'get-msrs'>,
  OpDef<'set-msrs'>,
  OpDef<'get-msr-index-list'>,
  OpDef<'x86-set-msr-filter'>,
] = [
  {
    name: 'get-msrs',
    kvm: 'KVM_GET_MSRS',
    ioctl: 0xc008_ae88,
    on: 'vcpu',
    codec: getCodec,
    run: (v, { indices }) => getMsrs(of(v), indices),
  },
  {
    name: 'set-msrs',
    kvm: 'KVM_SET_MSRS',
    ioctl: 0x4008_ae89,
    on: 'vcpu',
    codec: setCodec,
    run: (v, { msrs }) => setMsrs(of(v), msrs),
  },
  {
    name: 'get-msr-index-list',
    kvm: 'KVM_GET_MSR_INDEX_LIST',
    ioctl: 0xc004_ae02,
    on: 'vm',
    codec: listCodec,
    run: (vm, { room: n }) => {
      const list = listed(vm);
      if (n !== undefined && n < list.length)
        throw new KvmError('KVM_GET_MSR_INDEX_LIST', 'E2BIG', `there are ${list.length} indices`);
      return list;
    },
  },
  {
    name: 'x86-set-msr-filter',
    kvm: 'KVM_X86_SET_MSR_FILTER',
    ioctl: 0x4188_aec6,
    on: 'vm',
    cap: 'x86-msr-filter',
    codec: filterCodec,
    run: (vm, s) => {
      first(vm).msrs.filter.set(s);
      return 0;
    },
  },
];

/**
 * KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2, KVM_GET_CPUID2 (struct kvm_cpuid2; arch/x86/kvm/cpuid.c).
 */
import { KvmError, type OpCodec, type OpDef, type Vcpu } from '@faultyard/core';
import type { CpuidEntry } from '../cpuid/cpuid.ts';
import type { X86Vcpu } from '../vcpu.ts';

declare module '@faultyard/core' {
  interface OpMap {
    /** KVM_GET_SUPPORTED_CPUID (of the system): `room` entries fit. E2BIG where there are more. */
    'get-supported-cpuid': {
      readonly on: 'vm';
      readonly arg: { readonly room?: number };
      readonly result: readonly CpuidEntry[];
    };
    /**
     * KVM_SET_CPUID2: E2BIG for more than 256 entries; EINVAL for linear addresses of other than 48 or 57 bits, and for
     * other entries than before once the vCPU has run.
     */
    'set-cpuid2': {
      readonly on: 'vcpu';
      readonly arg: { readonly entries: readonly CpuidEntry[] };
      readonly result: 0;
    };
    /** KVM_GET_CPUID2: as set, with the bits that follow the vCPU's state. E2BIG where `room` is too small. */
    'get-cpuid2': {
      readonly on: 'vcpu';
      readonly arg: { readonly room?: number };
      readonly result: readonly CpuidEntry[];
    };
  }
}

/** KVM_MAX_CPUID_ENTRIES. */
const MOST = 256;
const of = (v: Vcpu): X86Vcpu => v.arch as X86Vcpu;

function roomFor(kvm: string, list: readonly CpuidEntry[], room: number | undefined): readonly CpuidEntry[] {
  if (room !== undefined && room < list.length)
    throw new KvmError(kvm, 'E2BIG', `there are ${list.length} entries`);
  return list;
}
function setCpuid2(v: X86Vcpu, entries: readonly CpuidEntry[]): 0 {
  const kvm = 'KVM_SET_CPUID2';
  if (entries.length > MOST) throw new KvmError(kvm, 'E2BIG', `${entries.length} entries; at most ${MOST}`);
  const sizes = entries.find((e) => e.function >>> 0 === 0x8000_0008);
  const linear = sizes ? (sizes.eax >>> 8) & 0xff : 0;
  if (linear !== 0 && linear !== 48 && linear !== 57)
    throw new KvmError(kvm, 'EINVAL', `linear addresses of ${linear} bits`);
  const same = JSON.stringify(entries) === JSON.stringify(v.cpuid.entries);
  if (v.core.retired > 0 && !same) throw new KvmError(kvm, 'EINVAL', 'the vCPU has run');
  v.cpuid.set(entries);
  return 0;
}

/** struct kvm_cpuid2: nent u32 @0, padding, entries of 40 bytes from 8 on. */
const ENTRY = 40;
const FIELDS = ['function', 'index', 'flags', 'eax', 'ebx', 'ecx', 'edx'] as const;
function write(list: readonly CpuidEntry[], out: DataView): void {
  out.setUint32(0, list.length, true);
  for (const [i, e] of list.entries()) {
    for (const [k, f] of FIELDS.entries()) out.setUint32(8 + ENTRY * i + 4 * k, e[f], true);
    for (let k = FIELDS.length; k < 10; k++) out.setUint32(8 + ENTRY * i + 4 * k, 0, true);
  }
}
function fitting(kvm: string, a: DataView, n: number): void {
  if (a.byteLength < 8 + ENTRY * n) throw new KvmError(kvm, 'EFAULT', `${n} entries do not fit`);
}
const room = (a: DataView): { readonly room: number } => ({
  room: Math.min(a.getUint32(0, true), Math.floor((a.byteLength - 8) / ENTRY)),
});
const putRoom = (e: { readonly room?: number }, out: DataView): void => out.setUint32(0, e.room ?? 0, true);
const supportedCodec: OpCodec<'get-supported-cpuid'> = {
  size: 8,
  decode: room,
  encode: putRoom,
  result: write,
};
const getCodec: OpCodec<'get-cpuid2'> = { size: 8, decode: room, encode: putRoom, result: write };
const setCodec: OpCodec<'set-cpuid2'> = {
  size: 8,
  decode: (a) => {
    const n = a.getUint32(0, true);
    if (n > MOST) throw new KvmError('KVM_SET_CPUID2', 'E2BIG', `${n} entries; at most ${MOST}`);
    fitting('KVM_SET_CPUID2', a, n);
    const entry = (i: number): CpuidEntry =>
      Object.fromEntries(
        FIELDS.map((f, k) => [f, a.getUint32(8 + ENTRY * i + 4 * k, true)]),
      ) as unknown as CpuidEntry;
    return { entries: Array.from({ length: n }, (_, i) => entry(i)) };
  },
  encode: ({ entries }, out) => write(entries, out),
};

/** Operations of this chapter. */
export const CPUID_OPS: readonly [OpDef<'get-supported-cpuid'>, OpDef<'set-cpuid2'>, OpDef<'get-cpuid2'>] = [
  {
    name: 'get-supported-cpuid',
    kvm: 'KVM_GET_SUPPORTED_CPUID',
    ioctl: 0xc008_ae05,
    on: 'vm',
    codec: supportedCodec,
    run: (vm, { room: n }) => roomFor('KVM_GET_SUPPORTED_CPUID', of(vm.vcpus[0] as Vcpu).cpuid.supported, n),
  },
  {
    name: 'set-cpuid2',
    kvm: 'KVM_SET_CPUID2',
    ioctl: 0x4008_ae90,
    on: 'vcpu',
    codec: setCodec,
    run: (v, { entries }) => setCpuid2(of(v), entries),
  },
  {
    name: 'get-cpuid2',
    kvm: 'KVM_GET_CPUID2',
    ioctl: 0xc008_ae91,
    on: 'vcpu',
    codec: getCodec,
    run: (v, { room: n }) => roomFor('KVM_GET_CPUID2', of(v).cpuid.current, n),
  },
];

/**
 * Arguments of core's operations as KVM's structures hold them (include/uapi/linux/kvm.h), little-endian, byte for byte.
 * Pointers inside a structure are hvas of the VMM process.
 */
import { KvmError } from '../errors.ts';
import type { OpCodec } from '../op.ts';

/** Sizes of the structures in bytes. */
export const OP_STRUCT_SIZE = {
  kvm_enable_cap: 104,
  kvm_userspace_memory_region: 32,
  kvm_userspace_memory_region2: 160,
  kvm_dirty_log: 16,
  kvm_clear_dirty_log: 24,
  kvm_one_reg: 16,
  kvm_create_guest_memfd: 64,
  kvm_irq_level: 8,
  kvm_msi: 32,
} as const;

const u64 = (v: DataView, at: number, n: bigint | number): void =>
  v.setBigUint64(at, BigInt.asUintN(64, BigInt(n)), true);

/** KVM_ENABLE_CAP: cap u32 @0, flags u32 @4, args u64[4] @8, 64 bytes of padding. */
export const enableCapCodec: OpCodec<'enable-cap'> = {
  size: OP_STRUCT_SIZE.kvm_enable_cap,
  decode: (v) => ({
    cap: v.getUint32(0, true),
    flags: v.getUint32(4, true),
    args: [0, 1, 2, 3].map((i) => v.getBigUint64(8 + 8 * i, true)),
  }),
  encode: (a, v) => {
    v.setUint32(0, a.cap, true);
    v.setUint32(4, a.flags ?? 0, true);
    for (const [i, x] of (a.args ?? []).slice(0, 4).entries()) u64(v, 8 + 8 * i, x);
  },
};

/** The first 32 bytes of both forms: slot u32 @0 (id, address space), flags @4, gpa @8, size @16, hva @24. */
const regionCodec = (two: boolean): Pick<OpCodec<'set-user-memory-region'>, 'decode' | 'encode'> => ({
  decode: (v, user) => ({
    slot: v.getUint16(0, true),
    asId: v.getUint16(2, true),
    flags: v.getUint32(4, true),
    gpa: v.getBigUint64(8, true),
    size: v.getBigUint64(16, true),
    hva: v.getBigUint64(24, true),
    ...(two
      ? { guestMemfdOffset: v.getBigUint64(32, true), guestMemfd: user.file(v.getUint32(40, true)) }
      : {}),
  }),
  encode: (r, v, user) => {
    v.setUint16(0, r.slot, true);
    v.setUint16(2, r.asId ?? 0, true);
    v.setUint32(4, r.flags ?? 0, true);
    u64(v, 8, r.gpa);
    u64(v, 16, r.size);
    u64(v, 24, r.hva);
    if (!two) return;
    u64(v, 32, r.guestMemfdOffset ?? 0);
    v.setUint32(40, r.guestMemfd ? user.descriptor(r.guestMemfd) : 0, true);
  },
});
/** KVM_SET_USER_MEMORY_REGION. */
export const setRegionCodec: OpCodec<'set-user-memory-region'> = {
  size: OP_STRUCT_SIZE.kvm_userspace_memory_region,
  ...regionCodec(false),
};
/** KVM_SET_USER_MEMORY_REGION2: guest_memfd_offset u64 @32, guest_memfd u32 @40, padding. */
export const setRegion2Codec: OpCodec<'set-user-memory-region2'> = {
  size: OP_STRUCT_SIZE.kvm_userspace_memory_region2,
  ...regionCodec(true),
};

/** KVM_GET_DIRTY_LOG: slot u32 @0, padding, bitmap pointer @8. */
export const getDirtyLogCodec: OpCodec<'get-dirty-log'> = {
  size: OP_STRUCT_SIZE.kvm_dirty_log,
  decode: (v) => ({ slot: v.getUint16(0, true), asId: v.getUint16(2, true) }),
  encode: (a, v) => {
    v.setUint16(0, a.slot, true);
    v.setUint16(2, a.asId ?? 0, true);
  },
  result: (bitmap, v, user) => user.store(v.getBigUint64(8, true), bitmap),
};
/** KVM_CLEAR_DIRTY_LOG: slot u32 @0, num_pages u32 @4, first_page u64 @8, bitmap pointer @16. */
export const clearDirtyLogCodec: OpCodec<'clear-dirty-log'> = {
  size: OP_STRUCT_SIZE.kvm_clear_dirty_log,
  decode: (v, user) => {
    const pages = v.getUint32(4, true);
    return {
      slot: v.getUint16(0, true),
      asId: v.getUint16(2, true),
      firstPage: Number(v.getBigUint64(8, true)),
      pages,
      bitmap: user.load(v.getBigUint64(16, true), Math.ceil(pages / 8)),
    };
  },
  encode: (a, v) => {
    v.setUint16(0, a.slot, true);
    v.setUint16(2, a.asId ?? 0, true);
    v.setUint32(4, a.pages, true);
    u64(v, 8, a.firstPage);
  },
};

/** Bytes of the register behind a ONE_REG id (bits 55:52: log2 of the size). */
function oneRegSize(id: bigint): number {
  return 1 << Number((BigInt.asUintN(64, id) >> 52n) & 15n);
}
const little = (bytes: Uint8Array): bigint => bytes.reduceRight((v, b) => (v << 8n) | BigInt(b), 0n);
const bytesOf = (v: bigint, n: number): Uint8Array =>
  Uint8Array.from({ length: n }, (_, i) => Number((v >> BigInt(8 * i)) & 0xffn));

/** KVM_GET_ONE_REG: id u64 @0, pointer to the value @8. */
export const getOneRegCodec: OpCodec<'get-one-reg'> = {
  size: OP_STRUCT_SIZE.kvm_one_reg,
  decode: (v) => ({ id: v.getBigUint64(0, true) }),
  encode: (a, v) => u64(v, 0, a.id),
  result: (value, v, user) =>
    user.store(v.getBigUint64(8, true), bytesOf(value, oneRegSize(v.getBigUint64(0, true)))),
};
/** KVM_SET_ONE_REG: the value is fetched through the pointer. */
export const setOneRegCodec: OpCodec<'set-one-reg'> = {
  size: OP_STRUCT_SIZE.kvm_one_reg,
  decode: (v, user) => {
    const id = v.getBigUint64(0, true);
    return { id, value: little(user.load(v.getBigUint64(8, true), oneRegSize(id))) };
  },
  encode: (a, v) => u64(v, 0, a.id),
};

/** KVM_CREATE_GUEST_MEMFD: size u64 @0, flags u64 @8, reserved. */
export const createGuestMemfdCodec: OpCodec<'create-guest-memfd'> = {
  size: OP_STRUCT_SIZE.kvm_create_guest_memfd,
  decode: (v) => ({ size: v.getBigUint64(0, true), flags: v.getBigUint64(8, true) }),
  encode: (a, v) => {
    u64(v, 0, a.size);
    u64(v, 8, a.flags ?? 0);
  },
};

/** KVM_IRQ_LINE and KVM_IRQ_LINE_STATUS: irq u32 @0, which the status replaces, level u32 @4. */
const irqLevel: Pick<OpCodec<'gsi-line'>, 'size' | 'decode' | 'encode'> = {
  size: OP_STRUCT_SIZE.kvm_irq_level,
  decode: (v) => ({ irq: v.getUint32(0, true), level: v.getUint32(4, true) !== 0 }),
  encode: ({ irq, level }, v) => {
    v.setUint32(0, irq, true);
    v.setUint32(4, Number(level), true);
  },
};
/** KVM_IRQ_LINE. */
export const gsiLineCodec: OpCodec<'gsi-line'> = irqLevel;
/** KVM_IRQ_LINE_STATUS. */
export const gsiLineStatusCodec: OpCodec<'gsi-line-status'> = {
  ...irqLevel,
  result: (status, v) => v.setInt32(0, status, true),
};

/** KVM_SIGNAL_MSI: address u64 @0, data u32 @8, flags u32 @12, devid u32 @16. */
export const signalMsiCodec: OpCodec<'signal-msi'> = {
  size: OP_STRUCT_SIZE.kvm_msi,
  decode: (v) => {
    if (v.getUint32(12, true) !== 0) throw new KvmError('KVM_SIGNAL_MSI', 'EINVAL', 'flags must be 0');
    return { address: v.getBigUint64(0, true), data: v.getUint32(8, true) };
  },
  encode: ({ address, data }, v) => {
    u64(v, 0, address);
    v.setUint32(8, data, true);
  },
};

/** The byte-level door: a VMM that speaks KVM's numbers and structures only. */
import { toy, toyHalt, toyLoad, toyStore } from '@faultyard/testkit';
import { afterEach, describe, expect, test } from 'vitest';
import { createVm, type ERRNO, type IoctlResult, Prot, type Vcpu, type Vm } from '../src/index.ts';

const RAM = 0x10_0000;
const open: Vm[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});
function make(): { vm: Vm; v: Vcpu; page: number } {
  const vm = createVm({ arch: toy() }) as unknown as Vm;
  open.push(vm);
  return { vm, v: vm.vcpus[0] as Vcpu, page: vm.mm.map({ size: 0x10000 }) };
}
const u64 = (...words: (number | bigint)[]): Uint8Array => {
  const b = new Uint8Array(8 * words.length);
  const v = new DataView(b.buffer);
  for (const [i, w] of words.entries()) v.setBigUint64(8 * i, BigInt(w), true);
  return b;
};
const region = (slot: number, flags: number, gpa: number, size: number, hva: number): Uint8Array =>
  u64(BigInt(slot) | (BigInt(flags) << 32n), gpa, size, hva);
const ok = (r: IoctlResult): IoctlResult => {
  expect(r.errno).toBeUndefined();
  return r;
};

test('KVM_SET_USER_MEMORY_REGION, KVM_RUN, the page -> a guest that talks to a device', () => {
  const { vm, v, page } = make();
  ok(vm.ioctl(0x4020ae46, region(0, 0, RAM, 0x10000, page)));
  vm.write(
    RAM,
    Uint8Array.from([...toyLoad(4, 1, 0, 0x900_0000), ...toyStore(2, 1, 0, 0x900_0008), ...toyHalt()]),
  );
  expect(v.ioctl(0x4010aeac, u64((3n << 52n) | 8n, page + 0x8000)).ret).toBe(0);
  v.pc = BigInt(RAM);
  const run = v.kvmRun;
  expect(ok(v.ioctl(0xae80)).ret).toBe(0);
  const fields = (): unknown => {
    const p = v.kvmRun;
    return [p.getUint32(8, true), p.getBigUint64(32, true), p.getUint32(48, true), p.getUint8(52)];
  };
  expect(fields()).toEqual([6, 0x900_0000n, 4, 0]);
  run.setUint32(40, 0xabcd1234, true);
  ok(v.ioctl(0xae80));
  expect(fields()).toEqual([6, 0x900_0008n, 2, 1]);
  expect(v.kvmRun.getUint16(40, true)).toBe(0x1234);
  ok(v.ioctl(0xae80));
  expect(v.kvmRun.getUint32(8, true)).toBe(5);
  expect(v.get('r1')).toBe(0xabcd1234n);
});

test('immediate_exit in the page -> KVM_RUN is -1/EINTR, exit 10', () => {
  const { v } = make();
  v.kvmRun.setUint8(1, 1);
  expect(v.ioctl(0xae80)).toMatchObject({ ret: -1, errno: 'EINTR' });
  expect(v.kvmRun.getUint32(8, true)).toBe(10);
});

test('KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG -> bitmaps through pointers', () => {
  const { vm, v, page } = make();
  ok(vm.ioctl(0x4020ae46, region(3, 1, RAM, 0x10000, page)));
  vm.write(RAM, Uint8Array.from([...toyStore(4, 1, 0, RAM + 0x3000), ...toyHalt()]));
  v.pc = BigInt(RAM);
  v.run();
  const bitmap = vm.mm.map({ size: 0x1000 });
  const back = (): number => peek(vm, bitmap);
  ok(vm.ioctl(0x4010ae42, u64(3, bitmap)));
  expect(back()).toBe(0b1000);
  ok(vm.ioctl(0x4010ae42, u64(3, bitmap)));
  expect(back()).toBe(0);
  expect(vm.ioctl(0x4010ae42, u64(4, bitmap))).toMatchObject({ ret: -1, errno: 'ENOENT' });
  expect(vm.ioctl(0xc018aec0, u64(3n | (64n << 32n), 1, bitmap))).toMatchObject({ ret: -1, errno: 'EINVAL' });
});

test('KVM_GET_ONE_REG and KVM_SET_ONE_REG -> the value through the pointer', () => {
  const { vm, v, page } = make();
  v.set('r3', 0x1122334455667788n);
  ok(v.ioctl(0x4010aeab, u64((3n << 52n) | 3n, page + 8)));
  expect(peek(vm, page + 8)).toBe(0x88);
  ok(v.ioctl(0x4010aeac, u64((3n << 52n) | 5n, page + 8)));
  expect(v.get('r5')).toBe(0x1122334455667788n);
});

test('KVM_CREATE_GUEST_MEMFD and REGION2 -> a slot bound to the descriptor', () => {
  const { vm, page } = make();
  const fd = vm.ioctl(0xc040aed4, u64(0x4000, 0, 0, 0, 0, 0, 0, 0)).ret;
  expect(fd).toBeGreaterThan(2);
  const arg = new Uint8Array(160);
  arg.set(region(2, 4, 0x20_0000, 0x4000, page));
  new DataView(arg.buffer).setUint32(40, fd, true);
  ok(vm.ioctl(0x40a0ae49, arg));
  expect(vm.memslots.byId(2)?.gmem).toBe([...vm.mm.backings.values()][0]);
  new DataView(arg.buffer).setUint32(40, 999, true);
  arg.set(region(4, 4, 0x30_0000, 0x4000, page));
  expect(vm.ioctl(0x40a0ae49, arg)).toMatchObject({ ret: -1, errno: 'EBADF' });
});

test('KVM_CHECK_EXTENSION, KVM_GET_VCPU_MMAP_SIZE -> plain numbers', () => {
  const { vm } = make();
  expect(vm.ioctl(0xae03, 9999)).toMatchObject({ ret: 0 });
  expect(vm.ioctl(0xae04, 0)).toMatchObject({ ret: 2352 });
  expect(vm.ioctl(0xae04, 1)).toMatchObject({ ret: -1, errno: 'EINVAL' });
});

describe('a refused ioctl -> -1 with KVM’s errno, its bytes and the state as before', () => {
  const cases: readonly (readonly [
    string,
    keyof typeof ERRNO,
    (vm: Vm, v: Vcpu, page: number) => IoctlResult,
  ])[] = [
    ['an unknown number', 'EINVAL', (vm) => vm.ioctl(0xaeff, 0)],
    ['a number of another descriptor', 'EINVAL', (vm) => vm.ioctl(0xae80, 0)],
    ['a structure that is too short', 'EFAULT', (vm) => vm.ioctl(0x4020ae46, new Uint8Array(31))],
    [
      'a misaligned region',
      'EINVAL',
      (vm, _, page) => vm.ioctl(0x4020ae46, region(1, 0, 0x20_0001, 0x1000, page)),
    ],
    [
      'an overlapping region',
      'EEXIST',
      (vm, _, page) => vm.ioctl(0x4020ae46, region(1, 0, RAM, 0x1000, page)),
    ],
    [
      'a flag of REGION2 given to REGION',
      'EINVAL',
      (vm, _, page) => vm.ioctl(0x4020ae46, region(1, 4, 0x20_0000, 0x1000, page)),
    ],
    ['an unknown capability', 'EINVAL', (vm) => vm.ioctl(0x4068aea3, new Uint8Array(104).fill(1, 0, 2))],
    ['a pointer to nothing', 'EFAULT', (_, v) => v.ioctl(0x4010aeac, u64((3n << 52n) | 1n, 0x1000))],
    [
      'a pointer to read-only memory',
      'EFAULT',
      (vm, v) => {
        const ro = vm.mm.map({ size: 0x1000, prot: Prot.Read });
        return v.ioctl(0x4010aeab, u64((3n << 52n) | 1n, ro));
      },
    ],
    ['an unknown register', 'ENOENT', (_, v, page) => v.ioctl(0x4010aeab, u64(77, page))],
    ['KVM_RUN with an argument', 'EINVAL', (_, v) => v.ioctl(0xae80, 1)],
  ];
  test.each(cases)('%s -> %s', (_, errno, f) => {
    const { vm, v, page } = make();
    ok(vm.ioctl(0x4020ae46, region(0, 0, RAM, 0x10000, page)));
    const before = vm.stateHash();
    expect(f(vm, v, page)).toMatchObject({ ret: -1, errno });
    expect(vm.stateHash()).toBe(before);
  });
  test('any operation on a VM that died -> EIO', () => {
    const { vm, v, page } = make();
    vm.bugged = true;
    expect(vm.ioctl(0x4020ae46, region(0, 0, RAM, 0x10000, page))).toMatchObject({ ret: -1, errno: 'EIO' });
    expect(v.ioctl(0xae80)).toMatchObject({ ret: -1, errno: 'EIO' });
  });
});

/** A byte of the VMM's memory. */
function peek(vm: Vm, hva: number): number {
  const l = vm.mm.locate(Math.floor(hva / 4096));
  const pfn = l ? vm.mm.tableOf(l.vma.backing).pfn(l.index) : 0;
  return vm.host.u8[pfn * 4096 + (hva % 4096)] as number;
}

/** Operations that core itself brings, with KVM's names and numbers (ioctl type 0xAE). */
import {
  clearDirtyLogCodec,
  createGuestMemfdCodec,
  enableCapCodec,
  getDirtyLogCodec,
  getOneRegCodec,
  gsiLineCodec,
  gsiLineStatusCodec,
  setOneRegCodec,
  setRegion2Codec,
  setRegionCodec,
  signalMsiCodec,
} from './abi/ops.ts';
import { ERRNO, KvmError } from './errors.ts';
import type { IrqChip } from './irq-chip.ts';
import type { OpDef, OpName } from './op.ts';
import { KVM_RUN_SIZE } from './run-page.ts';
import type { Task } from './task.ts';
import { userSpace } from './user-space.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

const op = <N extends OpName>(d: OpDef<N>): OpDef<N> => d;

const registerOf = (kvm: string, vcpu: Vcpu, id: bigint): string => {
  const name = vcpu.arch.oneReg?.(id);
  if (name === undefined) throw new KvmError(kvm, 'ENOENT', `no register 0x${id.toString(16)}`);
  return name;
};

const irqchipOf = (kvm: string, vm: Vm, errno: 'ENXIO' | 'EINVAL'): IrqChip => {
  if (!vm.irqchip) throw new KvmError(kvm, errno, 'no interrupt controller in the kernel');
  return vm.irqchip;
};

/** Core's operations. */
// biome-ignore lint/suspicious/noExplicitAny: operations of any name
export const CORE_OPS: readonly OpDef<any>[] = [
  op<'check-extension'>({
    name: 'check-extension',
    kvm: 'KVM_CHECK_EXTENSION',
    ioctl: 0xae03,
    on: 'vm',
    immediate: (n) => ({ cap: Number(n) }),
    run: (vm, { cap }) => vm.caps.check(cap),
  }),
  op<'get-vcpu-mmap-size'>({
    name: 'get-vcpu-mmap-size',
    kvm: 'KVM_GET_VCPU_MMAP_SIZE',
    ioctl: 0xae04,
    on: 'vm',
    immediate: (n) => {
      if (n !== 0n) throw new KvmError('KVM_GET_VCPU_MMAP_SIZE', 'EINVAL', 'its argument must be 0');
      return {};
    },
    run: (vm) => vm.arch.runBytes ?? KVM_RUN_SIZE,
  }),
  op<'enable-cap'>({
    name: 'enable-cap',
    kvm: 'KVM_ENABLE_CAP',
    ioctl: 0x4068aea3,
    on: 'vm',
    codec: enableCapCodec,
    run(vm, { cap, flags, args }) {
      const d = vm.caps.byNumber(cap);
      if (!d) throw new KvmError('KVM_ENABLE_CAP', 'EINVAL', `capability ${cap} is not known`);
      vm.caps.enable(d.name, { ...(flags ? { flags } : {}), ...(args ? { args } : {}) });
      return 0;
    },
  }),
  op<'set-user-memory-region'>({
    name: 'set-user-memory-region',
    kvm: 'KVM_SET_USER_MEMORY_REGION',
    ioctl: 0x4020ae46,
    on: 'vm',
    codec: setRegionCodec,
    *run(vm, region): Task<0> {
      yield* vm.memslots.set(region, false);
      return 0;
    },
  }),
  op<'set-user-memory-region2'>({
    name: 'set-user-memory-region2',
    kvm: 'KVM_SET_USER_MEMORY_REGION2',
    ioctl: 0x40a0ae49,
    on: 'vm',
    codec: setRegion2Codec,
    *run(vm, region): Task<0> {
      yield* vm.memslots.set(region, true);
      return 0;
    },
  }),
  op<'get-dirty-log'>({
    name: 'get-dirty-log',
    kvm: 'KVM_GET_DIRTY_LOG',
    ioctl: 0x4010ae42,
    on: 'vm',
    codec: getDirtyLogCodec,
    run: (vm, { slot, asId }) => vm.memslots.getDirtyLog(slot, asId),
  }),
  op<'clear-dirty-log'>({
    name: 'clear-dirty-log',
    kvm: 'KVM_CLEAR_DIRTY_LOG',
    ioctl: 0xc018aec0,
    on: 'vm',
    codec: clearDirtyLogCodec,
    run(vm, { slot, firstPage, pages, bitmap, asId }) {
      vm.memslots.clearDirtyLog(slot, firstPage, pages, bitmap, asId);
      return 0;
    },
  }),
  op<'create-guest-memfd'>({
    name: 'create-guest-memfd',
    kvm: 'KVM_CREATE_GUEST_MEMFD',
    ioctl: 0xc040aed4,
    on: 'vm',
    codec: createGuestMemfdCodec,
    run: (vm, { size, flags }) =>
      userSpace(vm).descriptor(vm.mm.guestMemfd(Number(size), Number(flags ?? 0n))),
  }),
  op<'set-one-reg'>({
    name: 'set-one-reg',
    kvm: 'KVM_SET_ONE_REG',
    ioctl: 0x4010aeac,
    on: 'vcpu',
    codec: setOneRegCodec,
    run(vcpu, { id, value }) {
      const name = registerOf('KVM_SET_ONE_REG', vcpu, id);
      if (vcpu.arch.registers.find((r) => r.name === name)?.readOnly && vcpu.arch.read(name) !== value)
        throw new KvmError('KVM_SET_ONE_REG', 'EINVAL', `${name} is read-only`);
      vcpu.arch.write(name, BigInt.asUintN(64, value));
      return 0;
    },
  }),
  op<'get-one-reg'>({
    name: 'get-one-reg',
    kvm: 'KVM_GET_ONE_REG',
    ioctl: 0x4010aeab,
    on: 'vcpu',
    codec: getOneRegCodec,
    run: (vcpu, { id }) => vcpu.arch.read(registerOf('KVM_GET_ONE_REG', vcpu, id)) ?? 0n,
  }),
  op<'run'>({
    name: 'run',
    kvm: 'KVM_RUN',
    ioctl: 0xae80,
    on: 'vcpu',
    immediate: (n) => {
      if (n !== 0n) throw new KvmError('KVM_RUN', 'EINVAL', 'its argument must be 0');
      return {};
    },
    run(vcpu) {
      const e = vcpu.run();
      if (e.ret === 0) return 0;
      const errno = e.errno ?? 'EFAULT';
      throw new KvmError('KVM_RUN', errno, `exit ${e.kind}, errno ${ERRNO[errno]}`);
    },
  }),
];

/**
 * Operations on interrupt controllers in the kernel, for architectures that have some (`definePlugin({ ops })`): KVM_IRQ_LINE
 * means other lines elsewhere.
 */
// biome-ignore lint/suspicious/noExplicitAny: operations of any name
export const IRQ_LINE_OPS: readonly OpDef<any>[] = [
  op<'gsi-line'>({
    name: 'gsi-line',
    kvm: 'KVM_IRQ_LINE',
    ioctl: 0x4008ae61,
    on: 'vm',
    cap: 'irqchip',
    codec: gsiLineCodec,
    run(vm, { irq, level }) {
      irqchipOf('KVM_IRQ_LINE', vm, 'ENXIO').setLine(irq, level);
      return 0;
    },
  }),
  op<'gsi-line-status'>({
    name: 'gsi-line-status',
    kvm: 'KVM_IRQ_LINE_STATUS',
    ioctl: 0xc008ae67,
    on: 'vm',
    cap: 'irqchip',
    codec: gsiLineStatusCodec,
    run: (vm, { irq, level }) => irqchipOf('KVM_IRQ_LINE_STATUS', vm, 'ENXIO').setLine(irq, level),
  }),
  op<'signal-msi'>({
    name: 'signal-msi',
    kvm: 'KVM_SIGNAL_MSI',
    ioctl: 0x4020aea5,
    on: 'vm',
    cap: 'signal-msi',
    codec: signalMsiCodec,
    run(vm, { address, data }) {
      const told = irqchipOf('KVM_SIGNAL_MSI', vm, 'EINVAL').signalMsi(address, data);
      if (told < 0) throw new KvmError('KVM_SIGNAL_MSI', 'EPERM', 'it is for nobody');
      return told;
    },
  }),
];

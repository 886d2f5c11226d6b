/**
 * Interrupt controllers in the kernel: KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2, KVM_GET/SET_IRQCHIP, LAPIC, PIT2,
 * KVM_SET_GSI_ROUTING (arch/x86/kvm/x86.c, irq.c; virt/kvm/irqchip.c). VMs have their vCPUs from the start here: what KVM
 * refuses once a vCPU is there is refused once one has run.
 */
import {
  type CapDef,
  KvmError,
  type OpCodec,
  type OpDef,
  type OpName,
  type Vcpu,
  type Vm,
} from '@faultyard/core';
import { APIC_BYTES } from '../irqchip/apic-registers.ts';
import { IOAPIC_STATE_BYTES } from '../irqchip/io-apic.ts';
import { createIrqChip, irqChip, type X86IrqChip } from '../irqchip/irq-chip.ts';
import type { LocalApic } from '../irqchip/local-apic.ts';
import { PIC_STATE_BYTES } from '../irqchip/pic.ts';
import { PIT_STATE_BYTES, type Pit } from '../irqchip/pit.ts';
import { Chip, type GsiRoute, MAX_ROUTES } from '../irqchip/routing.ts';
import type { X86Vcpu } from '../vcpu.ts';

/** A chip's state: `struct kvm_pic_state` (chips 0 and 1) or `struct kvm_ioapic_state` (2). */
export interface KvmIrqchip {
  readonly chip: number;
  readonly state: Uint8Array;
}

declare module '@faultyard/core' {
  interface OpMap {
    /** KVM_CREATE_IRQCHIP: EEXIST if there is one, EINVAL once a vCPU has run. */
    'create-irqchip': { readonly on: 'vm'; readonly arg: Record<never, never>; readonly result: 0 };
    /** KVM_CREATE_PIT2: ENOENT without KVM_CREATE_IRQCHIP, EEXIST if there is one. Bit 0 of `flags`: port 61h too. */
    'create-pit2': { readonly on: 'vm'; readonly arg: { readonly flags: number }; readonly result: 0 };
    /** KVM_GET_IRQCHIP: ENXIO without one, EINVAL for another chip than 0, 1 and 2. */
    'get-irqchip': {
      readonly on: 'vm';
      readonly arg: { readonly chip: number };
      readonly result: Uint8Array;
    };
    /** KVM_SET_IRQCHIP: the same. */
    'set-irqchip': { readonly on: 'vm'; readonly arg: KvmIrqchip; readonly result: 0 };
    /** KVM_GET_PIT2: `struct kvm_pit_state2`; ENXIO without a PIT. */
    'get-pit2': { readonly on: 'vm'; readonly arg: Record<never, never>; readonly result: Uint8Array };
    /** KVM_SET_PIT2: counts are loaded anew. */
    'set-pit2': { readonly on: 'vm'; readonly arg: { readonly state: Uint8Array }; readonly result: 0 };
    /** KVM_SET_GSI_ROUTING: EINVAL without a chip, and for routes that KVM does not take. */
    'set-gsi-routing': {
      readonly on: 'vm';
      readonly arg: { readonly flags?: number; readonly routes: readonly GsiRoute[] };
      readonly result: 0;
    };
    /** KVM_GET_LAPIC: `struct kvm_lapic_state`; EINVAL without a local APIC. */
    'get-lapic': { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: Uint8Array };
    /** KVM_SET_LAPIC: the timer goes on from its current count. */
    'set-lapic': { readonly on: 'vcpu'; readonly arg: { readonly state: Uint8Array }; readonly result: 0 };
  }
}

const of = (v: Vcpu): X86Vcpu => v.arch as X86Vcpu;

function create(vm: Vm): 0 {
  const kvm = 'KVM_CREATE_IRQCHIP';
  if (vm.irqchip) throw new KvmError(kvm, 'EEXIST', 'there is one already');
  if (vm.vcpus.some((v) => v.retired > 0 || v.exit)) throw new KvmError(kvm, 'EINVAL', 'a vCPU has run');
  createIrqChip(vm);
  return 0;
}
function createPit(vm: Vm, flags: number): 0 {
  const chip = irqChip(vm);
  if (!chip) throw new KvmError('KVM_CREATE_PIT2', 'ENOENT', 'there is no interrupt controller for it');
  chip.createPit((flags & 1) !== 0);
  return 0;
}
function chipOf(vm: Vm, kvm: string): X86IrqChip {
  const chip = irqChip(vm);
  if (!chip) throw new KvmError(kvm, 'ENXIO', 'no interrupt controller in the kernel');
  return chip;
}
function pitOf(vm: Vm, kvm: string): Pit {
  const pit = irqChip(vm)?.pit;
  if (!pit) throw new KvmError(kvm, 'ENXIO', 'no timer in the kernel');
  return pit;
}
function apicOf(v: Vcpu, kvm: string): LocalApic {
  const { apic } = of(v);
  if (!apic) throw new KvmError(kvm, 'EINVAL', 'no local APIC in the kernel');
  return apic;
}
const noChip = (kvm: string, n: number): never => {
  throw new KvmError(kvm, 'EINVAL', `there is no chip ${n}`);
};
function getChip(vm: Vm, n: number): Uint8Array {
  const kvm = 'KVM_GET_IRQCHIP';
  const chip = chipOf(vm, kvm);
  if (n === Chip.IoApic) return chip.ioApic.image();
  return n === Chip.PicMaster || n === Chip.PicSlave ? chip.pic.image(n) : noChip(kvm, n);
}
function setChip(vm: Vm, { chip: n, state }: KvmIrqchip): 0 {
  const kvm = 'KVM_SET_IRQCHIP';
  const chip = chipOf(vm, kvm);
  const bytes = padded(state, IOAPIC_STATE_BYTES);
  if (n === Chip.IoApic) chip.ioApic.setImage(bytes);
  else if (n === Chip.PicMaster || n === Chip.PicSlave) chip.pic.setImage(n, bytes);
  else noChip(kvm, n);
  return 0;
}
function setRouting(vm: Vm, flags: number, routes: readonly GsiRoute[]): 0 {
  const chip = irqChip(vm);
  if (!chip || flags !== 0)
    throw new KvmError('KVM_SET_GSI_ROUTING', 'EINVAL', chip ? 'flags must be 0' : 'no interrupt controller');
  chip.setRoutes(routes);
  return 0;
}

/** As many bytes as a structure has; what is missing is 0. */
function padded(bytes: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  out.set(bytes.subarray(0, size));
  return out;
}

// ---- bytes -----------------------------------------------------------------------------------------------------------
const copy = (bytes: Uint8Array, out: DataView, at: number, size: number): void =>
  new Uint8Array(out.buffer, out.byteOffset + at, size).set(padded(bytes, size));
const take = (a: DataView, at: number, size: number): Uint8Array =>
  new Uint8Array(a.buffer, a.byteOffset + at, size).slice();

/** A structure that is one state. */
const getState = (size: number): { size: number; decode: () => object; encode: () => void } => ({
  size,
  decode: () => ({}),
  encode: () => {},
});
/** struct kvm_irqchip: chip u32, pad, 512 bytes. */
const CHIP_BYTES = 520;
const getChipCodec: OpCodec<'get-irqchip'> = {
  size: CHIP_BYTES,
  decode: (a) => ({ chip: a.getUint32(0, true) }),
  encode: ({ chip }, out) => out.setUint32(0, chip, true),
  result: (state, out) => copy(state, out, 8, state.length),
};
const setChipCodec: OpCodec<'set-irqchip'> = {
  size: CHIP_BYTES,
  decode: (a) => {
    const chip = a.getUint32(0, true);
    return { chip, state: take(a, 8, chip === Chip.IoApic ? IOAPIC_STATE_BYTES : PIC_STATE_BYTES) };
  },
  encode: ({ chip, state }, out) => {
    out.setUint32(0, chip, true);
    copy(state, out, 8, chip === Chip.IoApic ? IOAPIC_STATE_BYTES : PIC_STATE_BYTES);
  },
};
const getPitCodec: OpCodec<'get-pit2'> = {
  ...getState(PIT_STATE_BYTES),
  result: (state, out) => copy(state, out, 0, PIT_STATE_BYTES),
};
const setPitCodec: OpCodec<'set-pit2'> = {
  size: PIT_STATE_BYTES,
  decode: (a) => ({ state: take(a, 0, PIT_STATE_BYTES) }),
  encode: ({ state }, out) => copy(state, out, 0, PIT_STATE_BYTES),
};
const getLapicCodec: OpCodec<'get-lapic'> = {
  ...getState(APIC_BYTES),
  result: (state, out) => copy(state, out, 0, APIC_BYTES),
};
const setLapicCodec: OpCodec<'set-lapic'> = {
  size: APIC_BYTES,
  decode: (a) => ({ state: take(a, 0, APIC_BYTES) }),
  encode: ({ state }, out) => copy(state, out, 0, APIC_BYTES),
};
/** struct kvm_pit_config: flags u32, 15 of padding. */
const pitConfigCodec: OpCodec<'create-pit2'> = {
  size: 64,
  decode: (a) => ({ flags: a.getUint32(0, true) }),
  encode: ({ flags }, out) => out.setUint32(0, flags, true),
};

/** struct kvm_irq_routing: nr u32, flags u32, then 48 bytes each: gsi, type, flags, pad, and chip and pin, or an MSI. */
const ROUTE = 48;
/** KVM_IRQ_ROUTING_*. */
const RouteType = { Chip: 1, Msi: 2 } as const;
function decodeRoute(a: DataView, at: number): GsiRoute {
  const u32 = (n: number): number => a.getUint32(at + n, true);
  const gsi = u32(0);
  const bad = (why: string): never => {
    throw new KvmError('KVM_SET_GSI_ROUTING', 'EINVAL', why);
  };
  if (u32(8) !== 0) bad(`flags of GSI ${gsi} must be 0`);
  if (u32(4) === RouteType.Chip) return { gsi, chip: u32(16), pin: u32(20) };
  if (u32(4) !== RouteType.Msi) bad(`GSI ${gsi} has no type that KVM knows`);
  return { gsi, address: a.getBigUint64(at + 16, true), data: u32(24) };
}
const routingCodec: OpCodec<'set-gsi-routing'> = {
  size: 8,
  decode: (a) => {
    const n = a.getUint32(0, true);
    if (n > MAX_ROUTES) throw new KvmError('KVM_SET_GSI_ROUTING', 'EINVAL', `${n} routes`);
    if (a.byteLength < 8 + n * ROUTE) throw new KvmError('KVM_SET_GSI_ROUTING', 'EFAULT', `${n} routes`);
    const routes = Array.from({ length: n }, (_, i) => decodeRoute(a, 8 + ROUTE * i));
    return { flags: a.getUint32(4, true), routes };
  },
  encode: ({ flags, routes }, out) => {
    out.setUint32(0, routes.length, true);
    out.setUint32(4, flags ?? 0, true);
    for (const [i, r] of routes.entries()) {
      const at = 8 + ROUTE * i;
      out.setUint32(at, r.gsi, true);
      out.setUint32(at + 4, 'chip' in r ? RouteType.Chip : RouteType.Msi, true);
      if ('chip' in r) {
        out.setUint32(at + 16, r.chip, true);
        out.setUint32(at + 20, r.pin, true);
      } else {
        out.setBigUint64(at + 16, r.address, true);
        out.setUint32(at + 24, r.data, true);
      }
    }
  },
};

const op = <N extends OpName>(d: OpDef<N>): OpDef<N> => d;

/** Operations of this chapter. */
// biome-ignore lint/suspicious/noExplicitAny: operations of any name
export const IRQCHIP_OPS: readonly OpDef<any>[] = [
  op<'create-irqchip'>({
    name: 'create-irqchip',
    kvm: 'KVM_CREATE_IRQCHIP',
    ioctl: 0xae60,
    on: 'vm',
    immediate: () => ({}),
    run: (vm) => create(vm),
  }),
  op<'create-pit2'>({
    name: 'create-pit2',
    kvm: 'KVM_CREATE_PIT2',
    ioctl: 0x4040_ae77,
    on: 'vm',
    codec: pitConfigCodec,
    run: (vm, { flags }) => createPit(vm, flags),
  }),
  op<'get-irqchip'>({
    name: 'get-irqchip',
    kvm: 'KVM_GET_IRQCHIP',
    ioctl: 0xc208_ae62,
    on: 'vm',
    codec: getChipCodec,
    run: (vm, { chip }) => getChip(vm, chip),
  }),
  op<'set-irqchip'>({
    name: 'set-irqchip',
    kvm: 'KVM_SET_IRQCHIP',
    ioctl: 0x8208_ae63,
    on: 'vm',
    codec: setChipCodec,
    run: (vm, c) => setChip(vm, c),
  }),
  op<'get-pit2'>({
    name: 'get-pit2',
    kvm: 'KVM_GET_PIT2',
    ioctl: 0x8070_ae9f,
    on: 'vm',
    codec: getPitCodec,
    run: (vm) => pitOf(vm, 'KVM_GET_PIT2').image(),
  }),
  op<'set-pit2'>({
    name: 'set-pit2',
    kvm: 'KVM_SET_PIT2',
    ioctl: 0x4070_aea0,
    on: 'vm',
    codec: setPitCodec,
    run: (vm, { state }) => {
      pitOf(vm, 'KVM_SET_PIT2').setImage(padded(state, PIT_STATE_BYTES));
      return 0;
    },
  }),
  op<'set-gsi-routing'>({
    name: 'set-gsi-routing',
    kvm: 'KVM_SET_GSI_ROUTING',
    ioctl: 0x4008_ae6a,
    on: 'vm',
    codec: routingCodec,
    run: (vm, { flags, routes }) => setRouting(vm, flags ?? 0, routes),
  }),
  op<'get-lapic'>({
    name: 'get-lapic',
    kvm: 'KVM_GET_LAPIC',
    ioctl: 0x8400_ae8e,
    on: 'vcpu',
    codec: getLapicCodec,
    run: (v) => apicOf(v, 'KVM_GET_LAPIC').image(),
  }),
  op<'set-lapic'>({
    name: 'set-lapic',
    kvm: 'KVM_SET_LAPIC',
    ioctl: 0x4400_ae8f,
    on: 'vcpu',
    codec: setLapicCodec,
    run: (v, { state }) => {
      apicOf(v, 'KVM_SET_LAPIC').setImage(padded(state, APIC_BYTES));
      return 0;
    },
  }),
];

/** Capabilities of this chapter. */
export const IRQCHIP_CAPS: readonly CapDef[] = [
  {
    name: 'irqchip',
    kvm: 'KVM_CAP_IRQCHIP',
    number: 0,
    meaning: 'KVM_CREATE_IRQCHIP and KVM_IRQ_LINE exist',
  },
  {
    name: 'irq-routing',
    kvm: 'KVM_CAP_IRQ_ROUTING',
    number: 25,
    check: MAX_ROUTES,
    meaning: 'KVM_SET_GSI_ROUTING exists; how many routes it takes',
  },
  {
    name: 'irq-inject-status',
    kvm: 'KVM_CAP_IRQ_INJECT_STATUS',
    number: 26,
    meaning: 'KVM_IRQ_LINE_STATUS exists',
  },
  { name: 'pit2', kvm: 'KVM_CAP_PIT2', number: 33, meaning: 'KVM_CREATE_PIT2 exists' },
  {
    name: 'pit-state2',
    kvm: 'KVM_CAP_PIT_STATE2',
    number: 35,
    meaning: 'KVM_GET_PIT2 and KVM_SET_PIT2 exist',
  },
  {
    name: 'tsc-deadline-timer',
    kvm: 'KVM_CAP_TSC_DEADLINE_TIMER',
    number: 72,
    meaning: 'the local APIC has TSC deadlines',
  },
  { name: 'signal-msi', kvm: 'KVM_CAP_SIGNAL_MSI', number: 77, meaning: 'KVM_SIGNAL_MSI exists' },
];

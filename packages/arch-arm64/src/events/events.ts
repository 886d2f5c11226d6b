/**
 * kvm_vcpu_events of arm64: KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS (arch/arm64/kvm/guest.c; sea.md 4.1).
 * SET is not atomic: an external abort is injected before the SError half is checked.
 */
import { KvmError, type OpCodec, type OpDef, type Plain } from '@faultyard/core';
import type { KvmRules } from '../points.ts';
import type { Arm64Vcpu } from '../vcpu.ts';
import { IDS } from './serror.ts';

/** struct kvm_vcpu_events, 64 bytes; the `ext_iabt` and `ext_abt_esr` fields exist in a proposal only. */
export interface VcpuEvents {
  readonly serrorPending: boolean;
  readonly serrorHasEsr: boolean;
  readonly serrorEsr: bigint;
  readonly extDabtPending: boolean;
  readonly extIabtPending?: boolean;
  readonly extAbtHasEsr?: boolean;
  readonly extAbtEsr?: bigint;
}

declare module '@faultyard/core' {
  interface OpMap {
    /**
     * KVM_GET_VCPU_EVENTS: what is pending; an injected external abort is never reported back. ENOEXEC before
     * KVM_ARM_VCPU_INIT.
     */
    'get-vcpu-events': {
      readonly on: 'vcpu';
      readonly arg: Record<never, never>;
      readonly result: VcpuEvents;
    };
    /**
     * KVM_SET_VCPU_EVENTS: injects an external abort, an SError, or both. EINVAL for a syndrome without FEAT_RAS on the
     * host or with bits above 24, ENOEXEC before KVM_ARM_VCPU_INIT. Not atomic: the abort stays when the SError is refused.
     */
    'set-vcpu-events': { readonly on: 'vcpu'; readonly arg: Partial<VcpuEvents>; readonly result: 0 };
    /** KVM_ARM_VCPU_INIT: resets the vCPU; with `powerOff` it waits for PSCI CPU_ON. */
    'arm-vcpu-init': {
      readonly on: 'vcpu';
      readonly arg: { readonly powerOff?: boolean };
      readonly result: 0;
    };
    /** KVM_IRQ_LINE: level of the CPU's own IRQ or FIQ line; EINVAL for any other line, there being no GIC. */
    'irq-line': {
      readonly on: 'vm';
      readonly arg: { readonly vcpu: number; readonly line: 'irq' | 'fiq'; readonly level: boolean };
      readonly result: 0;
    };
  }
}

/** Events that KVM (before 6.17) marks and builds at the next KVM_RUN. */
export class PendingEvents {
  readonly #v: Arm64Vcpu;
  #abort: 'none' | 'data' | 'instruction' = 'none';
  constructor(v: Arm64Vcpu) {
    this.#v = v;
  }
  /** Marks an external abort; a second one before the run is the same one. */
  mark(kind: 'data' | 'instruction'): void {
    this.#abort = kind;
  }
  /** Builds what is marked. */
  build(): void {
    if (this.#abort === 'none') return;
    const iabt = this.#abort === 'instruction';
    this.#abort = 'none';
    this.#v.injectSea(iabt, this.#v.fault.far);
  }
  /** For cells. */
  save(): Plain {
    return this.#abort;
  }
  /** For cells. */
  restore(v: Plain): void {
    this.#abort = v as 'none';
  }
}

const GET = 'KVM_GET_VCPU_EVENTS';
const SET = 'KVM_SET_VCPU_EVENTS';

function initialised(op: string, v: Arm64Vcpu): void {
  if (!v.initialised && v.rules.eventsUninit === 'ENOEXEC')
    throw new KvmError(op, 'ENOEXEC', 'KVM_ARM_VCPU_INIT was not done');
}

/** KVM_GET_VCPU_EVENTS. ext_dabt_pending is never reported back. */
function getEvents(v: Arm64Vcpu): VcpuEvents {
  initialised(GET, v);
  const { pending, syndrome } = v.serrors;
  const hasEsr = v.rules.hostRas;
  return {
    serrorPending: pending,
    serrorHasEsr: hasEsr,
    serrorEsr: pending && hasEsr ? BigInt(syndrome >>> 0) : 0n,
    extDabtPending: false,
  };
}

/** KVM_SET_VCPU_EVENTS. @throws KvmError ENOEXEC, EINVAL. */
function setEvents(v: Arm64Vcpu, e: Partial<VcpuEvents>): 0 {
  initialised(SET, v);
  const { rules } = v;
  const iabt = rules.eventsWithIabt && e.extIabtPending === true;
  const dabt = e.extDabtPending === true;
  if (rules.eventsWithIabt) checkProposal(rules, e, iabt && dabt);
  if (rules.eventsAtomic || rules.eventsWithIabt) checkSError(rules, e);
  if (iabt || dabt) {
    if (rules.eventsCommit === 'immediate') v.injectSea(iabt, v.fault.far);
    else v.pendingEvents.mark(iabt ? 'instruction' : 'data');
  }
  if (!e.serrorPending) return 0;
  checkSError(rules, e);
  v.injectSError(e.serrorHasEsr ? Number(e.serrorEsr ?? 0n) : IDS);
  return 0;
}

function checkSError(rules: KvmRules, e: Partial<VcpuEvents>): void {
  if (!e.serrorPending || !e.serrorHasEsr) return;
  if (!rules.hostRas) throw new KvmError(SET, 'EINVAL', 'serror_has_esr without FEAT_RAS on the host');
  if ((e.serrorEsr ?? 0n) >> 25n !== 0n) throw new KvmError(SET, 'EINVAL', 'serror_esr has bits above 24');
}

function checkProposal(rules: KvmRules, e: Partial<VcpuEvents>, both: boolean): void {
  if (both) throw new KvmError(SET, 'EINVAL', 'ext_dabt_pending and ext_iabt_pending');
  if (!e.extAbtHasEsr) return;
  if (!rules.hostRas) throw new KvmError(SET, 'EINVAL', 'ext_abt_has_esr without FEAT_RAS on the host');
  if ((e.extAbtEsr ?? 0n) >> 25n !== 0n)
    throw new KvmError(SET, 'EINVAL', 'ext_abt_esr has bits above the ISS');
}

/** Byte layout of struct kvm_vcpu_events (and of the proposal, whose fields are padding upstream). */
const codec = {
  size: 64,
  decode: (a: DataView): VcpuEvents => ({
    serrorPending: a.getUint8(0) !== 0,
    serrorHasEsr: a.getUint8(1) !== 0,
    extDabtPending: a.getUint8(2) !== 0,
    extIabtPending: a.getUint8(3) !== 0,
    extAbtHasEsr: a.getUint8(4) !== 0,
    serrorEsr: a.getBigUint64(8, true),
    extAbtEsr: a.getBigUint64(16, true),
  }),
  encode: (e: Partial<VcpuEvents>, out: DataView): void => {
    for (let i = 0; i < 64; i++) out.setUint8(i, 0);
    out.setUint8(0, Number(e.serrorPending ?? false));
    out.setUint8(1, Number(e.serrorHasEsr ?? false));
    out.setUint8(2, Number(e.extDabtPending ?? false));
    out.setUint8(3, Number(e.extIabtPending ?? false));
    out.setUint8(4, Number(e.extAbtHasEsr ?? false));
    out.setBigUint64(8, e.serrorEsr ?? 0n, true);
    out.setBigUint64(16, e.extAbtEsr ?? 0n, true);
  },
} as const;

const getCodec: OpCodec<'get-vcpu-events'> = {
  size: 64,
  decode: () => ({}),
  encode: (_, out) => codec.encode({}, out),
  result: (r, out) => codec.encode(r, out),
};
const setCodec: OpCodec<'set-vcpu-events'> = { size: 64, decode: codec.decode, encode: codec.encode };

/** struct kvm_vcpu_init: target u32, features u32[7]; bit 0 of features[0] is POWER_OFF. */
const initCodec: OpCodec<'arm-vcpu-init'> = {
  size: 32,
  decode: (a) => ({ powerOff: (a.getUint32(4, true) & 1) !== 0 }),
  encode: (e, out) => {
    for (let i = 0; i < 32; i += 4) out.setUint32(i, 0, true);
    out.setUint32(0, 5, true);
    out.setUint32(4, e.powerOff ? 1 : 0, true);
  },
};

/** struct kvm_irq_level: irq u32 (type 31:24, vcpu 23:16, number 15:0), level u32. */
const irqCodec: OpCodec<'irq-line'> = {
  size: 8,
  decode: (a) => {
    const irq = a.getUint32(0, true);
    if (irq >>> 24 !== 0 || (irq & 0xffff) > 1)
      throw new KvmError(
        'KVM_IRQ_LINE',
        'EINVAL',
        'only lines of the CPU exist without an interrupt controller',
      );
    return { vcpu: (irq >>> 16) & 0xff, line: irq & 1 ? 'fiq' : 'irq', level: a.getUint32(4, true) !== 0 };
  },
  encode: (e, out) => {
    out.setUint32(0, (e.vcpu << 16) | (e.line === 'fiq' ? 1 : 0), true);
    out.setUint32(4, Number(e.level), true);
  },
};

const op = <N extends 'get-vcpu-events' | 'set-vcpu-events' | 'arm-vcpu-init' | 'irq-line'>(
  d: OpDef<N>,
): OpDef<N> => d;

/** Operations of the architecture. */
// biome-ignore lint/suspicious/noExplicitAny: operations of any name
export const ARM64_OPS: readonly OpDef<any>[] = [
  op<'get-vcpu-events'>({
    name: 'get-vcpu-events',
    kvm: GET,
    ioctl: 0x8040_ae9f,
    on: 'vcpu',
    codec: getCodec,
    run: (vcpu) => getEvents(vcpu.arch as Arm64Vcpu),
  }),
  op<'set-vcpu-events'>({
    name: 'set-vcpu-events',
    kvm: SET,
    ioctl: 0x4040_aea0,
    on: 'vcpu',
    codec: setCodec,
    run: (vcpu, e) => setEvents(vcpu.arch as Arm64Vcpu, e),
  }),
  op<'arm-vcpu-init'>({
    name: 'arm-vcpu-init',
    kvm: 'KVM_ARM_VCPU_INIT',
    ioctl: 0x4020_aeae,
    on: 'vcpu',
    codec: initCodec,
    run: (vcpu, { powerOff }) => {
      (vcpu.arch as Arm64Vcpu).init(!powerOff);
      return 0;
    },
  }),
  op<'irq-line'>({
    name: 'irq-line',
    kvm: 'KVM_IRQ_LINE',
    ioctl: 0x4008_ae61,
    on: 'vm',
    codec: irqCodec,
    run: (vm, { vcpu, line, level }) => {
      const v = vm.vcpus[vcpu]?.arch as Arm64Vcpu | undefined;
      if (!v) throw new KvmError('KVM_IRQ_LINE', 'EINVAL', `no vcpu ${vcpu}`);
      if (line === 'irq') v.irqLine = level;
      else v.fiqLine = level;
      v.interruptsChanged();
      return 0;
    },
  }),
];

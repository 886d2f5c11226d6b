/**
 * KVM's operations on events: KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS, KVM_INTERRUPT, KVM_NMI, KVM_SMI
 * (arch/x86/kvm/x86.c; struct kvm_vcpu_events in arch/x86/include/uapi/asm/kvm.h).
 */
import { type CapDef, KvmError, type OpCodec, type OpDef, type Vcpu } from '@faultyard/core';
import type { Machine } from '../machine.ts';
import { high, join, low } from '../state.ts';
import { GuestDebugControl } from './debug.ts';
import { Shadow } from './events.ts';
import { Vector } from './vectors.ts';

/** Bits of {@link X86VcpuEvents.flags} (KVM_VCPUEVENT_VALID_*): which members KVM_SET_VCPU_EVENTS looks at. */
export const EventsValid = {
  NmiPending: 1,
  SipiVector: 2,
  Shadow: 4,
  Smm: 8,
  Payload: 0x10,
  TripleFault: 0x20,
} as const;
const ALL_VALID = 0x3f;

/** struct kvm_vcpu_events of x86, 64 bytes. */
export interface X86VcpuEvents {
  readonly exception: {
    readonly injected: boolean;
    readonly nr: number;
    readonly hasErrorCode: boolean;
    /** With {@link EventsValid.Payload}: queued, not injected yet. */
    readonly pending: boolean;
    readonly errorCode: number;
    readonly hasPayload: boolean;
    /** CR2 of #PF, bits of DR6 of #DB. */
    readonly payload: bigint;
  };
  readonly interrupt: {
    readonly injected: boolean;
    readonly nr: number;
    readonly soft: boolean;
    /** KVM_X86_SHADOW_INT_*: 1 MOV SS, 2 STI. */
    readonly shadow: number;
  };
  readonly nmi: { readonly injected: boolean; readonly pending: number; readonly masked: boolean };
  readonly sipiVector: number;
  /** {@link EventsValid}. */
  readonly flags: number;
  readonly smi: {
    readonly smm: boolean;
    readonly pending: boolean;
    readonly smmInsideNmi: boolean;
    readonly latchedInit: boolean;
  };
  readonly tripleFaultPending: boolean;
}

declare module '@faultyard/core' {
  interface OpMap {
    /** KVM_GET_VCPU_EVENTS of x86. */
    'x86-get-vcpu-events': {
      readonly on: 'vcpu';
      readonly arg: Record<never, never>;
      readonly result: X86VcpuEvents;
    };
    /**
     * KVM_SET_VCPU_EVENTS of x86. EINVAL for unknown flags, an exception above 31 or 2, a payload without
     * KVM_CAP_EXCEPTION_PAYLOAD, SMM while an INIT waits for its SIPI; and, all else being done already, a triple fault
     * without KVM_CAP_X86_TRIPLE_FAULT_EVENT.
     */
    'x86-set-vcpu-events': { readonly on: 'vcpu'; readonly arg: X86VcpuEvents; readonly result: 0 };
    /**
     * KVM_INTERRUPT: a vector from userspace, taken at the next entry whatever EFLAGS.IF says. EINVAL above 255; ENXIO
     * with an interrupt controller in the kernel.
     */
    interrupt: { readonly on: 'vcpu'; readonly arg: { readonly irq: number }; readonly result: 0 };
    /**
     * KVM_SET_GUEST_DEBUG: `control` are bits of GuestDebugControl, `debugreg` DR0 to DR7 for hardware breakpoints. EBUSY to
     * inject an exception while one is pending.
     */
    'set-guest-debug': {
      readonly on: 'vcpu';
      readonly arg: { readonly control: number; readonly debugreg?: readonly bigint[] };
      readonly result: 0;
    };
    /** KVM_NMI: an NMI; at most two wait. */
    nmi: { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: 0 };
    /** KVM_SMI: a system management interrupt. */
    smi: { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: 0 };
  }
}

/** KVM_MP_STATE_INIT_RECEIVED. */
const INIT_RECEIVED = 2;
const SET = 'KVM_SET_VCPU_EVENTS';

/** What the operations need of a vCPU. */
type EventVcpu = Machine & { readonly mpState: number };
const of = (v: Vcpu): EventVcpu => v.arch as unknown as EventVcpu;

/** kvm_vcpu_ioctl_x86_get_vcpu_events. */
function getEvents(m: EventVcpu): X86VcpuEvents {
  const e = m.events;
  const x = e.exception;
  const payloads = m.vm.caps.enabled('exception-payload');
  if (!payloads && x.pending) e.deliverPayload();
  // INT3 and INTO run again as long as RIP is at them (kvm_exception_is_soft)
  const soft = x.vector === Vector.BP || x.vector === Vector.OF;
  const triple = m.vm.caps.enabled('x86-triple-fault-event');
  return {
    exception: {
      injected: !soft && (x.injected || (!payloads && x.pending)),
      nr: x.vector,
      hasErrorCode: x.hasErrorCode,
      pending: !soft && x.pending,
      errorCode: x.errorCode >>> 0,
      hasPayload: x.hasPayload,
      payload: join(x.payloadLo, x.payloadHi),
    },
    interrupt: {
      injected: e.interrupt.injected && !e.interrupt.soft,
      nr: e.interrupt.vector,
      soft: false,
      // SVM's VMCB has one bit for both (svm_get_interrupt_shadow)
      shadow: m.model.vendor === 'AMD' && e.shadow ? Shadow.MovSs | Shadow.Sti : e.shadow,
    },
    nmi: { injected: e.nmi.injected, pending: e.nmi.pending, masked: e.nmi.masked },
    sipiVector: 0,
    flags:
      EventsValid.NmiPending |
      EventsValid.Shadow |
      EventsValid.Smm |
      (payloads ? EventsValid.Payload : 0) |
      (triple ? EventsValid.TripleFault : 0),
    smi: {
      smm: e.smi.smm,
      pending: e.smi.pending,
      smmInsideNmi: e.smi.insideNmi,
      latchedInit: m.apic?.pendingInit ?? false,
    },
    tripleFaultPending: triple && e.tripleFault !== 'no',
  };
}

const refuse = (why: string): never => {
  throw new KvmError(SET, 'EINVAL', why);
};

/** What KVM checks before it changes anything. */
function check(m: EventVcpu, v: X86VcpuEvents): void {
  if (v.flags & ~ALL_VALID) refuse(`flags 0x${(v.flags >>> 0).toString(16)} has unknown bits`);
  const payload = (v.flags & EventsValid.Payload) !== 0;
  if (payload && !m.vm.caps.enabled('exception-payload'))
    refuse('KVM_VCPUEVENT_VALID_PAYLOAD without KVM_CAP_EXCEPTION_PAYLOAD');
  const { injected, pending, nr } = v.exception;
  if ((injected || (payload && pending)) && (nr > 31 || nr === Vector.NMI)) refuse(`${nr} is no exception`);
  if (v.flags & EventsValid.Smm && (v.smi.smm || v.smi.pending) && m.mpState === INIT_RECEIVED)
    refuse('an INIT waits for its SIPI, SMM holds INITs back');
}

/** kvm_vcpu_ioctl_x86_set_vcpu_events. @throws KvmError EINVAL. */
function setEvents(m: EventVcpu, v: X86VcpuEvents): 0 {
  check(m, v);
  const e = m.events;
  const x = e.exception;
  const payload = (v.flags & EventsValid.Payload) !== 0;
  x.pending = payload && v.exception.pending;
  x.injected = v.exception.injected && !x.pending;
  x.vector = v.exception.nr;
  x.hasErrorCode = v.exception.hasErrorCode;
  x.errorCode = v.exception.errorCode | 0;
  x.hasPayload = x.pending && v.exception.hasPayload;
  x.payloadLo = Number(BigInt.asIntN(32, v.exception.payload));
  x.payloadHi = Number(BigInt.asIntN(32, v.exception.payload >> 32n));
  e.interrupt.injected = v.interrupt.injected;
  e.interrupt.vector = v.interrupt.nr;
  e.interrupt.soft = v.interrupt.soft;
  if (v.flags & EventsValid.Shadow) e.shadow = v.interrupt.shadow & (Shadow.MovSs | Shadow.Sti);
  e.nmi.injected = v.nmi.injected;
  e.nmi.masked = v.nmi.masked;
  if (v.flags & EventsValid.NmiPending) {
    e.nmi.pending = 0;
    if (v.nmi.pending) e.queueNmi(v.nmi.pending);
  }
  if (v.flags & EventsValid.SipiVector && m.apic) m.apic.sipiVector = v.sipiVector & 0xff;
  if (v.flags & EventsValid.Smm) setSmi(m, v.smi);
  m.attend();
  if (v.flags & EventsValid.TripleFault) {
    if (!m.vm.caps.enabled('x86-triple-fault-event'))
      refuse('KVM_VCPUEVENT_VALID_TRIPLE_FAULT without KVM_CAP_X86_TRIPLE_FAULT_EVENT');
    e.tripleFault = v.tripleFaultPending ? 'kvm' : 'no';
  }
  return 0;
}

function setSmi(m: Machine, v: X86VcpuEvents['smi']): void {
  const { smi } = m.events;
  if (m.apic) m.apic.pendingInit = v.latchedInit;
  const changed = smi.smm !== v.smm;
  smi.smm = v.smm;
  smi.pending = v.pending;
  smi.insideNmi = v.smm && v.smmInsideNmi;
  if (changed) m.smmChanged();
}

/** kvm_arch_vcpu_ioctl_set_guest_debug. @throws KvmError EBUSY. */
function guestDebug(m: Machine, control: number, debugreg: readonly bigint[]): 0 {
  const { events } = m;
  if (control & (GuestDebugControl.InjectDb | GuestDebugControl.InjectBp)) {
    if (events.exception.pending)
      throw new KvmError('KVM_SET_GUEST_DEBUG', 'EBUSY', 'an exception is pending already');
    events.queueException(control & GuestDebugControl.InjectDb ? Vector.DB : Vector.BP);
  }
  events.debug.debugGuest({
    control,
    dr: Array.from({ length: 8 }, (_, n) => ({ lo: low(debugreg[n] ?? 0n), hi: high(debugreg[n] ?? 0n) })),
  });
  return 0;
}

/** The 64 bytes. */
const struct = {
  decode: (a: DataView): X86VcpuEvents => {
    const bit = (at: number): boolean => a.getUint8(at) !== 0;
    return {
      exception: {
        injected: bit(0),
        nr: a.getUint8(1),
        hasErrorCode: bit(2),
        pending: bit(3),
        errorCode: a.getUint32(4, true),
        hasPayload: bit(55),
        payload: a.getBigUint64(56, true),
      },
      interrupt: { injected: bit(8), nr: a.getUint8(9), soft: bit(10), shadow: a.getUint8(11) },
      nmi: { injected: bit(12), pending: a.getUint8(13), masked: bit(14) },
      sipiVector: a.getUint32(16, true),
      flags: a.getUint32(20, true),
      smi: { smm: bit(24), pending: bit(25), smmInsideNmi: bit(26), latchedInit: bit(27) },
      tripleFaultPending: bit(28),
    };
  },
  encode: (v: X86VcpuEvents, out: DataView): void => {
    for (let i = 0; i < 64; i++) out.setUint8(i, 0);
    const bit = (at: number, on: boolean): void => out.setUint8(at, Number(on));
    bit(0, v.exception.injected);
    out.setUint8(1, v.exception.nr);
    bit(2, v.exception.hasErrorCode);
    bit(3, v.exception.pending);
    out.setUint32(4, v.exception.errorCode, true);
    bit(8, v.interrupt.injected);
    out.setUint8(9, v.interrupt.nr);
    bit(10, v.interrupt.soft);
    out.setUint8(11, v.interrupt.shadow);
    bit(12, v.nmi.injected);
    out.setUint8(13, v.nmi.pending);
    bit(14, v.nmi.masked);
    out.setUint32(16, v.sipiVector, true);
    out.setUint32(20, v.flags, true);
    bit(24, v.smi.smm);
    bit(25, v.smi.pending);
    bit(26, v.smi.smmInsideNmi);
    bit(27, v.smi.latchedInit);
    bit(28, v.tripleFaultPending);
    bit(55, v.exception.hasPayload);
    out.setBigUint64(56, BigInt.asUintN(64, v.exception.payload), true);
  },
} as const;

const getCodec: OpCodec<'x86-get-vcpu-events'> = {
  size: 64,
  decode: () => ({}),
  encode: (_, out) => {
    for (let i = 0; i < 64; i++) out.setUint8(i, 0);
  },
  result: (r, out) => struct.encode(r, out),
};
const setCodec: OpCodec<'x86-set-vcpu-events'> = { size: 64, decode: struct.decode, encode: struct.encode };
/** struct kvm_interrupt: irq u32. */
const interruptCodec: OpCodec<'interrupt'> = {
  size: 4,
  decode: (a) => ({ irq: a.getUint32(0, true) }),
  encode: (v, out) => out.setUint32(0, v.irq, true),
};

/** struct kvm_guest_debug: control u32, padding, debugreg u64[8]. */
const guestDebugCodec: OpCodec<'set-guest-debug'> = {
  size: 72,
  decode: (a) => ({
    control: a.getUint32(0, true),
    debugreg: Array.from({ length: 8 }, (_, n) => a.getBigUint64(8 + 8 * n, true)),
  }),
  encode: (v, out) => {
    out.setUint32(0, v.control, true);
    out.setUint32(4, 0, true);
    for (let n = 0; n < 8; n++) out.setBigUint64(8 + 8 * n, BigInt.asUintN(64, v.debugreg?.[n] ?? 0n), true);
  },
};

type EventOp =
  | 'x86-get-vcpu-events'
  | 'x86-set-vcpu-events'
  | 'interrupt'
  | 'nmi'
  | 'smi'
  | 'set-guest-debug';
const op = <N extends EventOp>(d: OpDef<N>): OpDef<N> => d;

/** Operations on events. */
// biome-ignore lint/suspicious/noExplicitAny: operations of any name
export const EVENT_OPS: readonly OpDef<any>[] = [
  op<'x86-get-vcpu-events'>({
    name: 'x86-get-vcpu-events',
    kvm: 'KVM_GET_VCPU_EVENTS',
    ioctl: 0x8040_ae9f,
    on: 'vcpu',
    codec: getCodec,
    run: (v) => getEvents(of(v)),
  }),
  op<'x86-set-vcpu-events'>({
    name: 'x86-set-vcpu-events',
    kvm: SET,
    ioctl: 0x4040_aea0,
    on: 'vcpu',
    codec: setCodec,
    run: (v, e) => setEvents(of(v), e),
  }),
  op<'interrupt'>({
    name: 'interrupt',
    kvm: 'KVM_INTERRUPT',
    ioctl: 0x4004_ae86,
    on: 'vcpu',
    codec: interruptCodec,
    run: (v, { irq }) => {
      const { events } = of(v);
      if (!(irq >= 0 && irq < 256)) throw new KvmError('KVM_INTERRUPT', 'EINVAL', `no vector ${irq}`);
      if (events.source)
        throw new KvmError('KVM_INTERRUPT', 'ENXIO', 'the interrupt controller is in the kernel');
      events.queueInterrupt(irq);
      return 0;
    },
  }),
  op<'set-guest-debug'>({
    name: 'set-guest-debug',
    kvm: 'KVM_SET_GUEST_DEBUG',
    ioctl: 0x4048_ae9b,
    on: 'vcpu',
    codec: guestDebugCodec,
    run: (v, { control, debugreg }) => guestDebug(of(v), control, debugreg ?? []),
  }),
  op<'nmi'>({
    name: 'nmi',
    kvm: 'KVM_NMI',
    ioctl: 0xae9a,
    on: 'vcpu',
    immediate: () => ({}),
    run: (v) => {
      of(v).events.queueNmi();
      return 0;
    },
  }),
  op<'smi'>({
    name: 'smi',
    kvm: 'KVM_SMI',
    ioctl: 0xaeb7,
    on: 'vcpu',
    immediate: () => ({}),
    run: (v) => {
      of(v).events.queueSmi();
      return 0;
    },
  }),
];

/** Capabilities of events. */
export const EVENT_CAPS: readonly CapDef[] = [
  { name: 'user-nmi', kvm: 'KVM_CAP_USER_NMI', number: 22, meaning: 'KVM_NMI exists' },
  {
    name: 'set-guest-debug',
    kvm: 'KVM_CAP_SET_GUEST_DEBUG',
    number: 23,
    meaning: 'KVM_SET_GUEST_DEBUG exists',
  },
  {
    name: 'set-guest-debug2',
    kvm: 'KVM_CAP_SET_GUEST_DEBUG2',
    number: 195,
    check: 0x1f_0003,
    meaning: 'which bits KVM_SET_GUEST_DEBUG takes',
  },
  { name: 'x86-smm', kvm: 'KVM_CAP_X86_SMM', number: 117, meaning: 'KVM_SMI and SMM exist' },
  {
    name: 'exception-payload',
    kvm: 'KVM_CAP_EXCEPTION_PAYLOAD',
    number: 164,
    enable: 'vm',
    meaning: 'kvm_vcpu_events tells pending exceptions from injected ones, with what CR2 or DR6 will get',
  },
  {
    name: 'x86-triple-fault-event',
    kvm: 'KVM_CAP_X86_TRIPLE_FAULT_EVENT',
    number: 218,
    enable: 'vm',
    meaning: 'kvm_vcpu_events has a pending triple fault',
  },
];

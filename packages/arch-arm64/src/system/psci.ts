/**
 * PSCI 1.0 and the SMC calling convention as KVM answers them (Arm DEN 0022 and DEN 0028; arch/arm64/kvm/psci.c,
 * hypercalls.c). Unknown functions return NOT_SUPPORTED.
 */
import type { Exit } from '@faultyard/core';
import { type Arm64State, wide } from '../state.ts';

/** Function numbers; bit 30 set is the 64-bit form. */
const PSCI = {
  Version: 0x8400_0000,
  CpuSuspend32: 0x8400_0001,
  CpuOff: 0x8400_0002,
  CpuOn32: 0x8400_0003,
  AffinityInfo32: 0x8400_0004,
  MigrateInfoType: 0x8400_0006,
  SystemOff: 0x8400_0008,
  SystemReset: 0x8400_0009,
  Features: 0x8400_000a,
  CpuSuspend64: 0xc400_0001,
  CpuOn64: 0xc400_0003,
  AffinityInfo64: 0xc400_0004,
  SmcccVersion: 0x8000_0000,
  SmcccArchFeatures: 0x8000_0001,
} as const;

/** Results. */
const PSCI_RESULT = {
  Success: 0,
  NotSupported: -1,
  InvalidParameters: -2,
  Denied: -3,
  AlreadyOn: -4,
} as const;

/** KVM_SYSTEM_EVENT_SHUTDOWN and KVM_SYSTEM_EVENT_RESET. */
const SHUTDOWN = 1;
const RESET = 2;

/** The vCPU and its siblings as PSCI sees them. */
export interface PsciPort {
  readonly state: Arm64State;
  readonly id: number;
  /** Aff3:Aff2:Aff1:Aff0 of MPIDR_EL1 as PSCI spells it. */
  readonly affinity: number;
  readonly power: 'on' | 'off';
  readonly siblings: readonly PsciPort[];
  /** WFI, for CPU_SUSPEND. */
  suspend(): void;
  /** Powers itself off. */
  powerOff(): void;
  /** Resets and starts at `pc` with `context` in X0. */
  powerOn(pcLo: number, pcHi: number, contextLo: number, contextHi: number): void;
}

/** Numbers that PSCI_FEATURES says yes to. */
const IMPLEMENTED: ReadonlySet<number> = new Set([
  PSCI.Version,
  PSCI.CpuSuspend32,
  PSCI.CpuSuspend64,
  PSCI.CpuOff,
  PSCI.CpuOn32,
  PSCI.CpuOn64,
  PSCI.AffinityInfo32,
  PSCI.AffinityInfo64,
  PSCI.MigrateInfoType,
  PSCI.SystemOff,
  PSCI.SystemReset,
  PSCI.Features,
  PSCI.SmcccVersion,
]);

/** Carries out the call in X0..X3 and leaves the result in X0; may return the exit it ends in. */
export function smccc(v: PsciPort): Exit | undefined {
  const s = v.state;
  const fn = s.xLo(0) >>> 0;
  const arg = (n: number): number => wide(s.xLo(n), (fn & 0x4000_0000) !== 0 ? s.xHi(n) : 0);
  const answer = (r: number): undefined => void s.setX(0, r, r < 0 ? -1 : 0);
  switch (fn) {
    case PSCI.Version:
      return answer(0x1_0000);
    case PSCI.SmcccVersion:
      return answer(0x1_0001);
    case PSCI.SmcccArchFeatures:
      return answer(arg(1) === PSCI.SmcccVersion ? PSCI_RESULT.Success : PSCI_RESULT.NotSupported);
    case PSCI.Features:
      return answer(IMPLEMENTED.has(arg(1)) ? PSCI_RESULT.Success : PSCI_RESULT.NotSupported);
    case PSCI.MigrateInfoType:
      return answer(2); // no trusted OS, or one that needs no migration
    case PSCI.CpuSuspend32:
    case PSCI.CpuSuspend64:
      answer(PSCI_RESULT.Success);
      v.suspend();
      return undefined;
    case PSCI.CpuOff:
      v.powerOff();
      return undefined;
    case PSCI.CpuOn32:
    case PSCI.CpuOn64:
      return answer(cpuOn(v, fn === PSCI.CpuOn64, arg(1)));
    case PSCI.AffinityInfo32:
    case PSCI.AffinityInfo64:
      return answer(affinityInfo(v, arg(1), arg(2)));
    case PSCI.SystemOff:
      return systemEvent(v, SHUTDOWN);
    case PSCI.SystemReset:
      return systemEvent(v, RESET);
    default:
      return answer(PSCI_RESULT.NotSupported);
  }
}

function cpuOn(v: PsciPort, is64: boolean, target: number): number {
  const s = v.state;
  const other = v.siblings.find((x) => x.affinity === target);
  if (!other) return PSCI_RESULT.InvalidParameters;
  if (other.power === 'on') return PSCI_RESULT.AlreadyOn;
  other.powerOn(s.xLo(2), is64 ? s.xHi(2) : 0, s.xLo(3), is64 ? s.xHi(3) : 0);
  return PSCI_RESULT.Success;
}

/** 0 = on, 1 = off; levels above 0 ask for any vCPU below that affinity. */
function affinityInfo(v: PsciPort, target: number, level: number): number {
  if (level > 3) return PSCI_RESULT.InvalidParameters;
  const scale = 2 ** (8 * level);
  const match = v.siblings.filter((x) => Math.floor(x.affinity / scale) === Math.floor(target / scale));
  if (match.length === 0) return PSCI_RESULT.InvalidParameters;
  return match.some((x) => x.power === 'on') ? 0 : 1;
}

/** All vCPUs stop; X0 says INTERNAL_FAILURE (-6) should userspace run the vCPU again (KVM: kvm_prepare_system_event). */
function systemEvent(v: PsciPort, type: number): Exit {
  for (const x of v.siblings) x.powerOff();
  v.state.setX(0, -6, -1);
  return { kind: 'system-event', vcpu: v.id, ret: 0, type, data: [0n] };
}

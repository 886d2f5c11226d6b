/** What a VMM knows of an abort: the exit decoded once, and the registers it may read. */
import type { Exit, Vcpu } from '@faultyard/core';
import type {} from '../exit.ts';

/** How an event reached the VMM. */
export type Door =
  /** KVM_EXIT_ARM_SEA. */
  | 'exit'
  /** SIGBUS BUS_MCEERR_AR to the vCPU's thread: the host claimed the error. */
  | 'sigbus'
  /** An access to a page that this VMM took away: MMIO, NISV, -ENOSYS or a userfault exit. */
  | 'hole';

/** One abort as the policies see it. */
export interface SeaEvent {
  /** 1, 2, 3 … in the order of arrival. */
  readonly id: number;
  readonly door: Door;
  readonly vcpu: number;
  /** Virtual ns. */
  readonly time: number;
  /** arm_sea.esr; absent for the other doors. */
  readonly esr?: bigint;
  readonly flags?: bigint;
  readonly gva?: bigint;
  /** Page-aligned for `exit` and `sigbus`, byte-exact for `hole`. */
  readonly gpa?: bigint;
  /** log2 of the granule that is gone (`sigbus`). */
  readonly lsb?: number;
  /** Interrupted exception level, from PSTATE. */
  readonly el: 0 | 1;
  readonly pc: bigint;
}

/** Fields of arm_sea.esr (DDI 0487 ESR_ELx); for an event without ESR everything is unknown. */
export interface SeaSyndrome {
  readonly ec: number;
  readonly isFetch: boolean;
  readonly fsc: number;
  /** On a translation table walk; then `level` is -1..3. */
  readonly walk: boolean;
  readonly level: number;
  readonly fnv: boolean;
  readonly cm: boolean;
  /** Unreliable for atomics. */
  readonly wnr: boolean;
  /** 0 recoverable, 2 uncontainable, 3 restartable; only meaningful when the VM has RAS and `fsc` is 0x10. */
  readonly set: number;
  /** EC 0x25: a nesting page of the host; gva and gpa must not be trusted. */
  readonly nestSuspect: boolean;
}

/** Decodes arm_sea.esr. */
export function syndrome(esr: bigint): SeaSyndrome {
  const e = Number(BigInt.asUintN(32, esr));
  const ec = e >>> 26;
  const fsc = e & 0x3f;
  const walk = fsc >= 0x13 && fsc <= 0x17;
  return {
    ec,
    isFetch: ec === 0x20,
    fsc,
    walk,
    level: walk ? fsc - 0x14 : 0,
    fnv: ((e >>> 10) & 1) === 1,
    cm: ((e >>> 8) & 1) === 1,
    wnr: ((e >>> 6) & 1) === 1,
    set: (e >>> 11) & 3,
    nestSuspect: ec === 0x25,
  };
}

/** The interrupted level: PSTATE.M[3:2], EL0 for AArch32 user mode. */
export function levelOf(vcpu: Vcpu): 0 | 1 {
  const m = vcpu.get('pstate') & 0x1fn;
  return m & 0x10n ? 0 : (m >> 2n) & 3n ? 1 : 0;
}

/** Facts of an exit 41 as an event. */
export function fromExit(e: Exit<'arm-sea'>, vcpu: Vcpu, id: number): SeaEvent {
  return {
    id,
    door: 'exit',
    vcpu: e.vcpu,
    time: vcpu.now,
    esr: e.esr,
    flags: e.flags,
    ...(e.gva === undefined ? {} : { gva: e.gva }),
    ...(e.gpa === undefined ? {} : { gpa: e.gpa }),
    el: levelOf(vcpu),
    pc: vcpu.pc,
  };
}

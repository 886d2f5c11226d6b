/** KVM_X86_SETUP_MCE and KVM_X86_SET_MCE (arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_setup_mce and _set_mce). */
import { CR4, Vector, type X86Vcpu } from '@faultyard/arch-x86';
import { KvmError } from '@faultyard/core';
import { CMCI_EN, FeatCtl, LVT_CMCI, MAX_BANKS, McgCap, McgStatus, Status } from './bits.ts';
import type { MceKnobs } from './knobs.ts';
import { ADDR, CTL, type McaState, MISC, STATUS } from './state.ts';

/** struct kvm_x86_mce. */
export interface KvmX86Mce {
  /** MCi_STATUS. */
  readonly status: bigint;
  readonly addr: bigint;
  readonly misc: bigint;
  /** MCG_STATUS; only uncorrected errors store it. */
  readonly mcgStatus: bigint;
  /** 0 to 255. */
  readonly bank: number;
}

/**
 * What KVM_X86_SET_MCE did, always returning 0: stored an error without a word (`logged`) or over an older one
 * (`overflow`); only marked an uncorrected one that was there (`marked`); stored UCNA (`ucna`), with its interrupt (`cmci`);
 * dropped it, as reporting is off (`disabled`); asked for a triple fault (`triple-fault`); stored it and queued #MC
 * (`machine-check`).
 */
export type MceOutcome =
  | 'logged'
  | 'overflow'
  | 'marked'
  | 'ucna'
  | 'cmci'
  | 'disabled'
  | 'triple-fault'
  | 'machine-check';

const ALL_ONES = 0xffff_ffff_ffff_ffffn;

/** MCG_CAP bits that KVM_X86_GET_MCE_CAP_SUPPORTED gives: VMX adds CMCI_P and LMCE_P (vmx.c). */
export function supportedCap(backend: 'AMD' | 'Intel'): bigint {
  const both = McgCap.CTL_P | McgCap.SER_P;
  return backend === 'Intel' ? both | McgCap.CMCI_P | McgCap.LMCE_P : both;
}

/** Carries KVM_X86_SETUP_MCE out. @throws KvmError EINVAL for 0 or more than 32 banks, and for bits not supported. */
export function setupMce(v: X86Vcpu, s: McaState, mcgCap: bigint, backend: 'AMD' | 'Intel'): void {
  const refuse = (why: string): never => {
    throw new KvmError('KVM_X86_SETUP_MCE', 'EINVAL', why);
  };
  const cap = BigInt.asUintN(64, mcgCap);
  const count = Number(cap & 0xffn);
  if (count === 0 || count > MAX_BANKS) refuse(`${count} banks; there are 1 to ${MAX_BANKS}`);
  const odd = cap & ~(supportedCap(backend) | 0xff_00ffn);
  if (odd) refuse(`MCG_CAP bits 0x${odd.toString(16)} are not supported by the ${backend} backend`);
  const g = s.globals;
  g.mcgCap = cap;
  if (cap & McgCap.CTL_P) g.mcgCtl = ALL_ONES;
  for (let i = 0; i < count; i++) {
    s.set(i, CTL, ALL_ONES);
    if (cap & McgCap.CMCI_P) s.ctl2[i] = 0n;
  }
  v.apic?.setCmci((cap & McgCap.CMCI_P) !== 0n);
  g.featCtlValid =
    cap & McgCap.LMCE_P ? g.featCtlValid | FeatCtl.LMCE_ENABLED : g.featCtlValid & ~FeatCtl.LMCE_ENABLED;
}

/** Uncorrected, no action required: no machine check, MCG_STATUS 0 (x86.c, is_ucna). */
function isUcna(m: KvmX86Mce): boolean {
  const { PCC, S, AR, UC } = Status;
  return m.mcgStatus === 0n && (m.status & UC) !== 0n && (m.status & (PCC | S | AR)) === 0n;
}

function store(s: McaState, m: KvmX86Mce, status: bigint): void {
  s.set(m.bank, STATUS, status);
  s.set(m.bank, ADDR, m.addr);
  s.set(m.bank, MISC, m.misc);
}

/** Carries KVM_X86_SET_MCE out. @throws KvmError EINVAL for a bank that is not there, or without VAL. */
export function setMce(v: X86Vcpu, s: McaState, given: KvmX86Mce, knobs: MceKnobs): MceOutcome {
  const u64 = (x: bigint): bigint => BigInt.asUintN(64, x);
  const { bank } = given;
  const m: KvmX86Mce = {
    bank,
    status: u64(given.status),
    addr: u64(given.addr),
    misc: u64(given.misc),
    mcgStatus: u64(given.mcgStatus),
  };
  const refuse = (why: string): never => {
    throw new KvmError('KVM_X86_SET_MCE', 'EINVAL', why);
  };
  if (!(Number.isInteger(m.bank) && m.bank >= 0 && m.bank < s.count))
    refuse(`bank ${m.bank}; MCG_CAP has ${s.count}`);
  if (!(m.status & Status.VAL)) refuse('STATUS.VAL is 0');
  const outcome = applied(v, s, m);
  if (outcome === 'disabled' || outcome === 'triple-fault') return outcome;
  // silicon keeps a deferred error here even where STATUS holds a worse one
  if (knobs.smcaDestat === 'full' && knobs.deferredFillsDestat === 'on' && m.status & Status.DEFERRED) {
    s.destat[m.bank] = m.status;
    s.deaddr[m.bank] = m.addr;
  }
  return outcome;
}

function applied(v: X86Vcpu, s: McaState, m: KvmX86Mce): MceOutcome {
  const g = s.globals;
  if (isUcna(m)) {
    store(s, m, m.status);
    g.mcgStatus = 0n;
    if (!(g.mcgCap & McgCap.CMCI_P) || !((s.ctl2[m.bank] ?? 0n) & CMCI_EN)) return 'ucna';
    return v.apic?.local(LVT_CMCI) ? 'cmci' : 'ucna';
  }
  const old = s.get(m.bank, STATUS);
  const over = old & Status.VAL ? Status.OVER : 0n;
  if (m.status & Status.UC) {
    if (g.mcgCap & McgCap.CTL_P && g.mcgCtl !== ALL_ONES) return 'disabled';
    if (s.get(m.bank, CTL) !== ALL_ONES) return 'disabled';
    if (g.mcgStatus & McgStatus.MCIP || !(v.state.cr4 & CR4.MCE)) {
      v.events.requestShutdown('kvm');
      return 'triple-fault';
    }
    store(s, m, m.status | over);
    g.mcgStatus = m.mcgStatus;
    v.events.queueException(Vector.MC);
    return 'machine-check';
  }
  if (old & Status.VAL && old & Status.UC) {
    s.set(m.bank, STATUS, old | Status.OVER);
    return 'marked';
  }
  store(s, m, m.status | over);
  return over ? 'overflow' : 'logged';
}

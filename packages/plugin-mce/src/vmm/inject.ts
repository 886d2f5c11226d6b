/**
 * A machine check put into a vCPU by hand, as QEMU does it (target/i386/helper.c, kvm/kvm.c): what KVM_X86_SET_MCE does, again
 * in user space, with three differences. It knows no UCNA; what KVM answers with a triple fault is a reset of the VM; and
 * where an action is optional and a machine check is being handled, the error is dropped.
 */
import type { Vcpu } from '@faultyard/core';
import { McaMsr, McgCap, McgStatus, Status } from '../bits.ts';
import type { LogLine, MemoryFailureEvent } from './event.ts';
import { getBank, getMsr, queuedException, queueException, setMsrs } from './guest-cpu.ts';
import type { MachineCheck } from './shape.ts';

/** #DF and #MC. */
const DF = 8;
const MC = 18;
const CR4_MCE = 0x40n;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

/** What became of one error. */
export interface Injected {
  /** `disabled`: reporting is off, nothing happened; the others as in {@link MemoryFailureEvent}. */
  readonly action: 'ignore' | 'inject' | 'reset' | 'disabled';
  /** Nothing when reporting is off. */
  readonly event?: MemoryFailureEvent;
  /** What the monitor is told. */
  readonly said?: LogLine;
}

/**
 * Puts an error into a vCPU; `forced` does not look whether an action is optional. Uses KVM_GET_MSRS, KVM_SET_MSRS,
 * KVM_GET_SREGS and KVM_GET/SET_VCPU_EVENTS.
 */
export function injectMachineCheck(vcpu: Vcpu, mce: MachineCheck, forced: boolean = false): Injected {
  const { bank } = mce;
  const actionRequired = (mce.status & Status.AR) !== 0n;
  const recursive = ((getMsr(vcpu, McaMsr.MCG_STATUS) ?? 0n) & McgStatus.MCIP) !== 0n;
  const done = (action: 'ignore' | 'inject' | 'reset', text?: string): Injected => ({
    action,
    event: {
      recipient: 'guest',
      action,
      flags: { actionRequired, recursive },
      vcpu: vcpu.id,
      bank,
    },
    ...(text === undefined ? {} : { said: { to: 'monitor', text: `CPU ${vcpu.id}: ${text}` } }),
  });
  const disabled = (where: string): Injected => ({
    action: 'disabled',
    said: { to: 'monitor', text: `CPU ${vcpu.id}: Uncorrected error reporting disabled${where}` },
  });

  if (!forced && !actionRequired && recursive) return done('ignore');
  const old = getBank(vcpu, bank);
  const over = old.status & Status.VAL ? Status.OVER : 0n;
  if (!(mce.status & Status.UC)) {
    const keep = (old.status & Status.VAL) !== 0n && (old.status & Status.UC) !== 0n;
    if (keep) setMsrs(vcpu, [[McaMsr.MC0_STATUS + 4 * bank, old.status | Status.OVER]]);
    else store(vcpu, mce, over);
    return done('inject');
  }
  const cap = getMsr(vcpu, McaMsr.MCG_CAP) ?? 0n;
  if (cap & McgCap.CTL_P && getMsr(vcpu, McaMsr.MCG_CTL) !== ALL_ONES) return disabled('');
  if (old.ctl !== ALL_ONES) return disabled(` for bank ${bank}`);
  if (!(vcpu.op('get-sregs', {}).cr4 & CR4_MCE))
    return done('reset', 'MCE capability is not enabled, raising triple fault');
  if (recursive) return done('reset', 'Previous MCE still in progress, raising triple fault');
  store(vcpu, mce, over);
  setMsrs(vcpu, [[McaMsr.MCG_STATUS, mce.mcgStatus]]);
  // a machine check on the way into #DF's handler is a triple fault
  if (queuedException(vcpu) === DF) return { ...done('inject'), action: 'reset' };
  queueException(vcpu, MC);
  return done('inject');
}

function store(vcpu: Vcpu, { bank, status, addr, misc }: MachineCheck, over: bigint): void {
  const at = McaMsr.MC0_CTL + 4 * bank;
  setMsrs(vcpu, [
    [at + 1, status | over],
    [at + 2, addr],
    [at + 3, misc],
  ]);
}

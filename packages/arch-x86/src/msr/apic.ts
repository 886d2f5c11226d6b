/** MSRs of the local APIC: x2APIC's registers, and the TSC deadline (arch/x86/kvm/lapic.c, kvm_x2apic_msr_read and _write). */
import { Apic } from '../irqchip/apic-registers.ts';
import { type MsrAccess, type MsrDef, MsrResult, type MsrResultCode } from './def.ts';

/** First MSR of x2APIC: register r is MSR 800h + r / 16. */
const X2APIC = 0x800;
const offset = (a: MsrAccess): number => (a.index - X2APIC) << 4;

function readX2(a: MsrAccess): MsrResultCode {
  const { apic } = a.vcpu;
  const v = apic?.x2 ? apic.read(offset(a)) : undefined;
  if (!apic || v === undefined) return MsrResult.Refused;
  a.lo = v;
  a.hi = offset(a) === Apic.Icr ? apic.icrHigh : 0;
  return MsrResult.Ok;
}
function writeX2(a: MsrAccess): MsrResultCode {
  const { apic } = a.vcpu;
  if (!apic?.x2) return MsrResult.Refused;
  const at = offset(a);
  // only ICR has 64 bits
  const done = at === Apic.Icr ? apic.writeX2Icr(a.lo, a.hi) : a.hi === 0 && apic.write(at, a.lo);
  return done ? MsrResult.Ok : MsrResult.Refused;
}

/** Rows. */
export const APIC_MSRS: readonly MsrDef[] = [
  {
    index: X2APIC,
    count: 0x100,
    name: 'X2APIC',
    doc: 'Registers of the local APIC in x2APIC mode; refused in others',
    read: readX2,
    write: writeX2,
  },
  {
    index: 0x6e0,
    name: 'TSC_DEADLINE',
    doc: "TSC at which the local APIC's timer fires; 0 outside its TSC-deadline mode",
    listed: true,
    read: (a) => {
      const { apic } = a.vcpu;
      a.lo = apic?.enabled ? apic.timer.deadline.lo : 0;
      a.hi = apic?.enabled ? apic.timer.deadline.hi : 0;
      return MsrResult.Ok;
    },
    write: (a) => {
      const { apic } = a.vcpu;
      if (apic?.enabled) apic.timer.setDeadline(a.lo, a.hi);
      return MsrResult.Ok;
    },
  },
];

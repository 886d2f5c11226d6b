/** Time-stamp counter, its adjustment and its companion. */
import { SR } from '../state.ts';
import { type MsrAccess, type MsrDef, MsrResult, type MsrResultCode } from './def.ts';

/** A guest's write moves TSC_ADJUST by as much as the TSC (SDM volume 3, 19.17.3); the host's does not. */
function writeTsc(a: MsrAccess): MsrResultCode {
  const { host, vcpu } = a;
  const moved = vcpu.tsc.set(a.lo, a.hi);
  if (!host) add(a, SR.TSC_ADJUST, moved.lo, moved.hi);
  return MsrResult.Ok;
}
function add(a: MsrAccess, slot: number, lo: number, hi: number): void {
  const s = a.vcpu.state;
  const sum = (s.sysLo(slot) + lo) | 0;
  s.setSys(slot, sum, (s.sysHi(slot) + hi + (sum >>> 0 < lo >>> 0 ? 1 : 0)) | 0);
}

/** A guest's write moves the TSC; the host's sets the register alone; without the feature neither does anything. */
function writeAdjust(a: MsrAccess): MsrResultCode {
  const s = a.vcpu.state;
  if (!a.vcpu.cpuid.has('tsc_adjust')) return MsrResult.Ok;
  if (!a.host) {
    const lo = (a.lo - s.sysLo(SR.TSC_ADJUST)) | 0;
    const borrow = a.lo >>> 0 < s.sysLo(SR.TSC_ADJUST) >>> 0 ? 1 : 0;
    a.vcpu.tsc.move(lo, (a.hi - s.sysHi(SR.TSC_ADJUST) - borrow) | 0);
  }
  s.setSys(SR.TSC_ADJUST, a.lo, a.hi);
  return MsrResult.Ok;
}

/** A guest that has neither RDTSCP nor RDPID has no TSC_AUX, to read or write (x86.c, __kvm_get_msr). */
const withoutAux = (a: MsrAccess): boolean =>
  !a.host && !a.vcpu.cpuid.has('rdtscp') && !a.vcpu.cpuid.has('rdpid');

/** Rows. */
export const TIME_MSRS: readonly MsrDef[] = [
  {
    index: 0x10,
    name: 'TSC',
    doc: 'Time-stamp counter',
    listed: true,
    read: (a) => {
      // the host sees the vCPU's own, whatever an inner guest reads (x86.c, MSR_IA32_TSC)
      const t = a.host ? a.vcpu.tsc.own() : a.vcpu.tsc.read();
      a.lo = t.lo;
      a.hi = t.hi;
      return MsrResult.Ok;
    },
    write: writeTsc,
  },
  {
    index: 0x3b,
    name: 'TSC_ADJUST',
    doc: 'Sum of what the guest moved its TSC by',
    listed: true,
    read: (a) => {
      a.lo = a.vcpu.state.sysLo(SR.TSC_ADJUST);
      a.hi = a.vcpu.state.sysHi(SR.TSC_ADJUST);
      return MsrResult.Ok;
    },
    write: writeAdjust,
  },
  {
    index: 0xc000_0103,
    name: 'TSC_AUX',
    doc: 'What RDTSCP and RDPID put into ECX',
    slot: SR.TSC_AUX,
    listed: true,
    keepsOnInit: true,
    read: (a) => {
      if (withoutAux(a)) return MsrResult.Refused;
      a.lo = a.vcpu.state.sysLo(SR.TSC_AUX);
      a.hi = a.vcpu.state.sysHi(SR.TSC_AUX);
      return MsrResult.Ok;
    },
    check: (a) => {
      const { cpuid } = a.vcpu;
      if (withoutAux(a)) return MsrResult.Refused;
      // AMD ignores bits 63:32, Intel takes none (x86.c, kvm_set_msr)
      if (cpuid.vendor === 'Intel' && a.hi !== 0) return MsrResult.Refused;
      a.hi = 0;
      return MsrResult.Ok;
    },
  },
];

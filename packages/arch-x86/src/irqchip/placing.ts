/** How a local APIC sits in its vCPU: registers and events it reaches, INIT and SIPI (lapic.c, kvm_apic_accept_events). */
import { Seg } from '../isa/layout.ts';
import type { X86Vcpu } from '../vcpu.ts';
import { ApicBase } from './apic-registers.ts';
import type { X86IrqChip } from './irq-chip.ts';
import type { ApicPlace } from './local-apic.ts';

/** KVM_MP_STATE_*: what a vCPU waits for. */
const Mp = { Runnable: 0, Uninitialized: 1, InitReceived: 2 } as const;

/** What the APIC of a vCPU sees of it. */
export function apicPlace(v: X86Vcpu, chip: X86IrqChip): ApicPlace {
  return {
    id: v.id,
    intel: () => v.cpuid.vendor === 'Intel',
    base: () => v.apicBase,
    hasDeadline: () => v.cpuid.has('tsc_deadline_timer'),
    now: () => v.now(),
    untilTsc: (lo, hi) => v.tsc.until(lo, hi),
    attend: () => v.attend(),
    retime: () => v.retime(),
    cr8: (value) => v.followTpr(value),
    nmi: () => v.events.queueNmi(),
    smi: () => v.events.queueSmi(),
    unhalt: () => {
      v.waiting = false;
    },
    send: (from, m, to) => chip.deliver(from, m, to),
    ended: (vector, level) => chip.ended(vector, level),
  };
}

/** After KVM_CREATE_VCPU or RESET: with APICs all but the first wait for INIT and SIPI. */
export function waitsForStartup(v: X86Vcpu): void {
  v.mpState = v.apic === undefined || v.id === 0 ? Mp.Runnable : Mp.Uninitialized;
}

/** Accepts INIT and SIPI that came in. SMM and GIF = 0 hold INIT back; a SIPI that nobody waits for is lost. */
export function acceptStartup(v: X86Vcpu): void {
  const { apic, events } = v;
  if (!apic) return;
  if (!events.initAllowed()) {
    apic.pendingSipi = false;
    return;
  }
  if (apic.pendingInit) {
    apic.pendingInit = false;
    v.reset(true);
    v.mpState = v.apicBase & ApicBase.Bsp ? Mp.Runnable : Mp.InitReceived;
  }
  if (!apic.pendingSipi) return;
  apic.pendingSipi = false;
  if (v.mpState !== Mp.InitReceived) return;
  const cs = v.state.segment(Seg.CS);
  cs.selector = (apic.sipiVector & 0xff) << 8;
  cs.baseLo = (apic.sipiVector & 0xff) << 12;
  cs.baseHi = 0;
  v.state.setIp(0, 0);
  v.mpState = Mp.Runnable;
  v.modeChanged();
}

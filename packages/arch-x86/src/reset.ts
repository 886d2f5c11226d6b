/**
 * RESET and INIT (AMD64 APM volume 2, table 14-1; arch/x86/kvm/x86.c, kvm_vcpu_reset). INIT keeps MSRs, FPU, PKRU, the TSC
 * and CR0.CD and NW.
 */
import { waitsForStartup } from './irqchip/placing.ts';
import { FL } from './isa/flags.ts';
import { R, Seg } from './isa/layout.ts';
import { Attr, CR0, SR } from './state.ts';
import type { X86Vcpu } from './vcpu.ts';

const DATA = Attr.P | Attr.S | Attr.Writable | Attr.Accessed;
/** 16-bit busy TSS and LDT, present. */
const TSS = Attr.P | 3;
const LDT = Attr.P | 2;
const KEPT = [
  SR.STAR,
  SR.LSTAR,
  SR.CSTAR,
  SR.SFMASK,
  SR.KERNEL_GS_BASE,
  SR.SYSENTER_CS,
  SR.SYSENTER_ESP,
] as const;

/** Puts a vCPU to its state after RESET (or power-up), or after INIT. */
export function resetVcpu(v: X86Vcpu, init: boolean): void {
  const s = v.state;
  const kept = new Int32Array(s.sys);
  const keep = (slot: number): void => s.setSys(slot, kept[2 * slot] as number, kept[2 * slot + 1] as number);
  s.sys.fill(0);
  for (let n = 0; n < 16; n++) s.set(n, 0, 0);
  // RDX: family, model, stepping (kvm_vcpu_reset)
  v.cpuid.query(1, 0);
  s.set(R.RDX, v.cpuid.regs[0] ? (v.cpuid.regs[0] as number) | 0 : 0x600, 0);
  for (let n = Seg.ES as number; n <= Seg.TR; n++) {
    const seg = s.segment(n as 0);
    seg.selector = 0;
    seg.baseLo = 0;
    seg.baseHi = 0;
    seg.limit = 0xffff;
    seg.attr = n === Seg.LDTR ? LDT : n === Seg.TR ? TSS : n === Seg.CS ? DATA | Attr.Code : DATA;
  }
  const cs = s.segment(Seg.CS);
  cs.selector = 0xf000;
  cs.baseLo = 0xffff_0000 | 0;
  s.cpl = 0;
  s.setSys(SR.CR0, CR0.ET | (init ? (kept[2 * SR.CR0] as number) & (CR0.CD | CR0.NW) : CR0.CD | CR0.NW), 0);
  s.setSys(SR.GDTR_LIMIT, 0xffff, 0);
  s.setSys(SR.IDTR_LIMIT, 0xffff, 0);
  s.setSys(SR.DR6, 0xffff_0ff0 | 0, 0);
  s.setSys(SR.DR7, 0x400, 0);
  if (init) {
    for (const slot of [...KEPT, SR.SYSENTER_EIP, SR.TSC_OFFSET, SR.TSC_ADJUST, SR.XCR0]) keep(slot);
    for (const slot of [SR.APIC_BASE, SR.SMBASE, SR.PKRU]) keep(slot);
    for (const slot of [SR.PAT, SR.TSC_AUX, SR.MISC_ENABLE]) keep(slot);
  } else {
    s.setSys(SR.XCR0, 1, 0);
    s.setSys(SR.APIC_BASE, 0xfee0_0800 | (v.id === 0 ? 0x100 : 0), 0);
    s.setSys(SR.SMBASE, 0x3_0000, 0);
    v.x87.reset();
  }
  v.msrs.reset(init);
  s.flags = FL.One;
  s.setIp(0xfff0, 0);
  v.waiting = false;
  v.tlb.dropEverything();
  v.events.reset();
  v.apic?.reset(init);
  if (!init) waitsForStartup(v);
}

/**
 * The state-save area of SMM: 512 bytes at SMBASE + FE00h, in AMD's 64-bit layout where the guest's CPUID has long mode
 * (AMD64 APM volume 2, table 10-1), in the 32-bit one elsewhere. As KVM fills it (arch/x86/kvm/smm.c and smm.h): no I/O
 * restart, no auto-HALT restart. Offsets below are from FE00h.
 */
import { Seg, type SegNumber } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Attr, SR, type X86State } from '../state.ts';

/** Bytes of the area, and where it begins above SMBASE. */
export const SMRAM = { Size: 0x200, Offset: 0xfe00 } as const;
/** Revisions: bits 15:0 the layout, bit 17: SMBASE may be moved. */
const REVISION_64 = 0x2_0064;
const REVISION_32 = 0x2_0000;

/** Offsets of the 64-bit layout. */
const A64 = {
  Gdtr: 0x60,
  Ldtr: 0x70,
  Idtr: 0x80,
  Tr: 0x90,
  IntShadow: 0xcb,
  Efer: 0xd0,
  Revision: 0xfc,
  Smbase: 0x100,
  Cr4: 0x148,
  Cr3: 0x150,
  Cr0: 0x158,
  Dr7: 0x160,
  Dr6: 0x168,
  Rflags: 0x170,
  Rip: 0x178,
  /** R15 first, RAX last. */
  Gprs: 0x180,
} as const;
/** Offsets of the 32-bit layout. */
const A32 = {
  Smbase: 0xf8,
  Revision: 0xfc,
  Cr4: 0x114,
  IntShadow: 0x11a,
  Ds: 0x12c,
  Idtr: 0x150,
  Tr: 0x15c,
  Gdtr: 0x16c,
  Ldtr: 0x178,
  Es: 0x184,
  Selectors: 0x1a8,
  LdtrSelector: 0x1c0,
  TrSelector: 0x1c4,
  Dr7: 0x1c8,
  Dr6: 0x1cc,
  Gprs: 0x1d0,
  Eip: 0x1f0,
  Eflags: 0x1f4,
  Cr3: 0x1f8,
  Cr0: 0x1fc,
} as const;

/** What the area says beyond registers that are simply loaded. */
export interface SavedControl {
  readonly cr0: number;
  readonly cr0Hi: number;
  readonly cr3: number;
  readonly cr3Hi: number;
  readonly cr4: number;
  readonly cr4Hi: number;
  /** Without LMA. */
  readonly efer: number;
  readonly eferHi: number;
  readonly dr6: number;
  readonly dr7: number;
  /** High halves of DR6 and DR7: KVM refuses them unless 0. */
  readonly drHi: number;
  readonly flags: number;
  readonly ip: number;
  readonly ipHi: number;
  /** Interrupt shadow (KVM_X86_SHADOW_INT_*). */
  readonly shadow: number;
}

const USER_SEGMENTS = [Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const;

/** Whether the 64-bit layout is in use. */
const wideLayout = (m: Machine): boolean => m.cpuid.has('lm');

/** Fills an area from the vCPU. */
export function saveState(m: Machine): DataView {
  const v = new DataView(new ArrayBuffer(SMRAM.Size));
  const s = m.state;
  if (wideLayout(m)) save64(s, v, m.events.shadow);
  else save32(s, v, m.events.shadow);
  return v;
}

/** Attributes in the order of a descriptor's bytes 5 and 6: bits 7:0, 15:12. A segment that is unusable is not present. */
function attributes(s: X86State, n: SegNumber): number {
  const { attr } = s.segment(n);
  const of = attr & Attr.Unusable ? attr & ~Attr.P : attr;
  return (of & 0xff) | ((of & 0xf00) << 4);
}
const fromAttributes = (a: number): number =>
  (a & 0xff) | ((a >>> 4) & 0xf00) | (a & Attr.P ? 0 : Attr.Unusable);

function put64(v: DataView, at: number, lo: number, hi: number): void {
  v.setInt32(at, lo, true);
  v.setInt32(at + 4, hi, true);
}
const put32 = (v: DataView, at: number, x: number): void => v.setInt32(at, x, true);

function save64(s: X86State, v: DataView, shadow: number): void {
  const segment = (at: number, n: SegNumber): void => {
    const g = s.segment(n);
    v.setUint16(at, g.selector, true);
    v.setUint16(at + 2, attributes(s, n), true);
    put32(v, at + 4, g.limit);
    put64(v, at + 8, g.baseLo, g.baseHi);
  };
  const table = (at: number, base: number, limit: number): void => {
    put32(v, at + 4, s.sysLo(limit));
    put64(v, at + 8, s.sysLo(base), s.sysHi(base));
  };
  const sys = (at: number, n: number): void => put64(v, at, s.sysLo(n), s.sysHi(n));
  for (const n of USER_SEGMENTS) segment(16 * n, n);
  table(A64.Gdtr, SR.GDTR_BASE, SR.GDTR_LIMIT);
  segment(A64.Ldtr, Seg.LDTR);
  table(A64.Idtr, SR.IDTR_BASE, SR.IDTR_LIMIT);
  segment(A64.Tr, Seg.TR);
  v.setUint8(A64.IntShadow, shadow);
  sys(A64.Efer, SR.EFER);
  put32(v, A64.Revision, REVISION_64);
  put32(v, A64.Smbase, s.sysLo(SR.SMBASE));
  sys(A64.Cr4, SR.CR4);
  sys(A64.Cr3, SR.CR3);
  sys(A64.Cr0, SR.CR0);
  sys(A64.Dr7, SR.DR7);
  sys(A64.Dr6, SR.DR6);
  put64(v, A64.Rflags, s.flags, 0);
  put64(v, A64.Rip, s.ipLo, s.ipHi);
  for (let n = 0; n < 16; n++) put64(v, A64.Gprs + 8 * (15 - n), s.lo(n), s.hi(n));
}

/** Where the flags, limit and base of a segment lie in the 32-bit layout. */
const place32 = (n: number): number => (n < Seg.DS ? A32.Es + 12 * n : A32.Ds + 12 * (n - Seg.DS));

function save32(s: X86State, v: DataView, shadow: number): void {
  const segment = (at: number, n: SegNumber, selectorAt: number): void => {
    const g = s.segment(n);
    put32(v, selectorAt, g.selector);
    put32(v, at, attributes(s, n) << 8);
    put32(v, at + 4, g.limit);
    put32(v, at + 8, g.baseLo);
  };
  for (const n of USER_SEGMENTS) segment(place32(n), n, A32.Selectors + 4 * n);
  segment(A32.Tr, Seg.TR, A32.TrSelector);
  segment(A32.Ldtr, Seg.LDTR, A32.LdtrSelector);
  put32(v, A32.Gdtr + 4, s.sysLo(SR.GDTR_LIMIT));
  put32(v, A32.Gdtr + 8, s.sysLo(SR.GDTR_BASE));
  put32(v, A32.Idtr + 4, s.sysLo(SR.IDTR_LIMIT));
  put32(v, A32.Idtr + 8, s.sysLo(SR.IDTR_BASE));
  put32(v, A32.Smbase, s.sysLo(SR.SMBASE));
  put32(v, A32.Revision, REVISION_32);
  put32(v, A32.Cr4, s.cr4);
  v.setUint8(A32.IntShadow, shadow);
  put32(v, A32.Dr7, s.sysLo(SR.DR7));
  put32(v, A32.Dr6, s.sysLo(SR.DR6));
  for (let n = 0; n < 8; n++) put32(v, A32.Gprs + 4 * n, s.lo(n));
  put32(v, A32.Eip, s.ipLo);
  put32(v, A32.Eflags, s.flags);
  put32(v, A32.Cr3, s.sysLo(SR.CR3));
  put32(v, A32.Cr0, s.cr0);
}

/** Loads general registers, descriptor tables and SMBASE from an area; gives what needs checks and an order. */
export function loadState(m: Machine, v: DataView): SavedControl {
  return wideLayout(m) ? load64(m.state, v) : load32(m.state, v);
}

function load64(s: X86State, v: DataView): SavedControl {
  const lo = (at: number): number => v.getInt32(at, true);
  for (let n = 0; n < 16; n++) {
    const at = A64.Gprs + 8 * (15 - n);
    s.set(n, lo(at), lo(at + 4));
  }
  s.setSys(SR.SMBASE, lo(A64.Smbase), 0);
  for (const [at, base, limit] of [
    [A64.Gdtr, SR.GDTR_BASE, SR.GDTR_LIMIT],
    [A64.Idtr, SR.IDTR_BASE, SR.IDTR_LIMIT],
  ] as const) {
    s.setSys(base, lo(at + 8), lo(at + 12));
    s.setSys(limit, lo(at + 4) & 0xffff, 0);
  }
  return {
    cr0: lo(A64.Cr0),
    cr0Hi: lo(A64.Cr0 + 4),
    cr3: lo(A64.Cr3),
    cr3Hi: lo(A64.Cr3 + 4),
    cr4: lo(A64.Cr4),
    cr4Hi: lo(A64.Cr4 + 4),
    efer: lo(A64.Efer),
    eferHi: lo(A64.Efer + 4),
    dr6: lo(A64.Dr6),
    dr7: lo(A64.Dr7),
    drHi: lo(A64.Dr6 + 4) | lo(A64.Dr7 + 4),
    flags: lo(A64.Rflags),
    ip: lo(A64.Rip),
    ipHi: lo(A64.Rip + 4),
    shadow: v.getUint8(A64.IntShadow),
  };
}

function load32(s: X86State, v: DataView): SavedControl {
  const lo = (at: number): number => v.getInt32(at, true);
  for (let n = 0; n < 8; n++) s.set(n, lo(A32.Gprs + 4 * n), 0);
  s.setSys(SR.SMBASE, lo(A32.Smbase), 0);
  s.setSys(SR.GDTR_BASE, lo(A32.Gdtr + 8), 0);
  s.setSys(SR.GDTR_LIMIT, lo(A32.Gdtr + 4) & 0xffff, 0);
  s.setSys(SR.IDTR_BASE, lo(A32.Idtr + 8), 0);
  s.setSys(SR.IDTR_LIMIT, lo(A32.Idtr + 4) & 0xffff, 0);
  return {
    cr0: lo(A32.Cr0),
    cr0Hi: 0,
    cr3: lo(A32.Cr3),
    cr3Hi: 0,
    cr4: lo(A32.Cr4),
    cr4Hi: 0,
    efer: 0,
    eferHi: 0,
    dr6: lo(A32.Dr6),
    dr7: lo(A32.Dr7),
    drHi: 0,
    flags: lo(A32.Eflags),
    ip: lo(A32.Eip),
    ipHi: 0,
    shadow: v.getUint8(A32.IntShadow),
  };
}

/** Loads the eight segment registers, hidden parts and all; CPL is SS.DPL (svm.c, svm_set_segment). */
export function loadSegments(m: Machine, v: DataView): void {
  const s = m.state;
  const wide = wideLayout(m);
  for (const n of [...USER_SEGMENTS, Seg.LDTR, Seg.TR] as const) {
    const g = s.segment(n);
    if (wide) {
      const at = n === Seg.LDTR ? A64.Ldtr : n === Seg.TR ? A64.Tr : 16 * n;
      g.selector = v.getUint16(at, true);
      g.attr = fromAttributes(v.getUint16(at + 2, true));
      g.limit = v.getInt32(at + 4, true);
      g.baseLo = v.getInt32(at + 8, true);
      g.baseHi = v.getInt32(at + 12, true);
    } else {
      const at = n === Seg.LDTR ? A32.Ldtr : n === Seg.TR ? A32.Tr : place32(n);
      const from = n === Seg.LDTR ? A32.LdtrSelector : n === Seg.TR ? A32.TrSelector : A32.Selectors + 4 * n;
      g.selector = v.getUint16(from, true);
      g.attr = fromAttributes(v.getUint32(at, true) >>> 8);
      g.limit = v.getInt32(at + 4, true);
      g.baseLo = v.getInt32(at + 8, true);
      g.baseHi = 0;
    }
  }
  s.cpl = (s.segment(Seg.SS).attr >>> Attr.DplShift) & 3;
}

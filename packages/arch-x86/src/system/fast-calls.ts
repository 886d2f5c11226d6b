/**
 * System calls without gates: SYSCALL, SYSRET, SYSENTER, SYSEXIT; SWAPGS and the FS and GS bases (AMD64 APM volume 2,
 * 6.1 and volume 3; Intel SDM volume 2). AMD has SYSCALL in every protected mode and SYSENTER in none of long mode;
 * Intel the other way round.
 */
import { Code, type Instruction, Mnemonic } from 'iced-x86';
import { FL } from '../isa/flags.ts';
import { R, SEG_BASE, Seg, type SegNumber } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { setSegment } from '../segments/load.ts';
import { Attr, CR0, CR4, EFER, type Segment, SR, type X86State } from '../state.ts';
import { isCanonical, registerSize, registerSlot } from './operand.ts';
import type { Operations } from './operation.ts';

/** RCX and RDX hold where SYSEXIT goes; R11 the flags of SYSRET. */
const R11 = 11;
/** EFLAGS bits that SYSRET takes from R11: all but RF, VM and what does not exist (SDM volume 2, SYSRET). */
const SYSRET_FLAGS = 0x3c_7fd7;

/** A flat segment as these instructions make it, without a look at any descriptor. */
const flat = (selector: number, attr: number): Segment => ({
  selector,
  attr,
  limit: -1,
  baseLo: 0,
  baseHi: 0,
});
const CODE = Attr.P | Attr.S | Attr.Code | Attr.Readable | Attr.Accessed | Attr.G;
const DATA = Attr.P | Attr.S | Attr.Writable | Attr.Accessed | Attr.G | Attr.DB;
const USER = 3 << Attr.DplShift;
/** Code of 64 or 32 bits. */
const code = (long: boolean): number => CODE | (long ? Attr.L : Attr.DB);

const gp = (m: Machine): NextStep => m.raise(13, 0);
const ud = (m: Machine): NextStep => m.raise(6);

/** The rest of every such call and return. */
function enter(m: Machine, cpl: number, lo: number, hi: number): NextStep {
  const s = m.state;
  s.cpl = cpl;
  s.setIp(lo, hi);
  m.modeChanged();
  return Next.Run;
}

function syscall(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const { mode } = s;
  if (!(s.efer & EFER.SCE) || mode === 'real' || mode === 'virtual-8086') return ud(m);
  if (mode !== 'long' && m.model.vendor === 'Intel') return ud(m);
  // SS is 8 above as it stands; only CS loses its RPL
  const star = s.sysHi(SR.STAR) & 0xffff;
  s.advance(i.length);
  if (!s.lma) {
    // legacy mode: the target is STAR's low half, and of the flags only IF, VM and RF are cleared
    s.set(R.RCX, s.ipLo, 0);
    s.other &= ~(FL.IF | FL.VM | FL.RF);
    setSegment(s, Seg.CS, flat(star & 0xfffc, code(false)));
    setSegment(s, Seg.SS, flat((star + 8) & 0xffff, DATA));
    return syscallEntered(m, s.sysLo(SR.STAR), 0);
  }
  s.set(R.RCX, s.ipLo, s.ipHi);
  const flags = s.flags & ~FL.RF;
  s.set(R11, flags, 0);
  s.flags = flags & ~s.sysLo(SR.SFMASK);
  const target = mode === 'long' ? SR.LSTAR : SR.CSTAR;
  setSegment(s, Seg.CS, flat(star & 0xfffc, code(true)));
  setSegment(s, Seg.SS, flat((star + 8) & 0xffff, DATA));
  return syscallEntered(m, s.sysLo(target), s.sysHi(target));
}
function syscallEntered(m: Machine, lo: number, hi: number): NextStep {
  enter(m, 0, lo, hi);
  return m.events.debug.syscallDone();
}

function sysret(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const { mode } = s;
  const intel = m.model.vendor === 'Intel';
  if (!(s.efer & EFER.SCE) || mode === 'real' || mode === 'virtual-8086') return ud(m);
  if (mode !== 'long' && intel) return ud(m);
  if (s.cpl !== 0) return gp(m);
  const wide = i.code === Code.Sysretq && mode === 'long';
  const lo = s.lo(R.RCX);
  const hi = wide ? s.hi(R.RCX) : 0;
  // Intel checks before it leaves CPL 0; AMD goes there and faults at CPL 3
  if (wide && intel && !isCanonical(s, hi)) return gp(m);
  const star = s.sysHi(SR.STAR) >>> 16;
  if (s.lma) s.flags = (s.lo(R11) & SYSRET_FLAGS) | FL.One;
  else s.other |= FL.IF;
  setSegment(s, Seg.CS, flat(((wide ? star + 16 : star) | 3) & 0xffff, code(wide) | USER));
  // AMD changes nothing of SS but its selector (APM volume 3, SYSRET)
  if (intel) setSegment(s, Seg.SS, flat(((star + 8) | 3) & 0xffff, DATA | USER));
  else s.segment(Seg.SS).selector = (star + 8) & 0xffff;
  enter(m, 3, lo, hi);
  return m.events.debug.syscallDone();
}

/** SYSENTER and SYSEXIT: protected mode; on AMD not in long mode. */
function sysenterMissing(m: Machine): NextStep | undefined {
  const s = m.state;
  if (!m.model.features.has('sep') || (s.lma && m.model.vendor === 'AMD')) return ud(m);
  return !(s.cr0 & CR0.PE) || !(s.sysLo(SR.SYSENTER_CS) & 0xfffc) ? gp(m) : undefined;
}

function sysenter(m: Machine): NextStep {
  const s = m.state;
  const missing = sysenterMissing(m);
  if (missing !== undefined) return missing;
  const cs = s.sysLo(SR.SYSENTER_CS) & 0xfffc;
  s.other &= ~(FL.VM | FL.IF | FL.RF);
  setSegment(s, Seg.CS, flat(cs, code(s.lma)));
  setSegment(s, Seg.SS, flat((cs + 8) & 0xffff, DATA));
  s.set(R.RSP, s.sysLo(SR.SYSENTER_ESP), s.lma ? s.sysHi(SR.SYSENTER_ESP) : 0);
  return enter(m, 0, s.sysLo(SR.SYSENTER_EIP), s.sysHi(SR.SYSENTER_EIP));
}

function sysexit(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const missing = sysenterMissing(m);
  if (missing !== undefined) return missing;
  if (s.cpl !== 0 || s.flag(FL.VM)) return gp(m);
  const wide = i.code === Code.Sysexitq;
  if (wide && !(isCanonical(s, s.hi(R.RDX)) && isCanonical(s, s.hi(R.RCX)))) return gp(m);
  const cs = (s.sysLo(SR.SYSENTER_CS) & 0xfffc) + (wide ? 32 : 16);
  setSegment(s, Seg.CS, flat((cs | 3) & 0xffff, code(wide) | USER));
  setSegment(s, Seg.SS, flat(((cs + 8) | 3) & 0xffff, DATA | USER));
  s.set(R.RSP, s.lo(R.RCX), wide ? s.hi(R.RCX) : 0);
  return enter(m, 3, s.lo(R.RDX), wide ? s.hi(R.RDX) : 0);
}

/** Sets the base of FS or GS in 64-bit mode, where nothing else hangs on it. */
function setBase(s: X86State, n: SegNumber, lo: number, hi: number): void {
  const x = s.segment(n);
  x.baseLo = lo;
  x.baseHi = hi;
  s.set(SEG_BASE + n, lo, hi);
}

function swapgs(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (s.mode !== 'long') return ud(m);
  if (s.cpl !== 0) return gp(m);
  const { baseLo, baseHi } = s.segment(Seg.GS);
  setBase(s, Seg.GS, s.sysLo(SR.KERNEL_GS_BASE), s.sysHi(SR.KERNEL_GS_BASE));
  s.setSys(SR.KERNEL_GS_BASE, baseLo, baseHi);
  s.advance(i.length);
  return Next.Run;
}

function readBase(m: Machine, i: Instruction, n: SegNumber): NextStep {
  const s = m.state;
  if (s.mode !== 'long' || !(s.cr4 & CR4.FSGSBASE)) return ud(m);
  const { baseLo, baseHi } = s.segment(n);
  s.setSized(registerSlot(i.op0Register), registerSize(i.op0Register), baseLo, baseHi);
  s.advance(i.length);
  return Next.Run;
}
function writeBase(m: Machine, i: Instruction, n: SegNumber): NextStep {
  const s = m.state;
  if (s.mode !== 'long' || !(s.cr4 & CR4.FSGSBASE)) return ud(m);
  const slot = registerSlot(i.op0Register);
  const hi = registerSize(i.op0Register) === 8 ? s.hi(slot) : 0;
  if (!isCanonical(s, hi)) return gp(m);
  setBase(s, n, s.lo(slot), hi);
  s.advance(i.length);
  return Next.Run;
}

/** SYSCALL and its kin, SWAPGS, RDFSBASE and its kin. */
export const FAST_CALL_OPERATIONS: Operations = new Map([
  [Mnemonic.Syscall, syscall],
  [Mnemonic.Sysret, sysret],
  [Mnemonic.Sysretq, sysret],
  [Mnemonic.Sysenter, sysenter],
  [Mnemonic.Sysexit, sysexit],
  [Mnemonic.Sysexitq, sysexit],
  [Mnemonic.Swapgs, swapgs],
  [Mnemonic.Rdfsbase, (m: Machine, i: Instruction) => readBase(m, i, Seg.FS)],
  [Mnemonic.Rdgsbase, (m: Machine, i: Instruction) => readBase(m, i, Seg.GS)],
  [Mnemonic.Wrfsbase, (m: Machine, i: Instruction) => writeBase(m, i, Seg.FS)],
  [Mnemonic.Wrgsbase, (m: Machine, i: Instruction) => writeBase(m, i, Seg.GS)],
]);

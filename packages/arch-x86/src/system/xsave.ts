/**
 * Areas of x87, MMX and SSE state: FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XRSTOR, XGETBV, XSETBV (AMD64 APM volume 5 and 4;
 * volume 2, 11.5; SDM volume 1, chapter 13). Components: x87 (0), SSE (1) and PKRU (9), as CPUID's leaf 0Dh lists them.
 *
 * A component is in use unless it is in its initial state. XSAVEOPT leaves out only what is not in use: what has not
 * changed since the last XRSTOR is written again, as the architecture allows.
 */
import { type Instruction, Mnemonic } from 'iced-x86';
import { pkruOffset } from '../cpuid/supported.ts';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { Next, type NextStep } from '../next.ts';
import { type Fault, gp, NO_DEVICE, raiseFault, UNDEFINED } from '../segments/fault.ts';
import { CR0, CR4, EFER, SR } from '../state.ts';
import { Fx, MXCSR_DEFAULT, type PointerFormat, view } from '../x87.ts';
import { effective, type Place, reach, sum } from './operand.ts';
import type { Operation, Operations } from './operation.ts';
import { mxcsrFault, mxcsrMask } from './x87.ts';

/** State components. */
const Component = { X87: 1, Sse: 2, Pkru: 0x200 } as const;

const LEGACY = 512;
const HEADER = 64;
const area: Uint8Array = new Uint8Array(LEGACY);
const header: Uint8Array = new Uint8Array(24);

/** Components that XCR0 may enable (CPUID leaf 0Dh, EAX). */
export function supportedComponents(m: Machine): number {
  return Component.X87 | Component.Sse | (m.cpuid.has('pku') ? Component.Pkru : 0);
}

/** Components that are not in their initial state. */
function componentsInUse(m: Machine): number {
  const { x87, state } = m;
  return (
    (x87.initial ? 0 : Component.X87) |
    (x87.xmm.every((b) => b === 0) ? 0 : Component.Sse) |
    (state.sysLo(SR.PKRU) !== 0 ? Component.Pkru : 0)
  );
}

const format = (i: Instruction): PointerFormat => {
  switch (i.mnemonic) {
    case Mnemonic.Fxsave64:
    case Mnemonic.Fxrstor64:
    case Mnemonic.Xsave64:
    case Mnemonic.Xsaveopt64:
    case Mnemonic.Xrstor64:
      return 'offsets';
    default:
      return 'selectors';
  }
};

/** Bytes of XMM registers that the mode reaches: 8 of them outside 64-bit mode. */
const xmmBytes = (m: Machine): 256 | 128 => (m.state.code === 8 ? 256 : 128);

/** A transaction and the place its area starts at. */
interface Area {
  readonly t: Transaction;
  readonly p: Place;
}
function read({ t, p }: Area, from: number, to: number, into: Uint8Array): void {
  const [lo, hi] = sum(p.lo, p.hi, from, 0);
  t.readBytes(lo, hi, into.subarray(from, to));
}
function write({ t, p }: Area, from: number, to: number, data: Uint8Array): void {
  const [lo, hi] = sum(p.lo, p.hi, from, 0);
  t.writeBytes(lo, hi, data.subarray(from, to));
}

/** The area's place, aligned and within its segment. */
function place(m: Machine, i: Instruction, bytes: number, writes: boolean, align: number): Place | Fault {
  const p = effective(m, i);
  if (p.lo & (align - 1)) return gp(0);
  return reach(m, p, bytes, writes) ?? p;
}
const isFault = (x: Place | Fault): x is Fault => 'vector' in x;

// ---- FXSAVE and FXRSTOR --------------------------------------------------------------------------------------------

function fxFault(m: Machine): Fault | undefined {
  return m.state.cr0 & (CR0.EM | CR0.TS) ? NO_DEVICE : undefined;
}
/** Whether FXSAVE and FXRSTOR include MXCSR (APM volume 2, 3.1.3, OSFXSR) and XMM registers (3.1.7, FFXSR). */
const withMxcsr = (m: Machine): boolean => (m.state.cr4 & CR4.OSFXSR) !== 0;
function withXmm(m: Machine): boolean {
  const s = m.state;
  const fast = s.efer & EFER.FFXSR && s.code === 8 && s.cpl === 0;
  return withMxcsr(m) && !fast;
}

function fxsave(m: Machine, i: Instruction): NextStep {
  const fault = fxFault(m);
  if (fault) return raiseFault(m, fault);
  const p = place(m, i, LEGACY, true, 16);
  if (isFault(p)) return raiseFault(m, p);
  const a: Area = { t: m.memory.begin(), p };
  m.x87.saveLegacy(area, format(i));
  putMxcsr(m);
  write(a, 0, withMxcsr(m) ? Fx.St : Fx.Mxcsr, area);
  write(a, Fx.St, Fx.Xmm, area);
  if (withXmm(m)) {
    area.set(m.x87.xmm, Fx.Xmm);
    write(a, Fx.Xmm, Fx.Xmm + xmmBytes(m), area);
  }
  if (a.t.failed) return m.faulted();
  a.t.commit();
  m.state.advance(i.length);
  return Next.Run;
}

function putMxcsr(m: Machine): void {
  view(area).setInt32(Fx.Mxcsr, m.x87.mxcsr, true);
  view(area).setInt32(Fx.MxcsrMask, mxcsrMask(m), true);
}

function fxrstor(m: Machine, i: Instruction): NextStep {
  const fault = fxFault(m);
  if (fault) return raiseFault(m, fault);
  const p = place(m, i, LEGACY, false, 16);
  if (isFault(p)) return raiseFault(m, p);
  const a: Area = { t: m.memory.begin(), p };
  read(a, 0, LEGACY, area);
  if (a.t.failed) return m.faulted();
  const mxcsr = view(area).getInt32(Fx.Mxcsr, true);
  const wrong = withMxcsr(m) ? mxcsrFault(m, mxcsr) : undefined;
  if (wrong) return raiseFault(m, wrong);
  m.x87.restoreLegacy(area, format(i));
  if (withMxcsr(m)) m.x87.mxcsr = mxcsr;
  if (withXmm(m)) m.x87.xmm.set(area.subarray(Fx.Xmm, Fx.Xmm + xmmBytes(m)));
  m.state.advance(i.length);
  return Next.Run;
}

// ---- XSAVE and XRSTOR ----------------------------------------------------------------------------------------------

function xsaveFault(m: Machine): Fault | undefined {
  if (!(m.state.cr4 & CR4.OSXSAVE)) return UNDEFINED;
  return m.state.cr0 & CR0.TS ? NO_DEVICE : undefined;
}

/** Bytes of an area with these components in standard form. */
function areaBytes(m: Machine, components: number): number {
  return components & Component.Pkru ? pkruOffset(m.model.vendor) + 8 : LEGACY + HEADER;
}

/** EDX:EAX and XCR0: what was asked for and is enabled. None of the upper components exists. */
const requested = (m: Machine): number => m.state.lo(R.RAX) & m.state.sysLo(SR.XCR0);

/** XSAVE, or XSAVEOPT, which writes only what is in use. */
function xsave(m: Machine, i: Instruction, optimized: boolean): NextStep {
  const fault = xsaveFault(m);
  if (fault) return raiseFault(m, fault);
  const want = requested(m);
  const p = place(m, i, areaBytes(m, want), true, 64);
  if (isFault(p)) return raiseFault(m, p);
  const a: Area = { t: m.memory.begin(), p };
  let used = componentsInUse(m);
  // an MXCSR of its own counts as SSE state in use for XSAVEOPT (SDM volume 1, 13.9)
  if (optimized && m.x87.mxcsr !== MXCSR_DEFAULT) used |= Component.Sse;
  const writes = optimized ? want & used : want;
  if (writes & Component.X87) {
    m.x87.saveLegacy(area, format(i));
    write(a, 0, Fx.Mxcsr, area);
    write(a, Fx.St, Fx.Xmm, area);
  }
  if (want & Component.Sse) {
    putMxcsr(m);
    write(a, Fx.Mxcsr, Fx.St, area);
  }
  if (writes & Component.Sse) {
    area.set(m.x87.xmm, Fx.Xmm);
    write(a, Fx.Xmm, Fx.Xmm + xmmBytes(m), area);
  }
  const { t } = a;
  if (writes & Component.Pkru) {
    const [lo, hi] = sum(p.lo, p.hi, pkruOffset(m.model.vendor), 0);
    t.write(lo, hi, 8, m.state.sysLo(SR.PKRU), 0);
  }
  const [lo, hi] = sum(p.lo, p.hi, LEGACY, 0);
  const had = t.read(lo, hi, 8, true);
  t.write(lo, hi, 8, (had & ~want) | (used & want), t.hi);
  if (t.failed) return m.faulted();
  t.commit();
  m.state.advance(i.length);
  return Next.Run;
}

function xrstor(m: Machine, i: Instruction): NextStep {
  const fault = xsaveFault(m);
  if (fault) return raiseFault(m, fault);
  const want = requested(m);
  const p = place(m, i, areaBytes(m, want), false, 64);
  if (isFault(p)) return raiseFault(m, p);
  const a: Area = { t: m.memory.begin(), p };
  const { t } = a;
  const [lo, hi] = sum(p.lo, p.hi, LEGACY, 0);
  t.readBytes(lo, hi, header);
  if (t.failed) return m.faulted();
  const h = view(header);
  const present = h.getInt32(0, true);
  // standard form: XSTATE_BV only what XCR0 enables, XCOMP_BV and the next 8 bytes 0 (SDM volume 1, 13.8)
  const reserved = header.subarray(4).some((x) => x !== 0);
  if (reserved || present & ~m.state.sysLo(SR.XCR0)) return m.raise(13, 0);
  if (want & (Component.X87 | Component.Sse)) read(a, 0, LEGACY, area);
  const pkru = readPkru(m, a, want & present);
  if (t.failed) return m.faulted();
  const mxcsr = view(area).getInt32(Fx.Mxcsr, true);
  const wrong = want & Component.Sse ? mxcsrFault(m, mxcsr) : undefined;
  if (wrong) return raiseFault(m, wrong);
  restore(m, i, want, present, mxcsr, pkru);
  m.state.advance(i.length);
  return Next.Run;
}

function readPkru(m: Machine, { t, p }: Area, components: number): number {
  if (!(components & Component.Pkru)) return 0;
  const [lo, hi] = sum(p.lo, p.hi, pkruOffset(m.model.vendor), 0);
  return t.read(lo, hi, 4);
}

/** Takes the components of the area, or their initial state where XSTATE_BV says so; MXCSR is always the area's. */
function restore(
  m: Machine,
  i: Instruction,
  want: number,
  present: number,
  mxcsr: number,
  pkru: number,
): void {
  const { x87, state } = m;
  if (want & Component.X87) {
    if (present & Component.X87) x87.restoreLegacy(area, format(i));
    else x87.clear();
  }
  if (want & Component.Sse) {
    const bytes = xmmBytes(m);
    if (present & Component.Sse) x87.xmm.set(area.subarray(Fx.Xmm, Fx.Xmm + bytes));
    else x87.xmm.fill(0, 0, bytes);
    x87.mxcsr = mxcsr;
  }
  if (want & Component.Pkru && state.sysLo(SR.PKRU) !== pkru) {
    state.setSys(SR.PKRU, pkru, 0);
    m.translationChanged();
  }
}

// ---- XCR0 ----------------------------------------------------------------------------------------------------------

/** XGETBV: XCR0; with ECX = 1 what of it is in use. */
function xgetbv(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (!(s.cr4 & CR4.OSXSAVE)) return m.raise(6);
  const n = s.lo(R.RCX);
  if (n !== 0 && !(n === 1 && m.cpuid.has('xgetbv1'))) return m.raise(13, 0);
  const xcr0 = s.sysLo(SR.XCR0);
  s.set(R.RAX, n === 0 ? xcr0 : xcr0 & componentsInUse(m), 0);
  s.set(R.RDX, n === 0 ? s.sysHi(SR.XCR0) : 0, 0);
  s.advance(i.length);
  return Next.Run;
}

/** XSETBV: XCR0, whose x87 bit is always 1. */
function xsetbv(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (!(s.cr4 & CR4.OSXSAVE)) return m.raise(6);
  const lo = s.lo(R.RAX);
  const good = s.cpl === 0 && s.lo(R.RCX) === 0 && lo & Component.X87 && s.lo(R.RDX) === 0;
  if (!good || lo & ~supportedComponents(m)) return m.raise(13, 0);
  s.setSys(SR.XCR0, lo, 0);
  s.advance(i.length);
  return Next.Run;
}

const xsaveAll: Operation = (m, i) => xsave(m, i, false);
const xsaveUsed: Operation = (m, i) => xsave(m, i, true);

/** What `dispatch.ts` registers. */
export const XSAVE_OPERATIONS: Operations = new Map<Mnemonic, Operation>([
  [Mnemonic.Fxsave, fxsave],
  [Mnemonic.Fxsave64, fxsave],
  [Mnemonic.Fxrstor, fxrstor],
  [Mnemonic.Fxrstor64, fxrstor],
  [Mnemonic.Xsave, xsaveAll],
  [Mnemonic.Xsave64, xsaveAll],
  [Mnemonic.Xsaveopt, xsaveUsed],
  [Mnemonic.Xsaveopt64, xsaveUsed],
  [Mnemonic.Xrstor, xrstor],
  [Mnemonic.Xrstor64, xrstor],
  [Mnemonic.Xgetbv, xgetbv],
  [Mnemonic.Xsetbv, xsetbv],
]);

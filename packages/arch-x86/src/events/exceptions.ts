/**
 * Delivery of one event: the way from an interrupt vector to the first instruction of its handler, in every mode
 * (AMD64 APM volume 2, 8.6 to 8.9; Intel SDM volume 2, INT n, whose pseudo code orders the checks).
 *
 * Everything that can fault is done in one transaction before any state changes. Faults go to `Machine.raise`, which
 * combines them with the event under way.
 */
import { FL } from '../isa/flags.ts';
import { CTX_SUPERVISOR, CTX_USER, R, Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { Next, type NextStep } from '../next.ts';
import {
  type Descriptor,
  descriptor,
  type Gate,
  gateOf,
  isNull,
  limitOf,
  readDescriptor,
  SystemType,
  segmentOf,
  setAccessed,
} from '../segments/descriptor.ts';
import {
  type Fault,
  gp,
  isFault,
  MEMORY_FAULT,
  np,
  raiseFault,
  selectorCode,
  ss,
  ts,
} from '../segments/fault.ts';
import { loadStack, nullSegment, setSegment } from '../segments/load.ts';
import { canonical, currentStack, push, type Stack, setStackPointer, stackSize } from '../segments/stack.ts';
import { switchTask } from '../segments/task.ts';
import { CR4, SR, type X86State } from '../state.ts';
import type { EventInfo } from './points.ts';

/** An event on its way. */
export interface Delivery extends EventInfo {
  /** A fault: RF = 1 in the flags that are pushed. */
  readonly fault: boolean;
  /** Bytes of the INT instruction that asked for it; it returns behind that. 0: to pc. */
  readonly length: number;
}

/** Error code bit 0: the fault came from the delivery of an event that no instruction asked for. */
const EXT = 1;
/** Error code bit 1: the index is one into the IDT. */
const IDT = 2;
/** Segment registers that virtual-8086 mode leaves on the handler's stack, in the order of the pushes. */
const DATA_SEGMENTS = [Seg.GS, Seg.FS, Seg.DS, Seg.ES] as const;

/**
 * Delivers an event. {@link Next.Run}: done, or a fault was raised on the way; otherwise memory needs `handle`,
 * nothing has changed, and the event is delivered again later.
 */
export function deliver(m: Machine, d: Delivery): NextStep {
  const s = m.state;
  // an NMI blocks further ones from here on, whether its handler is reached or not
  if (d.kind === 'nmi') m.events.nmi.masked = true;
  const fault = s.mode === 'real' ? throughIvt(m, d) : s.lma ? throughLongIdt(m, d) : throughIdt(m, d);
  if (fault) return raiseFault(m, fault);
  m.events.shadow = 0;
  return Next.Run;
}

/** EFLAGS as they are pushed. */
const pushedFlags = (s: X86State, d: Delivery): number => (d.fault ? s.flags | FL.RF : s.flags);
const ext = (d: Delivery): 0 | 1 => (d.kind === 'software' ? 0 : EXT);
/** The error code that names an IDT entry. */
const entryCode = (d: Delivery): number => (d.vector << 3) | IDT | ext(d);
/** High half of a 64-bit sum. */
const carried = (lo: number, hi: number, add: number): number =>
  (lo >>> 0) + add > 0xffff_ffff ? (hi + 1) | 0 : hi;

/** RIP to return to. */
const returns = { lo: 0, hi: 0 };
function returnAddress(s: X86State, length: number): typeof returns {
  const lo = s.ipLo;
  const next = (lo + length) | 0;
  returns.lo = s.code === 2 && length !== 0 ? next & 0xffff : next;
  returns.hi = s.code === 8 ? carried(lo, s.ipHi, length) : 0;
  return returns;
}

/** Linear address width in force: 57 bits with CR4.LA57. */
export const addressBits = (s: X86State): 48 | 57 => (s.cr4 & CR4.LA57 ? 57 : 48);

/** Pushes in a row; the first that does not fit is remembered. */
class Frame {
  readonly #m: Machine;
  readonly #t: Transaction;
  readonly #k: Stack;
  readonly #size: 2 | 4 | 8;
  /** #SS of a push. */
  fault: Fault | undefined;
  constructor(m: Machine, t: Transaction, k: Stack, size: 2 | 4 | 8) {
    this.#m = m;
    this.#t = t;
    this.#k = k;
    this.#size = size;
  }
  push(lo: number, hi: number = 0): void {
    this.fault ??= push(this.#m, this.#t, this.#k, this.#size, lo, hi);
  }
}

// ---- real mode (APM volume 2, 8.6) -------------------------------------------------------------------------------

function throughIvt(m: Machine, d: Delivery): Fault | undefined {
  const s = m.state;
  const cs = s.segment(Seg.CS);
  const at = d.vector * 4;
  if (at + 3 > (s.sysLo(SR.IDTR_LIMIT) & 0xffff)) return gp();
  const t = m.memory.begin(CTX_SUPERVISOR);
  const entry = t.read((s.sysLo(SR.IDTR_BASE) + at) | 0, 0, 4);
  const k = currentStack(m);
  const frame = new Frame(m, t, k, 2);
  frame.push(pushedFlags(s, d));
  frame.push(cs.selector);
  frame.push(returnAddress(s, d.length).lo);
  if (frame.fault) return frame.fault;
  if (t.failed) return MEMORY_FAULT;
  if ((entry & 0xffff) > cs.limit >>> 0) return gp();
  t.commit();
  setStackPointer(s, k);
  // real mode keeps limit and attributes of CS
  cs.selector = entry >>> 16;
  cs.baseLo = cs.selector << 4;
  cs.baseHi = 0;
  s.other &= ~(FL.IF | FL.TF | FL.RF | FL.AC);
  s.setIp(entry & 0xffff, 0);
  m.modeChanged();
  return undefined;
}

// ---- gates ---------------------------------------------------------------------------------------------------------

/** The entry of the IDT, or why there is none for this event. */
function readGate(
  m: Machine,
  t: Transaction,
  d: Delivery,
): { readonly g: Descriptor; readonly gate: Gate } | Fault {
  const s = m.state;
  const size = s.lma ? 16 : 8;
  const at = d.vector * size;
  if (at + size - 1 > (s.sysLo(SR.IDTR_LIMIT) & 0xffff)) return gp(entryCode(d));
  const lo = (s.sysLo(SR.IDTR_BASE) + at) | 0;
  const hi = s.lma ? carried(s.sysLo(SR.IDTR_BASE), s.sysHi(SR.IDTR_BASE), at) : 0;
  const low = t.read(lo, hi, 8);
  const g = descriptor(low, t.hi, lo, hi);
  let upper = 0;
  let wrong = g.user;
  if (s.lma) {
    upper = t.read((lo + 8) | 0, carried(lo, hi, 8), 8);
    wrong ||= (t.hi & 0x1f00) !== 0;
  }
  if (t.failed) return MEMORY_FAULT;
  const { type } = g;
  const wide = type === SystemType.InterruptGate || type === SystemType.TrapGate;
  // long mode has neither 16-bit nor task gates
  const old =
    type === SystemType.TaskGate || type === SystemType.InterruptGate16 || type === SystemType.TrapGate16;
  if (wrong || !(wide || (old && !s.lma))) return gp(entryCode(d));
  if (d.kind === 'software' && g.dpl < s.cpl) return gp(entryCode(d));
  if (!g.present) return np(entryCode(d));
  return { g, gate: gateOf(g, upper) };
}

/** The handler's code segment. */
function handlerSegment(m: Machine, t: Transaction, selector: number, e: number): Descriptor | Fault {
  const s = m.state;
  if (isNull(selector)) return gp(e);
  const code = selectorCode(selector) | e;
  const c = readDescriptor(m, t, selector);
  if (!c) return gp(code);
  if (t.failed) return MEMORY_FAULT;
  if (!c.code || c.dpl > s.cpl) return gp(code);
  // from long mode handlers are 64-bit code: L = 1, D = 0
  if (s.lma && (c.high & 0x60_0000) !== 0x20_0000) return gp(code);
  // out of virtual-8086 mode there is one way: to CPL 0
  if (s.flag(FL.VM) && (c.conforming || c.dpl !== 0)) return gp(code);
  return c.present ? c : np(code);
}

/** Flags and RIP of the handler; interrupt gates (type bit 0 clear) close IF. */
function enterHandler(m: Machine, g: Descriptor, gate: Gate): void {
  const s = m.state;
  s.other &= ~(FL.TF | FL.NT | FL.RF | FL.VM | (g.type & 1 ? 0 : FL.IF));
  s.setIp(gate.offsetLo, gate.offsetHi);
  m.modeChanged();
}

// ---- protected and virtual-8086 mode (APM volume 2, 8.7) ---------------------------------------------------------

function throughIdt(m: Machine, d: Delivery): Fault | undefined {
  const s = m.state;
  const e = ext(d);
  const t = m.memory.begin(CTX_SUPERVISOR);
  const entry = readGate(m, t, d);
  if (isFault(entry)) return entry;
  const { g, gate } = entry;
  if (g.type === SystemType.TaskGate) return throughTask(m, d, gate.selector);
  const c = handlerSegment(m, t, gate.selector, e);
  if (isFault(c)) return c;
  const virtual = s.flag(FL.VM);
  const cpl = c.conforming ? s.cpl : c.dpl;
  const inner = cpl < s.cpl;
  const k = inner ? innerStack(m, t, cpl, e) : { ...currentStack(m), code: e };
  if (isFault(k)) return k;
  t.ctx = cpl === 3 ? CTX_USER : CTX_SUPERVISOR;
  const frame = new Frame(m, t, k, g.type & 8 ? 4 : 2);
  if (virtual) for (const n of DATA_SEGMENTS) frame.push(s.segment(n).selector);
  if (inner) {
    frame.push(s.segment(Seg.SS).selector);
    frame.push(s.lo(R.RSP));
  }
  frame.push(pushedFlags(s, d));
  frame.push(s.segment(Seg.CS).selector);
  frame.push(returnAddress(s, d.length).lo);
  if (d.errorCode !== undefined) frame.push(d.errorCode);
  if (frame.fault) return frame.fault;
  if (t.failed) return MEMORY_FAULT;
  if (gate.offsetLo >>> 0 > limitOf(c.low, c.high) >>> 0) return gp(e);
  t.ctx = CTX_SUPERVISOR;
  const cs = segmentOf(c, (gate.selector & ~3) | cpl);
  setAccessed(t, c, cs);
  if (t.failed) return MEMORY_FAULT;
  t.commit();

  if (virtual) for (const n of DATA_SEGMENTS) setSegment(s, n, nullSegment(m, n, 0));
  if (inner) setSegment(s, Seg.SS, k.segment);
  s.cpl = cpl;
  setSegment(s, Seg.CS, cs);
  setStackPointer(s, k);
  enterHandler(m, g, gate);
  return undefined;
}

/** Stack of a privilege level from the legacy TSS (APM volume 2, 12.2.2). */
function innerStack(m: Machine, t: Transaction, cpl: number, e: number): Stack | Fault {
  const tr = m.state.segment(Seg.TR);
  const wide = (tr.attr & 8) !== 0;
  const at = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
  if (at + (wide ? 7 : 3) > tr.limit >>> 0) return ts(selectorCode(tr.selector) | e);
  const base = (tr.baseLo + at) | 0;
  const lo = t.read(base, 0, wide ? 4 : 2);
  const selector = t.read((base + (wide ? 4 : 2)) | 0, 0, 2);
  if (t.failed) return MEMORY_FAULT;
  const segment = loadStack(m, t, selector, cpl, false, ts);
  const code = selectorCode(selector) | e;
  if (isFault(segment)) return segment === MEMORY_FAULT ? segment : { ...segment, errorCode: code };
  return { segment, size: stackSize(segment.attr, false), lo, hi: 0, code };
}

/** A task gate: RF of a fault goes into the old task's TSS. */
function throughTask(m: Machine, d: Delivery, selector: number): Fault | undefined {
  const s = m.state;
  const rf = s.other & FL.RF;
  if (d.fault) s.other |= FL.RF;
  const fault = switchTask(m, selector, {
    reason: 'gate',
    returnIp: returnAddress(s, d.length).lo,
    ext: ext(d),
    ...(d.errorCode === undefined ? {} : { errorCode: d.errorCode }),
  });
  if (fault === MEMORY_FAULT) s.other = (s.other & ~FL.RF) | rf;
  return fault;
}

// ---- long mode (APM volume 2, 8.9) -------------------------------------------------------------------------------

function throughLongIdt(m: Machine, d: Delivery): Fault | undefined {
  const s = m.state;
  const e = ext(d);
  const t = m.memory.begin(CTX_SUPERVISOR);
  const entry = readGate(m, t, d);
  if (isFault(entry)) return entry;
  const { g, gate } = entry;
  const c = handlerSegment(m, t, gate.selector, e);
  if (isFault(c)) return c;
  const cpl = c.conforming ? s.cpl : c.dpl;
  const k = longStack(m, t, cpl, gate.ist, e);
  if (isFault(k)) return k;
  t.ctx = cpl === 3 ? CTX_USER : CTX_SUPERVISOR;
  const frame = new Frame(m, t, k, 8);
  const ret = returnAddress(s, d.length);
  frame.push(s.segment(Seg.SS).selector);
  frame.push(s.lo(R.RSP), s.hi(R.RSP));
  frame.push(pushedFlags(s, d));
  frame.push(s.segment(Seg.CS).selector);
  frame.push(ret.lo, ret.hi);
  if (d.errorCode !== undefined) frame.push(d.errorCode);
  if (frame.fault) return frame.fault;
  if (t.failed) return MEMORY_FAULT;
  if (!canonical(gate.offsetHi, addressBits(s))) return gp(e);
  t.ctx = CTX_SUPERVISOR;
  const cs = segmentOf(c, (gate.selector & ~3) | cpl);
  setAccessed(t, c, cs);
  if (t.failed) return MEMORY_FAULT;
  t.commit();

  // a change of privilege level leaves SS null, with the level as RPL (8.9.3)
  if (cpl !== s.cpl) {
    const none = nullSegment(m, Seg.SS, cpl);
    none.attr |= cpl << 5;
    setSegment(s, Seg.SS, none);
  }
  s.cpl = cpl;
  setSegment(s, Seg.CS, cs);
  s.set(R.RSP, k.lo, k.hi);
  enterHandler(m, g, gate);
  return undefined;
}

/** The stack to push on, aligned to 16 bytes: of the IST entry, of the TSS for an inner level, or the current one. */
function longStack(m: Machine, t: Transaction, cpl: number, ist: number, e: number): Stack | Fault {
  const s = m.state;
  // RSP's upper half is no part of the stack pointer outside 64-bit mode
  let lo = s.lo(R.RSP);
  let hi = s.code === 8 ? s.hi(R.RSP) : 0;
  if (ist !== 0 || cpl !== s.cpl) {
    const tr = s.segment(Seg.TR);
    const at = ist === 0 ? 4 + 8 * cpl : 28 + 8 * ist;
    if (at + 7 > tr.limit >>> 0) return ts(selectorCode(tr.selector) | e);
    lo = t.read((tr.baseLo + at) | 0, carried(tr.baseLo, tr.baseHi, at), 8);
    hi = t.hi;
    if (t.failed) return MEMORY_FAULT;
    if (!canonical(hi, addressBits(s))) return ss(e);
  }
  return { segment: s.segment(Seg.SS), size: 8, lo: lo & ~15, hi, code: e };
}

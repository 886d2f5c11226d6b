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
  gateOf,
  isNull,
  limitOf,
  readDescriptor,
  SystemType,
  segmentOf,
  setAccessed,
} from '../segments/descriptor.ts';
import { type Fault, gp, MEMORY_FAULT, np, raiseFault, selectorCode, ss, ts } from '../segments/fault.ts';
import { Attr, CR4, type Segment, SR, type X86State } from '../state.ts';
import type { EventInfo } from './points.ts';

/** An event on its way. */
export interface Delivery extends EventInfo {
  /** A fault: RF = 1 in the flags that are pushed. */
  readonly fault: boolean;
  /** Bytes of the INT instruction that asked for it; it returns behind that. 0: to pc. */
  length: number;
}

/** Error code bit 0: the fault came from the delivery of an event that no instruction asked for. */
const EXT = 1;
/** Error code bit 1: the index is one into the IDT. */
const IDT = 2;

/**
 * Delivers an event. {@link Next.Run}: done, or a fault was raised on the way; otherwise memory needs `handle` (or a
 * task switch is KVM's to finish), nothing has changed, and the event is delivered again later.
 */
export function deliver(m: Machine, d: Delivery): NextStep {
  const s = m.state;
  // an NMI blocks further ones from here on, whether its handler is reached or not
  if (d.kind === 'nmi') m.events.nmi.masked = true;
  const mode = s.mode;
  const fault = mode === 'real' ? throughIvt(m, d) : s.lma ? throughLongIdt(m, d) : throughIdt(m, d);
  if (fault) return raiseFault(m, fault);
  m.events.shadow = 0;
  return Next.Run;
}

/** EFLAGS as they are pushed. */
const pushedFlags = (s: X86State, d: Delivery): number => (d.fault ? s.flags | FL.RF : s.flags);
const ext = (d: Delivery): number => (d.kind === 'software' ? 0 : EXT);
/** The error code that names an IDT entry. */
const entryCode = (d: Delivery): number => (d.vector << 3) | IDT | ext(d);

/** RIP to return to. */
const returns = { lo: 0, hi: 0 };
function returnAddress(s: X86State, length: number): typeof returns {
  const lo = s.ipLo;
  const next = (lo + length) | 0;
  returns.lo = s.code === 2 && length !== 0 ? next & 0xffff : next;
  returns.hi = s.code === 8 && next >>> 0 < lo >>> 0 ? (s.ipHi + 1) | 0 : s.ipHi;
  return returns;
}

/** Whether a linear address is canonical. */
export function canonical(s: X86State, hi: number): boolean {
  const shift = s.cr4 & CR4.LA57 ? 7 : 16;
  return (hi << shift) >> shift === hi;
}

// ---- real mode (APM volume 2, 8.6) -------------------------------------------------------------------------------

function throughIvt(m: Machine, d: Delivery): Fault | undefined {
  const s = m.state;
  const at = d.vector * 4;
  if (at + 3 > (s.sysLo(SR.IDTR_LIMIT) & 0xffff)) return gp();
  const t = m.memory.begin(CTX_SUPERVISOR);
  const entry = t.read((s.sysLo(SR.IDTR_BASE) + at) | 0, 0, 4);
  const stack = new Pushes(t, s.segment(Seg.SS), s.lo(R.RSP), 2);
  const ret = returnAddress(s, d.length);
  stack.push(pushedFlags(s, d));
  stack.push(s.segment(Seg.CS).selector);
  stack.push(ret.lo);
  if (stack.outside) return ss();
  if ((entry & 0xffff) > s.segment(Seg.CS).limit >>> 0) return gp();
  if (t.failed) return MEMORY_FAULT;
  t.commit();
  stack.store(s);
  loadRealCs(s, entry >>> 16);
  s.other &= ~(FL.IF | FL.TF | FL.RF | FL.AC);
  s.setIp(entry & 0xffff, 0);
  m.modeChanged();
  return undefined;
}

/** CS as real mode loads it: 16 times the selector; limit and attributes stay. */
function loadRealCs(s: X86State, selector: number): void {
  const cs = s.segment(Seg.CS);
  cs.selector = selector;
  cs.baseLo = selector << 4;
  cs.baseHi = 0;
}

// ---- stacks --------------------------------------------------------------------------------------------------------

/** Pushes onto a legacy stack, in a transaction; the stack pointer is stored at the end. */
class Pushes {
  readonly #t: Transaction;
  readonly #segment: Segment;
  readonly #size: 2 | 4;
  /** 0xffff for a 16-bit stack. */
  readonly #mask: number;
  #sp: number;
  /** A push did not fit into the segment. */
  outside = false;
  constructor(t: Transaction, segment: Segment, sp: number, size: 2 | 4) {
    this.#t = t;
    this.#segment = segment;
    this.#size = size;
    this.#mask = segment.attr & Attr.DB ? -1 : 0xffff;
    this.#sp = sp;
  }
  push(v: number): void {
    const sp = (this.#sp - this.#size) & this.#mask;
    if (!inside(this.#segment, sp, this.#size)) this.outside = true;
    this.#sp = (this.#sp & ~this.#mask) | sp;
    this.#t.write((this.#segment.baseLo + sp) | 0, 0, this.#size, v);
  }
  store(s: X86State): void {
    if (this.#mask === 0xffff) s.setSized(R.RSP, 2, this.#sp, 0);
    else s.set(R.RSP, this.#sp, 0);
  }
  get sp(): number {
    return this.#sp;
  }
}

/** Whether `size` bytes at an offset lie in a data segment. */
function inside(g: Segment, offset: number, size: number): boolean {
  const first = offset >>> 0;
  const last = first + size - 1;
  const limit = g.limit >>> 0;
  const down = (g.attr & (Attr.Code | Attr.ExpandDown)) === Attr.ExpandDown && (g.attr & Attr.S) !== 0;
  if (!down) return last <= limit;
  return first > limit && last <= (g.attr & Attr.DB ? 0xffff_ffff : 0xffff);
}

/** The 8 bytes of a legacy gate, or the reason why there is none for this event. */
function legacyGate(m: Machine, t: Transaction, d: Delivery): Descriptor | Fault {
  const s = m.state;
  const at = d.vector * 8;
  if (at + 7 > (s.sysLo(SR.IDTR_LIMIT) & 0xffff)) return gp(entryCode(d));
  const base = (s.sysLo(SR.IDTR_BASE) + at) | 0;
  const low = t.read(base, 0, 8);
  const g = descriptor(low, t.hi, base, 0);
  if (t.failed) return MEMORY_FAULT;
  const { type } = g;
  const isGate =
    type === SystemType.TaskGate ||
    type === SystemType.InterruptGate16 ||
    type === SystemType.TrapGate16 ||
    type === SystemType.InterruptGate ||
    type === SystemType.TrapGate;
  if (g.user || !isGate) return gp(entryCode(d));
  if (d.kind === 'software' && g.dpl < s.cpl) return gp(entryCode(d));
  if (!g.present) return np(entryCode(d));
  return g;
}

/** The handler's code segment: DPL not above CPL. */
function handlerSegment(m: Machine, t: Transaction, selector: number, e: number): Descriptor | Fault {
  if (isNull(selector)) return gp(e);
  const c = readDescriptor(m, t, selector);
  if (!c) return gp(selectorCode(selector) | e);
  if (t.failed) return MEMORY_FAULT;
  if (!c.code || c.dpl > m.state.cpl) return gp(selectorCode(selector) | e);
  return c;
}

// ---- protected and virtual-8086 mode (APM volume 2, 8.7) ---------------------------------------------------------

function throughIdt(m: Machine, d: Delivery): Fault | undefined {
  const s = m.state;
  const e = ext(d);
  const t = m.memory.begin(CTX_SUPERVISOR);
  const g = legacyGate(m, t, d);
  if ('vector' in g) return g;
  const gate = gateOf(g);
  const c = handlerSegment(m, t, gate.selector, e);
  if ('vector' in c) return c;
  const virtual = s.flag(FL.VM);
  const inner = !c.conforming && c.dpl < s.cpl;
  // out of virtual-8086 mode there is one way: to CPL 0
  if (virtual && (c.conforming || c.dpl !== 0)) return gp(selectorCode(gate.selector) | e);
  if (!c.present) return np(selectorCode(gate.selector) | e);

  const size = g.type & 8 ? 4 : 2;
  const cpl = inner ? c.dpl : s.cpl;
  const stack = inner ? innerStack(m, t, cpl, e) : undefined;
  if (stack && 'vector' in stack) return stack;
  const target = stack?.segment ?? s.segment(Seg.SS);
  t.ctx = cpl === 3 ? CTX_USER : CTX_SUPERVISOR;
  const pushes = new Pushes(t, target, stack ? stack.sp : s.lo(R.RSP), size);
  if (virtual) for (const n of [Seg.GS, Seg.FS, Seg.DS, Seg.ES] as const) pushes.push(s.segment(n).selector);
  if (stack) {
    pushes.push(s.segment(Seg.SS).selector);
    pushes.push(s.lo(R.RSP));
  }
  const ret = returnAddress(s, d.length);
  pushes.push(pushedFlags(s, d));
  pushes.push(s.segment(Seg.CS).selector);
  pushes.push(ret.lo);
  if (d.errorCode !== undefined) pushes.push(d.errorCode);
  if (pushes.outside) return ss(stack ? selectorCode(target.selector) | e : e);
  const cs = segmentOf(c, (gate.selector & ~3) | cpl);
  if (gate.offsetLo >>> 0 > limitOf(c.low, c.high) >>> 0) return gp(e);
  t.ctx = CTX_SUPERVISOR;
  setAccessed(t, c, cs);
  if (t.failed) return MEMORY_FAULT;
  t.commit();

  if (virtual) for (const n of [Seg.GS, Seg.FS, Seg.DS, Seg.ES] as const) nullify(s.segment(n), 0);
  if (stack) Object.assign(s.segment(Seg.SS), stack.segment);
  s.cpl = cpl;
  Object.assign(s.segment(Seg.CS), cs);
  pushes.store(s);
  enterHandler(m, g.type, gate.offsetLo, 0);
  return undefined;
}

/** A segment register that holds no segment. */
function nullify(g: Segment, selector: number): void {
  g.selector = selector;
  g.attr = Attr.Unusable;
  g.limit = 0;
  g.baseLo = 0;
  g.baseHi = 0;
}

/** Flags and RIP of the handler; interrupt gates (type bit 0 clear) close IF. */
function enterHandler(m: Machine, type: number, lo: number, hi: number): void {
  const s = m.state;
  s.other &= ~(FL.TF | FL.NT | FL.RF | FL.VM | (type & 1 ? 0 : FL.IF));
  s.setIp(lo, hi);
  m.modeChanged();
}

/** Stack of a privilege level from a legacy TSS (APM volume 2, 12.2.2). */
function innerStack(
  m: Machine,
  t: Transaction,
  cpl: number,
  e: number,
): { readonly segment: Segment; readonly sp: number } | Fault {
  const s = m.state;
  const tr = s.segment(Seg.TR);
  const wide = (tr.attr & 8) !== 0;
  const at = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
  if (at + (wide ? 7 : 3) > tr.limit >>> 0) return ts(selectorCode(tr.selector) | e);
  const base = (tr.baseLo + at) | 0;
  const sp = t.read(base, 0, wide ? 4 : 2);
  const selector = t.read((base + (wide ? 4 : 2)) | 0, 0, 2);
  if (t.failed) return MEMORY_FAULT;
  if (isNull(selector)) return ts(e);
  const code = selectorCode(selector) | e;
  const x = readDescriptor(m, t, selector);
  if (!x) return ts(code);
  if (t.failed) return MEMORY_FAULT;
  if ((selector & 3) !== cpl || x.dpl !== cpl || !x.user || x.code || !(x.type & 2)) return ts(code);
  if (!x.present) return ss(code);
  const segment = segmentOf(x, selector);
  setAccessed(t, x, segment);
  return { segment, sp };
}

// ---- long mode (APM volume 2, 8.9) -------------------------------------------------------------------------------

function throughLongIdt(m: Machine, d: Delivery): Fault | undefined {
  const s = m.state;
  const e = ext(d);
  const t = m.memory.begin(CTX_SUPERVISOR);
  const at = d.vector * 16;
  if (at + 15 > (s.sysLo(SR.IDTR_LIMIT) & 0xffff)) return gp(entryCode(d));
  const lo = (s.sysLo(SR.IDTR_BASE) + at) | 0;
  const hi = carried(s.sysLo(SR.IDTR_BASE), s.sysHi(SR.IDTR_BASE), at);
  const low = t.read(lo, hi, 8);
  const g = descriptor(low, t.hi, lo, hi);
  const gate = gateOf(g, t.read((lo + 8) | 0, carried(lo, hi, 8), 8));
  const upperType = t.hi & 0x1f00;
  if (t.failed) return MEMORY_FAULT;
  if (g.user || (g.type !== SystemType.InterruptGate && g.type !== SystemType.TrapGate) || upperType)
    return gp(entryCode(d));
  if (d.kind === 'software' && g.dpl < s.cpl) return gp(entryCode(d));
  if (!g.present) return np(entryCode(d));
  const c = handlerSegment(m, t, gate.selector, e);
  if ('vector' in c) return c;
  const code = selectorCode(gate.selector) | e;
  // the handler runs in 64-bit mode: L = 1, D = 0
  if ((c.high & 0x60_0000) !== 0x20_0000) return gp(code);
  if (!c.present) return np(code);

  const cpl = c.conforming ? s.cpl : c.dpl;
  const rsp = longStack(m, t, cpl, gate.ist, e);
  if (typeof rsp === 'object') return rsp;
  const top = { lo: newRsp.lo & ~15, hi: newRsp.hi };
  if (!canonical(s, gate.offsetHi)) return gp(e);
  t.ctx = cpl === 3 ? CTX_USER : CTX_SUPERVISOR;
  let canonicalStack = true;
  const push = (vLo: number, vHi: number): void => {
    if (top.lo >>> 0 < 8) top.hi = (top.hi - 1) | 0;
    top.lo = (top.lo - 8) | 0;
    if (!canonical(s, top.hi)) canonicalStack = false;
    else t.write(top.lo, top.hi, 8, vLo, vHi);
  };
  const ret = returnAddress(s, d.length);
  push(s.segment(Seg.SS).selector, 0);
  push(s.lo(R.RSP), s.hi(R.RSP));
  push(pushedFlags(s, d), 0);
  push(s.segment(Seg.CS).selector, 0);
  push(ret.lo, ret.hi);
  if (d.errorCode !== undefined) push(d.errorCode, 0);
  if (!canonicalStack) return ss(e);
  t.ctx = CTX_SUPERVISOR;
  const cs = segmentOf(c, (gate.selector & ~3) | cpl);
  setAccessed(t, c, cs);
  if (t.failed) return MEMORY_FAULT;
  t.commit();

  // a change of privilege level leaves SS null with the level as RPL
  if (cpl !== s.cpl) nullStack(s, cpl);
  s.cpl = cpl;
  Object.assign(s.segment(Seg.CS), cs);
  s.set(R.RSP, top.lo, top.hi);
  enterHandler(m, g.type, gate.offsetLo, gate.offsetHi);
  return undefined;
}

/** SS as 64-bit mode has it after a change of level: null, RPL = level (APM volume 2, 8.9.3). */
export function nullStack(s: X86State, cpl: number): void {
  const g = s.segment(Seg.SS);
  nullify(g, cpl);
  g.attr |= cpl << Attr.DplShift;
}

const newRsp = { lo: 0, hi: 0 };
/** The stack pointer to push from, in {@link newRsp}: IST entry, RSPn of the TSS, or the current one. */
function longStack(m: Machine, t: Transaction, cpl: number, ist: number, e: number): Fault | undefined {
  const s = m.state;
  if (ist === 0 && cpl === s.cpl) {
    newRsp.lo = s.lo(R.RSP);
    // RSP's upper half is not part of the stack pointer outside 64-bit mode
    newRsp.hi = s.code === 8 ? s.hi(R.RSP) : 0;
    return undefined;
  }
  const tr = s.segment(Seg.TR);
  const at = ist === 0 ? 4 + 8 * cpl : 28 + 8 * ist;
  if (at + 7 > tr.limit >>> 0) return ts(selectorCode(tr.selector) | e);
  newRsp.lo = t.read((tr.baseLo + at) | 0, carried(tr.baseLo, tr.baseHi, at), 8);
  newRsp.hi = t.hi;
  if (t.failed) return MEMORY_FAULT;
  return canonical(s, newRsp.hi) ? undefined : ss(e);
}

/** High half of a 64-bit sum. */
const carried = (lo: number, hi: number, add: number): number =>
  (lo >>> 0) + add > 0xffff_ffff ? (hi + 1) | 0 : hi;

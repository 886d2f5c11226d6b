/**
 * Far transfers: JMP, CALL, RET to another code segment, through gates, to tasks (AMD64 APM volume 2, 4.10.1 and 12;
 * volume 3, CALL/JMP/RET (Far); Intel SDM volume 2, whose pseudo code orders the checks).
 */
import { Code, type Instruction, MemorySize, Mnemonic, OpKind } from 'iced-x86';
import { CTX_SUPERVISOR, Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { Next, type NextStep } from '../next.ts';
import { Attr, CR0, type Segment, type X86State } from '../state.ts';
import { effective, isCanonical, moved, reach } from '../system/operand.ts';
import type { Operations } from '../system/operation.ts';
import {
  type Descriptor,
  gateOf,
  isNull,
  limitOf,
  readDescriptor,
  readUpper,
  SystemType,
  segmentOf,
  setAccessed,
} from './descriptor.ts';
import { type Fault, gp, isFault, MEMORY_FAULT, np, raiseFault, selectorCode, ts } from './fault.ts';
import { dropInaccessible, loadStack, realSegment, setSegment } from './load.ts';
import {
  contextAt,
  currentStack,
  type Popped,
  peek,
  push,
  release,
  type Stack,
  setStackPointer,
  stackSize,
} from './stack.ts';
import { switchTask } from './task.ts';
import { legacyInnerStack, longInnerStack } from './tss.ts';

/** A far pointer. */
interface Target {
  readonly selector: number;
  readonly lo: number;
  readonly hi: number;
}
/** Operand size in bytes. */
type Size = 2 | 4 | 8;

/** RIP behind an instruction. */
function nextIp(s: X86State, length: number): { readonly lo: number; readonly hi: number } {
  const lo = (s.ipLo + length) | 0;
  if (s.code === 8) return { lo, hi: lo >>> 0 < s.ipLo >>> 0 ? (s.ipHi + 1) | 0 : s.ipHi };
  return { lo: s.code === 2 ? lo & 0xffff : lo, hi: 0 };
}

const isReal = (s: X86State): boolean => !(s.cr0 & CR0.PE) || s.mode === 'virtual-8086';

/** CS in real and virtual-8086 mode; real mode keeps limit and attributes. */
const realCode = (s: X86State, selector: number): Segment =>
  s.cr0 & CR0.PE
    ? realSegment(selector, 3)
    : { ...s.segment(Seg.CS), selector, baseLo: selector << 4, baseHi: 0 };

/** The pointer operand, and the operand size. */
function target(m: Machine, i: Instruction): { readonly to: Target; readonly size: Size } | Fault {
  const kind = i.op0Kind;
  if (kind === OpKind.FarBranch16)
    return { to: { selector: i.farBranchSelector, lo: i.farBranch16, hi: 0 }, size: 2 };
  if (kind === OpKind.FarBranch32)
    return { to: { selector: i.farBranchSelector, lo: i.farBranch32 | 0, hi: 0 }, size: 4 };
  const size = pointerSize(m, i);
  const p = effective(m, i);
  const f = reach(m, p, size + 2, false);
  if (f) return f;
  const t = m.memory.begin();
  const lo = t.read(p.lo, p.hi, size);
  const hi = size === 8 ? t.hi : 0;
  const at = moved(m.state, p, size);
  const selector = t.read(at.lo, at.hi, 2);
  return t.failed ? MEMORY_FAULT : { to: { selector, lo, hi }, size };
}

/** Size of a far pointer's offset. AMD has none of 64 bits: REX.W counts for nothing (APM volume 3, CALL (Far)). */
function pointerSize(m: Machine, i: Instruction): Size {
  const bytes = i.memorySize;
  const size = FAR_POINTER.get(bytes) ?? 4;
  return size === 8 && m.model.vendor === 'AMD' ? 4 : size;
}
const FAR_POINTER: ReadonlyMap<number, Size> = new Map([
  [MemorySize.SegPtr16, 2],
  [MemorySize.SegPtr32, 4],
  [MemorySize.SegPtr64, 8],
]);

/** Whether an offset lies in the code segment: its limit, or canonical for 64-bit code. */
function offsetFault(m: Machine, d: Descriptor, lo: number, hi: number): Fault | undefined {
  if (isLong(m.state, d)) return isCanonical(m.state, hi) ? undefined : gp();
  return hi !== 0 || lo >>> 0 > limitOf(d.low, d.high) >>> 0 ? gp() : undefined;
}
/** Whether a code descriptor makes 64-bit mode. */
const isLong = (s: X86State, d: Descriptor): boolean => s.lma && (d.high & 0x20_0000) !== 0;
/** L and D together are reserved in long mode. */
const badWidth = (s: X86State, d: Descriptor): boolean => s.lma && (d.high & 0x60_0000) === 0x60_0000;

/** Enters a code segment at `cpl`, already checked, everything committed. */
function enterCode(m: Machine, cs: Segment, cpl: number, lo: number, hi: number): NextStep {
  const s = m.state;
  setSegment(s, Seg.CS, { ...cs, selector: (cs.selector & ~3) | cpl });
  s.cpl = cpl;
  s.setIp(lo, hi);
  m.modeChanged();
  return Next.Run;
}

// ---- JMP and CALL --------------------------------------------------------------------------------------------------

function jump(m: Machine, i: Instruction): NextStep {
  return transfer(m, i, false);
}
function call(m: Machine, i: Instruction): NextStep {
  return transfer(m, i, true);
}

function transfer(m: Machine, i: Instruction, calls: boolean): NextStep {
  const s = m.state;
  const operand = target(m, i);
  if (isFault(operand)) return raiseFault(m, operand);
  const { to, size } = operand;
  const result = isReal(s) ? transferReal(m, i, to, size, calls) : transferProtected(m, i, to, size, calls);
  return typeof result === 'object' ? raiseFault(m, result) : result;
}

function transferReal(m: Machine, i: Instruction, to: Target, size: Size, calls: boolean): NextStep | Fault {
  const s = m.state;
  const cs = realCode(s, to.selector);
  const t = m.memory.begin();
  const k = currentStack(m);
  if (calls) {
    const f = pushReturn(m, t, k, size, i.length);
    if (f) return f;
  }
  if (to.lo >>> 0 > cs.limit >>> 0) return gp();
  if (t.failed) return MEMORY_FAULT;
  t.commit();
  setStackPointer(s, k);
  setSegment(s, Seg.CS, cs);
  s.setIp(to.lo, 0);
  m.modeChanged();
  return Next.Run;
}

/** Pushes CS and the return address. */
function pushReturn(m: Machine, t: Transaction, k: Stack, size: Size, length: number): Fault | undefined {
  const s = m.state;
  const ret = nextIp(s, length);
  return push(m, t, k, size, s.segment(Seg.CS).selector) ?? push(m, t, k, size, ret.lo, ret.hi);
}

function transferProtected(
  m: Machine,
  i: Instruction,
  to: Target,
  size: Size,
  calls: boolean,
): NextStep | Fault {
  const s = m.state;
  const { selector } = to;
  if (isNull(selector)) return gp();
  const code = selectorCode(selector);
  const t = m.memory.begin(CTX_SUPERVISOR);
  const d = readDescriptor(m, t, selector);
  if (!d) return gp(code);
  if (t.failed) return MEMORY_FAULT;
  if (d.code) return toSegment(m, t, i, d, to, size, calls);
  if (d.user) return gp(code);
  const gate = d.type === SystemType.CallGate || (d.type === SystemType.CallGate16 && !s.lma);
  const task = !s.lma && (d.type === SystemType.Tss || d.type === SystemType.Tss16);
  if (!gate && !task && (s.lma || d.type !== SystemType.TaskGate)) return gp(code);
  if (d.dpl < s.cpl || d.dpl < (selector & 3)) return gp(code);
  if (gate) return throughGate(m, t, i, d, selector, calls);
  if (!d.present) return np(code);
  const step = m.intercepted('task-switch', selector);
  if (step !== undefined) return step;
  const returnIp = nextIp(s, i.length).lo;
  const tss = task ? selector : gateOf(d).selector;
  return switchTask(m, tss, { reason: calls ? 'call' : 'jmp', returnIp }) ?? Next.Run;
}

/** Directly to a code segment: the CPL stays. */
function toSegment(
  m: Machine,
  t: Transaction,
  i: Instruction,
  d: Descriptor,
  to: Target,
  size: Size,
  calls: boolean,
): NextStep | Fault {
  const s = m.state;
  const code = selectorCode(to.selector);
  const { cpl } = s;
  if (badWidth(s, d)) return gp(code);
  if (d.conforming ? d.dpl > cpl : (to.selector & 3) > cpl || d.dpl !== cpl) return gp(code);
  if (!d.present) return np(code);
  const k = currentStack(m);
  if (calls) {
    t.ctx = contextAt(s, cpl);
    const f = pushReturn(m, t, k, size, i.length);
    if (f) return f;
    t.ctx = CTX_SUPERVISOR;
  }
  const f = offsetFault(m, d, to.lo, to.hi);
  if (t.failed) return MEMORY_FAULT;
  if (f) return f;
  const cs = segmentOf(d, to.selector);
  setAccessed(t, d, cs);
  if (t.failed) return MEMORY_FAULT;
  t.commit();
  setStackPointer(s, k);
  return enterCode(m, cs, cpl, to.lo, to.hi);
}

/** Through a call gate: 16 or 32 bits, in long mode 64. */
function throughGate(
  m: Machine,
  t: Transaction,
  i: Instruction,
  d: Descriptor,
  selector: number,
  calls: boolean,
): NextStep | Fault {
  const s = m.state;
  const code = selectorCode(selector);
  let upper: number | undefined = 0;
  if (s.lma) {
    upper = readUpper(m, t, selector);
    if (t.failed) return MEMORY_FAULT;
    if (upper === undefined) return gp(code);
  }
  if (!d.present) return np(code);
  const gate = gateOf(d, upper);
  if (isNull(gate.selector)) return gp();
  const codeOfTarget = selectorCode(gate.selector);
  const c = readDescriptor(m, t, gate.selector);
  if (!c) return gp(codeOfTarget);
  if (t.failed) return MEMORY_FAULT;
  if (!c.code || c.dpl > s.cpl) return gp(codeOfTarget);
  if (s.lma && (c.high & 0x60_0000) !== 0x20_0000) return gp(codeOfTarget);
  if (!calls && !c.conforming && c.dpl !== s.cpl) return gp(codeOfTarget);
  if (!c.present) return np(codeOfTarget);
  const inner = calls && !c.conforming && c.dpl < s.cpl;
  const cpl = inner ? c.dpl : s.cpl;
  const size: Size = s.lma ? 8 : d.type & 8 ? 4 : 2;
  const f = offsetFault(m, c, gate.offsetLo, gate.offsetHi);

  let k = currentStack(m);
  if (calls && s.lma) k = { ...k, size: 8, hi: s.code === 8 ? k.hi : 0 };
  let segment: Segment | undefined;
  if (inner) {
    const to = s.lma ? longInnerStack(m, t, cpl) : legacyInnerStack(m, t, cpl);
    if (isFault(to)) return to;
    const x = s.lma ? nullStack(cpl) : loadStack(m, t, to.selector, cpl, false, ts);
    if (isFault(x)) return x;
    segment = x;
    k = {
      segment,
      size: stackSize(segment.attr, s.lma),
      lo: to.lo,
      hi: to.hi,
      code: s.lma ? 0 : selectorCode(to.selector),
    };
    const bad = pushCaller(m, t, k, size, cpl, s.lma ? 0 : gate.count);
    if (bad) return t.failed ? MEMORY_FAULT : bad;
  }
  if (calls) {
    t.ctx = contextAt(s, cpl);
    const bad = pushReturn(m, t, k, size, i.length);
    if (bad) return t.failed ? MEMORY_FAULT : bad;
  }
  if (t.failed) return MEMORY_FAULT;
  if (f) return f;
  t.ctx = CTX_SUPERVISOR;
  const cs = segmentOf(c, gate.selector);
  setAccessed(t, c, cs);
  if (t.failed) return MEMORY_FAULT;
  t.commit();
  if (segment) setSegment(s, Seg.SS, segment);
  if (calls) setStackPointer(s, k);
  return enterCode(m, cs, cpl, gate.offsetLo, gate.offsetHi);
}

/** SS after a change of level in long mode: null, RPL = CPL (APM volume 2, 8.9.3). */
const nullStack = (cpl: number): Segment => ({
  selector: cpl,
  attr: Attr.Unusable | (cpl << Attr.DplShift),
  limit: 0,
  baseLo: 0,
  baseHi: 0,
});

/** The caller's SS, RSP and parameters, onto the inner stack. */
function pushCaller(
  m: Machine,
  t: Transaction,
  k: Stack,
  size: Size,
  cpl: number,
  count: number,
): Fault | undefined {
  const s = m.state;
  const old = currentStack(m);
  t.ctx = contextAt(s, s.cpl);
  const parameters: number[] = [];
  const from: Popped = { lo: 0, hi: 0 };
  for (let n = 0; n < count; n++) {
    const f = peek(m, t, old, size, n * size, from);
    if (f) return f;
    parameters.push(from.lo);
  }
  t.ctx = contextAt(s, cpl);
  const f = push(m, t, k, size, old.segment.selector) ?? push(m, t, k, size, old.lo, old.hi);
  if (f) return f;
  for (const p of parameters.reverse()) {
    const bad = push(m, t, k, size, p);
    if (bad) return bad;
  }
  return undefined;
}

// ---- RET -----------------------------------------------------------------------------------------------------------

const RETURN_SIZE: ReadonlyMap<number, Size> = new Map([
  [Code.Retfw, 2],
  [Code.Retfw_imm16, 2],
  [Code.Retfd, 4],
  [Code.Retfd_imm16, 4],
  [Code.Retfq, 8],
  [Code.Retfq_imm16, 8],
]);

function ret(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const size = RETURN_SIZE.get(i.code) ?? 4;
  const extra = i.opCount > 0 ? i.immediate16 : 0;
  const t = m.memory.begin();
  const k = currentStack(m);
  const ip: Popped = { lo: 0, hi: 0 };
  const cs: Popped = { lo: 0, hi: 0 };
  const f = peek(m, t, k, size, 0, ip) ?? peek(m, t, k, size, size, cs);
  if (t.failed) return m.faulted();
  if (f) return raiseFault(m, f);
  const to: Target = { selector: cs.lo & 0xffff, lo: ip.lo, hi: ip.hi };
  release(k, 2 * size);
  const result = isReal(s) ? returnReal(m, k, to, extra) : returnProtected(m, t, k, to, size, extra);
  return typeof result === 'object' ? raiseFault(m, result) : result;
}

function returnReal(m: Machine, k: Stack, to: Target, extra: number): NextStep | Fault {
  const s = m.state;
  const cs = realCode(s, to.selector);
  if (to.lo >>> 0 > cs.limit >>> 0) return gp();
  release(k, extra);
  setStackPointer(s, k);
  setSegment(s, Seg.CS, cs);
  s.setIp(to.lo, 0);
  m.modeChanged();
  return Next.Run;
}

/**
 * The code segment that a return (RET, IRET) goes to, checked: its RPL is the new CPL. `setAccessed` is left to the caller,
 * with the transaction's context at CTX_SUPERVISOR.
 */
function returnSegment(m: Machine, t: Transaction, selector: number): Descriptor | Fault {
  const s = m.state;
  if (isNull(selector)) return gp();
  const code = selectorCode(selector);
  t.ctx = CTX_SUPERVISOR;
  const d = readDescriptor(m, t, selector);
  if (!d) return gp(code);
  if (t.failed) return MEMORY_FAULT;
  const rpl = selector & 3;
  if (!d.code || rpl < s.cpl || badWidth(s, d)) return gp(code);
  if (d.conforming ? d.dpl > rpl : d.dpl !== rpl) return gp(code);
  return d.present ? d : np(code);
}

function returnProtected(
  m: Machine,
  t: Transaction,
  k: Stack,
  to: Target,
  size: Size,
  extra: number,
): NextStep | Fault {
  const s = m.state;
  const d = returnSegment(m, t, to.selector);
  if (isFault(d)) return d;
  const cpl = to.selector & 3;
  const outer = cpl > s.cpl;
  const long = isLong(s, d);
  release(k, extra);
  let segment: Segment | undefined;
  const sp: Popped = { lo: 0, hi: 0 };
  if (outer) {
    const selector: Popped = { lo: 0, hi: 0 };
    t.ctx = contextAt(s, s.cpl);
    const f = peek(m, t, k, size, 0, sp) ?? peek(m, t, k, size, size, selector);
    if (t.failed) return MEMORY_FAULT;
    if (f) return f;
    const x = loadStack(m, t, selector.lo & 0xffff, cpl, long);
    if (isFault(x)) return x;
    segment = x;
  }
  const f = offsetFault(m, d, to.lo, to.hi);
  if (f) return f;
  t.ctx = CTX_SUPERVISOR;
  const cs = segmentOf(d, to.selector);
  setAccessed(t, d, cs);
  if (t.failed) return MEMORY_FAULT;
  t.commit();
  if (!segment) {
    setStackPointer(s, k);
    return enterCode(m, cs, cpl, to.lo, to.hi);
  }
  const outerStack: Stack = {
    segment,
    size: stackSize(segment.attr, long),
    lo: sp.lo,
    hi: sp.hi,
    code: 0,
  };
  if (outerStack.size === 2) outerStack.lo = (s.lo(4) & ~0xffff) | (sp.lo & 0xffff);
  release(outerStack, extra);
  setSegment(s, Seg.SS, segment);
  setStackPointer(s, outerStack);
  const step = enterCode(m, cs, cpl, to.lo, to.hi);
  dropInaccessible(m, cpl);
  m.modeChanged();
  return step;
}

/** Far JMP, CALL and RET. */
export const FAR_OPERATIONS: Operations = new Map([
  [Mnemonic.Jmp, jump],
  [Mnemonic.Call, call],
  [Mnemonic.Retf, ret],
]);

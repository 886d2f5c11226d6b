/**
 * Loading segment registers: the checks (AMD64 APM volume 2, 4.10; Intel SDM volume 3, 5.6) and the instructions that
 * do it. CS is loaded by far transfers, LDTR and TR by LLDT and LTR.
 */
import { type Instruction, Mnemonic } from 'iced-x86';
import { CTX_SUPERVISOR, Seg, type SegNumber } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { Next, type NextStep } from '../next.ts';
import { Attr, type Segment, type X86State } from '../state.ts';
import {
  effective,
  isSegmentRegister,
  moved,
  reach,
  registerSize,
  registerSlot,
  segmentNumber,
  setRegister,
} from '../system/operand.ts';
import type { Operations } from '../system/operation.ts';
import { isNull, readDescriptor, segmentOf, setAccessed } from './descriptor.ts';
import {
  type Fault,
  gp,
  isFault,
  MEMORY_FAULT,
  np,
  raiseFault,
  selectorCode,
  ss,
  UNDEFINED,
} from './fault.ts';
import { currentStack, pop, push, setStackPointer } from './stack.ts';

/** A data segment as real mode and virtual-8086 mode have it: 64 KiB at selector * 16, DPL 0 or 3. */
export const realSegment = (selector: number, dpl: number): Segment => ({
  selector,
  attr: 0x93 | (dpl << Attr.DplShift),
  limit: 0xffff,
  baseLo: selector << 4,
  baseHi: 0,
});

/** What a segment register is after a null selector. */
export function nullSegment(m: Machine, n: SegNumber, selector: number): Segment {
  const old = m.state.segment(n);
  // Early Zen keeps base and limit (APM volume 2, 4.5.1; CPUID 8000_0021h EAX[6] NullSelectorClearsBase).
  const clears = m.model.vendor === 'Intel' || m.model.features.has('null_sel_clr_base');
  return {
    selector,
    attr: Attr.Unusable,
    limit: clears ? 0 : old.limit,
    baseLo: clears ? 0 : old.baseLo,
    baseHi: clears ? 0 : old.baseHi,
  };
}

/**
 * What ES, SS, DS, FS or GS becomes when `selector` is loaded, all checks made; nothing is changed but the accessed bit,
 * in `t`, whose context is left at CTX_SUPERVISOR.
 */
function loadSegment(
  m: Machine,
  t: Transaction,
  n: SegNumber,
  selector: number,
  cpl: number = m.state.cpl,
): Segment | Fault {
  const s = m.state;
  const { mode } = s;
  // Real mode keeps limit and attributes ("unreal" segments rely on it; APM volume 2, 4.5.2).
  if (mode === 'real') {
    const kept = s.segment(n);
    const attr = kept.attr & Attr.Unusable ? realSegment(selector, 0).attr : kept.attr;
    return { ...kept, attr, selector, baseLo: selector << 4, baseHi: 0 };
  }
  if (mode === 'virtual-8086') return realSegment(selector, 3);
  return n === Seg.SS ? loadStack(m, t, selector, cpl, s.code === 8) : loadData(m, t, n, selector, cpl);
}

function loadData(m: Machine, t: Transaction, n: SegNumber, selector: number, cpl: number): Segment | Fault {
  if (isNull(selector)) return nullSegment(m, n, selector);
  const code = selectorCode(selector);
  t.ctx = CTX_SUPERVISOR;
  const d = readDescriptor(m, t, selector);
  if (!d) return gp(code);
  if (t.failed) return MEMORY_FAULT;
  if (!d.user || (d.code && !(d.type & Attr.Readable))) return gp(code);
  if (!d.conforming && (d.dpl < cpl || d.dpl < (selector & 3))) return gp(code);
  if (!d.present) return np(code);
  const segment = segmentOf(d, selector);
  setAccessed(t, d, segment);
  return t.failed ? MEMORY_FAULT : segment;
}

/**
 * What SS becomes for code at `cpl`. `long`: that code runs in 64-bit mode, where CPL 0 to 2 may have a null SS (Intel: of
 * its own RPL). `fault`: what the checks raise, #GP unless it is the stack of an inner privilege level (#TS).
 */
export function loadStack(
  m: Machine,
  t: Transaction,
  selector: number,
  cpl: number,
  long: boolean,
  fault: (code: number) => Fault = gp,
): Segment | Fault {
  const code = selectorCode(selector);
  if (isNull(selector)) {
    if (!long || cpl === 3 || (m.model.vendor === 'Intel' && (selector & 3) !== cpl)) return fault(0);
    // SS.DPL is the CPL whatever else SS holds (Intel SDM volume 3, 26.3.1.5, and KVM's emulator).
    const s = nullSegment(m, Seg.SS, selector);
    s.attr |= cpl << Attr.DplShift;
    return s;
  }
  t.ctx = CTX_SUPERVISOR;
  const d = readDescriptor(m, t, selector);
  if (!d) return fault(code);
  if (t.failed) return MEMORY_FAULT;
  if ((selector & 3) !== cpl || !d.user || d.code || !(d.type & Attr.Writable) || d.dpl !== cpl)
    return fault(code);
  if (!d.present) return ss(code);
  const segment = segmentOf(d, selector);
  setAccessed(t, d, segment);
  return t.failed ? MEMORY_FAULT : segment;
}

/** Puts a segment into its register. `Machine.modeChanged` is the caller's. */
export function setSegment(s: X86State, n: SegNumber, from: Segment): void {
  Object.assign(s.segment(n), from);
}

/**
 * A return to an outer level: ES, DS, FS and GS that the new CPL may not use become null (Intel SDM volume 2, RET; APM
 * volume 2, 4.10.2). Unlike a null selector that is loaded, that clears nothing but the selector and the valid bit: the base
 * of FS and GS still counts in 64-bit mode.
 */
export function dropInaccessible(m: Machine, cpl: number): void {
  for (const n of [Seg.ES, Seg.DS, Seg.FS, Seg.GS] as const) {
    const { attr } = m.state.segment(n);
    const conforming = (attr & (Attr.Code | Attr.Conforming)) === (Attr.Code | Attr.Conforming);
    const unusable = (attr & Attr.Unusable) !== 0;
    if (unusable || conforming || ((attr >>> Attr.DplShift) & 3) >= cpl) continue;
    setSegment(m.state, n, { ...m.state.segment(n), selector: 0, attr: Attr.Unusable });
  }
}

/** MOV SS and POP SS hold interrupts off for one instruction. */
function finish(m: Machine, n: SegNumber, length: number): NextStep {
  m.state.advance(length);
  m.modeChanged();
  if (n === Seg.SS) m.events.shadowMovSs();
  return Next.Run;
}

/** MOV to and from segment registers. */
export function movSegment(m: Machine, i: Instruction): NextStep {
  return isSegmentRegister(i.op0Register) ? movToSegment(m, i) : movFromSegment(m, i);
}

function movToSegment(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const n = segmentNumber(i.op0Register);
  if (n === Seg.CS) return raiseFault(m, UNDEFINED);
  const t = m.memory.begin();
  let selector: number;
  if (registerSize(i.op1Register)) selector = s.lo(registerSlot(i.op1Register)) & 0xffff;
  else {
    const p = effective(m, i);
    const f = reach(m, p, 2, false);
    if (f) return raiseFault(m, f);
    selector = t.read(p.lo, p.hi, 2);
    if (t.failed) return m.faulted();
  }
  const segment = loadSegment(m, t, n, selector);
  if (isFault(segment)) return raiseFault(m, segment);
  t.commit();
  setSegment(s, n, segment);
  return finish(m, n, i.length);
}

function movFromSegment(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const { selector } = s.segment(segmentNumber(i.op1Register));
  const to = i.op0Register;
  if (registerSize(to)) setRegister(s, to, selector);
  else {
    const p = effective(m, i);
    const f = reach(m, p, 2, true);
    if (f) return raiseFault(m, f);
    const t = m.memory.begin();
    t.write(p.lo, p.hi, 2, selector);
    if (t.failed) return m.faulted();
    t.commit();
  }
  s.advance(i.length);
  return Next.Run;
}

/** Operand size of PUSH and POP of a segment register. */
const stackOperand = (i: Instruction): number => Math.abs(i.stackPointerIncrement);

function popSegment(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const n = segmentNumber(i.op0Register);
  const t = m.memory.begin();
  const k = currentStack(m);
  const from = { lo: 0, hi: 0 };
  const f = pop(m, t, k, stackOperand(i), from);
  if (f) return raiseFault(m, f);
  if (t.failed) return m.faulted();
  const segment = loadSegment(m, t, n, from.lo & 0xffff);
  if (isFault(segment)) return raiseFault(m, segment);
  t.commit();
  setStackPointer(s, k);
  setSegment(s, n, segment);
  return finish(m, n, i.length);
}

function pushSegment(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const t = m.memory.begin();
  const k = currentStack(m);
  const bytes = stackOperand(i);
  const { selector } = s.segment(segmentNumber(i.op0Register));
  // Intel leaves the upper half of a 32-bit slot as it is (SDM volume 2, PUSH); AMD writes zeroes.
  const written = m.model.vendor === 'Intel' && bytes === 4 ? 2 : bytes;
  const f = push(m, t, k, bytes, selector, 0, written);
  if (f) return raiseFault(m, f);
  if (t.failed) return m.faulted();
  t.commit();
  setStackPointer(s, k);
  s.advance(i.length);
  return Next.Run;
}

/** Segment register of LDS, LES, LFS, LGS, LSS. */
const POINTER_SEGMENT: ReadonlyMap<Mnemonic, SegNumber> = new Map([
  [Mnemonic.Lds, Seg.DS],
  [Mnemonic.Les, Seg.ES],
  [Mnemonic.Lfs, Seg.FS],
  [Mnemonic.Lgs, Seg.GS],
  [Mnemonic.Lss, Seg.SS],
]);

function loadPointer(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const n = POINTER_SEGMENT.get(i.mnemonic) as SegNumber;
  // AMD has no far pointers with 64-bit offsets (APM volume 3, LFS): REX.W is as good as none
  const size = Math.min(registerSize(i.op0Register), m.model.vendor === 'AMD' ? 4 : 8);
  const p = effective(m, i);
  const f = reach(m, p, size + 2, false);
  if (f) return raiseFault(m, f);
  const t = m.memory.begin();
  const lo = t.read(p.lo, p.hi, size);
  const hi = size === 8 ? t.hi : 0;
  const at = moved(s, p, size);
  const selector = t.read(at.lo, at.hi, 2);
  if (t.failed) return m.faulted();
  const segment = loadSegment(m, t, n, selector);
  if (isFault(segment)) return raiseFault(m, segment);
  t.commit();
  s.setSized(registerSlot(i.op0Register), size, lo, hi);
  setSegment(s, n, segment);
  s.advance(i.length);
  m.modeChanged();
  return Next.Run;
}

/** PUSH and POP of segment registers, LDS and its kin; MOV is in `system/dispatch.ts`, with control registers. */
export const SEGMENT_OPERATIONS: Operations = new Map([
  [Mnemonic.Push, pushSegment],
  [Mnemonic.Pop, popSegment],
  ...[...POINTER_SEGMENT.keys()].map((k) => [k, loadPointer] as const),
]);

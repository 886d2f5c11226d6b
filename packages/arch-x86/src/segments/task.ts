/**
 * Hardware task switch (AMD64 APM volume 2, 12.5; Intel SDM volume 3, 8.3). On real KVM every task switch is performed by
 * its emulator (arch/x86/kvm/emulate.c, emulator_do_task_switch), because both vendors intercept it; where the manuals
 * leave a choice this follows it.
 *
 * A switch has two halves. Faults of the first belong to the old task, which is then unchanged. After the commit point
 * the new task's registers are loaded, and faults of its segments are its own. The second half is tried before the first
 * is committed, so that a stage 2 miss in it leaves nothing behind: the whole switch happens again.
 */
import { FL } from '../isa/flags.ts';
import { CTX_SUPERVISOR, R, Seg, type SegNumber } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { Attr, CR0, CR4, type Segment, SR, type X86State } from '../state.ts';
import { loadPdptes } from '../system/control.ts';
import {
  attributes,
  type Descriptor,
  isNull,
  limitOf,
  readDescriptor,
  SystemType,
  segmentOf,
  setAccessed,
  setBusy,
} from './descriptor.ts';
import { type Fault, gp, isFault, MEMORY_FAULT, np, selectorCode, ss, TASK_TRAP, ts } from './fault.ts';
import { loadStack, nullSegment, realSegment, setSegment } from './load.ts';
import { contextAt, currentStack, push, setStackPointer } from './stack.ts';

/** What makes the processor switch tasks. */
export type TaskSwitchReason = 'jmp' | 'call' | 'iret' | 'gate';

/** Parameters of {@link switchTask}. */
export interface TaskSwitch {
  readonly reason: TaskSwitchReason;
  /** EIP that the old task continues at: behind JMP, CALL, IRET, INT n; at the instruction for faults. */
  readonly returnIp: number;
  /** EFLAGS that the old task's image gets, when not the current ones (RF of a fault). */
  readonly flags?: number;
  /** Error code that the exception pushes on the new task's stack. */
  readonly errorCode?: number;
  /** 1 when an external event makes the switch: the EXT bit of error codes. */
  readonly ext?: 0 | 1;
}

/** Where a TSS keeps what a switch saves and loads (APM volume 2, figures 12-6 and 12-7). */
interface Layout {
  /** Size of registers. */
  readonly size: 2 | 4;
  /** Smallest limit. */
  readonly limit: number;
  readonly ip: number;
  readonly flags: number;
  /** AX, CX, DX, BX, SP, BP, SI, DI. */
  readonly registers: number;
  /** ES, CS, SS, DS, and with 32 bits FS, GS. */
  readonly segments: number;
  readonly segmentCount: 4 | 6;
  readonly ldt: number;
}
const WIDE: Layout = {
  size: 4,
  limit: 0x67,
  ip: 0x20,
  flags: 0x24,
  registers: 0x28,
  segments: 0x48,
  segmentCount: 6,
  ldt: 0x60,
};
const NARROW: Layout = {
  size: 2,
  limit: 0x2b,
  ip: 0x0e,
  flags: 0x10,
  registers: 0x12,
  segments: 0x22,
  segmentCount: 4,
  ldt: 0x2a,
};
/** Offset of CR3 and of the T bit in a 32-bit TSS. */
const CR3_AT = 0x1c;
const TRAP_AT = 0x64;

/** A new task's image. */
interface Image {
  readonly layout: Layout;
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  readonly registers: readonly number[];
  /** ES, CS, SS, DS, FS, GS; 16-bit tasks have no FS and GS. */
  readonly segments: readonly number[];
  readonly ldt: number;
  readonly trap: boolean;
}

function readImage(t: Transaction, base: number, layout: Layout): Image {
  const { size } = layout;
  const wide = size === 4;
  const at = (offset: number, bytes: number): number => t.read((base + offset) | 0, 0, bytes);
  return {
    layout,
    cr3: wide ? at(CR3_AT, 4) : 0,
    ip: at(layout.ip, size),
    flags: at(layout.flags, size),
    registers: Array.from({ length: 8 }, (_, n) => at(layout.registers + n * size, size)),
    segments: Array.from({ length: layout.segmentCount }, (_, n) => at(layout.segments + n * size, 2)),
    ldt: at(layout.ldt, 2),
    trap: wide && (at(TRAP_AT, 2) & 1) !== 0,
  };
}

/** Saves the old task: everything from EIP to the segment registers; CR3 and LDT are not saved. */
function writeImage(s: X86State, t: Transaction, ip: number, flags: number): void {
  const tr = s.segment(Seg.TR);
  const layout = tr.attr & 8 ? WIDE : NARROW;
  const put = (offset: number, v: number, bytes: number): void =>
    t.write((tr.baseLo + offset) | 0, 0, bytes, v);
  put(layout.ip, ip, layout.size);
  put(layout.flags, flags, layout.size);
  for (let n = 0; n < 8; n++) put(layout.registers + n * layout.size, s.lo(R.RAX + n), layout.size);
  for (let n = 0; n < layout.segmentCount; n++)
    put(layout.segments + n * layout.size, s.segment(n as SegNumber).selector, 2);
}

/** All state that a switch may change. */
interface Saved {
  readonly registers: readonly (readonly [lo: number, hi: number])[];
  readonly segments: readonly Segment[];
  readonly pc: readonly [lo: number, hi: number];
  readonly flags: number;
  readonly cpl: number;
  readonly sys: Int32Array;
}
function save(s: X86State): Saved {
  return {
    registers: Array.from({ length: 8 }, (_, n) => [s.lo(n), s.hi(n)] as const),
    segments: s.segments.map((x) => ({ ...x })),
    pc: [s.pcLo, s.pcHi],
    flags: s.flags,
    cpl: s.cpl,
    sys: s.sys.slice(),
  };
}
function restore(m: Machine, from: Saved): void {
  const s = m.state;
  for (const [n, [lo, hi]] of from.registers.entries()) s.set(n, lo, hi);
  for (const [n, x] of from.segments.entries()) setSegment(s, n as SegNumber, x);
  s.setPc(...from.pc);
  s.flags = from.flags;
  s.cpl = from.cpl;
  if (from.sys[2 * SR.CR3] !== s.sysLo(SR.CR3)) m.tlb.dropNonGlobal();
  s.sys.set(from.sys);
  m.translationChanged();
  m.modeChanged();
}

/**
 * Switches to the task whose TSS `selector` names. A fault is to be raised where the state now stands (`raiseFault`):
 * faults before the switch leave the old task, those after it are the new task's. A stage 2 miss leaves nothing changed.
 */
export function switchTask(m: Machine, selector: number, o: TaskSwitch): Fault | undefined {
  const s = m.state;
  const ext = o.ext ?? 0;
  const code = selectorCode(selector) | ext;
  const wrong = o.reason === 'iret' ? ts : gp;
  const t = m.memory.begin(CTX_SUPERVISOR);
  if (selector & 4 || isNull(selector)) return wrong(code);
  const d = readDescriptor(m, t, selector);
  if (!d) return wrong(code);
  if (t.failed) return MEMORY_FAULT;
  const busy = o.reason === 'iret';
  const kinds: readonly number[] = busy
    ? [SystemType.Tss16Busy, SystemType.TssBusy]
    : [SystemType.Tss16, SystemType.Tss];
  if (d.user || !kinds.includes(d.type)) return wrong(code);
  if (!d.present) return np(code);
  const layout = d.type & 8 ? WIDE : NARROW;
  if (limitOf(d.low, d.high) >>> 0 < layout.limit) return ts(code);
  const image = readImage(t, segmentOf(d, selector).baseLo, layout);
  if (t.failed) return MEMORY_FAULT;
  // The old task's half, tried: does every write have its translation?
  leave(m, t, d, selector, o);
  if (t.failed) return MEMORY_FAULT;

  const old = save(s);
  const tried = enter(m, d, selector, image, o);
  restore(m, old);
  if (tried === HOST_FAULT) return MEMORY_FAULT;
  const again = m.memory.begin(CTX_SUPERVISOR);
  leave(m, again, d, selector, o);
  if (again.failed) return MEMORY_FAULT;
  again.commit();
  const f = enter(m, d, selector, image, o);
  return f === HOST_FAULT ? MEMORY_FAULT : f;
}

/** Everything that the switch writes before its commit point. */
function leave(m: Machine, t: Transaction, d: Descriptor, selector: number, o: TaskSwitch): void {
  const s = m.state;
  const tr = s.segment(Seg.TR);
  const nested = o.reason === 'call' || o.reason === 'gate';
  const flags = o.flags ?? s.flags;
  writeImage(s, t, o.returnIp, o.reason === 'iret' ? flags & ~FL.NT : flags);
  if (!nested) {
    const from = readDescriptor(m, t, tr.selector);
    if (from) setBusy(t, from, false);
  }
  if (o.reason !== 'iret') setBusy(t, d, true);
  if (nested) t.write(segmentOf(d, selector).baseLo, 0, 2, tr.selector);
}

/** The new task's half met what is not the guest's: the switch happens again. */
const HOST_FAULT: Fault = { vector: -3 };

/** Loads the new task. Faults from here on are its own. */
function enter(m: Machine, d: Descriptor, selector: number, image: Image, o: TaskSwitch): Fault | undefined {
  const s = m.state;
  const wide = image.layout.size === 4;
  const tr = segmentOf(d, selector);
  tr.attr = (attributes(d.high) & ~15) | (wide ? SystemType.TssBusy : SystemType.Tss16Busy);
  setSegment(s, Seg.TR, tr);
  s.setSys(SR.CR0, s.cr0 | CR0.TS, 0);
  s.setSys(SR.DR7, s.sysLo(SR.DR7) & ~0x155, s.sysHi(SR.DR7));
  const paging = wide && (s.cr0 & CR0.PG) !== 0;
  let f = paging && s.cr4 & CR4.PAE ? loadPdptes(m, image.cr3) : undefined;
  if (f === MEMORY_FAULT) return HOST_FAULT;
  if (paging && !f) {
    s.setSys(SR.CR3, image.cr3, 0);
    m.tlb.dropNonGlobal();
    m.translationChanged();
  }
  const nested = o.reason === 'call' || o.reason === 'gate';
  for (const [n, v] of image.registers.entries()) s.set(n, v, 0);
  s.flags = (wide ? image.flags : image.flags & 0xffff) | (nested ? FL.NT : 0);
  s.cpl = s.flag(FL.VM) ? 3 : (image.segments[Seg.CS] as number) & 3;
  f ??= enterSegments(m, image, o);
  m.modeChanged();
  m.events.debug.rfLoaded();
  return f ?? (image.trap ? TASK_TRAP : undefined);
}

/** Segment registers: all selectors first, the hidden parts one after the other as their checks pass (as KVM does). */
function enterSegments(m: Machine, image: Image, o: TaskSwitch): Fault | undefined {
  const s = m.state;
  const virtual = s.flag(FL.VM);
  for (const [n, selector] of image.segments.entries()) {
    const x = virtual ? realSegment(selector, 3) : { ...s.segment(n as SegNumber), selector };
    setSegment(s, n as SegNumber, x);
  }
  s.setIp(image.ip, 0);
  setSegment(s, Seg.LDTR, { selector: image.ldt, attr: Attr.Unusable, limit: 0, baseLo: 0, baseHi: 0 });
  m.modeChanged();
  const t = m.memory.begin(CTX_SUPERVISOR);
  const f = checkSegments(m, t, image, virtual) ?? pushError(m, t, image, o);
  if (t.failed) return t.hostFault ? HOST_FAULT : MEMORY_FAULT;
  t.commit();
  return f;
}

function checkSegments(m: Machine, t: Transaction, image: Image, virtual: boolean): Fault | undefined {
  const s = m.state;
  if (!isNull(image.ldt)) {
    const code = selectorCode(image.ldt);
    const d = image.ldt & 4 ? undefined : readDescriptor(m, t, image.ldt);
    if (!d || d.user || d.type !== SystemType.Ldt || !d.present) return t.failed ? MEMORY_FAULT : ts(code);
    setSegment(s, Seg.LDTR, segmentOf(d, image.ldt));
  }
  if (virtual) return undefined;
  const cs = taskCode(m, t, image.segments[Seg.CS] as number);
  if (isFault(cs)) return cs;
  setSegment(s, Seg.CS, cs);
  s.setIp(image.ip, 0);
  const stack = loadStack(m, t, image.segments[Seg.SS] as number, s.cpl, false, ts);
  if (isFault(stack)) return stack;
  setSegment(s, Seg.SS, stack);
  for (const n of [Seg.ES, Seg.DS, Seg.FS, Seg.GS] as const) {
    const selector = image.segments[n];
    if (selector === undefined) continue;
    const x = isNull(selector) ? nullSegment(m, n, selector) : taskData(m, t, selector, s.cpl);
    if (isFault(x)) return x;
    setSegment(s, n, x);
  }
  return undefined;
}

/** CS of a new task: its RPL is the CPL (SDM volume 3, table 8-1). */
function taskCode(m: Machine, t: Transaction, selector: number): Segment | Fault {
  const code = selectorCode(selector);
  const d = isNull(selector) ? undefined : readDescriptor(m, t, selector);
  if (t.failed) return MEMORY_FAULT;
  const rpl = selector & 3;
  if (!d?.code || (d.conforming ? d.dpl > rpl : d.dpl !== rpl)) return ts(code);
  if (!d.present) return np(code);
  const x = segmentOf(d, selector);
  setAccessed(t, d, x);
  return x;
}

function taskData(m: Machine, t: Transaction, selector: number, cpl: number): Segment | Fault {
  const code = selectorCode(selector);
  const d = readDescriptor(m, t, selector);
  if (t.failed) return MEMORY_FAULT;
  if (!d?.user || (d.code && !(d.type & Attr.Readable))) return ts(code);
  if (!d.conforming && (d.dpl < cpl || d.dpl < (selector & 3))) return ts(code);
  if (!d.present) return np(code);
  const x = segmentOf(d, selector);
  setAccessed(t, d, x);
  return x;
}

/** The exception's error code, on the new task's stack, as wide as its TSS. */
function pushError(m: Machine, t: Transaction, image: Image, o: TaskSwitch): Fault | undefined {
  if (o.errorCode === undefined) return undefined;
  const s = m.state;
  const k = { ...currentStack(m), code: o.ext ?? 0 };
  t.ctx = contextAt(s, s.cpl);
  const f = push(m, t, k, image.layout.size, o.errorCode);
  if (!f && !t.failed) setStackPointer(s, k);
  return f && ss(f.errorCode);
}

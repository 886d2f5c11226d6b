/** IRET, IRETD, IRETQ (AMD64 APM volume 3, IRET; volume 2, 8.7.5 and 8.9.5; Intel SDM volume 2, IRET). */
import { type Instruction, Mnemonic } from 'iced-x86';
import { FL } from '../isa/flags.ts';
import { CTX_SUPERVISOR, R, Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { Next, type NextStep } from '../next.ts';
import {
  type Descriptor,
  isNull,
  limitOf,
  readDescriptor,
  segmentOf,
  setAccessed,
} from '../segments/descriptor.ts';
import { type Fault, gp, isFault, MEMORY_FAULT, np, raiseFault, selectorCode } from '../segments/fault.ts';
import { dropInaccessible, loadStack, realSegment, setSegment } from '../segments/load.ts';
import {
  canonical,
  contextAt,
  currentStack,
  peek,
  pop,
  release,
  type Stack,
  setStackPointer,
  stackSize,
} from '../segments/stack.ts';
import { switchTask } from '../segments/task.ts';
import { CR0, CR4, type Segment } from '../state.ts';
import type { Operations } from '../system/operation.ts';
import { addressBits } from './exceptions.ts';

/** Flags that IRET loads at any level; with 32 and 64 bits also {@link UPPER}. */
const LOWER = FL.CF | FL.PF | FL.AF | FL.ZF | FL.SF | FL.TF | FL.DF | FL.OF | FL.NT;
const UPPER = FL.RF | FL.AC | FL.ID;

/** What the stack gave. */
interface Frame {
  readonly ip: { lo: number; hi: number };
  readonly cs: number;
  readonly flags: number;
}

function iret(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const size = i.mnemonic === Mnemonic.Iretq ? 8 : i.mnemonic === Mnemonic.Iretd ? 4 : 2;
  const { mode } = s;
  if (mode === 'virtual-8086' && s.iopl < 3 && !(s.cr4 & CR4.VME && size === 2)) return raiseFault(m, gp());
  const taken = m.intercepted('iret');
  if (taken !== undefined) return taken;
  const fault =
    mode === 'real' || mode === 'virtual-8086'
      ? returnReal(m, size)
      : s.flag(FL.NT)
        ? returnTask(m, i.length)
        : returnProtected(m, size);
  const next = fault ? raiseFault(m, fault) : Next.Run;
  // an IRET that faults ends the blocking of NMIs as well (Intel SDM volume 3, 7.7.1; KVM: svm.c, nmi_iret_rip)
  if (next === Next.Run) m.events.nmi.masked = false;
  m.attend();
  return next;
}

/** IRET. */
export const RETURN_OPERATIONS: Operations = new Map([
  [Mnemonic.Iret, iret],
  [Mnemonic.Iretd, iret],
  [Mnemonic.Iretq, iret],
]);

function popFrame(m: Machine, t: Transaction, k: Stack, size: number): Frame | Fault {
  const ip = { lo: 0, hi: 0 };
  const cs = { lo: 0, hi: 0 };
  const flags = { lo: 0, hi: 0 };
  const fault = pop(m, t, k, size, ip) ?? pop(m, t, k, size, cs) ?? pop(m, t, k, size, flags);
  if (fault) return fault;
  return t.failed ? MEMORY_FAULT : { ip, cs: cs.lo & 0xffff, flags: flags.lo };
}

/** Replaces the flags in `mask`. */
function loadFlags(m: Machine, flags: number, mask: number): void {
  const s = m.state;
  s.flags = (s.flags & ~mask) | (flags & mask);
  m.events.debug.rfLoaded();
}

// ---- real and virtual-8086 mode ------------------------------------------------------------------------------------

function returnReal(m: Machine, size: number): Fault | undefined {
  const s = m.state;
  const t = m.memory.begin();
  const k = currentStack(m);
  const f = popFrame(m, t, k, size);
  if (isFault(f)) return f;
  const cs = s.segment(Seg.CS);
  if (f.ip.lo >>> 0 > cs.limit >>> 0) return gp();
  const virtual = (s.cr0 & CR0.PE) !== 0;
  let mask = LOWER | FL.IF | FL.IOPL | (size === 4 ? UPPER : 0);
  let { flags } = f;
  if (virtual) {
    mask &= ~FL.IOPL;
    if (s.iopl < 3) {
      // CR4.VME: IF of the frame goes to VIF (APM volume 3, IRET)
      if (flags & FL.TF || (s.flag(FL.VIP) && flags & FL.IF)) return gp();
      mask = (mask & ~FL.IF) | FL.VIF;
      flags = flags & FL.IF ? flags | FL.VIF : flags & ~FL.VIF;
    }
  }
  t.commit();
  setStackPointer(s, k);
  if (virtual) setSegment(s, Seg.CS, realSegment(f.cs, 3));
  else {
    cs.selector = f.cs;
    cs.baseLo = f.cs << 4;
    cs.baseHi = 0;
  }
  loadFlags(m, flags, mask);
  s.setIp(f.ip.lo, 0);
  m.modeChanged();
  return undefined;
}

// ---- protected and long mode ---------------------------------------------------------------------------------------

/** NT = 1: back to the task whose TSS the current one links to. Long mode has no tasks. */
function returnTask(m: Machine, length: number): Fault | undefined {
  const s = m.state;
  if (s.lma) return gp();
  const t = m.memory.begin(CTX_SUPERVISOR);
  const link = t.read(s.segment(Seg.TR).baseLo, 0, 2);
  if (t.failed) return MEMORY_FAULT;
  const fault = switchTask(m, link, { reason: 'iret', returnIp: (s.ipLo + length) | 0 });
  if (!fault) m.events.debug.rfLoaded();
  return fault;
}

function returnProtected(m: Machine, size: number): Fault | undefined {
  const s = m.state;
  const t = m.memory.begin();
  const k = currentStack(m);
  const f = popFrame(m, t, k, size);
  if (isFault(f)) return f;
  if (f.flags & FL.VM && s.cpl === 0 && size === 4 && !s.lma) return returnVirtual(m, t, k, f);
  const c = target(m, t, f.cs);
  if (isFault(c)) return c;
  const cpl = f.cs & 3;
  const outer = cpl > s.cpl;
  const long = s.lma && (c.high & 0x20_0000) !== 0;
  const cs = segmentOf(c, f.cs);

  let to = k;
  if (outer || s.code === 8) {
    // 64-bit mode pops SS:RSP at any level
    const other = popStack(m, t, k, size, cpl, long);
    if (isFault(other)) return other;
    to = other;
  }
  t.ctx = CTX_SUPERVISOR;
  setAccessed(t, c, cs);
  if (t.failed) return MEMORY_FAULT;
  if (
    long ? !canonical(f.ip.hi, addressBits(s)) : f.ip.hi !== 0 || f.ip.lo >>> 0 > limitOf(c.low, c.high) >>> 0
  )
    return gp();
  t.commit();

  let mask = LOWER | (size === 2 ? 0 : UPPER);
  if (s.cpl <= s.iopl) mask |= FL.IF;
  if (s.cpl === 0) mask |= FL.IOPL | (size === 2 ? 0 : FL.VIF | FL.VIP);
  setSegment(s, Seg.CS, cs);
  if (to !== k) setSegment(s, Seg.SS, to.segment);
  s.cpl = cpl;
  setStackPointer(s, to);
  loadFlags(m, f.flags, mask);
  s.setIp(f.ip.lo, f.ip.hi);
  if (outer) dropInaccessible(m, cpl);
  m.modeChanged();
  return undefined;
}

/** The code segment to return to: of the same or an outer level. */
function target(m: Machine, t: Transaction, selector: number): Descriptor | Fault {
  const s = m.state;
  if (isNull(selector)) return gp();
  const code = selectorCode(selector);
  const rpl = selector & 3;
  t.ctx = CTX_SUPERVISOR;
  const c = readDescriptor(m, t, selector);
  if (!c) return gp(code);
  if (t.failed) return MEMORY_FAULT;
  if (!c.code || rpl < s.cpl) return gp(code);
  if (c.conforming ? c.dpl > rpl : c.dpl !== rpl) return gp(code);
  if (s.lma && (c.high & 0x60_0000) === 0x60_0000) return gp(code);
  return c.present ? c : np(code);
}

function popStack(
  m: Machine,
  t: Transaction,
  k: Stack,
  size: number,
  cpl: number,
  long: boolean,
): Stack | Fault {
  const s = m.state;
  t.ctx = contextAt(s, s.cpl);
  const rsp = { lo: 0, hi: 0 };
  const sel = { lo: 0, hi: 0 };
  const fault = pop(m, t, k, size, rsp) ?? pop(m, t, k, size, sel);
  if (fault) return fault;
  if (t.failed) return MEMORY_FAULT;
  const segment = loadStack(m, t, sel.lo & 0xffff, cpl, long);
  if (isFault(segment)) return segment;
  return { segment, size: stackSize(segment.attr, long), lo: rsp.lo, hi: rsp.hi, code: 0 };
}

/** From CPL 0 to virtual-8086 mode: nine doublewords, no descriptors. */
function returnVirtual(m: Machine, t: Transaction, k: Stack, f: Frame): Fault | undefined {
  const s = m.state;
  const order = [Seg.SS, Seg.ES, Seg.DS, Seg.FS, Seg.GS] as const;
  const value = { lo: 0, hi: 0 };
  const esp = { lo: 0, hi: 0 };
  let fault = pop(m, t, k, 4, esp);
  const segments: Segment[] = [];
  for (const [n] of order.entries()) {
    fault ??= peek(m, t, k, 4, 4 * n, value);
    segments.push(realSegment(value.lo & 0xffff, 3));
  }
  if (fault) return fault;
  if (t.failed) return MEMORY_FAULT;
  if (f.ip.lo >>> 0 > 0xffff) return gp();
  release(k, 4 * order.length);
  t.commit();
  order.forEach((n, at) => {
    setSegment(s, n, segments[at] as Segment);
  });
  setSegment(s, Seg.CS, realSegment(f.cs, 3));
  s.cpl = 3;
  s.set(R.RSP, esp.lo, 0);
  loadFlags(m, f.flags, LOWER | UPPER | FL.IF | FL.IOPL | FL.VM | FL.VIF | FL.VIP);
  s.setIp(f.ip.lo, 0);
  m.modeChanged();
  return undefined;
}

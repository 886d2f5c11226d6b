/**
 * Descriptor-table registers and instructions that look at descriptors: LGDT to LTR, SGDT to STR, LAR, LSL, VERR, VERW,
 * ARPL (AMD64 APM volume 3, chapter 4; Intel SDM volume 2).
 */
import { Code, type Instruction, Mnemonic } from 'iced-x86';
import { FL } from '../isa/flags.ts';
import { CTX_SUPERVISOR, Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { Attr, CR4, SR } from '../state.ts';
import {
  effective,
  isCanonical,
  moved,
  reach,
  readWord,
  registerSlot,
  writeWord,
} from '../system/operand.ts';
import type { Operations } from '../system/operation.ts';
import {
  type Descriptor,
  isNull,
  limitOf,
  readDescriptor,
  readUpper,
  SystemType,
  segmentOf,
  setBusy,
} from './descriptor.ts';
import { type Fault, gp, MEMORY_FAULT, np, raiseFault, selectorCode } from './fault.ts';
import { setSegment } from './load.ts';

/** Whether instructions that need protected mode, and are #UD in real and virtual-8086 mode, exist. */
const isProtected = (m: Machine): boolean => m.state.mode !== 'real' && m.state.mode !== 'virtual-8086';

function done(m: Machine, i: Instruction): NextStep {
  m.state.advance(i.length);
  return Next.Run;
}
function withZero(m: Machine, i: Instruction, zero: boolean): NextStep {
  const s = m.state;
  s.flags = zero ? s.flags | FL.ZF : s.flags & ~FL.ZF;
  return done(m, i);
}

// ---- LAR, LSL, VERR, VERW, ARPL --------------------------------------------------------------------------------------

/** System types that LAR and LSL accept, as bits; in long mode there are fewer. */
const types = (...t: readonly number[]): number => t.reduce((a, n) => a | (1 << n), 0);
const LIMITED = types(SystemType.Ldt, SystemType.Tss, SystemType.TssBusy);
const LAR_LONG = LIMITED | types(SystemType.CallGate);
const LSL_LEGACY = LIMITED | types(SystemType.Tss16, SystemType.Tss16Busy);
const LAR_LEGACY = LSL_LEGACY | types(SystemType.CallGate, SystemType.CallGate16, SystemType.TaskGate);

/**
 * The descriptor that a selector names, if the CPL and the selector's RPL may see it. Undefined: ZF = 0. The answer of a
 * failed read is a fault.
 */
function visible(m: Machine, selector: number): Descriptor | Fault | undefined {
  if (isNull(selector)) return undefined;
  const t = m.memory.begin(CTX_SUPERVISOR);
  const d = readDescriptor(m, t, selector);
  if (t.failed) return MEMORY_FAULT;
  if (!d || d.conforming) return d;
  return d.dpl < m.state.cpl || d.dpl < (selector & 3) ? undefined : d;
}

function inspect(m: Machine, i: Instruction, operand: number, look: (d: Descriptor) => boolean): NextStep {
  if (!isProtected(m)) return m.raise(6);
  const selector = readWord(m, i, operand);
  if (typeof selector === 'object') return raiseFault(m, selector);
  const d = visible(m, selector);
  if (d && 'vector' in d) return raiseFault(m, d);
  return withZero(m, i, d !== undefined && look(d));
}

/** LAR keeps bits 23:8 of the descriptor's second doubleword (APM volume 3); Intel's do, too. */
function lar(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const size = operandSize(i, LAR_LSL_SIZE);
  return inspect(m, i, 1, (d) => {
    if (!d.user && !((s.lma ? LAR_LONG : LAR_LEGACY) & (1 << d.type))) return false;
    const rights = d.high & 0xff_ff00;
    s.setSized(registerSlot(i.op0Register), size, size === 2 ? rights & 0xff00 : rights, 0);
    return true;
  });
}
function lsl(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const size = operandSize(i, LAR_LSL_SIZE);
  return inspect(m, i, 1, (d) => {
    if (!d.user && !((s.lma ? LIMITED : LSL_LEGACY) & (1 << d.type))) return false;
    s.setSized(registerSlot(i.op0Register), size, limitOf(d.low, d.high), 0);
    return true;
  });
}
const LAR_LSL_SIZE: ReadonlyMap<Code, 2 | 4 | 8> = new Map([
  [Code.Lar_r16_rm16, 2],
  [Code.Lar_r64_r64m16, 8],
  [Code.Lsl_r16_rm16, 2],
  [Code.Lsl_r64_r64m16, 8],
]);
const operandSize = (i: Instruction, sizes: ReadonlyMap<Code, 2 | 4 | 8>): 2 | 4 | 8 =>
  sizes.get(i.code) ?? 4;

const verr = (m: Machine, i: Instruction): NextStep =>
  inspect(m, i, 0, (d) => d.user && (!d.code || (d.type & Attr.Readable) !== 0));
const verw = (m: Machine, i: Instruction): NextStep =>
  inspect(m, i, 0, (d) => d.user && !d.code && (d.type & Attr.Writable) !== 0);

function arpl(m: Machine, i: Instruction): NextStep {
  if (!isProtected(m)) return m.raise(6);
  const selector = readWord(m, i, 0);
  if (typeof selector === 'object') return raiseFault(m, selector);
  const rpl = m.state.lo(registerSlot(i.op1Register)) & 3;
  if ((selector & 3) >= rpl) return withZero(m, i, false);
  const raised = (selector & ~3) | rpl;
  if (i.op0Register) m.state.setSized(registerSlot(i.op0Register), 2, raised, 0);
  else {
    const f = writeWord(m, i, raised);
    if (f) return raiseFault(m, f);
  }
  return withZero(m, i, true);
}

// ---- SGDT, SIDT, SLDT, STR --------------------------------------------------------------------------------------------

const TABLES = {
  gdtr: [SR.GDTR_BASE, SR.GDTR_LIMIT],
  idtr: [SR.IDTR_BASE, SR.IDTR_LIMIT],
} as const;

/** Stores limit and base: 2 and 4 bytes, in 64-bit mode 2 and 8, whatever the operand size is (APM volume 3, SGDT). */
function storeTable(m: Machine, i: Instruction, which: 'gdtr' | 'idtr'): NextStep {
  const s = m.state;
  if (s.cr4 & CR4.UMIP && s.cpl > 0) return m.raise(13, 0);
  const step = m.intercepted(`${which}-read`);
  if (step !== undefined) return step;
  const [base, limit] = TABLES[which];
  const wide = s.code === 8;
  const p = effective(m, i);
  const f = reach(m, p, wide ? 10 : 6, true);
  if (f) return raiseFault(m, f);
  const t = m.memory.begin();
  t.write(p.lo, p.hi, 2, s.sysLo(limit));
  const at = moved(s, p, 2);
  t.write(at.lo, at.hi, wide ? 8 : 4, s.sysLo(base), s.sysHi(base));
  if (t.failed) return m.faulted();
  t.commit();
  return done(m, i);
}

function storeSelector(m: Machine, i: Instruction, n: typeof Seg.LDTR | typeof Seg.TR): NextStep {
  const s = m.state;
  if (!isProtected(m)) return m.raise(6);
  if (s.cr4 & CR4.UMIP && s.cpl > 0) return m.raise(13, 0);
  const step = m.intercepted(n === Seg.TR ? 'tr-read' : 'ldtr-read');
  if (step !== undefined) return step;
  const f = writeWord(m, i, s.segment(n).selector);
  return f ? raiseFault(m, f) : done(m, i);
}

// ---- LGDT, LIDT, LLDT, LTR --------------------------------------------------------------------------------------------

const NARROW_TABLES: ReadonlySet<Code> = new Set([Code.Lgdt_m1632_16, Code.Lidt_m1632_16]);

/** Loads limit and base; with a 16-bit operand size 24 bits of it. */
function loadTable(m: Machine, i: Instruction, which: 'gdtr' | 'idtr'): NextStep {
  const s = m.state;
  if (s.cpl !== 0) return m.raise(13, 0);
  const step = m.intercepted(`${which}-write`);
  if (step !== undefined) return step;
  const wide = s.code === 8;
  const p = effective(m, i);
  const f = reach(m, p, wide ? 10 : 6, false);
  if (f) return raiseFault(m, f);
  const t = m.memory.begin();
  const limit = t.read(p.lo, p.hi, 2);
  const at = moved(s, p, 2);
  const lo = t.read(at.lo, at.hi, wide ? 8 : 4);
  const hi = wide ? t.hi : 0;
  if (t.failed) return m.faulted();
  if (wide && !isCanonical(s, hi)) return m.raise(13, 0);
  const [base, limitSlot] = TABLES[which];
  s.setSys(base, NARROW_TABLES.has(i.code) ? lo & 0xff_ffff : lo, hi);
  s.setSys(limitSlot, limit, 0);
  return done(m, i);
}

/** What LLDT and LTR load: a system descriptor of the GDT. */
function loadSystem(m: Machine, i: Instruction, n: typeof Seg.LDTR | typeof Seg.TR): NextStep {
  const s = m.state;
  if (!isProtected(m)) return m.raise(6);
  if (s.cpl !== 0) return m.raise(13, 0);
  const step = m.intercepted(n === Seg.TR ? 'tr-write' : 'ldtr-write');
  if (step !== undefined) return step;
  const selector = readWord(m, i, 0);
  if (typeof selector === 'object') return raiseFault(m, selector);
  if (isNull(selector)) {
    if (n === Seg.TR) return m.raise(13, 0);
    setSegment(s, n, { selector, attr: Attr.Unusable, limit: 0, baseLo: 0, baseHi: 0 });
    return done(m, i);
  }
  const f = loadSystemSegment(m, n, selector);
  return f ? raiseFault(m, f) : done(m, i);
}

function loadSystemSegment(
  m: Machine,
  n: typeof Seg.LDTR | typeof Seg.TR,
  selector: number,
): Fault | undefined {
  const s = m.state;
  const code = selectorCode(selector);
  if (selector & 4) return gp(code);
  const t = m.memory.begin(CTX_SUPERVISOR);
  const d = readDescriptor(m, t, selector);
  if (!d) return gp(code);
  if (t.failed) return MEMORY_FAULT;
  const fits =
    n === Seg.LDTR
      ? d.type === SystemType.Ldt
      : d.type === SystemType.Tss || (d.type === SystemType.Tss16 && !s.lma);
  if (d.user || !fits) return gp(code);
  if (!d.present) return np(code);
  const upper = s.lma ? readUpper(m, t, selector) : 0;
  if (t.failed) return MEMORY_FAULT;
  if (upper === undefined || !isCanonical(s, upper)) return gp(code);
  const x = segmentOf(d, selector, upper);
  if (n === Seg.TR) {
    setBusy(t, d, true);
    if (t.failed) return MEMORY_FAULT;
    t.commit();
    x.attr |= 2;
  }
  setSegment(s, n, x);
  return undefined;
}

/** Instructions that look at descriptors, and those of the descriptor-table registers. */
export const INSPECT_OPERATIONS: Operations = new Map([
  [Mnemonic.Lar, lar],
  [Mnemonic.Lsl, lsl],
  [Mnemonic.Verr, verr],
  [Mnemonic.Verw, verw],
  [Mnemonic.Arpl, arpl],
  [Mnemonic.Sgdt, (m: Machine, i: Instruction) => storeTable(m, i, 'gdtr')],
  [Mnemonic.Sidt, (m: Machine, i: Instruction) => storeTable(m, i, 'idtr')],
  [Mnemonic.Sldt, (m: Machine, i: Instruction) => storeSelector(m, i, Seg.LDTR)],
  [Mnemonic.Str, (m: Machine, i: Instruction) => storeSelector(m, i, Seg.TR)],
  [Mnemonic.Lgdt, (m: Machine, i: Instruction) => loadTable(m, i, 'gdtr')],
  [Mnemonic.Lidt, (m: Machine, i: Instruction) => loadTable(m, i, 'idtr')],
  [Mnemonic.Lldt, (m: Machine, i: Instruction) => loadSystem(m, i, Seg.LDTR)],
  [Mnemonic.Ltr, (m: Machine, i: Instruction) => loadSystem(m, i, Seg.TR)],
]);

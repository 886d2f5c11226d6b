/**
 * Flags that the CPL, IOPL and virtual interrupts have a say in: CLI, STI, PUSHF, POPF, STAC, CLAC (AMD64 APM volume 2, 8.11;
 * volume 3; Intel SDM volume 3, 21.3 for virtual-8086 extensions).
 */
import { Code, type Instruction, Mnemonic } from 'iced-x86';
import { FL } from '../isa/flags.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { raiseFault } from '../segments/fault.ts';
import { currentStack, type Popped, pop, push, setStackPointer } from '../segments/stack.ts';
import { CR0, CR4, type X86State } from '../state.ts';
import type { Operations } from './operation.ts';

/** Which flag CLI and STI have: IF, VIF, or none (#GP). Bit of EFLAGS, or 0. */
function interruptFlag(s: X86State): number {
  if (!(s.cr0 & CR0.PE)) return FL.IF;
  if (s.flag(FL.VM)) return s.iopl === 3 ? FL.IF : s.cr4 & CR4.VME ? FL.VIF : 0;
  if (s.cpl <= s.iopl) return FL.IF;
  return s.cpl === 3 && s.cr4 & CR4.PVI ? FL.VIF : 0;
}

function done(m: Machine, i: Instruction): NextStep {
  m.state.advance(i.length);
  m.modeChanged();
  return Next.Run;
}

function cli(m: Machine, i: Instruction): NextStep {
  const flag = interruptFlag(m.state);
  if (flag === 0) return m.raise(13, 0);
  m.state.other &= ~flag;
  return done(m, i);
}

function sti(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const flag = interruptFlag(s);
  if (flag === 0 || (flag === FL.VIF && s.flag(FL.VIP))) return m.raise(13, 0);
  const held = flag === FL.IF && !s.flag(FL.IF);
  s.other |= flag;
  if (held) m.events.shadowSti();
  m.attend();
  return done(m, i);
}

const SIZES: ReadonlyMap<Code, 2 | 4 | 8> = new Map([
  [Code.Pushfw, 2],
  [Code.Pushfd, 4],
  [Code.Pushfq, 8],
  [Code.Popfw, 2],
  [Code.Popfd, 4],
  [Code.Popfq, 8],
]);
const sizeOf = (i: Instruction): 2 | 4 | 8 => SIZES.get(i.code) ?? 4;

/** Whether PUSHF and POPF mean VIF by IF: virtual-8086 mode with IOPL < 3. */
const virtualized = (s: X86State): boolean => (s.cr0 & CR0.PE) !== 0 && s.flag(FL.VM) && s.iopl < 3;

function pushf(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const step = m.intercepted('pushf');
  if (step !== undefined) return step;
  const size = sizeOf(i);
  // RF and VM are pushed as 0
  let image = s.flags & ~(FL.RF | FL.VM);
  if (virtualized(s)) {
    if (!(s.cr4 & CR4.VME) || size !== 2) return m.raise(13, 0);
    image = (image & ~FL.IF) | FL.IOPL | (s.flag(FL.VIF) ? FL.IF : 0);
  }
  const t = m.memory.begin();
  const k = currentStack(m);
  const f = push(m, t, k, size, image);
  if (f) return raiseFault(m, f);
  if (t.failed) return m.faulted();
  t.commit();
  setStackPointer(s, k);
  s.advance(i.length);
  return Next.Run;
}

/** What every POPF may change. */
const FREE = FL.CF | FL.PF | FL.AF | FL.ZF | FL.SF | FL.TF | FL.DF | FL.OF | FL.NT | FL.AC | FL.ID;

function popf(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const step = m.intercepted('popf');
  if (step !== undefined) return step;
  const size = sizeOf(i);
  const virtual = virtualized(s);
  if (virtual && (!(s.cr4 & CR4.VME) || size !== 2)) return m.raise(13, 0);
  const t = m.memory.begin();
  const k = currentStack(m);
  const from: Popped = { lo: 0, hi: 0 };
  const f = pop(m, t, k, size, from);
  if (t.failed) return m.faulted();
  if (f) return raiseFault(m, f);
  let image = from.lo;
  let writable = FREE;
  if (virtual) {
    if (image & FL.TF || (image & FL.IF && s.flag(FL.VIP))) return m.raise(13, 0);
    image = image & FL.IF ? image | FL.VIF : image & ~FL.VIF;
    writable |= FL.VIF;
  } else {
    if (!(s.cr0 & CR0.PE) || s.cpl <= s.iopl) writable |= FL.IF;
    if (s.cpl === 0) writable |= FL.IOPL;
  }
  if (size === 2) writable &= virtual ? 0xffff | FL.VIF : 0xffff;
  const old = s.flags;
  let value = (old & ~writable) | (image & writable);
  // Intel clears VIF and VIP with a wide POPF outside virtual-8086 mode (SDM volume 2, POPF); AMD keeps them
  if (m.model.vendor === 'Intel' && size !== 2 && !s.flag(FL.VM)) value &= ~(FL.VIF | FL.VIP);
  setStackPointer(s, k);
  s.flags = value & ~FL.RF;
  m.attend();
  return done(m, i);
}

/** STAC and CLAC: CPL 0 of protected and long mode. */
function setAc(m: Machine, i: Instruction, on: boolean): NextStep {
  const s = m.state;
  if (!m.model.features.has('smap') || s.cpl !== 0 || s.flag(FL.VM)) return m.raise(6);
  s.other = on ? s.other | FL.AC : s.other & ~FL.AC;
  return done(m, i);
}

/** This chapter's instructions. */
export const INTERRUPT_FLAG_OPERATIONS: Operations = new Map([
  [Mnemonic.Cli, cli],
  [Mnemonic.Sti, sti],
  [Mnemonic.Pushf, pushf],
  [Mnemonic.Pushfd, pushf],
  [Mnemonic.Pushfq, pushf],
  [Mnemonic.Popf, popf],
  [Mnemonic.Popfd, popf],
  [Mnemonic.Popfq, popf],
  [Mnemonic.Stac, (m: Machine, i: Instruction) => setAc(m, i, true)],
  [Mnemonic.Clac, (m: Machine, i: Instruction) => setAc(m, i, false)],
]);

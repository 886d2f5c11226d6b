/** ENTER with nesting (AMD64 APM volume 3): what generated code leaves when the level is not 0. */
import { Code, type Instruction, Mnemonic } from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import type { Transaction } from '../memory/linear.ts';
import { Next, type NextStep } from '../next.ts';
import { type Fault, raiseFault } from '../segments/fault.ts';
import { currentStack, type Popped, peek, push, type Stack, setStackPointer } from '../segments/stack.ts';
import type { Operations } from './operation.ts';

const SIZES: ReadonlyMap<Code, 2 | 4 | 8> = new Map([
  [Code.Enterw_imm16_imm8, 2],
  [Code.Enterd_imm16_imm8, 4],
  [Code.Enterq_imm16_imm8, 8],
]);

/** Moves a stack pointer down without an access; up by a negative number. */
function reserve(k: Stack, bytes: number): void {
  const lo = (k.lo - bytes) | 0;
  if (k.size === 8) {
    if (bytes > 0 && k.lo >>> 0 < bytes) k.hi = (k.hi - 1) | 0;
    if (bytes < 0 && lo >>> 0 < -bytes) k.hi = (k.hi + 1) | 0;
  }
  k.lo = k.size === 2 ? (k.lo & ~0xffff) | (lo & 0xffff) : lo;
}

/** The pushes of ENTER; the stack ends below the space it reserves. */
function frames(
  m: Machine,
  t: Transaction,
  i: Instruction,
  bytes: 2 | 4 | 8,
  k: Stack,
  frame: Popped,
): Fault | undefined {
  const s = m.state;
  const level = i.immediate8_2nd & 31;
  const saved: Popped = { lo: 0, hi: 0 };
  let fault = push(m, t, k, bytes, s.lo(R.RBP), s.hi(R.RBP));
  frame.lo = k.lo;
  frame.hi = k.hi;
  // the frame pointers of the levels around, as they lie below the old one
  const around: Stack = { ...k, lo: s.lo(R.RBP), hi: s.hi(R.RBP) };
  for (let n = 1; n < level && !fault; n++) {
    reserve(around, bytes);
    fault = peek(m, t, around, bytes, 0, saved) ?? push(m, t, k, bytes, saved.lo, saved.hi);
  }
  if (level > 0) fault ??= push(m, t, k, bytes, frame.lo, frame.hi);
  reserve(k, i.immediate16);
  return fault;
}

function enter(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const bytes = SIZES.get(i.code) ?? 4;
  const frame: Popped = { lo: 0, hi: 0 };
  // it ends with a check that the final stack pointer can be written to: a push there that is never committed
  const probe = currentStack(m);
  let t = m.memory.begin();
  let fault = frames(m, t, i, bytes, probe, frame);
  reserve(probe, -bytes);
  fault ??= push(m, t, probe, bytes, 0, 0);
  if (fault) return raiseFault(m, fault);
  if (t.failed) return m.faulted();
  const k = currentStack(m);
  t = m.memory.begin();
  frames(m, t, i, bytes, k, frame);
  t.commit();
  s.setSized(R.RBP, bytes, frame.lo, frame.hi);
  setStackPointer(s, k);
  s.advance(i.length);
  return Next.Run;
}

/** Instructions of this chapter. */
export const ENTER_OPERATIONS: Operations = new Map([[Mnemonic.Enter, enter]]);

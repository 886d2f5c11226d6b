/** ENTER with nesting (AMD64 APM volume 3): what generated code leaves when the level is not 0. */
import { Code, type Instruction, Mnemonic } from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { raiseFault } from '../segments/fault.ts';
import { currentStack, type Popped, peek, push, type Stack, setStackPointer } from '../segments/stack.ts';
import type { Operations } from './operation.ts';

const SIZES: ReadonlyMap<Code, 2 | 4 | 8> = new Map([
  [Code.Enterw_imm16_imm8, 2],
  [Code.Enterd_imm16_imm8, 4],
  [Code.Enterq_imm16_imm8, 8],
]);

/** Moves a stack pointer down without an access. */
function reserve(k: Stack, bytes: number): void {
  const lo = (k.lo - bytes) | 0;
  if (k.size === 8 && k.lo >>> 0 < bytes) k.hi = (k.hi - 1) | 0;
  k.lo = k.size === 2 ? (k.lo & ~0xffff) | (lo & 0xffff) : lo;
}

function enter(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const bytes = SIZES.get(i.code) ?? 4;
  const level = i.immediate8_2nd & 31;
  const t = m.memory.begin();
  const k = currentStack(m);
  const saved: Popped = { lo: 0, hi: 0 };
  let fault = push(m, t, k, bytes, s.lo(R.RBP), s.hi(R.RBP));
  const frame = { lo: k.lo, hi: k.hi };
  // the frame pointers of the levels around, as they lie below the old one
  const around: Stack = { ...k, lo: s.lo(R.RBP), hi: s.hi(R.RBP) };
  for (let n = 1; n < level && !fault; n++) {
    reserve(around, bytes);
    fault = peek(m, t, around, bytes, 0, saved) ?? push(m, t, k, bytes, saved.lo, saved.hi);
  }
  if (level > 0) fault ??= push(m, t, k, bytes, frame.lo, frame.hi);
  if (fault) return raiseFault(m, fault);
  if (t.failed) return m.faulted();
  t.commit();
  reserve(k, i.immediate16);
  s.setSized(R.RBP, bytes, frame.lo, frame.hi);
  setStackPointer(s, k);
  s.advance(i.length);
  return Next.Run;
}

/** Instructions of this chapter. */
export const ENTER_OPERATIONS: Operations = new Map([[Mnemonic.Enter, enter]]);

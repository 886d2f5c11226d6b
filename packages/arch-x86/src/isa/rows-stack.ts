/** The stack: PUSH, POP, PUSHA, POPA, ENTER, LEAVE (AMD64 APM volume 3); PUSHF and POPF are in rows-flags.ts. */
import type { Expr, I64 } from '@faultyard/engine';
import { R, Seg } from './layout.ts';
import type { Operands, Row, Width } from './row.ts';
import { Slow } from './slow.ts';
import { push, setStackPointer, sized, stackOffset, stackPointer, top } from './stack.ts';

/** Registers of PUSHA from the lowest address up. */
const ALL = [R.RDI, R.RSI, R.RBP, R.RSP, R.RBX, R.RDX, R.RCX, R.RAX];

function pushAll(o: Operands, w: 2 | 4): void {
  const { b } = o;
  const to = stackOffset(o, -8 * w);
  const values = ALL.map((r): Expr => b.elem('r', r, 0, w));
  b.stores(w, o.linearAt(Seg.SS, to, 8 * w, true), values);
  setStackPointer(o, to);
}
function popAll(o: Operands, w: 2 | 4): void {
  const { b } = o;
  const values = b.loads(w, 8, o.linearAt(Seg.SS, stackPointer(o), 8 * w, false));
  setStackPointer(o, stackOffset(o, 8 * w));
  values.forEach((v, i) => {
    const r = ALL[i] as number;
    if (r === R.RSP) return;
    if (w === 2) b.setElem('r', r, 0, 2, v);
    else b.set(r, b.extU(v as Expr<'i32'>));
  });
}

/** A frame pointer of `w` bytes as an offset in the stack segment. */
function frameOffset(o: Operands): I64 {
  const { b, stackSize } = o;
  return stackSize === 8 ? b.get(R.RBP) : b.extU(b.elem('r', R.RBP, 0, stackSize));
}
function setFrame(o: Operands, w: Width, v: Expr): void {
  const { b } = o;
  if (w === 8) b.set(R.RBP, v as I64);
  else if (w === 4) b.set(R.RBP, b.extU(v as Expr<'i32'>));
  else b.setElem('r', R.RBP, 0, 2, v);
}

/** A 16-bit stack offset with the upper half of ESP, which pushes leave. */
function besideUpper(o: Operands, offset: I64): Expr {
  const { b } = o;
  return b.or(b.and(b.elem('r', R.RSP, 0, 4), b.c32(0xffff_0000 | 0)), b.wrap(offset));
}

/** ENTER without nesting; deeper levels are left to the vCPU (AMD64 APM volume 3, ENTER). */
function enter(o: Operands, w: Width): void {
  const { b, f } = o;
  b.when(b.and(f.i32('disp'), b.c32(31)), () => b.slow(Slow.System));
  const frame = stackOffset(o, -w);
  const reserved = b.sub(frame, b.extU(f.i32('imm')));
  const to = o.stackSize === 8 ? reserved : b.zext(reserved, o.stackSize === 4 ? 32 : 16);
  const end = b.let(to);
  const old = w === 8 ? b.get(R.RBP) : b.elem('r', R.RBP, 0, w);
  // it ends with a check that the final stack pointer can be written to; both checks come before the push
  const at = b.let(o.linearAt(Seg.SS, frame, w, true));
  const keep = (v: Expr): Expr => v;
  b.rmw(w as 8, at, keep as (v: I64) => I64);
  b.rmw(w as 8, o.linearAt(Seg.SS, end, w, true), keep as (v: I64) => I64);
  b.store(w, at, old);
  setFrame(o, w, w === 4 && o.stackSize === 2 ? besideUpper(o, frame) : sized(o, w, frame));
  setStackPointer(o, end);
}
function leave(o: Operands, w: Width): void {
  const { b } = o;
  const at = b.let(frameOffset(o));
  const old = b.load(w as 8, o.linearAt(Seg.SS, at, w, false));
  setStackPointer(o, stackOffset(o, w, at));
  setFrame(o, w, old);
}

/** Rows of this chapter. */
export const STACK_ROWS: readonly Row[] = [
  {
    name: 'push',
    modes: true,
    codes: [
      ...['Push_r16', 'Push_r32', 'Push_r64', 'Push_rm16', 'Push_rm32', 'Push_rm64'],
      ...['Push_imm16', 'Pushd_imm32', 'Pushq_imm32', 'Pushw_imm8', 'Pushd_imm8', 'Pushq_imm8'],
    ],
    sem: (o) => push(o, o.width, o.b.let(o.read(0))),
  },
  {
    name: 'pop',
    modes: true,
    popsFirst: true,
    codes: ['Pop_r16', 'Pop_r32', 'Pop_r64', 'Pop_rm16', 'Pop_rm32', 'Pop_rm64'],
    sem(o) {
      const v = top(o, o.width);
      const after = stackOffset(o, o.width);
      // memory can fault, so it comes first; POP RSP ends with what was popped
      if (o.kind(0) === 'memory') o.write(0, v);
      setStackPointer(o, after);
      if (o.kind(0) === 'register') o.write(0, v);
    },
  },
  { name: 'pushaw', modes: true, codes: ['Pushaw'], sem: (o) => pushAll(o, 2) },
  { name: 'pushad', modes: true, codes: ['Pushad'], sem: (o) => pushAll(o, 4) },
  { name: 'popaw', modes: true, codes: ['Popaw'], sem: (o) => popAll(o, 2) },
  { name: 'popad', modes: true, codes: ['Popad'], sem: (o) => popAll(o, 4) },
  { name: 'enter.w', modes: true, codes: ['Enterw_imm16_imm8'], sem: (o) => enter(o, 2) },
  { name: 'enter.d', modes: true, codes: ['Enterd_imm16_imm8'], sem: (o) => enter(o, 4) },
  { name: 'enter.q', modes: true, codes: ['Enterq_imm16_imm8'], sem: (o) => enter(o, 8) },
  { name: 'leave.w', modes: true, width: 2, codes: ['Leavew'], sem: (o) => leave(o, 2) },
  { name: 'leave.d', modes: true, width: 4, codes: ['Leaved'], sem: (o) => leave(o, 4) },
  { name: 'leave.q', modes: true, width: 8, codes: ['Leaveq'], sem: (o) => leave(o, 8) },
];

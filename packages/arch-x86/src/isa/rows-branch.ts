/**
 * Near branches (AMD64 APM volume 3: Jcc, JMP, CALL, RET, LOOPcc, JrCXZ). Where the target may not be executed nothing is
 * done. Direct branches in 64-bit and in flat code are not checked: they cannot leave the address space but at its ends,
 * where the fetch faults.
 */
import type { I32, I64 } from '@faultyard/engine';
import { CONDITIONS, condition } from './conditions.ts';
import { R } from './layout.ts';
import type { Operands, Row, Width } from './row.ts';
import { Slow } from './slow.ts';
import { push, setStackPointer, sized, stackOffset, top } from './stack.ts';
import { as64 } from './values.ts';

/**
 * Canonical: the bits above the linear address, and its uppermost, all alike. With five levels of tables switched off the
 * fetch finds out.
 */
function canonical(o: Operands, at: I64): I32 {
  const { b } = o;
  return b.ltU(b.add(b.shrS(at, b.c32(o.linearBits - 1)), b.c64(1)), b.c64(2));
}

/** The linear address of offset `ip` of CS, zero-extended and bound; leaves with #GP(0) where it may not be executed. */
function target(o: Operands, ip: I64): I64 {
  const { b } = o;
  if (o.codeSize === 8) {
    b.when(b.eqz(canonical(o, ip)), () => b.slow(Slow.GeneralProtection));
    return ip;
  }
  if (o.flat) return ip;
  b.when(b.ltU(b.read64('csl'), ip), () => b.slow(Slow.GeneralProtection));
  return b.let(b.extU(b.add(b.wrap(b.read64('csb')), b.wrap(ip))));
}

/** Whether a direct branch of this width goes a fixed distance, whatever lies where. */
const plain = (o: Operands): boolean => (o.codeSize === 8 ? o.width === 8 : o.flat && o.width === 4);

/** The offset in CS that a direct branch which is not {@link plain} goes to. */
function directOffset(o: Operands): I64 {
  const { b, f } = o;
  const ip = b.sub(b.wrap(b.pc()), b.wrap(b.read64('csb')));
  const to = b.add(ip, f.i32('imm'));
  return b.let(b.extU(o.width === 2 ? b.zext(to, 16) : to));
}

function jump(o: Operands): void {
  if (plain(o)) o.b.jump('imm');
  else o.b.jumpTo(target(o, directOffset(o)));
}
function jumpIf(o: Operands, c: I32): void {
  if (plain(o)) o.b.jumpIf(c, 'imm');
  else o.b.when(c, () => jump(o));
}

/** The offset of the next instruction, as it is pushed. */
function returnAddress(o: Operands): I64 {
  const { b } = o;
  return o.codeSize === 8 || o.flat ? b.next() : b.sub(b.next(), b.read64('csb'));
}
function call(o: Operands, to: I64 | undefined): void {
  push(o, o.width, sized(o, o.width, returnAddress(o)));
  if (to) o.b.jumpTo(to);
  else o.b.jump('imm');
}
function indirect(o: Operands): I64 {
  return target(o, o.b.let(as64(o.b, o.read(0))));
}

function ret(o: Operands, width: Width, release: boolean): void {
  const { b } = o;
  const to = target(o, b.let(as64(b, top(o, width))));
  let sp = stackOffset(o, width);
  if (release) {
    const sum = b.add(sp, b.extU(o.f.i32('imm')));
    sp = o.stackSize === 8 ? sum : b.zext(sum, o.stackSize === 4 ? 32 : 16);
  }
  setStackPointer(o, sp);
  b.jumpTo(to);
}

/** (E/R)CX less one, written back; nonzero? The write comes last: the branch may not be allowed. */
function loop(o: Operands, also?: string): void {
  const { b, addressSize: w } = o;
  const count = b.let(
    w === 8 ? b.sub(b.get(R.RCX), b.c64(1)) : b.extU(b.sub(b.elem('r', R.RCX, 0, w), b.c32(1))),
  );
  const left = w === 2 ? b.zext(count, 16) : count;
  const more = b.ne(left, b.c64(0));
  const c = b.let(also ? b.and(more, condition(b, also)) : more);
  const write = (): void => (w === 2 ? b.setElem('r', R.RCX, 0, 2, count) : b.set(R.RCX, count));
  if (plain(o)) {
    write();
    b.jumpIf(c, 'imm');
    return;
  }
  const to = directOffset(o);
  b.when(
    c,
    () => {
      const at = target(o, to);
      write();
      b.jumpTo(at);
    },
    write,
  );
}

const conditional: readonly Row[] = CONDITIONS.map((cc): Row => {
  const name = `J${cc}`;
  return {
    name: name.toLowerCase(),
    modes: true,
    codes: ['rel8_16', 'rel8_32', 'rel8_64', 'rel16', 'rel32_32', 'rel32_64'].map((f) => `${name}_${f}`),
    sem: (o) => jumpIf(o, condition(o.b, cc)),
  };
});

const loopCodes = (name: string): readonly string[] =>
  ['16_CX', '32_CX', '16_ECX', '32_ECX', '64_ECX', '16_RCX', '64_RCX'].map((f) => `${name}_rel8_${f}`);

/** Rows of this chapter. */
export const BRANCH_ROWS: readonly Row[] = [
  ...conditional,
  {
    name: 'jmp',
    modes: true,
    ends: true,
    codes: ['Jmp_rel8_16', 'Jmp_rel8_32', 'Jmp_rel8_64', 'Jmp_rel16', 'Jmp_rel32_32', 'Jmp_rel32_64'],
    sem: jump,
  },
  {
    name: 'jmp.indirect',
    modes: true,
    ends: true,
    codes: ['Jmp_rm16', 'Jmp_rm32', 'Jmp_rm64'],
    sem: (o) => o.b.jumpTo(indirect(o)),
  },
  {
    name: 'call',
    modes: true,
    ends: true,
    codes: ['Call_rel16', 'Call_rel32_32', 'Call_rel32_64'],
    sem: (o) => call(o, plain(o) ? undefined : target(o, directOffset(o))),
  },
  {
    name: 'call.indirect',
    modes: true,
    ends: true,
    codes: ['Call_rm16', 'Call_rm32', 'Call_rm64'],
    sem: (o) => call(o, indirect(o)),
  },
  { name: 'ret.w', modes: true, ends: true, width: 2, codes: ['Retnw'], sem: (o) => ret(o, 2, false) },
  { name: 'ret.d', modes: true, ends: true, width: 4, codes: ['Retnd'], sem: (o) => ret(o, 4, false) },
  {
    name: 'ret.q',
    modes: true,
    ends: true,
    width: 8,
    codes: ['Retnq'],
    sem: (o) => ret(o, 8, false),
  },
  { name: 'retn.w', modes: true, ends: true, width: 2, codes: ['Retnw_imm16'], sem: (o) => ret(o, 2, true) },
  { name: 'retn.d', modes: true, ends: true, width: 4, codes: ['Retnd_imm16'], sem: (o) => ret(o, 4, true) },
  { name: 'retn.q', modes: true, ends: true, width: 8, codes: ['Retnq_imm16'], sem: (o) => ret(o, 8, true) },
  { name: 'loop', modes: true, codes: loopCodes('Loop'), sem: (o) => loop(o) },
  { name: 'loope', modes: true, codes: loopCodes('Loope'), sem: (o) => loop(o, 'e') },
  { name: 'loopne', modes: true, codes: loopCodes('Loopne'), sem: (o) => loop(o, 'ne') },
  {
    name: 'jcxz',
    modes: true,
    codes: [
      ...['Jcxz_rel8_16', 'Jcxz_rel8_32', 'Jecxz_rel8_16', 'Jecxz_rel8_32', 'Jecxz_rel8_64'],
      ...['Jrcxz_rel8_16', 'Jrcxz_rel8_64'],
    ],
    sem(o) {
      const { b, addressSize: w } = o;
      jumpIf(o, b.eqz(w === 8 ? b.get(R.RCX) : b.elem('r', R.RCX, 0, w)));
    },
  },
];

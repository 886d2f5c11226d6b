/**
 * MMX moves (AMD64 APM volume 5: MOVD, MOVQ, MOVNTQ, MASKMOVQ, MOVQ2DQ, MOVDQ2Q). Each makes the x87 stack look full and
 * sets sign and exponent of the register it writes (volume 1, 5.5).
 */
import { type Instruction, Mnemonic, OpKind, Register } from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { raiseFault } from '../segments/fault.ts';
import { view } from '../x87.ts';
import { mmxFault, sseFault } from './fpu-available.ts';
import {
  effective,
  placed,
  reach,
  registerSize,
  registerSlot,
  segmentNumber,
  setRegister,
} from './operand.ts';
import type { Operation, Operations } from './operation.ts';

const isMmx = (r: Register): boolean => r >= Register.MM0 && r <= Register.MM7;

/** The 8 bytes of an MMX register: the mantissa of Rn. */
const mantissa = (m: Machine, r: Register): Uint8Array =>
  m.x87.registers.subarray(10 * (r - Register.MM0), 10 * (r - Register.MM0) + 8);
/** The low 8 bytes of an XMM register. */
const xmmLow = (m: Machine, r: Register): Uint8Array =>
  m.x87.xmm.subarray(16 * (r - Register.XMM0), 16 * (r - Register.XMM0) + 8);

function setMmx(m: Machine, r: Register, lo: number, hi: number): void {
  const to = view(mantissa(m, r));
  to.setInt32(0, lo, true);
  to.setInt32(4, hi, true);
  m.x87.registers.fill(0xff, 10 * (r - Register.MM0) + 8, 10 * (r - Register.MM0) + 10);
}

/** Bytes of a move: MOVD has 4, with REX.W and as MOVQ 8. */
const bytesOf = (i: Instruction): 4 | 8 => (i.mnemonic === Mnemonic.Movd ? 4 : 8);

/** MOVD, MOVQ, MOVNTQ between MMX registers, general registers and memory. */
const move: Operation = (m, i) => {
  const fault = mmxFault(m);
  if (fault) return raiseFault(m, fault);
  const bytes = bytesOf(i);
  const s = m.state;
  const loads = i.op0Kind === OpKind.Register && isMmx(i.op0Register);
  const other = loads ? 1 : 0;
  const mmx = loads ? i.op0Register : i.op1Register;
  const t = m.memory.begin();
  const inMemory = i.opKind(other) !== OpKind.Register;
  const p = inMemory ? effective(m, i) : undefined;
  if (p) {
    const bad = reach(m, p, bytes, !loads);
    if (bad) return raiseFault(m, bad);
  }
  if (loads) {
    let lo: number;
    let hi = 0;
    const r = p ? Register.None : i.op1Register;
    if (p) {
      lo = t.read(p.lo, p.hi, bytes);
      if (bytes === 8) hi = t.hi;
    } else if (isMmx(r)) {
      const from = view(mantissa(m, r));
      lo = from.getInt32(0, true);
      hi = from.getInt32(4, true);
    } else {
      lo = s.lo(registerSlot(r));
      if (registerSize(r) === 8) hi = s.hi(registerSlot(r));
    }
    if (t.failed) return m.faulted();
    setMmx(m, mmx, lo, hi);
  } else {
    const from = view(mantissa(m, mmx));
    const lo = from.getInt32(0, true);
    const hi = from.getInt32(4, true);
    if (p) t.write(p.lo, p.hi, bytes, lo, hi);
    if (t.failed) return m.faulted();
    t.commit();
    if (!p) {
      if (isMmx(i.op0Register)) setMmx(m, i.op0Register, lo, hi);
      else setRegister(s, i.op0Register, lo, hi);
    }
  }
  m.x87.enterMmx();
  s.advance(i.length);
  return Next.Run;
};

/** MASKMOVQ: bytes of the first register whose mask byte has its top bit set, to DS:rDI (or another segment). */
const maskMove: Operation = (m, i) => {
  const fault = mmxFault(m);
  if (fault) return raiseFault(m, fault);
  const s = m.state;
  const kind = i.op0Kind;
  const size = kind === OpKind.MemorySegRDI ? 8 : kind === OpKind.MemorySegEDI ? 4 : 2;
  const lo = size === 2 ? s.lo(R.RDI) & 0xffff : s.lo(R.RDI);
  const p = placed(s, segmentNumber(i.memorySegment), lo, size === 8 ? s.hi(R.RDI) : 0);
  const bad = reach(m, p, 8, true);
  if (bad) return raiseFault(m, bad);
  const t = m.memory.begin();
  const from = mantissa(m, i.op1Register);
  const mask = mantissa(m, i.op2Register);
  for (let n = 0; n < 8; n++) {
    if (!((mask[n] as number) & 0x80)) continue;
    const at = placed(s, p.seg, (p.offLo + n) | 0, p.offHi);
    t.write(at.lo, at.hi, 1, from[n] as number);
  }
  if (t.failed) return m.faulted();
  t.commit();
  m.x87.enterMmx();
  s.advance(i.length);
  return Next.Run;
};

/** MOVQ2DQ and MOVDQ2Q need both kinds of registers. */
const between: Operation = (m, i): NextStep => {
  const fault = sseFault(m) ?? mmxFault(m);
  if (fault) return raiseFault(m, fault);
  if (isMmx(i.op0Register)) {
    const from = view(xmmLow(m, i.op1Register));
    setMmx(m, i.op0Register, from.getInt32(0, true), from.getInt32(4, true));
  } else {
    const to = xmmLow(m, i.op0Register);
    to.set(mantissa(m, i.op1Register));
    m.x87.xmm.fill(0, 16 * (i.op0Register - Register.XMM0) + 8, 16 * (i.op0Register - Register.XMM0) + 16);
  }
  m.x87.enterMmx();
  m.state.advance(i.length);
  return Next.Run;
};

/** What `dispatch.ts` registers. */
export const MMX_OPERATIONS: Operations = new Map<Mnemonic, Operation>([
  [Mnemonic.Movd, move],
  [Mnemonic.Movq, move],
  [Mnemonic.Movntq, move],
  [Mnemonic.Maskmovq, maskMove],
  [Mnemonic.Movq2dq, between],
  [Mnemonic.Movdq2q, between],
]);

/**
 * Exchanges (AMD64 APM volume 3: XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B). With memory each is one read-modify-write,
 * atomic on one thread with LOCK or without; the decoder refuses LOCK where it is not allowed.
 */
import type { Expr, I32, I64 } from '@faultyard/engine';
import { AccessClass } from '../memory/access-class.ts';
import { setAddFlags, setSubFlags, setZero } from './flag-setting.ts';
import { R } from './layout.ts';
import type { Operands, Row } from './row.ts';
import { Slow } from './slow.ts';
import { low, readGpr, writeGpr } from './values.ts';

const SIZES = ['8', '16', '32', '64'] as const;

function xadd(o: Operands): void {
  const { b, width } = o;
  const y = b.let(o.read(1));
  const add = (x: Expr): Expr => b.let(low(b, width, b.add(x, y)));
  let x: Expr;
  let sum: Expr | undefined;
  if (o.kind(0) === 'memory') {
    x = o.modify(0, (v) => {
      sum = add(v);
      return sum;
    });
    o.write(1, x);
  } else {
    x = b.let(o.read(0));
    sum = add(x);
    // where both are one register, the sum stays in it
    o.write(1, x);
    o.write(0, sum);
  }
  setAddFlags(b, width, x, y, sum as Expr);
}

/**
 * A memory destination that differs from rAX is written back as it was: it must be writable. A register is not written:
 * its upper half stays (as processors do it; the manuals say nothing).
 */
function cmpxchg(o: Operands): void {
  const { b, width } = o;
  const y = b.let(o.read(1));
  const accumulator = b.let(readGpr(b, width, R.RAX));
  let old: Expr;
  if (o.kind(0) === 'memory') old = o.modify(0, (v) => b.select(b.eq(v, accumulator), y, v));
  else {
    old = b.let(o.read(0));
    b.when(b.eq(old, accumulator), () => o.write(0, y));
  }
  const difference = b.let(low(b, width, b.sub(accumulator, old)));
  b.when(difference.ty === 'i64' ? b.eqz(b.eqz(difference)) : (difference as I32), () =>
    writeGpr(b, width, R.RAX, old),
  );
  setSubFlags(b, width, accumulator, old, difference);
}

function cmpxchg8b(o: Operands): void {
  const { b } = o;
  const pair = (hi: number, lo: number): I64 =>
    b.let(b.or(b.extU(b.elem('r', lo, 0, 4)), b.shl(b.get(hi), b.c32(32))));
  const expected = pair(R.RDX, R.RAX);
  const desired = pair(R.RCX, R.RBX);
  const old = b.rmw(8, o.linear(8, true), (v) => b.select(b.eq(v, expected), desired, v));
  const same = b.let(b.eq(old, expected));
  b.when(b.eqz(same), () => {
    writeGpr(b, 4, R.RAX, b.wrap(old));
    writeGpr(b, 4, R.RDX, b.wrap(b.shrU(old, b.c32(32))));
  });
  setZero(b, same);
}

function cmpxchg16b(o: Operands): void {
  const { b } = o;
  const at = b.let(o.linear(16, true));
  b.when(b.and(b.wrap(at), b.c32(15)), () => b.slow(Slow.GeneralProtection));
  // the read that checks for writing, too: a fault of a locked access is one of a write
  const lo = b.rmw(8, at, (v) => v);
  const hi = b.load(8, b.add(at, b.c64(8)));
  const same = b.let(b.and(b.eq(lo, b.get(R.RAX)), b.eq(hi, b.get(R.RDX))));
  // KVM's emulator can do the reads of MMIO, but not the write
  const written = [b.select(same, b.get(R.RBX), lo), b.select(same, b.get(R.RCX), hi)];
  b.stores(8, at, written, { cls: AccessClass.NotEmulated });
  b.when(b.eqz(same), () => {
    b.set(R.RAX, lo);
    b.set(R.RDX, hi);
  });
  setZero(b, same);
}

/** The rows. */
export const EXCHANGE_ROWS: readonly Row[] = [
  {
    name: 'xchg',
    codes: [...SIZES.map((n) => `Xchg_rm${n}_r${n}`), 'Xchg_r16_AX', 'Xchg_r32_EAX', 'Xchg_r64_RAX'],
    sem(o) {
      const y = o.b.let(o.read(1));
      o.write(
        1,
        o.modify(0, () => y),
      );
    },
  },
  { name: 'xadd', codes: SIZES.map((n) => `Xadd_rm${n}_r${n}`), sem: xadd },
  { name: 'cmpxchg', codes: SIZES.map((n) => `Cmpxchg_rm${n}_r${n}`), sem: cmpxchg },
  { name: 'cmpxchg8b', feature: 'cx8', codes: ['Cmpxchg8b_m64'], sem: cmpxchg8b },
  {
    name: 'cmpxchg16b',
    feature: 'cx16',
    codes: ['Cmpxchg16b_m128'],
    sem: cmpxchg16b,
  },
];

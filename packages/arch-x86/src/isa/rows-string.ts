/**
 * String instructions (AMD64 APM volume 3: MOVS, CMPS, STOS, LODS, SCAS). One pass of the record does one element, all of
 * whose accesses come before the first change of a register; with a repeat prefix the record then jumps to itself until
 * the count is 0, so that every element is a restart point where faults, interrupts and the budget find a complete state.
 *
 * A count of 0 changes nothing, in 64-bit mode with 32-bit addresses neither the upper half of RCX (AMD's processors;
 * some of Intel's clear it).
 */
import type { Builder, Expr, I32, I64 } from '@faultyard/engine';
import { setSubFlags } from './flag-setting.ts';
import { FL } from './flags.ts';
import { R, Seg } from './layout.ts';
import type { Operands, Repeat, Row, Width } from './row.ts';
import { low, readGpr, writeGpr } from './values.ts';

const LETTERS = ['b', 'w', 'd', 'q'] as const;
const BITS = ['8', '16', '32', '64'] as const;
const ACCUMULATOR = ['AL', 'AX', 'EAX', 'RAX'] as const;

/** A register of the address size, zero-extended. */
function addressRegister(o: Operands, slot: number): I64 {
  const { b, addressSize } = o;
  const v = readGpr(b, addressSize, slot);
  return addressSize === 8 ? (v as I64) : b.extU(v as I32);
}

/** Linear address of the source, in DS unless overridden. */
const source = (o: Operands): I64 =>
  o.linearAt('operand', o.b.let(addressRegister(o, R.RSI)), o.width, false);
/** Linear address of the destination: always in ES. */
const destination = (o: Operands, write: boolean): I64 =>
  o.linearAt(Seg.ES, o.b.let(addressRegister(o, R.RDI)), o.width, write);

const load = (b: Builder, w: Width, at: I64): Expr => b.load(w as 8, at);

/** Moves an index register by one element, the way EFLAGS.DF says. */
function advance(o: Operands, ...slots: number[]): void {
  const { b, width, addressSize } = o;
  const down = b.and(b.read32('fl'), b.c32(FL.DF));
  const step = b.let(b.select(down, b.c32(-width), b.c32(width)));
  for (const slot of slots) {
    const v = readGpr(b, addressSize, slot);
    writeGpr(b, addressSize, slot, b.add(v, addressSize === 8 ? b.extS(step) : step));
  }
}

/** One element; `again` is told on which condition a repeated comparison goes on. */
type Element = (o: Operands) => I32 | undefined;

/** The element, or as many as the count says. */
function repeated(element: Element, compares: boolean): (o: Operands, rep: Repeat) => void {
  return (o, rep) => {
    const { b, addressSize } = o;
    if (rep === 'none') {
      element(o);
      return;
    }
    const count = b.let(readGpr(b, addressSize, R.RCX));
    b.when(b.eqz(b.eqz(count)), () => {
      const equal = element(o);
      const left = b.let(b.sub(count, addressSize === 8 ? b.c64(1) : b.c32(1)));
      writeGpr(b, addressSize, R.RCX, left);
      const more = b.eqz(b.eqz(low(b, addressSize, left)));
      if (!compares || !equal) b.jumpIf(more, 'again');
      else b.jumpIf(b.and(more, rep === 'rep' ? equal : b.eqz(equal)), 'again');
    });
  };
}

/** Flags of x - y; returns whether they are equal, bound. */
function compare(o: Operands, x: Expr, y: Expr): I32 {
  const { b, width } = o;
  const difference = b.let(low(b, width, b.sub(x, y)));
  setSubFlags(b, width, x, y, difference);
  return b.let(b.eqz(difference));
}

function row(name: string, kinds: (i: number) => string, element: Element, compares = false): Row {
  return {
    name,
    codes: LETTERS.map((letter, i) => `${name[0]?.toUpperCase()}${name.slice(1)}${letter}_${kinds(i)}`),
    repeats: true,
    sem: repeated(element, compares),
  };
}

/** The rows. */
export const STRING_ROWS: readonly Row[] = [
  row(
    'movs',
    (i) => `m${BITS[i]}_m${BITS[i]}`,
    (o) => {
      const { b, width } = o;
      const v = load(b, width, source(o));
      b.store(width, destination(o, true), v);
      advance(o, R.RSI, R.RDI);
      return undefined;
    },
  ),
  row(
    'cmps',
    (i) => `m${BITS[i]}_m${BITS[i]}`,
    (o) => {
      const { b, width } = o;
      const x = load(b, width, source(o));
      const y = load(b, width, destination(o, false));
      advance(o, R.RSI, R.RDI);
      return compare(o, x, y);
    },
    true,
  ),
  row(
    'stos',
    (i) => `m${BITS[i]}_${ACCUMULATOR[i]}`,
    (o) => {
      const { b, width } = o;
      b.store(width, destination(o, true), readGpr(b, width, R.RAX));
      advance(o, R.RDI);
      return undefined;
    },
  ),
  row(
    'lods',
    (i) => `${ACCUMULATOR[i]}_m${BITS[i]}`,
    (o) => {
      const { b, width } = o;
      const v = load(b, width, source(o));
      writeGpr(b, width, R.RAX, v);
      advance(o, R.RSI);
      return undefined;
    },
  ),
  row(
    'scas',
    (i) => `${ACCUMULATOR[i]}_m${BITS[i]}`,
    (o) => {
      const { b, width } = o;
      const x = b.let(readGpr(b, width, R.RAX));
      const y = load(b, width, destination(o, false));
      advance(o, R.RDI);
      return compare(o, x, y);
    },
    true,
  ),
];

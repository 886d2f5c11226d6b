/** Assembler directives: data, alignment, placement, symbols, code size. Names and sizes are GNU's for x86. */
import type { Value } from './expression.ts';
import type { Bits } from './forms.ts';
import type { Statement } from './statement.ts';

/** The part of the assembler that directives act on. They run anew in every pass. */
export interface Layout {
  /** Size of code from here on. */
  bits: Bits;
  /** Address of the next byte. */
  readonly here: bigint;
  /** Puts bytes here. */
  emit(bytes: Uint8Array): void;
  /** Reads an expression's value at the cursor; `undefined` after reporting that there is none. */
  value(c: Statement, what: string): Value | undefined;
  define(name: string, value: Value): void;
  /** Reports a mistake at an offset in the statement. */
  fail(position: number, message: string): void;
}

/** Reads a directive's operands (the cursor stands behind its name). */
export type Directive = (l: Layout, c: Statement) => void;

/** Largest gap that a directive makes, in bytes. */
const LARGEST_GAP = 1n << 26n;
const NOP = 0x90;

/** `size` bytes of a value, lowest first. */
function littleEndian(value: bigint, size: number): Uint8Array {
  const out = new Uint8Array(size);
  for (let i = 0; i < size; i++) out[i] = Number((value >> BigInt(8 * i)) & 0xffn);
  return out;
}

function end(l: Layout, c: Statement): void {
  if (!c.atEnd()) l.fail(c.position, 'expected the end of the statement');
}

/** `.word a, b`: values of `size` bytes; each is laid down before the next is read, so `.` is its own address. */
const data =
  (size: number): Directive =>
  (l, c) => {
    const limit = 1n << BigInt(8 * size);
    do {
      c.atEnd();
      const at = c.position;
      const v = l.value(c, 'a value');
      if (!v) return;
      if (v.value >= limit || v.value < -limit / 2n)
        l.fail(at, `${v.value} does not fit into ${size} byte${size > 1 ? 's' : ''}`);
      l.emit(littleEndian(v.value, size));
    } while (c.take(','));
    end(l, c);
  };

const strings =
  (terminator: readonly number[]): Directive =>
  (l, c) => {
    do {
      c.atEnd();
      const bytes = c.quoted();
      if (!bytes) return l.fail(c.position, 'expected a string in double quotes');
      l.emit(Uint8Array.of(...bytes, ...terminator));
    } while (c.take(','));
    end(l, c);
  };

/** `size` bytes, each `fill`. */
function gap(l: Layout, position: number, size: bigint, fill: bigint): void {
  if (size < 0n || size > LARGEST_GAP) l.fail(position, `a gap is 0 to ${LARGEST_GAP} bytes, not ${size}`);
  else l.emit(new Uint8Array(Number(size)).fill(Number(BigInt.asUintN(8, fill))));
}

const align =
  (power: boolean): Directive =>
  (l, c) => {
    c.atEnd();
    const at = c.position;
    const n = l.value(c, power ? 'the power of two to align to' : 'the number of bytes to align to')?.value;
    const fill = c.take(',') ? l.value(c, 'a fill value')?.value : BigInt(NOP);
    if (n === undefined || fill === undefined) return;
    const unit = power ? (n >= 0n && n <= 16n ? 1n << n : 0n) : n;
    if (unit <= 0n || (unit & (unit - 1n)) !== 0n || unit > 65536n)
      return l.fail(at, power ? 'an alignment is 0 to 16' : 'an alignment is a power of two up to 65536');
    gap(l, at, -l.here & (unit - 1n), fill);
    end(l, c);
  };

const org: Directive = (l, c) => {
  c.atEnd();
  const at = c.position;
  const to = l.value(c, 'an address')?.value;
  const fill = c.take(',') ? l.value(c, 'a fill value')?.value : 0n;
  if (to === undefined || fill === undefined) return;
  if (to < l.here) return l.fail(at, `.org goes back from 0x${l.here.toString(16)} to 0x${to.toString(16)}`);
  gap(l, at, to - l.here, fill);
  end(l, c);
};

const skip: Directive = (l, c) => {
  c.atEnd();
  const at = c.position;
  const n = l.value(c, 'a number of bytes')?.value;
  const fill = c.take(',') ? l.value(c, 'a fill value')?.value : 0n;
  if (n === undefined || fill === undefined) return;
  gap(l, at, n, fill);
  end(l, c);
};

/** `.fill repeat, size, value`. */
const fill: Directive = (l, c) => {
  c.atEnd();
  const at = c.position;
  const repeat = l.value(c, 'how often')?.value;
  const size = c.take(',') ? l.value(c, 'a size in bytes')?.value : 1n;
  const value = c.take(',') ? l.value(c, 'a value')?.value : 0n;
  if (repeat === undefined || size === undefined || value === undefined) return;
  if (size < 0n || size > 8n) return l.fail(at, 'a size is 0 to 8 bytes');
  const total = repeat * size;
  if (repeat < 0n || total > LARGEST_GAP)
    return l.fail(at, `a gap is 0 to ${LARGEST_GAP} bytes, not ${total}`);
  const one = littleEndian(value, Number(size));
  const all = new Uint8Array(Number(total));
  for (let i = 0; i < all.length; i += one.length) all.set(one, i);
  l.emit(all);
  end(l, c);
};

const equate: Directive = (l, c) => {
  c.atEnd();
  const at = c.position;
  const name = c.symbol();
  if (name === undefined || !c.take(',')) return l.fail(at, 'expected a name, a comma and a value');
  const value = l.value(c, 'a value');
  if (value) l.define(name, value);
  end(l, c);
};

const code =
  (bits: Bits): Directive =>
  (l, c) => {
    l.bits = bits;
    end(l, c);
  };

const otherSyntax: Directive = (l) =>
  l.fail(0, 'the syntax is Intel\'s: destination first, no "%" and no "$"');

/** Says something to a linker or to another assembler: nothing to do here. */
const ignored: Directive = () => {};

/** The directives by name. `.org` takes an address, the origin included. */
export const DIRECTIVES: Readonly<Record<string, Directive>> = {
  '.byte': data(1),
  '.word': data(2),
  '.short': data(2),
  '.hword': data(2),
  '.value': data(2),
  '.2byte': data(2),
  '.long': data(4),
  '.int': data(4),
  '.4byte': data(4),
  '.quad': data(8),
  '.8byte': data(8),
  '.ascii': strings([]),
  '.asciz': strings([0]),
  '.string': strings([0]),
  '.align': align(false),
  '.balign': align(false),
  '.p2align': align(true),
  '.org': org,
  '.skip': skip,
  '.space': skip,
  '.zero': skip,
  '.fill': fill,
  '.equ': equate,
  '.set': equate,
  '.code16': code(16),
  '.code32': code(32),
  '.code64': code(64),
  '.att_syntax': otherSyntax,
  '.intel_syntax': ignored,
  '.global': ignored,
  '.globl': ignored,
  '.type': ignored,
  '.size': ignored,
  '.text': ignored,
};

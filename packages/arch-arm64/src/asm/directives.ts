/** Assembler directives: data, alignment, placement, symbols. */
import type { Statement } from './expression.ts';

/** The part of the assembler that directives act on. */
export interface Layout {
  readonly origin: bigint;
  /** Address of the next byte. */
  readonly here: bigint;
  /** Puts `size` bytes here; `emit` makes them in the second pass, when every symbol is known, given their address. */
  place(size: number, emit: (at: bigint) => Uint8Array): void;
  /** A cursor over text for the statement at `pc`, with symbols as they are known at the time. */
  statement(text: string, offset: number, pc: bigint): Statement;
  define(name: string, value: bigint): void;
  /** Puts the literals collected so far here. */
  flushPool(): void;
  /** Reports a mistake at an offset in the statement. */
  fail(position: number, message: string): void;
}

/** Reads a directive's operands (the cursor stands behind its name). */
export type Directive = (l: Layout, c: Statement, name: string) => void;

const nop = [0x1f, 0x20, 0x03, 0xd5] as const;

/** A value that must be known in the first pass, or `undefined` after reporting that it is not. */
function known(l: Layout, c: Statement, what: string): bigint | undefined {
  c.atEnd();
  const at = c.position;
  const n = c.number();
  if (n === undefined) {
    l.fail(at, c.missing ? `"${c.missing.name}" is not defined before this line` : `expected ${what}`);
  }
  return n;
}

function end(l: Layout, c: Statement): void {
  if (!c.atEnd()) l.fail(c.position, 'expected the end of the statement');
}

/** `.word a, b`: values of `size` bytes. */
const data =
  (size: number): Directive =>
  (l, c) => {
    const limit = 2n ** BigInt(8 * size);
    do {
      c.atEnd();
      const from = c.position;
      const text = c.scan(/(?:'(?:\\.|[^\\])'?|\([^)]*\)|[^,()'])+/y);
      if (text === undefined) return l.fail(from, 'expected a value');
      l.place(size, (at) => {
        const value = l.statement(c.text.slice(0, from + text.length), from, at);
        const n = value.number();
        if (n === undefined || !value.atEnd()) {
          l.fail(from, value.missing ? `"${value.missing.name}" is not defined` : 'expected a value');
          return new Uint8Array(size);
        }
        if (n >= limit || n < -limit / 2n) l.fail(from, `${n} does not fit into ${size} bytes`);
        return littleEndian(n, size);
      });
    } while (c.take(','));
    end(l, c);
  };

/** `size` bytes of a value, lowest first. */
export function littleEndian(value: bigint, size: number): Uint8Array {
  const out = new Uint8Array(size);
  for (let i = 0; i < size; i++) out[i] = Number((value >> BigInt(8 * i)) & 0xffn);
  return out;
}

const strings =
  (terminator: readonly number[]): Directive =>
  (l, c) => {
    do {
      c.atEnd();
      const bytes = c.quoted();
      if (!bytes) return l.fail(c.position, 'expected a string in double quotes');
      const all = Uint8Array.from([...bytes, ...terminator]);
      l.place(all.length, () => all);
    } while (c.take(','));
    end(l, c);
  };

/** Fills up to `to` with NOPs where whole instructions fit and no other fill is named, else with bytes. */
function fillTo(l: Layout, to: bigint, fill: bigint | undefined): void {
  const size = Number(to - l.here);
  const start = l.here;
  const bytes = new Uint8Array(size).fill(Number(BigInt.asUintN(8, fill ?? 0n)));
  if (fill === undefined) {
    for (let i = 0; i < size; i++) {
      const at = Number(BigInt.asUintN(2, start + BigInt(i)));
      if (i - at >= 0 && i - at + 4 <= size) bytes[i] = nop[at] ?? 0;
    }
  }
  l.place(size, () => bytes);
}

const align =
  (power: boolean): Directive =>
  (l, c) => {
    const at = c.position;
    const n = known(l, c, power ? 'the power of two to align to' : 'the number of bytes to align to');
    if (n === undefined) return;
    const fill = c.take(',') ? known(l, c, 'a fill value') : undefined;
    const unit = power ? (n >= 0n && n <= 16n ? 1n << n : 0n) : n;
    if (unit <= 0n || (unit & (unit - 1n)) !== 0n || unit > 65536n) {
      return l.fail(at, power ? 'an alignment is 0 to 16' : 'an alignment is a power of two up to 65536');
    }
    fillTo(l, (l.here + unit - 1n) & ~(unit - 1n), fill);
    end(l, c);
  };

/** Largest gap a directive makes, in bytes. */
const largestGap = 1n << 26n;

const org: Directive = (l, c) => {
  const at = c.position;
  const to = known(l, c, 'an address');
  if (to === undefined) return;
  const fill = c.take(',') ? known(l, c, 'a fill value') : 0n;
  if (to < l.here) return l.fail(at, `.org goes back from 0x${l.here.toString(16)}`);
  if (to - l.here > largestGap) return l.fail(at, `.org skips more than ${largestGap} bytes`);
  fillTo(l, to, fill ?? 0n);
  end(l, c);
};

const skip: Directive = (l, c) => {
  const at = c.position;
  const n = known(l, c, 'a number of bytes');
  if (n === undefined) return;
  const fill = c.take(',') ? known(l, c, 'a fill value') : 0n;
  if (n < 0n || n > largestGap) return l.fail(at, `a number of bytes is 0 to ${largestGap}`);
  fillTo(l, l.here + n, fill ?? 0n);
  end(l, c);
};

const equate: Directive = (l, c) => {
  const at = c.position;
  const name = c.symbol();
  if (name === undefined || !c.take(',')) return l.fail(at, 'expected a name, a comma and a value');
  const value = known(l, c, 'a value');
  if (value !== undefined) l.define(name, value);
  end(l, c);
};

const pool: Directive = (l, c) => {
  end(l, c);
  l.flushPool();
};

/** Says something to a linker: nothing to do here. */
const ignored: Directive = () => {};

/** The directives by name. `.org` takes an address, {@link Layout.origin} included. */
export const DIRECTIVES: Readonly<Record<string, Directive>> = {
  '.byte': data(1),
  '.hword': data(2),
  '.short': data(2),
  '.2byte': data(2),
  '.word': data(4),
  '.long': data(4),
  '.int': data(4),
  '.4byte': data(4),
  '.inst': data(4),
  '.quad': data(8),
  '.xword': data(8),
  '.dword': data(8),
  '.8byte': data(8),
  '.ascii': strings([]),
  '.asciz': strings([0]),
  '.string': strings([0]),
  '.align': align(true),
  '.p2align': align(true),
  '.balign': align(false),
  '.org': org,
  '.skip': skip,
  '.space': skip,
  '.zero': skip,
  '.equ': equate,
  '.set': equate,
  '.ltorg': pool,
  '.pool': pool,
  '.global': ignored,
  '.globl': ignored,
  '.type': ignored,
  '.size': ignored,
  '.text': ignored,
  '.arch': ignored,
  '.cpu': ignored,
};

/** Operands as they are written: registers, memory, numbers and far pointers. */
import { Register } from 'iced-x86';
import { type Expression, type Sum, sumOf } from './expression.ts';
import type { Bits } from './forms.ts';
import { classOf, only64, type RegisterClass, registerNamed } from './registers.ts';
import type { Statement } from './statement.ts';

/** An operand; `position` is its offset in the statement. */
export type Operand =
  | {
      readonly kind: 'register';
      readonly register: Register;
      readonly class: RegisterClass;
      readonly position: number;
    }
  | Memory
  | {
      readonly kind: 'value';
      readonly value: Expression;
      /** Size in bytes that was asked for. */
      readonly size: number | undefined;
      readonly distance: 'short' | 'near' | undefined;
      readonly position: number;
    }
  | {
      readonly kind: 'far';
      readonly selector: Expression;
      readonly offset: Expression;
      /** Size of the offset in bytes that was asked for. */
      readonly size: number | undefined;
      readonly position: number;
    };

/** `dword ptr fs:[rax + rcx*4 + 8]`. */
export interface Memory {
  readonly kind: 'memory';
  /** Size in bytes that was asked for. */
  readonly size: number | undefined;
  readonly far: boolean;
  readonly segment: Register | undefined;
  readonly base: Register;
  readonly index: Register;
  readonly scale: 1 | 2 | 4 | 8;
  readonly displacement: Sum['rest'];
  /** Address relative to RIP (`rel`), in the instruction (`abs`), or as it fits. */
  readonly how: 'rel' | 'abs' | undefined;
  /** Address size that its registers ask for. */
  readonly addressSize: Bits | undefined;
  readonly position: number;
}

/** Why an operand cannot be read. */
export interface Mistake {
  readonly position: number;
  readonly message: string;
}

const SIZES: Readonly<Record<string, number>> = {
  byte: 1,
  word: 2,
  dword: 4,
  fword: 6,
  pword: 6,
  qword: 8,
  tbyte: 10,
  tword: 10,
  oword: 16,
  xmmword: 16,
  ymmword: 32,
  zmmword: 64,
  fpuenv14: 14,
  fpuenv28: 28,
  fpustate94: 94,
  fpustate108: 108,
};

const SIZE_WORD = new RegExp(
  `(?:${Object.keys(SIZES).join('|')}|short|near|far|ptr|offset)\\b(?=\\s*[^\\s,:])`,
  'iy',
);

/** Reads the operands up to the end of the statement. */
export function operands(c: Statement, bits: Bits): Operand[] | Mistake {
  const all: Operand[] = [];
  if (c.atEnd()) return all;
  do {
    const o = operand(c, bits);
    if ('message' in o) return o;
    all.push(o);
  } while (c.take(','));
  if (!c.atEnd()) return { position: c.position, message: 'expected a comma or the end of the statement' };
  return all;
}

function operand(c: Statement, bits: Bits): Operand | Mistake {
  c.atEnd();
  const { position } = c;
  let size: number | undefined;
  let far = false;
  let pointer = false;
  let distance: 'short' | 'near' | undefined;
  for (;;) {
    const word = c.scan(SIZE_WORD);
    if (word === undefined) break;
    const lower = word.toLowerCase();
    size = SIZES[lower] ?? size;
    if (lower === 'ptr') pointer = true;
    if (lower === 'far') far = true;
    else if (lower === 'short' || lower === 'near') distance = lower;
  }
  const segment = c.scan(/[cdefgs]s\s*:/iy);
  const prefix = segment === undefined ? undefined : registerNamed(segment.replace(/\s*:$/, ''));
  if (c.take('[')) return memory(c, bits, { position, size, far, segment: prefix });
  const at = c.position;
  const e = c.expression();
  if (e === undefined) return { position: c.position, message: expected(c) };
  if (e.kind === 'register' && prefix === undefined && size === undefined && distance === undefined)
    return register(e.name, e.position, bits);
  const pointed = pointer && size !== undefined && distance === undefined && e.kind !== 'register';
  if (prefix !== undefined || pointed) {
    // as objdump prints an address without registers: ds:0x1234; as GNU takes one: dword ptr label
    return finish(
      { position, size, far, segment: prefix },
      { registers: [], rest: [{ term: e, negative: false }] },
      prefix === undefined ? undefined : 'abs',
      bits,
    );
  }
  if (c.take(':')) {
    const offset = c.expression();
    if (offset === undefined)
      return { position: c.position, message: 'expected the offset of a far pointer' };
    return { kind: 'far', selector: e, offset, size, position };
  }
  if (far && c.take(',')) {
    // as iced prints a far pointer: jmp far 0x1000, 8
    const selector = c.expression();
    if (selector === undefined)
      return { position: c.position, message: 'expected the selector of a far pointer' };
    return { kind: 'far', selector, offset: e, size, position };
  }
  if (e.kind === 'register')
    return { position: at, message: `${e.name} takes no size or distance: its name says it` };
  return { kind: 'value', value: e, size, distance, position: at };
}

function expected(c: Statement): string {
  if (c.text[c.position] === '%')
    return 'registers are written without "%", and the destination first (Intel syntax)';
  if (c.position >= c.text.length) return 'expected an operand';
  return `expected a register, a number, a symbol or [an address], not "${c.text.slice(c.position).trim()}"`;
}

function register(name: string, position: number, bits: Bits): Operand | Mistake {
  const r = registerNamed(name) ?? Register.None;
  const mistake = unavailable(r, name, position, bits);
  if (mistake) return mistake;
  return { kind: 'register', register: r, class: classOf(r) ?? 'r8', position };
}

function unavailable(r: Register, name: string, position: number, bits: Bits): Mistake | undefined {
  if (bits === 64 || !only64(r)) return undefined;
  return { position, message: `${name} exists in 64-bit code only, and this is ${bits}-bit code` };
}

/** What stands before the bracket. */
interface Before {
  readonly position: number;
  readonly size: number | undefined;
  readonly far: boolean;
  readonly segment: Register | undefined;
}

function memory(c: Statement, bits: Bits, before: Before): Memory | Mistake {
  const inner = c.scan(/[cdefgs]s\s*:/iy);
  const segment = inner === undefined ? before.segment : registerNamed(inner.replace(/\s*:$/, ''));
  const how = c.take('rel') ? 'rel' : c.take('abs') ? 'abs' : undefined;
  c.atEnd();
  const at = c.position;
  const e = c.expression();
  if (e === undefined) return { position: c.position, message: 'expected an address' };
  if (!c.take(']')) return { position: c.position, message: 'expected "]" or an operator' };
  const sum = sumOf(e);
  if (!sum) return { position: at, message: 'an address is base + index*scale + displacement' };
  return finish({ ...before, segment }, sum, how, bits);
}

function finish(before: Before, sum: Sum, how: 'rel' | 'abs' | undefined, bits: Bits): Memory | Mistake {
  let base: Register = Register.None;
  let index: Register = Register.None;
  let scale = 1n;
  let addressSize: Bits | undefined;
  for (const { name, position, factor, scaled } of [...sum.registers].sort(
    (a, b) => Number(a.scaled) - Number(b.scaled),
  )) {
    const r = registerNamed(name) ?? Register.None;
    const mistake = unavailable(r, name, position, bits);
    if (mistake) return mistake;
    const c = classOf(r);
    const size = sizeOf(r, c);
    if (size === undefined && c !== 'xmm' && c !== 'ymm')
      return { position, message: `an address cannot have ${name} in it` };
    if (size !== undefined && addressSize !== undefined && size !== addressSize)
      return { position, message: `${name} is not of the size of the other register` };
    addressSize = size ?? addressSize;
    if (![1n, 2n, 4n, 8n].includes(factor)) return { position, message: 'a scale is 1, 2, 4 or 8' };
    if (!scaled && base === Register.None && size !== undefined) base = r;
    else if (index === Register.None) {
      index = r;
      scale = factor;
    } else return { position, message: 'an address has one base and one index' };
  }
  // SP is never an index; in 16 bits BX and BP are bases, SI and DI indexes
  const swap = isStackPointer(index) || (addressSize === 16 && index !== Register.None && isIndex16(base));
  if (swap && scale === 1n) [base, index] = [index, base];
  if (
    base === Register.None &&
    scale === 1n &&
    classOf(index) === (`r${addressSize ?? 0}` as RegisterClass)
  ) {
    base = index;
    index = Register.None;
  }
  return {
    kind: 'memory',
    ...before,
    base,
    index,
    scale: Number(scale) as Memory['scale'],
    displacement: sum.rest,
    how,
    addressSize,
  };
}

function sizeOf(r: Register, c: RegisterClass | undefined): Bits | undefined {
  if (r === Register.RIP || c === 'r64') return 64;
  if (r === Register.EIP || c === 'r32') return 32;
  return c === 'r16' ? 16 : undefined;
}

const isStackPointer = (r: Register): boolean => r === Register.RSP || r === Register.ESP;
const isIndex16 = (r: Register): boolean => r === Register.SI || r === Register.DI;

/**
 * Operand classes of the assembly syntax: registers, numbers, conditions, targets, and how the text between `<` and
 * `>` of an {@link AsmLine} names one.
 */
import { type Field, fieldMask, signed, TableError } from './bits.ts';
import { DATA_OPERANDS } from './data-operands.ts';
import type { Bits, Cursor, Operand } from './form.ts';
import { field } from './memory-form.ts';
import { STANDARD_NAMES } from './sysreg-names.ts';
import type { Row } from './table.ts';

/** An operand of one syntax line. */
export interface Placed {
  readonly operand: Operand;
  /** Whether an optional part made of this operand is left out. */
  omitted(b: Bits): boolean;
}

/** Names of the conditions by number. */
export const CONDITIONS: readonly string[] = [
  'eq',
  'ne',
  'cs',
  'cc',
  'mi',
  'pl',
  'vs',
  'vc',
  'hi',
  'ls',
  'ge',
  'lt',
  'gt',
  'le',
  'al',
  'nv',
];
/** Other names of conditions. */
const CONDITION_NAMES: Readonly<Record<string, number>> = { hs: 2, lo: 3 };

/** Number of the condition `name`, or `undefined`. */
export function conditionNumber(name: string): number | undefined {
  const n = CONDITIONS.indexOf(name);
  return n >= 0 ? n : CONDITION_NAMES[name];
}

/** The condition in field `cond`, inverted by `flip` (CSET and relatives). */
const condition = (flip: 0 | 1): Operand => ({
  expect: flip ? 'a condition (eq, ne, cs … le)' : 'a condition (eq, ne, cs … al)',
  print: (b) => CONDITIONS[field(b, 'cond') ^ flip] ?? '',
  parse: (c) => {
    const n = conditionNumber(c.word() ?? '');
    if (n === undefined) return undefined;
    if (flip && n > 13) return 'al and nv have no opposite';
    return { cond: n ^ flip };
  },
});

/** Names that stand for a numbered register. */
const REGISTER_NAMES: Readonly<Record<string, string>> = { lr: 'x30', fp: 'x29', ip0: 'x16', ip1: 'x17' };

/** Whether a word is a general-purpose or SIMD register, and so never a symbol. */
export function isRegister(word: string): boolean {
  const m = /^[wxbhsdqv](\d|[12]\d|30|31)$/.exec(word);
  if (m) return !(/^[wx]/.test(word) && m[1] === '31');
  return /^(xzr|wzr|sp|wsp)$/.test(word) || word in REGISTER_NAMES;
}

/** Reads a general-purpose register: letter and number, 31 for the zero register or (`sp`) the stack pointer. */
function parseRegister(c: Cursor, sp: boolean): { letter: 'w' | 'x'; n: number } | undefined {
  const word = c.word() ?? '';
  const name = REGISTER_NAMES[word] ?? word;
  if (name === (sp ? 'sp' : 'xzr')) return { letter: 'x', n: 31 };
  if (name === (sp ? 'wsp' : 'wzr')) return { letter: 'w', n: 31 };
  const m = /^([wx])(\d|[12]\d|30)$/.exec(name);
  return m ? { letter: m[1] === 'w' ? 'w' : 'x', n: Number(m[2]) } : undefined;
}

/** Text of general-purpose register `n`. */
function registerName(letter: 'w' | 'x', n: number, sp: boolean): string {
  if (n !== 31) return `${letter}${n}`;
  return sp ? (letter === 'w' ? 'wsp' : 'sp') : `${letter}zr`;
}

/** `<Xn>`, `<Wd>`, `<Rm>`, each with `|SP`. */
function generalRegister(letter: string, name: string, sp: boolean): Operand {
  const widthOf = (b: Bits): 'w' | 'x' => (letter === 'W' || (letter === 'R' && b.sf === 0) ? 'w' : 'x');
  const zero = sp ? { w: 'wsp', x: 'sp' } : { w: 'wzr', x: 'xzr' };
  const expect = { w: `w0 to w30 or ${zero.w}`, x: `x0 to x30 or ${zero.x}` };
  return {
    expect: letter === 'W' ? expect.w : letter === 'X' ? expect.x : `${expect.x} (or ${expect.w})`,
    print: (b) => registerName(widthOf(b), field(b, name), sp),
    parse: (c, b) => {
      const r = parseRegister(c, sp);
      if (!r) return undefined;
      if (letter !== 'R') return r.letter === letter.toLowerCase() ? { [name]: r.n } : undefined;
      const sf = r.letter === 'x' ? 1 : 0;
      if (b.sf !== undefined && b.sf !== sf) {
        return `the registers are of one width: here ${b.sf === 1 ? expect.x : expect.w}`;
      }
      return { sf, [name]: r.n };
    },
  };
}

/** `<St>` and so on. */
function simdRegister(letter: string, name: string): Operand {
  const low = letter.toLowerCase();
  return {
    expect: `${low}0 to ${low}31`,
    print: (b) => `${low}${field(b, name)}`,
    parse: (c) => {
      const m = new RegExp(`^${low}(\\d|[12]\\d|30|31)$`).exec(c.word() ?? '');
      return m ? { [name]: Number(m[1]) } : undefined;
    },
  };
}

/** A number in one field. */
function fieldNumber(f: Field, isSigned: boolean, scale: number, decimal: boolean): Operand {
  const min = isSigned ? -(2 ** (f.width - 1)) * scale : 0;
  const max = (isSigned ? 2 ** (f.width - 1) - 1 : fieldMask(f)) * scale;
  const range = `${min} to ${max}${scale > 1 ? `, a multiple of ${scale}` : ''}`;
  return {
    expect: `a number, ${range}`,
    print: (b) => {
      const raw = field(b, f.name);
      const value = (isSigned ? signed(raw, f.width) : raw) * scale;
      return decimal || isSigned ? `${value}` : `0x${value.toString(16)}`;
    },
    parse: (c) => {
      const n = c.number();
      if (n === undefined) return undefined;
      if (n < BigInt(min) || n > BigInt(max) || n % BigInt(scale) !== 0n) return `${n} is not in ${range}`;
      return { [f.name]: (Number(n) / scale) & fieldMask(f) };
    },
  };
}

/** A branch target: signed field * 4 from the instruction. */
function label(f: Field): Operand {
  const reach = 2n ** BigInt(f.width + 1);
  return {
    expect: 'a label or an address',
    print: (b, pc) => hex(BigInt.asUintN(64, pc + BigInt(signed(field(b, f.name), f.width) * 4))),
    parse: (c) => {
      const to = c.number();
      if (to === undefined) return undefined;
      const by = BigInt.asIntN(64, to - c.pc);
      if (by % 4n !== 0n) return `the target ${hex(to)} is not a multiple of 4 away`;
      if (by < -reach || by >= reach)
        return `the target ${hex(to)} is ${by} bytes away, the reach is ${reach}`;
      return { [f.name]: Number(BigInt.asUintN(f.width, by / 4n)) };
    },
  };
}

/** Target of ADR (`unit` 1) or ADRP (4096): fields immhi and immlo. */
function address(unit: bigint): Operand {
  return {
    expect: 'a label or an address',
    print: (b, pc) => {
      const by = BigInt(signed((field(b, 'immhi') << 2) | field(b, 'immlo'), 21));
      return hex(BigInt.asUintN(64, (pc / unit + by) * unit));
    },
    parse: (c) => {
      const to = c.number();
      if (to === undefined) return undefined;
      const by = BigInt.asIntN(64, (BigInt.asUintN(64, to) / unit - c.pc / unit) * unit) / unit;
      if (by < -(2n ** 20n) || by >= 2n ** 20n) return `the target ${hex(to)} is out of reach`;
      const value = Number(BigInt.asUintN(21, by));
      return { immhi: value >> 2, immlo: value & 3 };
    },
  };
}

/** Register offset of a load or store: fields Rm, option, S; `log2` of the bytes accessed is the only shift. */
function index(log2: number): Operand {
  const extends_ = ['', '', 'uxtw', 'lsl', '', '', 'sxtw', 'sxtx'];
  return {
    expect: `an index register: x1, lsl #${log2} or w1, sxtw #${log2}`,
    print: (b) => {
      const option = field(b, 'option');
      const register = registerName((option & 1) === 1 ? 'x' : 'w', field(b, 'Rm'), false);
      if (option === 3 && b.S === 0) return register;
      return `${register}, ${extends_[option]}${b.S === 1 ? ` #${log2}` : ''}`;
    },
    parse: (c) => {
      const r = parseRegister(c, false);
      if (!r) return undefined;
      const wide = r.letter === 'x' ? 1 : 0;
      if (!c.take(',')) return wide ? { Rm: r.n, option: 3, S: 0 } : 'a w index needs uxtw or sxtw';
      const option = extends_.indexOf(c.word() || '?');
      if (option < 0 || (option & 1) !== wide) return wide ? 'lsl or sxtx' : 'uxtw or sxtw';
      const by = c.number();
      if (by === undefined)
        return option === 3 ? `lsl needs an amount, #0 or #${log2}` : { Rm: r.n, option, S: 0 };
      if (by !== 0n && by !== BigInt(log2)) return `the amount is 0 or ${log2}`;
      // With byte accesses `#0` is the encoding with S = 1; elsewhere it says that nothing is shifted.
      return { Rm: r.n, option, S: by === BigInt(log2) ? 1 : 0 };
    },
  };
}

const CLASSES: Readonly<Record<string, Operand>> = {
  cond: condition(0),
  invcond: condition(1),
  address: address(1n),
  page: address(4096n),
  ...DATA_OPERANDS,
};

/** `0x…`, lower case. */
function hex(n: bigint): string {
  return `0x${n.toString(16)}`;
}

/**
 * The operand that `spec` (the text between `<` and `>`) names for `row`.
 * @throws TableError if it names none.
 */
export function placeOperand(row: Row, spec: string, inBrackets: boolean): Placed {
  const unknown = (): never => {
    throw new TableError(
      `row "${row.form.name}": <${spec}> is neither an operand class, a register nor a field`,
    );
  };
  const find = (name: string): Field => row.pattern.fields.find((f) => f.name === name) ?? unknown();
  const whole = (operand: Operand): Placed => ({
    operand,
    omitted: (b) => operand.print(b, 0n, STANDARD_NAMES) === '',
  });
  const own = row.form.operands?.[spec] ?? CLASSES[spec];
  if (own) return whole(own);
  const register = /^([WXRBHSDQ])([a-z]\d?)(\|SP)?$/.exec(spec);
  if (register?.[1] && register[2]) {
    const name = find(`R${register[2]}`).name;
    const general = 'WXR'.includes(register[1]);
    return whole(
      general
        ? generalRegister(register[1], name, register[3] !== undefined)
        : simdRegister(register[1], name),
    );
  }
  const offset = /^index\*(\d)$/.exec(spec);
  if (offset) return whole(index(Number(offset[1])));
  const m = /^([A-Za-z]\w*)(:s)?(?:\*(\d+))?(:d)?$/.exec(spec);
  const target = /^label:(\w+)$/.exec(spec);
  if (target?.[1]) return whole(label(find(target[1])));
  if (!m?.[1]) return unknown();
  const f = find(m[1]);
  const operand = fieldNumber(f, m[2] !== undefined, Number(m[3] ?? 1), inBrackets || m[4] !== undefined);
  return { operand, omitted: (b) => field(b, f.name) === 0 };
}

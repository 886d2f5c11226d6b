/** Operand classes of the data-processing rows: shifts, extends, immediates with rules of their own. */
import { decodeBitmask, encodeBitmask } from './bitmask.ts';
import type { Bits, Cursor, Operand } from './form.ts';
import { field } from './memory-form.ts';

const SHIFTS = ['lsl', 'lsr', 'asr', 'ror'] as const;
const EXTENDS: readonly string[] = ['uxtb', 'uxth', 'uxtw', 'uxtx', 'sxtb', 'sxth', 'sxtw', 'sxtx'];

const width = (b: Bits): number => (b.sf === 0 ? 32 : 64);

/** A number from `min` to `max` that becomes fields. */
const amount = (
  what: string,
  read: (b: Bits) => number,
  range: (b: Bits) => readonly [min: number, max: number],
  fields: (n: number, b: Bits) => Bits,
): Operand => ({
  expect: what,
  print: (b) => `${read(b)}`,
  parse: (c, b) => {
    const n = c.number();
    if (n === undefined) return undefined;
    const [min, max] = range(b);
    return n < BigInt(min) || n > BigInt(max) ? `${n} is not in ${min} to ${max}` : fields(Number(n), b);
  },
});

/** `lsl #3`: fields shift and imm6; nothing for an unshifted register. */
const shift: Operand = {
  expect: 'a shift (lsl, lsr, asr, ror) and its amount',
  print: (b) => (b.shift === 0 && b.imm6 === 0 ? '' : `${SHIFTS[field(b, 'shift')]} #${field(b, 'imm6')}`),
  parse: (c, b) => {
    const type = SHIFTS.findIndex((s) => c.take(s));
    if (type < 0) return undefined;
    const n = c.number();
    if (n === undefined || n < 0n || n >= BigInt(width(b)))
      return `a shift amount here is 0 to ${width(b) - 1}`;
    return { shift: type, imm6: Number(n) };
  },
};

/** Second operand of the extended-register rows: `w2, sxtw #3`, `x2, lsl #1`, `x2`. With `flags`, Rd = 31 is no SP. */
const extended = (flags: boolean): Operand => ({
  expect: 'a register, possibly with uxtb … sxtx or lsl and an amount of 0 to 4',
  print: (b) => {
    const option = field(b, 'option');
    const wide = b.sf === 1 && (option & 3) === 3;
    const n = field(b, 'Rm');
    const register = `${wide ? 'x' : 'w'}${n === 31 ? 'zr' : n}`;
    // `lsl` is preferred to the extend of the operation's width where the stack pointer makes that the only meaning.
    const stack = b.Rn === 31 || (b.Rd === 31 && !flags);
    const by = field(b, 'imm3');
    const natural = option === (b.sf === 1 ? 3 : 2);
    if (stack && natural) return by === 0 ? register : `${register}, lsl #${by}`;
    return `${register}, ${EXTENDS[option]}${by === 0 ? '' : ` #${by}`}`;
  },
  parse: (c, b) => {
    const m = /^([wx])(\d|[12]\d|30|zr)$/.exec(c.word() ?? '');
    if (!m) return undefined;
    const wide = m[1] === 'x';
    if (wide && b.sf === 0) return 'the registers are of one width: here w0 to w30 or wzr';
    const Rm = m[2] === 'zr' ? 31 : Number(m[2]);
    const natural = b.sf === 1 ? 3 : 2;
    if (!c.take(',')) {
      return wide === (b.sf === 1)
        ? { Rm, option: natural, imm3: 0 }
        : 'a w register here needs an extend (uxtw …)';
    }
    const word = c.word() ?? '';
    const option = word === 'lsl' ? natural : EXTENDS.indexOf(word);
    if (option < 0) return 'an extend (uxtb … sxtx) or lsl';
    if (b.sf === 1 && ((option & 3) === 3) !== wide)
      return wide ? 'uxtx, sxtx or lsl' : 'uxtb to uxtw or sxtb to sxtw';
    const n = c.number() ?? 0n;
    return n < 0n || n > 4n ? 'an amount here is 0 to 4' : { Rm, option, imm3: Number(n) };
  },
});

/** Immediate of ADD and SUB: 12 bits, or 12 bits shifted by 12. */
const addImmediate: Operand = {
  expect: 'a number, 0 to 4095 or a multiple of 4096 to 16773120',
  print: (b) => `#0x${field(b, 'imm12').toString(16)}`,
  parse: (c) => {
    const n = c.number();
    if (n === undefined) return undefined;
    if (n >= 0n && n < 4096n) return { imm12: Number(n) };
    if (n > 0n && n % 4096n === 0n && n < 0x1000000n) return { imm12: Number(n / 4096n), sh: 1 };
    return `${n} is neither 0 to 4095 nor a multiple of 4096 up to 16773120`;
  },
};

/** A negative immediate, which assembly turns into the opposite operation. */
const negated: Operand = {
  expect: addImmediate.expect,
  print: () => '',
  parse: (c) => {
    const n = c.number();
    if (n === undefined || n >= 0n) return undefined;
    if (n > -4096n) return { imm12: Number(-n) };
    if (n % 4096n === 0n && n > -0x1000000n) return { imm12: Number(-n / 4096n), sh: 1 };
    return `${n} is neither -4095 to 4095 nor a multiple of 4096 up to 16773120`;
  },
};

/** `lsl #12` of ADD and SUB. */
const addShift: Operand = {
  expect: 'lsl #0 or lsl #12',
  print: (b) => (b.sh === 1 ? 'lsl #12' : ''),
  parse: (c, b) => {
    if (!c.take('lsl')) return undefined;
    const n = c.number();
    if (n === 0n && b.sh !== 1) return { sh: 0 };
    return n === 12n && b.sh !== 1 ? { sh: 1 } : 'the shift here is lsl #0 or lsl #12';
  },
};

/** Shift of MOVZ, MOVN, MOVK: field hw. */
const halfShift: Operand = {
  expect: 'lsl #0, #16, #32 or #48',
  print: (b) => (b.hw === 0 ? '' : `lsl #${field(b, 'hw') * 16}`),
  parse: (c, b) => {
    if (!c.take('lsl')) return undefined;
    const n = c.number();
    if (n === undefined || n < 0n || n >= BigInt(width(b)) || n % 16n !== 0n) {
      return width(b) === 64 ? 'the shift here is 0, 16, 32 or 48' : 'the shift here is 0 or 16';
    }
    return { hw: Number(n) / 16 };
  },
};

/** A number of the operation's width, as it stands in the register; `undefined` if it has more bits. */
function widthNumber(c: Cursor, b: Bits): { value: bigint } | string | undefined {
  const n = c.number();
  if (n === undefined) return undefined;
  const bits = width(b);
  if (n < -(2n ** BigInt(bits - 1)) || n >= 2n ** BigInt(bits)) return `${n} has more than ${bits} bits`;
  return { value: BigInt.asUintN(bits, n) };
}

/** A constant that MOVZ (or, inverted, MOVN) makes. */
const wideConstant = (invert: boolean): Operand => ({
  expect: 'a constant',
  print: (b) => {
    const part = BigInt(field(b, 'imm16')) << BigInt(field(b, 'hw') * 16);
    return `0x${(invert ? BigInt.asUintN(width(b), ~part) : part).toString(16)}`;
  },
  parse: (c, b) => {
    const n = widthNumber(c, b);
    if (n === undefined || typeof n === 'string') return n;
    const value = invert ? BigInt.asUintN(width(b), ~n.value) : n.value;
    for (let hw = 0; hw < width(b) / 16; hw++) {
      if ((value >> BigInt(hw * 16)) << BigInt(hw * 16) === value && value >> BigInt(hw * 16) < 0x10000n) {
        return { hw, imm16: Number(value >> BigInt(hw * 16)) };
      }
    }
    return `0x${n.value.toString(16)} cannot be made by one instruction: use movz and movk, or ldr with =`;
  },
});

/** A bitmask immediate: fields N, immr, imms. */
const bitmask: Operand = {
  expect: 'a bitmask immediate (a repeated, rotated run of ones)',
  print: (b) => {
    const [lo, hi] = decodeBitmask(field(b, 'N'), field(b, 'imms'), field(b, 'immr'), field(b, 'sf')) ?? [
      0, 0,
    ];
    return `0x${((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16)}`;
  },
  parse: (c, b) => {
    const n = widthNumber(c, b);
    if (n === undefined || typeof n === 'string') return n;
    const lo = Number(BigInt.asIntN(32, n.value));
    const hi = Number(BigInt.asIntN(32, n.value >> 32n));
    return (
      encodeBitmask(lo, hi, field(b, 'sf')) ??
      `0x${n.value.toString(16)} is not a bitmask immediate (a repeated, rotated run of ones)`
    );
  },
};

/** Operand classes by name. */
export const DATA_OPERANDS: Readonly<Record<string, Operand>> = {
  shift,
  extended: extended(false),
  extendedflags: extended(true),
  addimm: addImmediate,
  negated,
  addshift: addShift,
  hwshift: halfShift,
  movz: wideConstant(false),
  movn: wideConstant(true),
  bitmask,
  // Aliases of the bitfield moves, DDI 0487 C6.2 (ASR, LSL, LSR, SBFIZ, SBFX, BFI, BFXIL …).
  shiftright: amount(
    'a shift amount',
    (b) => field(b, 'immr'),
    (b) => [0, width(b) - 1],
    (n, b) => ({ immr: n, imms: width(b) - 1 }),
  ),
  shiftleft: amount(
    'a shift amount',
    (b) => width(b) - 1 - field(b, 'imms'),
    (b) => [0, width(b) - 1],
    (n, b) => ({ immr: (width(b) - n) % width(b), imms: width(b) - 1 - n }),
  ),
  insertat: amount(
    'the lowest bit of the field',
    (b) => (width(b) - field(b, 'immr')) % width(b),
    (b) => [0, width(b) - 1],
    (n, b) => ({ immr: (width(b) - n) % width(b) }),
  ),
  insertwidth: amount(
    'the width of the field in bits',
    (b) => field(b, 'imms') + 1,
    (b) => [1, b.immr === 0 ? width(b) : field(b, 'immr')],
    (n) => ({ imms: n - 1 }),
  ),
  extractat: amount(
    'the lowest bit of the field',
    (b) => field(b, 'immr'),
    (b) => [0, width(b) - 1],
    (n) => ({ immr: n }),
  ),
  extractwidth: amount(
    'the width of the field in bits',
    (b) => field(b, 'imms') - field(b, 'immr') + 1,
    (b) => [1, width(b) - field(b, 'immr')],
    (n, b) => ({ imms: field(b, 'immr') + n - 1 }),
  ),
  extractbit: amount(
    'a bit number',
    (b) => field(b, 'imms'),
    (b) => [0, width(b) - 1],
    (n) => ({ imms: n }),
  ),
};

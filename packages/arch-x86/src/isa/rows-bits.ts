/**
 * Bits: tests in registers and bit strings (BT and kin), searches and counts (BSF to POPCNT), byte order (BSWAP, MOVBE),
 * carries that run side by side (ADCX, ADOX) and CRC32 (AMD64 APM volume 3). BMI1 and BMI2 are in `rows-bmi.ts`.
 */
import type { Expr, I32, I64 } from '@faultyard/engine';
import { overflow, setCarry, setOverflow, setZero, setZeroOnly } from './flag-setting.ts';
import { carry } from './flags.ts';
import type { Operands, Row, Width } from './row.ts';
import { as32, bitAt, bitsOf, constant, low, reversed } from './values.ts';

const SIZES = ['16', '32', '64'] as const;

/** A changed bit: the value with the bit of `mask` set, cleared, inverted. */
type Change = (o: Operands, v: Expr, mask: Expr) => Expr;
const set: Change = ({ b }, v, mask) => b.or(v, mask);
const reset: Change = ({ b }, v, mask) => b.and(v, b.not(mask));
const complement: Change = ({ b }, v, mask) => b.xor(v, mask);

/** The operand's bit `n` goes to CF, then changes. */
function inOperand(o: Operands, n: I32, change: Change | undefined): void {
  const { b, width } = o;
  const old = change ? o.modify(0, (v) => change(o, v, b.shl(constant(b, width, 1), n))) : b.let(o.read(0));
  setCarry(b, b.let(bitAt(b, old, n)));
}

/**
 * A register offset from memory reaches the whole string of bits around the address: offsets are signed, and the element
 * of the operand size that holds the bit is accessed.
 */
function inString(o: Operands, change: Change | undefined): void {
  const { b, width } = o;
  const size = bitsOf(width);
  const bit = b.let(o.read(1));
  const n = b.let(b.and(as32(b, bit), b.c32(size - 1)));
  const wide = width === 8 ? (bit as I64) : b.extS(width === 2 ? b.sext(bit as I32, 16) : (bit as I32));
  const bytes = b.shl(b.shrS(wide, b.c32(Math.log2(size))), b.c32(Math.log2(width)));
  const sum = b.add(o.offset(), bytes);
  const offset = o.addressSize === 8 ? sum : b.zext(sum, o.addressSize === 4 ? 32 : 16);
  const at = o.linearAt('operand', offset, width, change !== undefined);
  let old: Expr;
  if (!change) old = b.let(b.load(width as 8, at));
  else {
    const f = (v: Expr): Expr => change(o, v, b.shl(constant(b, width, 1), n));
    old = width === 8 ? b.rmw(8, at, f as (v: I64) => I64) : b.rmw(width, at, f as (v: I32) => I32);
  }
  setCarry(b, b.let(bitAt(b, old, n)));
}

function bitTest(name: string, change: Change | undefined): Row {
  return {
    name: name.toLowerCase(),
    codes: SIZES.flatMap((n) => [`${name}_rm${n}_r${n}`, `${name}_rm${n}_imm8`]),
    sem(o) {
      const { b, width } = o;
      if (o.kind(0) === 'memory' && o.kind(1) === 'register') inString(o, change);
      else inOperand(o, b.let(b.and(as32(b, o.read(1)), b.c32(bitsOf(width) - 1))), change);
    },
  };
}

/** BSF and BSR: a source of 0 leaves the whole destination alone (AMD64 APM volume 3, BSF). */
function search(name: 'Bsf' | 'Bsr', find: (o: Operands, v: Expr) => Expr): Row {
  return {
    name: name.toLowerCase(),
    codes: SIZES.map((n) => `${name}_r${n}_rm${n}`),
    sem(o) {
      const { b } = o;
      const v = b.let(o.read(1));
      const none = b.let(b.eqz(v));
      b.when(b.eqz(none), () => o.write(0, find(o, v)));
      setZero(b, none);
    },
  };
}

/** LZCNT and TZCNT: a source of 0 gives the operand size and CF. */
function count(name: 'Lzcnt' | 'Tzcnt', feature: string, find: (o: Operands, v: Expr) => Expr): Row {
  return {
    name: name.toLowerCase(),
    feature,
    codes: SIZES.map((n) => `${name}_r${n}_rm${n}`),
    sem(o) {
      const { b } = o;
      const v = b.let(o.read(1));
      const n = b.let(find(o, v));
      o.write(0, n);
      setZero(b, b.let(b.eqz(n)), b.eqz(v));
    },
  };
}

const leading = ({ b, width }: Operands, v: Expr): Expr =>
  width === 2 ? b.sub(b.clz(v as I32), b.c32(16)) : b.clz(v);
const trailing = ({ b, width }: Operands, v: Expr): Expr =>
  b.ctz(width === 2 ? b.or(v as I32, b.c32(0x1_0000)) : v);

/** ADCX and ADOX: an addition whose carry chain is CF, or OF, alone. */
function carryChain(name: 'Adcx' | 'Adox'): Row {
  return {
    name: name.toLowerCase(),
    feature: 'adx',
    notEmulated: true,
    codes: [`${name}_r32_rm32`, `${name}_r64_rm64`],
    sem(o) {
      const { b, width } = o;
      const y = b.let(o.read(1));
      const x = b.let(o.read(0));
      const c = b.let(name === 'Adcx' ? carry(b) : overflow(b));
      const partial = b.let(b.add(x, y));
      const sum = b.let(b.add(partial, width === 8 ? b.extU(c) : c));
      // the second addition wraps only where the first gave all ones
      const out = b.let(b.or(b.ltU(partial, x), b.ltU(sum, partial)));
      o.write(0, sum);
      if (name === 'Adcx') setCarry(b, out);
      else setOverflow(b, out);
    },
  };
}

/** CRC-32C, bit by bit: polynomial 11EDC6F41h, reflected (SDM volume 2, CRC32). */
function crc32(o: Operands): void {
  const { b } = o;
  const from = o.size(1) as Width;
  const data = b.let(o.read(1));
  let crc = b.let(as32(b, o.read(0)));
  for (let byte = 0; byte < from; byte += 4) {
    const part = as32(b, byte === 0 ? data : b.shrU(data as I64, b.c32(32)));
    crc = b.let(b.xor(crc, part));
    for (let i = 0; i < Math.min(from, 4) * 8; i++) {
      const feedback = b.and(b.sub(b.c32(0), b.and(crc, b.c32(1))), b.c32(0x82f6_3b78 | 0));
      crc = b.let(b.xor(b.shrU(crc, b.c32(1)), feedback));
    }
  }
  o.write(0, o.size(0) === 8 ? b.extU(crc) : crc);
}

/** The rows. */
export const BIT_ROWS: readonly Row[] = [
  bitTest('Bt', undefined),
  bitTest('Bts', set),
  bitTest('Btr', reset),
  bitTest('Btc', complement),
  search('Bsf', ({ b }, v) => b.ctz(v)),
  search('Bsr', ({ b }, v) => b.xor(b.clz(v), v.ty === 'i64' ? b.c64(63) : b.c32(31))),
  count('Lzcnt', 'abm', leading),
  count('Tzcnt', 'bmi1', trailing),
  {
    name: 'popcnt',
    feature: 'popcnt',
    notEmulated: true,
    codes: SIZES.map((n) => `Popcnt_r${n}_rm${n}`),
    sem(o) {
      const { b } = o;
      const v = b.let(o.read(1));
      o.write(0, b.popcnt(v));
      setZeroOnly(b, b.let(b.eqz(v)));
    },
  },
  {
    name: 'bswap',
    codes: ['Bswap_r16', 'Bswap_r32', 'Bswap_r64'],
    sem(o) {
      const { b, width } = o;
      // with 16-bit operands undefined; AMD's processors write 0 (see undefined-flags.ts)
      o.modify(0, (v) => (width === 2 ? b.c32(0) : reversed(b, width, v)));
    },
  },
  {
    name: 'movbe',
    feature: 'movbe',
    codes: SIZES.flatMap((n) => [`Movbe_r${n}_m${n}`, `Movbe_m${n}_r${n}`]),
    sem(o) {
      const { b, width } = o;
      o.write(0, b.let(low(b, width, reversed(b, width, b.let(o.read(1))))));
    },
  },
  carryChain('Adcx'),
  carryChain('Adox'),
  {
    name: 'crc32',
    feature: 'sse4_2',
    notEmulated: true,
    codes: ['r32_rm8', 'r64_rm8', 'r32_rm16', 'r32_rm32', 'r64_rm64'].map((s) => `Crc32_${s}`),
    sem: crc32,
  },
];

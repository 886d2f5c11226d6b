/**
 * SSE moves that spread parts of their source or gather sign bits: MOVSLDUP, MOVSHDUP, MOVDDUP, MOVMSKPS, MOVMSKPD,
 * PMOVMSKB (AMD64 APM volume 4). Moves of whole registers are in `rows-x87-sse.ts`.
 */
import type { I32, I64 } from '@faultyard/engine';
import { Guard } from './guards.ts';
import type { Operands, Row } from './row.ts';
import { Slow } from './slow.ts';

function setWhole(o: Operands, lo: I64, hi: I64): void {
  o.b.setElem('v', o.slot(0), 0, 8, lo);
  o.b.setElem('v', o.slot(0), 8, 8, hi);
}

/** Of each half the lower or upper 4 bytes, twice. */
const spreadDwords =
  (upper: boolean) =>
  (o: Operands): void => {
    const { b } = o;
    b.guard(Guard.Sse);
    let halves: readonly I64[];
    if (o.kind(1) === 'memory') {
      const at = b.let(o.linear(16, false));
      b.when(b.and(b.wrap(at), b.c32(15)), () => b.slow(Slow.Unaligned));
      halves = b.loads(8, 2, at) as I64[];
    } else halves = [b.let(b.elem('v', o.slot(1), 0, 8)), b.let(b.elem('v', o.slot(1), 8, 8))];
    const twice = halves.map((v) => {
      const part: I64 = b.let(b.extU(b.wrap(upper ? b.shrU(v, b.c32(32)) : v)));
      return b.let(b.or(part, b.shl(part, b.c32(32))));
    });
    setWhole(o, twice[0] as I64, twice[1] as I64);
  };

function spreadQword(o: Operands): void {
  const { b } = o;
  b.guard(Guard.Sse);
  const v = o.kind(1) === 'memory' ? b.load(8, o.linear(8, false)) : b.let(b.elem('v', o.slot(1), 0, 8));
  setWhole(o, v, v);
}

/** The sign bits of all elements of `size` bytes; the lowest element's is bit 0. */
const signs =
  (size: 1 | 4 | 8) =>
  (o: Operands): void => {
    const { b } = o;
    b.guard(Guard.Sse);
    let mask: I32 = b.c32(0);
    for (let i = 0; i < 16 / size; i++) {
      const top: I32 = b.shrU(b.elem('v', o.slot(1), size * i + size - 1, 1), b.c32(7));
      mask = b.or(mask, b.shl(top, b.c32(i)));
    }
    o.write(0, o.size(0) === 8 ? b.extU(mask) : mask);
  };

/** The rows. */
export const SSE_SPREAD_ROWS: readonly Row[] = [
  {
    name: 'movsldup',
    notEmulated: true,
    feature: 'sse3',
    codes: ['Movsldup_xmm_xmmm128'],
    sem: spreadDwords(false),
  },
  {
    name: 'movshdup',
    notEmulated: true,
    feature: 'sse3',
    codes: ['Movshdup_xmm_xmmm128'],
    sem: spreadDwords(true),
  },
  { name: 'movddup', notEmulated: true, feature: 'sse3', codes: ['Movddup_xmm_xmmm64'], sem: spreadQword },
  { name: 'movmskps', feature: 'sse', codes: ['Movmskps_r32_xmm', 'Movmskps_r64_xmm'], sem: signs(4) },
  { name: 'movmskpd', feature: 'sse2', codes: ['Movmskpd_r32_xmm', 'Movmskpd_r64_xmm'], sem: signs(8) },
  { name: 'pmovmskb', feature: 'sse2', codes: ['Pmovmskb_r32_xmm', 'Pmovmskb_r64_xmm'], sem: signs(1) },
];

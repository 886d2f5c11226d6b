/**
 * SSE moves, so that SIMD state can be saved, restored and moved, and the instructions that TypeScript performs on x87,
 * MMX and SSE state (`system/x87.ts`, `system/mmx.ts`; those of whole areas are in `rows-system.ts`). All other x87, MMX and SIMD instructions are
 * #UD: no guest here computes with them yet.
 *
 * Moves of 16 bytes that demand alignment raise #GP(0) before the page is looked at; MXCSR.MM does not change that for
 * them (AMD64 APM volume 1, 4.3.2).
 */
import type { Expr, I32, I64, Slot } from '@faultyard/engine';
import { Guard } from './guards.ts';
import type { Operands, Row } from './row.ts';
import { Slow } from './slow.ts';

/** Low and high half of an XMM register or of 16 bytes of memory. */
type Halves = readonly [lo: I64, hi: I64];

const half = (o: Operands, slot: Slot, at: 0 | 8): I64 => o.b.elem('v', slot, at, 8);
function setHalf(o: Operands, slot: Slot, at: 0 | 8, v: I64): void {
  o.b.setElem('v', slot, at, 8, v);
}
function setWhole(o: Operands, slot: Slot, [lo, hi]: Halves): void {
  setHalf(o, slot, 0, lo);
  setHalf(o, slot, 8, hi);
}

/** Address of 16 bytes; `aligned`: leaves where it is not. */
function whole(o: Operands, write: boolean, aligned: boolean): I64 {
  const { b } = o;
  const at = b.let(o.linear(16, write));
  if (aligned) b.when(b.and(b.wrap(at), b.c32(15)), () => b.slow(Slow.Unaligned));
  return at;
}

/** Any move of 16 bytes. */
const moveWhole =
  (aligned: boolean) =>
  (o: Operands): void => {
    const { b } = o;
    b.guard(Guard.Sse);
    if (o.kind(0) === 'memory') {
      const from = o.slot(1);
      b.stores(8, whole(o, true, aligned), [half(o, from, 0), half(o, from, 8)]);
      return;
    }
    if (o.kind(1) === 'memory') {
      const [lo, hi] = b.loads(8, 2, whole(o, false, aligned)) as [I64, I64];
      setWhole(o, o.slot(0), [lo, hi]);
      return;
    }
    const from = o.slot(1);
    setWhole(o, o.slot(0), [b.let(half(o, from, 0)), b.let(half(o, from, 8))]);
  };

/** MOVSS and MOVSD: from memory the rest of the register becomes 0, between registers it stays. */
const moveScalar =
  (size: 4 | 8) =>
  (o: Operands): void => {
    const { b } = o;
    const read = (slot: Slot): Expr => b.elem('v', slot, 0, size as 8);
    b.guard(Guard.Sse);
    if (o.kind(0) === 'memory') b.store(size, o.linear(size, true), read(o.slot(1)));
    else if (o.kind(1) === 'memory') {
      const v: Expr = b.load(size as 8, o.linear(size, false));
      setWhole(o, o.slot(0), [size === 4 ? b.extU(v as I32) : (v as I64), b.c64(0)]);
    } else b.setElem('v', o.slot(0), 0, size, read(o.slot(1)));
  };

/** MOVLPS, MOVHPS and so on: 8 bytes of memory and one half of a register. */
const moveHalf =
  (at: 0 | 8) =>
  (o: Operands): void => {
    const { b } = o;
    b.guard(Guard.Sse);
    if (o.kind(0) === 'memory') b.store(8, o.linear(8, true), half(o, o.slot(1), at));
    else setHalf(o, o.slot(0), at, b.load(8, o.linear(8, false)));
  };

/** MOVHLPS and MOVLHPS: one half of the source to the other of the destination. */
const cross =
  (from: 0 | 8) =>
  (o: Operands): void => {
    o.b.guard(Guard.Sse);
    setHalf(o, o.slot(0), from === 0 ? 8 : 0, half(o, o.slot(1), from));
  };

/** MOVD and MOVQ from and to general registers or memory. */
function moveGeneral(o: Operands): void {
  const { b } = o;
  b.guard(Guard.Sse);
  if (o.kind(0) === 'vector') {
    const v = o.read(1);
    setWhole(o, o.slot(0), [b.let(v.ty === 'i64' ? (v as I64) : b.extU(v as I32)), b.c64(0)]);
  } else o.write(0, b.elem('v', o.slot(1), 0, o.size(0) as 8));
}

/** MOVQ of XMM registers and memory: the upper half of a destination register becomes 0. */
function moveQuad(o: Operands): void {
  const { b } = o;
  b.guard(Guard.Sse);
  if (o.kind(0) === 'memory') b.store(8, o.linear(8, true), half(o, o.slot(1), 0));
  else {
    const v = o.kind(1) === 'memory' ? b.load(8, o.linear(8, false)) : b.let(half(o, o.slot(1), 0));
    setWhole(o, o.slot(0), [v, b.c64(0)]);
  }
}

/** Bytes of `v` whose mask byte has its top bit set, the others of `old`. */
function merged(o: Operands, old: I64, v: I64, mask: I64): I64 {
  const { b } = o;
  const tops = b.and(b.shrU(mask, b.c32(7)), b.c64(0x0101_0101, 0x0101_0101));
  const chosen = b.let(b.mul(tops, b.c64(255, 0)));
  return b.or(b.and(old, b.not(chosen)), b.and(v, chosen));
}
/** MASKMOVDQU: all 16 bytes must be writable, whatever the mask says. */
function maskMove(o: Operands): void {
  const { b } = o;
  b.guard(Guard.Sse);
  const at = b.let(o.linear(16, true));
  // reads that check for writing, too: a fault is one of a write
  const old = ([0, 8] as const).map((n) => b.rmw(8, b.add(at, b.c64(n)), (v) => v));
  const parts = ([0, 8] as const).map((n, i) =>
    b.let(merged(o, old[i] as I64, half(o, o.slot(1), n), half(o, o.slot(2), n))),
  );
  b.stores(8, at, parts);
}

/** Instructions that `system/dispatch.ts` performs. */
const SYSTEM_CODES: readonly string[] = [
  ...['Fninit', 'Fnclex', 'Fldcw_m2byte', 'Fnstcw_m2byte', 'Fnstsw_m2byte', 'Fnstsw_AX', 'Wait', 'Fnop'],
  ...['Fneni', 'Fndisi', 'Fnsetpm'],
  ...['Fnstenv_m14byte', 'Fnstenv_m28byte', 'Fldenv_m14byte', 'Fldenv_m28byte'],
  ...['Fnsave_m94byte', 'Fnsave_m108byte', 'Frstor_m94byte', 'Frstor_m108byte'],
  ...['Emms', 'Movd_mm_rm32', 'Movq_mm_rm64', 'Movd_rm32_mm', 'Movq_rm64_mm', 'Movq_mm_mmm64'],
  ...['Movq_mmm64_mm', 'Movntq_m64_mm', 'Maskmovq_rDI_mm_mm', 'Movq2dq_xmm_mm', 'Movdq2q_mm_xmm'],
  ...['Ldmxcsr_m32', 'Stmxcsr_m32'],
];

const leave = (o: Operands): void => o.b.slow(Slow.System);

/** The rows. */
export const X87_SSE_ROWS: readonly Row[] = [
  {
    name: 'mov.aligned',
    feature: 'sse2',
    codes: [
      ...['Movaps', 'Movapd', 'Movdqa'].flatMap((n) => [`${n}_xmm_xmmm128`, `${n}_xmmm128_xmm`]),
      ...['Movntps_m128_xmm', 'Movntpd_m128_xmm', 'Movntdq_m128_xmm'],
    ],
    sem: moveWhole(true),
  },
  {
    name: 'mov.unaligned',
    feature: 'sse2',
    codes: ['Movups', 'Movupd', 'Movdqu'].flatMap((n) => [`${n}_xmm_xmmm128`, `${n}_xmmm128_xmm`]),
    sem: moveWhole(false),
  },
  {
    name: 'movntdqa',
    notEmulated: true,
    feature: 'sse4_1',
    codes: ['Movntdqa_xmm_m128'],
    sem: moveWhole(true),
  },
  { name: 'lddqu', notEmulated: true, feature: 'sse3', codes: ['Lddqu_xmm_m128'], sem: moveWhole(false) },
  {
    name: 'movss',
    notEmulated: true,
    feature: 'sse',
    codes: ['Movss_xmm_xmmm32', 'Movss_xmmm32_xmm'],
    sem: moveScalar(4),
  },
  {
    name: 'movsd.xmm',
    notEmulated: true,
    feature: 'sse2',
    codes: ['Movsd_xmm_xmmm64', 'Movsd_xmmm64_xmm'],
    sem: moveScalar(8),
  },
  {
    name: 'mov.low',
    notEmulated: true,
    feature: 'sse2',
    codes: ['Movlps', 'Movlpd'].flatMap((n) => [`${n}_xmm_m64`, `${n}_m64_xmm`]),
    sem: moveHalf(0),
  },
  {
    name: 'mov.high',
    notEmulated: true,
    feature: 'sse2',
    codes: ['Movhps', 'Movhpd'].flatMap((n) => [`${n}_xmm_m64`, `${n}_m64_xmm`]),
    sem: moveHalf(8),
  },
  { name: 'movhlps', feature: 'sse', codes: ['Movhlps_xmm_xmm'], sem: cross(8) },
  { name: 'movlhps', feature: 'sse', codes: ['Movlhps_xmm_xmm'], sem: cross(0) },
  {
    name: 'mov.general',
    notEmulated: true,
    feature: 'sse2',
    codes: ['Movd_xmm_rm32', 'Movq_xmm_rm64', 'Movd_rm32_xmm', 'Movq_rm64_xmm'],
    sem: moveGeneral,
  },
  {
    name: 'movq',
    notEmulated: true,
    feature: 'sse2',
    codes: ['Movq_xmm_xmmm64', 'Movq_xmmm64_xmm'],
    sem: moveQuad,
  },
  {
    // neither CR0.EM and TS nor CR4.OSFXSR forbid it: it touches no SIMD register
    name: 'movnti',
    feature: 'sse2',
    codes: ['Movnti_m32_r32', 'Movnti_m64_r64'],
    sem: (o) => o.write(0, o.read(1)),
  },
  {
    name: 'maskmovdqu',
    notEmulated: true,
    feature: 'sse2',
    codes: ['Maskmovdqu_rDI_xmm_xmm'],
    sem: maskMove,
  },
  { name: 'x87.system', codes: SYSTEM_CODES, bare: true, ends: true, sem: leave },
];

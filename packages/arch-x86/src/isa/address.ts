/**
 * Forms of effective addresses. A form is a constant of a handler: what must be added, masked and checked is known when it
 * is emitted (AMD64 APM volume 1, 2.2; volume 2, 4.5 and 4.8).
 */
import type { Builder, Fields, I64 } from '@faultyard/engine';
import { SEG_BASE, SEG_FIRST, SEG_LAST_READ, SEG_LAST_WRITE, Seg, type SegNumber } from './layout.ts';
import { Slow } from './slow.ts';

/** What is fixed about a form. */
export interface AddressForm {
  readonly name: string;
  /** Address size in bytes. */
  readonly size: 2 | 4 | 8;
  /** Code that has it. */
  readonly code: 'long' | 'legacy';
  /** What the offset is made of: registers and displacement, without an index, instruction pointer, 64 bits of `imm`. */
  readonly parts: 'base' | 'index' | 'next' | 'absolute';
  /** Nothing added, a base added (64-bit mode), or limits looked at and a base added. */
  readonly segment: 'none' | 'base' | 'limits';
}

const form = (
  name: string,
  size: 2 | 4 | 8,
  code: 'long' | 'legacy',
  parts: AddressForm['parts'],
  segment: AddressForm['segment'],
): AddressForm => ({ name, size, code, parts, segment });

/** All forms, by index; a handler without a memory operand has none (-1). */
export const FORMS: readonly AddressForm[] = [
  form('b', 8, 'long', 'base', 'none'),
  form('x', 8, 'long', 'index', 'none'),
  form('rip', 8, 'long', 'next', 'none'),
  form('seg_b', 8, 'long', 'base', 'base'),
  form('seg_x', 8, 'long', 'index', 'base'),
  form('seg_rip', 8, 'long', 'next', 'base'),
  form('a32', 4, 'long', 'index', 'base'),
  form('eip', 4, 'long', 'next', 'base'),
  form('flat', 4, 'legacy', 'index', 'none'),
  form('g32', 4, 'legacy', 'index', 'limits'),
  form('g16', 2, 'legacy', 'index', 'limits'),
  form('abs', 8, 'long', 'absolute', 'none'),
  form('seg_abs', 8, 'long', 'absolute', 'base'),
];
/** Indices into {@link FORMS}. */
export const Form = {
  None: -1,
  Base: 0,
  Index: 1,
  Rip: 2,
  SegBase: 3,
  SegIndex: 4,
  SegRip: 5,
  Address32: 6,
  Eip: 7,
  Flat: 8,
  General32: 9,
  General16: 10,
  Absolute: 11,
  SegAbsolute: 12,
} as const;

/** The offset that the record's memory operand means, of the form's size, zero-extended. */
export function offsetOf(b: Builder, f: Fields, a: AddressForm): I64 {
  if (a.parts === 'absolute') {
    if (a.segment === 'none') return f.i64('imm');
    // the segment's slots lie over the upper half; it stands in the displacement's place, too
    return b.or(b.extU(f.i32('imm')), b.shl(b.extU(f.i32('disp')), b.c32(32)));
  }
  if (a.size === 8) {
    const disp = b.extS(f.i32('disp'));
    if (a.parts === 'next') return b.add(b.next(), disp);
    const base = b.get(f.slot('base'));
    if (a.parts === 'base') return b.add(base, disp);
    return b.add(b.add(base, b.shl(b.get(f.slot('index')), f.i32('scale'))), disp);
  }
  if (a.parts === 'next') return b.extU(b.add(b.wrap(b.next()), f.i32('disp')));
  const index = b.shl(b.elem('r', f.slot('index'), 0, 4), f.i32('scale'));
  const sum = b.add(b.add(b.elem('r', f.slot('base'), 0, 4), index), f.i32('disp'));
  return b.extU(a.size === 2 ? b.zext(sum, 16) : sum);
}

/** The linear address of `offset` in the record's segment; leaves where its limits forbid the access. */
export function linearOf(
  b: Builder,
  f: Fields,
  a: AddressForm,
  offset: I64,
  bytes: number,
  write: boolean,
): I64 {
  if (a.segment === 'none') return offset;
  if (a.segment === 'base') return b.add(b.get(f.slot('segBase')), offset);
  const at = b.let(offset);
  const last = b.get(f.slot(write ? 'segLastWrite' : 'segLastRead'));
  checkLimits(b, at, b.get(f.slot('segFirst')), last, bytes, () =>
    b.slow(Slow.SegmentLimit, f.i32('seg'), b.c32(write ? 1 : 0)),
  );
  return b.extU(b.add(b.elem('r', f.slot('segBase'), 0, 4), b.wrap(at)));
}

/** The linear address of `offset` in a given segment of code that is not 64-bit, its limits looked at. */
export function linearIn(b: Builder, segment: SegNumber, offset: I64, bytes: number, write: boolean): I64 {
  const at = b.let(offset);
  const last = b.get((write ? SEG_LAST_WRITE : SEG_LAST_READ) + segment);
  checkLimits(b, at, b.get(SEG_FIRST + segment), last, bytes, () =>
    b.slow(Slow.SegmentLimit, b.c32(segment), b.c32(write ? 1 : 0)),
  );
  return b.extU(b.add(b.elem('r', SEG_BASE + segment, 0, 4), b.wrap(at)));
}

/** The same in 64-bit mode: only FS and GS have bases. */
export function linearLong(b: Builder, segment: SegNumber, offset: I64): I64 {
  return segment >= Seg.FS ? b.add(b.get(SEG_BASE + segment), offset) : offset;
}

function checkLimits(b: Builder, at: I64, first: I64, last: I64, bytes: number, leave: () => void): void {
  const end = bytes > 1 ? b.add(at, b.c64(bytes - 1)) : at;
  b.when(b.or(b.ltS(at, first), b.ltS(last, end)), leave);
}

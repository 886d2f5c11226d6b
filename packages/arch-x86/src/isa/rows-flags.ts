/**
 * Instructions on EFLAGS: CLC to STD, LAHF, SAHF, CLI, PUSHF, POPF (AMD64 APM volume 3). What needs more than the bits
 * themselves (STI, POPF that changes TF, IF, IOPL or AC, all of them where IOPL or virtual-8086 mode matter) leaves.
 */
import type { I32 } from '@faultyard/engine';
import { flagsOf, setFlags } from './conditions.ts';
import { setCarry } from './flag-setting.ts';
import { carry, FL, OTHER } from './flags.ts';
import { Guard } from './guards.ts';
import { highByte, R } from './layout.ts';
import type { Operands, Row, Width } from './row.ts';
import { Slow } from './slow.ts';
import { push, setStackPointer, stackOffset, top } from './stack.ts';

const AH = highByte(R.RAX);
/** SF ZF AF PF CF: what LAHF and SAHF move. */
const LOW_FLAGS = 0xd5;
/** Bits that POPF may change without further ado. */
const FREE = FL.DF | FL.NT | FL.ID;
/** Bits whose change the vCPU must see. */
const WATCHED = FL.TF | FL.IF | FL.IOPL | FL.AC;

function setDirection({ b }: Operands, on: boolean): void {
  const fl = b.read32('fl');
  b.put('fl', on ? b.or(fl, b.c32(FL.DF)) : b.and(fl, b.c32(~FL.DF)));
}
/** Where PUSHF and POPF may be intercepted, or may not do what they are to do. */
function guards(o: Operands): void {
  if (o.codeSize !== 8) o.b.guard(Guard.Iopl);
  o.b.guard(Guard.Pushf);
}
function pushf(o: Operands, w: Width): void {
  const { b } = o;
  guards(o);
  const other = b.and(b.read32('fl'), b.c32(OTHER & ~(FL.RF | FL.VM)));
  const image = b.or(b.or(flagsOf(b), other), b.c32(FL.One));
  push(o, w, w === 8 ? b.extU(image) : image);
}
function popf(o: Operands, w: Width): void {
  const { b } = o;
  guards(o);
  if (o.codeSize === 8) b.guard(Guard.Iopl);
  const v = top(o, w);
  const image = b.let(w === 8 ? b.wrap(v as never) : (v as I32));
  const old = b.read32('fl');
  const within = w === 2 ? 0xffff : -1;
  const changed = b.and(b.xor(old, image), b.c32(WATCHED & within));
  b.when(changed, () => b.slow(Slow.System));
  setStackPointer(o, stackOffset(o, w));
  const free = FREE & within;
  b.put('fl', b.or(b.and(old, b.c32(~free)), b.and(image, b.c32(free))));
  setFlags(b, image);
}

/** Rows of this chapter. */
export const FLAG_ROWS: readonly Row[] = [
  { name: 'clc', codes: ['Clc'], sem: ({ b }) => setCarry(b, b.c32(0)) },
  { name: 'stc', codes: ['Stc'], sem: ({ b }) => setCarry(b, b.c32(1)) },
  { name: 'cmc', codes: ['Cmc'], sem: ({ b }) => setCarry(b, b.eqz(carry(b))) },
  { name: 'cld', codes: ['Cld'], sem: (o) => setDirection(o, false) },
  { name: 'std', codes: ['Std'], sem: (o) => setDirection(o, true) },
  {
    name: 'lahf',
    codes: ['Lahf'],
    sem({ b }) {
      b.setElem('b', AH, 0, 1, b.or(b.and(flagsOf(b), b.c32(LOW_FLAGS)), b.c32(FL.One)));
    },
  },
  {
    name: 'sahf',
    codes: ['Sahf'],
    sem({ b }) {
      const of = b.and(flagsOf(b), b.c32(FL.OF));
      setFlags(b, b.let(b.or(b.and(b.elem('b', AH, 0, 1), b.c32(LOW_FLAGS)), of)));
    },
  },
  {
    name: 'cli',
    codes: ['Cli'],
    sem({ b }) {
      b.guard(Guard.Iopl);
      b.put('fl', b.and(b.read32('fl'), b.c32(~FL.IF)));
    },
  },
  { name: 'pushf.w', modes: true, codes: ['Pushfw'], sem: (o) => pushf(o, 2) },
  { name: 'pushf.d', modes: true, codes: ['Pushfd'], sem: (o) => pushf(o, 4) },
  { name: 'pushf.q', modes: true, codes: ['Pushfq'], sem: (o) => pushf(o, 8) },
  { name: 'popf.w', modes: true, codes: ['Popfw'], sem: (o) => popf(o, 2) },
  { name: 'popf.d', modes: true, codes: ['Popfd'], sem: (o) => popf(o, 4) },
  { name: 'popf.q', modes: true, codes: ['Popfq'], sem: (o) => popf(o, 8) },
];

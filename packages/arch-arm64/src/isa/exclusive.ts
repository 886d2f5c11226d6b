/**
 * Exclusives, CLREX, and the loads and stores with acquire or release semantics.
 *
 * The monitor is ISA state: address, size and value of the last load-exclusive. A store-exclusive succeeds if address
 * and size are the monitored ones and memory still holds the value (so a store by another vCPU that leaves the value
 * as it was is not noticed, as in QEMU). Every store-exclusive opens the monitor; so do CLREX and, by the vCPU, ERET.
 *
 * CONSTRAINED UNPREDICTABLE choices: a store-exclusive of another size than the load fails; the "should be one" fields
 * Rs and Rt2 of the forms that do not use them are ignored, as in QEMU. All forms demand natural alignment of the
 * whole access (there is no FEAT_LSE2), also while the monitor is open.
 */
import type { AccessOptions, Builder, Fields, I32, I64, StateVar } from '@faultyard/engine';
import { AccessClass } from '../memory/access-class.ts';
import type { AsmLine, Form, Rec } from './form.ts';
import {
  base,
  baseIsSp,
  bytes,
  field,
  loadElement,
  type MemoryForm,
  source,
  target,
  wide,
} from './memory-form.ts';

/** The exclusive monitor's variables (`Isa.state`). */
export const EXCLUSIVE_STATE: Readonly<Record<string, StateVar>> = {
  /** Virtual address of the monitored access. */
  exclusiveAddress: { ty: 'i64' },
  /** Bytes of the monitored access: 1, 2, 4, 8, 16; 0 while the monitor is open. */
  exclusiveSize: { ty: 'i32' },
  /** The value loaded, zero-extended; for 16 bytes its low and high half. */
  exclusiveLo: { ty: 'i64' },
  exclusiveHi: { ty: 'i64' },
};

/** Class of an exclusive load. */
const LOAD_CLASS = AccessClass.NoIsv | AccessClass.Exclusive | AccessClass.Ordered;
/** Class of an exclusive store: the architecture's store, ours a read-modify-write. */
const STORE_CLASS = LOAD_CLASS | AccessClass.Atomic;

/** Options of an exclusive access of `size` bytes. */
const options = (cls: number, size: number): AccessOptions => ({ cls, align: size });

/** Remembers what a load-exclusive saw. */
function monitor(b: Builder, address: I64, size: number, lo: I64, hi?: I64): void {
  b.put('exclusiveAddress', address);
  b.put('exclusiveSize', b.c32(size));
  b.put('exclusiveLo', lo);
  if (hi) b.put('exclusiveHi', hi);
}

/** Opens the monitor and writes the status register: 0 = stored. */
function finishStore(b: Builder, f: Fields, failed: I32): void {
  const status = b.let(b.extU(failed));
  b.put('exclusiveSize', b.c32(0));
  b.set(f.slot('rm'), status);
}

/**
 * The frame of a store-exclusive: `attempt` runs if address and size are the monitored ones. Else the store fails
 * without an access and so without a fault, be it alignment or translation: AArch64.ExclusiveMonitorsPass (DDI 0487 J1)
 * leaves the order of the two to the implementation, and this is QEMU's.
 */
function storeExclusive(b: Builder, f: Fields, address: I64, size: number, attempt: () => I32): void {
  const monitored = b.and(
    b.eq(b.read64('exclusiveAddress'), address),
    b.eq(b.read32('exclusiveSize'), b.c32(size)),
  );
  b.when(
    monitored,
    () => finishStore(b, f, attempt()),
    () => finishStore(b, f, b.c32(1)),
  );
}

/** Syntax by size: byte and halfword suffixes, W or X data register; `o` = o0 gives the acquire/release letter. */
function lines(text: (suffix: string, register: string, size: number) => string): AsmLine[] {
  return [0, 1, 2, 3].map((size) => ({
    text: text(['b', 'h', '', ''][size] ?? '', size === 3 ? '<Xt>' : '<Wt>', size),
    with: { size },
  }));
}

/** Adds a fixed `o0` (acquire or release) to lines. */
const ordered = (o0: number, all: readonly AsmLine[]): AsmLine[] =>
  all.map((line) => ({ ...line, with: { ...line.with, o0 } }));

const single: readonly MemoryForm[] = [
  {
    name: 'LDXR/LDAXR',
    bits: 'size:2 001000 0 1 0 ooooo o0:1 ooooo Rn:5 Rt:5',
    ref: 'C6.2 LDXR, LDXRB, LDXRH, LDAXR, LDAXRB, LDAXRH',
    spec: ['size'],
    split: ['size', 'o0'],
    derive: baseIsSp,
    asm: [
      ...ordered(
        0,
        lines((suffix, register) => `ldxr${suffix} ${register}, [<Xn|SP>]`),
      ),
      ...ordered(
        1,
        lines((suffix, register) => `ldaxr${suffix} ${register}, [<Xn|SP>]`),
      ),
    ],
    record: (b) => ({ rd: target(field(b, 'Rt')), rn: field(b, 'Rn') }),
    access: (b) => ({ align: 1 << field(b, 'size') }),
    sem: (b, f, v) => {
      const size = bytes(field(v, 'size'));
      const address = base(b, f, v);
      const value = b.let(loadElement(b, field(v, 'size'), 'zero', address, options(LOAD_CLASS, size)));
      monitor(b, address, size, value);
      b.set(f.slot('rd'), value);
    },
  },
  {
    name: 'STXR/STLXR',
    bits: 'size:2 001000 0 0 0 Rs:5 o0:1 ooooo Rn:5 Rt:5',
    ref: 'C6.2 STXR, STXRB, STXRH, STLXR, STLXRB, STLXRH',
    spec: ['size'],
    split: ['size', 'o0'],
    derive: baseIsSp,
    asm: [
      ...ordered(
        0,
        lines((suffix, register) => `stxr${suffix} <Ws>, ${register}, [<Xn|SP>]`),
      ),
      ...ordered(
        1,
        lines((suffix, register) => `stlxr${suffix} <Ws>, ${register}, [<Xn|SP>]`),
      ),
    ],
    record: (b) => ({ rd: source(field(b, 'Rt')), rm: target(field(b, 'Rs')), rn: field(b, 'Rn') }),
    access: (b) => ({ align: 1 << field(b, 'size') }),
    sem: (b, f, v) => {
      const size = bytes(field(v, 'size'));
      const address = base(b, f, v);
      storeExclusive(b, f, address, size, () => {
        const fresh = b.let(b.get(f.slot('rd')));
        const seen = b.let(b.read64('exclusiveLo'));
        if (size === 8) {
          const old = b.rmw(8, address, (o) => b.select(b.eq(o, seen), fresh, o), options(STORE_CLASS, 8));
          return b.ne(old, seen);
        }
        const narrow = b.let(b.wrap(seen));
        const swap = (o: I32): I32 => b.select(b.eq(o, narrow), b.wrap(fresh), o);
        return b.ne(b.rmw(size, address, swap, options(STORE_CLASS, size)), narrow);
      });
    },
  },
];

/** A 64-bit value from two words. */
const join = (b: Builder, lo: I64, hi: I64): I64 => b.or(b.zext(lo, 32), b.shl(hi, b.c32(32)));

const pairLines = (text: (register: string, second: string) => string): AsmLine[] => [
  { text: text('<Wt>', '<Wt2>'), with: { sz: 0 } },
  { text: text('<Xt>', '<Xt2>'), with: { sz: 1 } },
];

const pairs: readonly MemoryForm[] = [
  {
    name: 'LDXP/LDAXP',
    cold: true,
    bits: '1 sz:1 001000 0 1 1 ooooo o0:1 Rt2:5 Rn:5 Rt:5',
    ref: 'C6.2 LDXP, LDAXP',
    spec: ['sz'],
    split: ['sz', 'o0'],
    derive: baseIsSp,
    asm: [
      ...ordered(
        0,
        pairLines((t, u) => `ldxp ${t}, ${u}, [<Xn|SP>]`),
      ),
      ...ordered(
        1,
        pairLines((t, u) => `ldaxp ${t}, ${u}, [<Xn|SP>]`),
      ),
    ],
    record: (b) => ({ rd: target(field(b, 'Rt')), ra: target(field(b, 'Rt2')), rn: field(b, 'Rn') }),
    access: (b) => ({ align: b.sz === 1 ? 16 : 8 }),
    sem: (b, f, v) => {
      const address = base(b, f, v);
      if (v.sz === 1) {
        const [lo, hi] = b.loads(8, 2, address, options(LOAD_CLASS, 16));
        if (!lo || !hi) return;
        monitor(b, address, 16, wide(b, lo), wide(b, hi));
        b.set(f.slot('rd'), wide(b, lo));
        b.set(f.slot('ra'), wide(b, hi));
        return;
      }
      const both = b.let(b.load(8, address, options(LOAD_CLASS, 8)));
      monitor(b, address, 8, both);
      b.set(f.slot('rd'), b.zext(both, 32));
      b.set(f.slot('ra'), b.shrU(both, b.c32(32)));
    },
  },
  {
    name: 'STXP/STLXP',
    cold: true,
    bits: '1 sz:1 001000 0 0 1 Rs:5 o0:1 Rt2:5 Rn:5 Rt:5',
    ref: 'C6.2 STXP, STLXP',
    spec: ['sz'],
    split: ['sz', 'o0'],
    derive: baseIsSp,
    asm: [
      ...ordered(
        0,
        pairLines((t, u) => `stxp <Ws>, ${t}, ${u}, [<Xn|SP>]`),
      ),
      ...ordered(
        1,
        pairLines((t, u) => `stlxp <Ws>, ${t}, ${u}, [<Xn|SP>]`),
      ),
    ],
    record: (b) => ({
      rd: source(field(b, 'Rt')),
      ra: source(field(b, 'Rt2')),
      rm: target(field(b, 'Rs')),
      rn: field(b, 'Rn'),
    }),
    access: (b) => ({ align: b.sz === 1 ? 16 : 8 }),
    sem: (b, f, v) => {
      const address = base(b, f, v);
      const size = v.sz === 1 ? 16 : 8;
      storeExclusive(b, f, address, size, () => {
        const seen = b.let(b.read64('exclusiveLo'));
        if (size === 8) {
          const fresh = b.let(join(b, b.get(f.slot('rd')), b.get(f.slot('ra'))));
          const old = b.rmw(8, address, (o) => b.select(b.eq(o, seen), fresh, o), options(STORE_CLASS, 8));
          return b.ne(old, seen);
        }
        const lo = b.get(f.slot('rd'));
        const hi = b.get(f.slot('ra'));
        return sixteen(b, address, STORE_CLASS, { lo: seen, hi: b.read64('exclusiveHi') }, { lo, hi }).failed;
      });
    },
  },
];

/** Sixteen bytes as two 64-bit halves. */
interface Halves {
  readonly lo: I64;
  readonly hi: I64;
}

/**
 * Compare-and-swap of sixteen aligned bytes. They lie in one page, so the first half's read-modify-write (which changes
 * nothing) settles permission for all of it before a byte moves.
 */
export function sixteen(
  b: Builder,
  address: I64,
  cls: number,
  expected: Halves,
  fresh: Halves,
): { old: Halves; failed: I32 } {
  const lo = b.rmw(8, address, (old) => old, options(cls, 16));
  const hi = b.load(8, b.add(address, b.c64(8)), { cls });
  const same = b.let(b.and(b.eq(lo, expected.lo), b.eq(hi, expected.hi)));
  b.when(same, () => b.stores(8, address, [fresh.lo, fresh.hi], options(cls, 16)));
  return { old: { lo, hi }, failed: b.eqz(same) };
}

/** LDAR, STLR, and their LORegion forms (o0 = 0), which order no less than these: one general register, ISV=1. */
const acquireRelease = (
  name: string,
  ref: string,
  o0: 0 | 1,
  verbs: [load: string, store: string],
): MemoryForm => ({
  name,
  bits: `size:2 001000 1 L:1 0 ooooo ${o0} ooooo Rn:5 Rt:5`,
  ref,
  ...(o0 === 0 ? { feature: 'lor' as const, cold: true } : {}),
  spec: ['size', 'L'],
  derive: baseIsSp,
  asm: [
    ...lines((suffix, register) => `${verbs[0]}${suffix} ${register}, [<Xn|SP>]`).map((line) =>
      load(line, 1),
    ),
    ...lines((suffix, register) => `${verbs[1]}${suffix} ${register}, [<Xn|SP>]`).map((line) =>
      load(line, 0),
    ),
  ],
  record: (b): Rec => {
    const rt = field(b, 'Rt');
    return { rd: b.L === 1 ? target(rt) : source(rt), rn: field(b, 'Rn') };
  },
  access: (b) => {
    const sas = field(b, 'size');
    return { align: 1 << sas, syndrome: { sas, sse: false, srt: field(b, 'Rt'), sf: sas === 3, ar: true } };
  },
  sem: (b, f, v) => {
    const size = bytes(field(v, 'size'));
    const address = base(b, f, v);
    const o = options(AccessClass.Ordered, size);
    if (v.L === 1) b.set(f.slot('rd'), loadElement(b, field(v, 'size'), 'zero', address, o));
    else b.store(size, address, b.get(f.slot('rd')), o);
  },
});

const load = (line: AsmLine, L: 0 | 1): AsmLine => ({ ...line, with: { ...line.with, L } });

/** CLREX. */
const CLREX: Form = {
  name: 'CLREX',
  bits: '1101010100 0 00 011 0011 CRm:4 010 11111',
  ref: 'C6.2 CLREX',
  asm: [{ text: 'clrex', with: { CRm: 15 } }, { text: 'clrex #<CRm>' }],
  record: () => ({}),
  sem: (b) => b.put('exclusiveSize', b.c32(0)),
};

/** Rows of this chapter that access memory. */
export const exclusiveAccesses: readonly MemoryForm[] = [
  ...single,
  ...pairs,
  acquireRelease('LDAR/STLR', 'C6.2 LDAR, LDARB, LDARH, STLR, STLRB, STLRH', 1, ['ldar', 'stlr']),
  acquireRelease('LDLAR/STLLR', 'C6.2 LDLAR, STLLR (FEAT_LOR)', 0, ['ldlar', 'stllr']),
];
/** Rows of this chapter. */
export const exclusiveForms: readonly Form[] = [...exclusiveAccesses, CLREX];

/** The instruction set as the engine takes it: records, handlers, flags, bitmask immediates. */
import type { DecodeSite } from '@faultyard/engine';
import { describe, expect, it } from 'vitest';
import { assemble } from '../src/asm/assemble.ts';
import { decodeBitmask, encodeBitmask } from '../src/isa/bitmask.ts';
import { holds, packFlags, unpackFlags } from '../src/isa/flags.ts';
import { SINK, SP, ZR } from '../src/isa/form.ts';
import { a64 } from '../src/isa/isa.ts';
import { evaluate, type Machine } from './support/evaluate.ts';

const isa = a64();

/** Decodes one instruction as the engine would. */
function decode(code: string | number): { handler: string; bytes: number[]; imm: bigint } {
  const dv = new DataView(new ArrayBuffer(32));
  const word = typeof code === 'number' ? code : new DataView(assemble(code).bytes.buffer).getUint32(0, true);
  dv.setUint32(0, word, true);
  const u8 = new Uint8Array(dv.buffer);
  const site: DecodeSite = {
    dv,
    u8,
    i32: new Int32Array(dv.buffer),
    code: 0,
    avail: 4,
    offset: 0,
    record: 16,
    mode: 0,
  };
  const out = { handler: -1 };
  expect(isa.decode(site, out)).toBe(4);
  return {
    handler: isa.handlers[out.handler]?.name ?? '',
    bytes: [...u8.subarray(18, 24)],
    imm: dv.getBigInt64(24, true),
  };
}

function machine(): Machine {
  const memory = { read: () => undefined, writable: () => false, write: () => {} };
  const x = Array.from({ length: 34 }, () => 0n);
  return { x, v: new Uint8Array(512), state: new Map(), pc: 0x1000n, guards: 0, memory };
}

it.each([
  ['add x1, x2, #3', 'add_immediate.sf1', { rd: 1, rn: 2 }, 3n],
  ['add sp, sp, #1, lsl #12', 'add_immediate.sf1', { rd: SP, rn: SP }, 0x1000n],
  ['cmp w3, #4', 'subs_immediate.sf0_discards1', { rd: SINK, rn: 3 }, 4n << 32n],
  ['mov x5, x6', 'orr_shifted_register.sf1_shift0_plain1_moves1', { rd: 5, rn: ZR, rm: 6 }, 0n],
  ['movn x7, #0, lsl #16', 'movn', { rd: 7 }, -1n],
  ['movn w7, #0', 'movn', { rd: 7 }, 0xffff_ffffn],
  [
    'and x1, xzr, #0xf0f0f0f0f0f0f0f0',
    'and_immediate',
    { rd: 1, rn: ZR },
    BigInt.asIntN(64, 0xf0f0_f0f0_f0f0_f0f0n),
  ],
  ['csel w1, w2, wzr, gt', 'csel.sf0_cond12', { rd: 1, rn: 2, rm: ZR }, 0n],
  ['b .-8', 'b', {}, -8n],
])('%s -> record: %s with its slots and immediate', (text, handler, slots, imm) => {
  const found = decode(text);
  expect(found.handler).toBe(handler);
  expect(found.imm).toBe(imm);
  const names = ['rd', 'rn', 'rm', 'ra', 'x', 'y'];
  for (const [name, slot] of Object.entries(slots))
    expect([name, found.bytes[names.indexOf(name)]]).toEqual([name, slot]);
});

it('an unallocated word -> decode: the handler of the undefined instruction', () => {
  expect(decode(0xffffffff).handler).toBe('undefined');
  expect(isa.handlers[isa.undefinedHandler]?.name).toBe('undefined');
});

it('an added row -> instruction set: its handler, and the table of before for others', () => {
  const more = a64({
    forms: [
      {
        name: 'NEW',
        bits: '00000000000000010000000000000000',
        ref: 'test',
        asm: [{ text: 'new' }],
        record: () => ({}),
        sem: () => {},
      },
    ],
  });
  expect(more.table.find(0x10000)?.form.name).toBe('NEW');
  expect(isa.table.find(0x10000)).toBeUndefined();
  expect(assemble('new', { table: more.table }).bytes).toEqual(Uint8Array.of(0, 0, 1, 0));
});

describe('flags', () => {
  const conditions: readonly ((n: boolean, z: boolean, c: boolean, v: boolean) => boolean)[] = [
    (_n, z) => z,
    (_n, _z, c) => c,
    (n) => n,
    (_n, _z, _c, v) => v,
    (_n, z, c) => c && !z,
    (n, _z, _c, v) => n === v,
    (n, z, _c, v) => n === v && !z,
    () => true,
  ];

  it.each(Array.from({ length: 16 }, (_, nzcv) => nzcv))(
    'NZCV %i -> pack and conditions: as the manual says',
    (nzcv) => {
      const m = machine();
      evaluate(m, {}, (b) => unpackFlags(b, b.c64(nzcv << 28)));
      evaluate(m, {}, (b) => b.set(0, packFlags(b)));
      expect(m.x[0]).toBe(BigInt(nzcv) << 28n);
      const [n, z, c, v] = [8, 4, 2, 1].map((bit) => (nzcv & bit) !== 0) as [
        boolean,
        boolean,
        boolean,
        boolean,
      ];
      for (let cond = 0; cond < 16; cond++) {
        const base = conditions[cond >> 1]?.(n, z, c, v) ?? false;
        const expected = cond < 14 && cond & 1 ? !base : base;
        evaluate(m, {}, (b) => b.set(1, b.select(b.eqz(holds(b, cond)), b.c64(0), b.c64(1))));
        expect([cond, m.x[1]]).toEqual([cond, expected ? 1n : 0n]);
      }
    },
  );
});

describe('bitmask immediates', () => {
  it('every N, imms, immr -> value: the rotated run of ones, repeated', () => {
    const values = new Set<bigint>();
    for (let k = 0; k < 1 << 13; k++) {
      const [n, imms, immr] = [k >> 12, (k >> 6) & 63, k & 63] as const;
      const found = decodeBitmask(n, imms, immr, 1);
      // DecodeBitMasks() of the manual, word for word on bit strings.
      const len = n === 1 ? 6 : 5 - Math.clz32((~imms & 63) << 26);
      const esize = 2 ** len;
      const s = imms & (esize - 1);
      if (len < 1 || s === esize - 1) {
        expect(found).toBeUndefined();
        continue;
      }
      const r = immr & (esize - 1);
      const element = '1'.repeat(s + 1).padStart(esize, '0');
      const turned = element.slice(esize - r) + element.slice(0, esize - r);
      const expected = BigInt(`0b${turned.repeat(64 / esize)}`);
      const [lo, hi] = found ?? [0, 0];
      const value = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
      expect(value).toBe(expected);
      values.add(value);
      const again = encodeBitmask(lo, hi, 1);
      expect(again && decodeBitmask(again.N, again.imms, again.immr, 1)).toEqual([lo, hi]);
    }
    expect(values.size).toBe(5334);
  });

  it('a value that is no bitmask -> encoding: none', () => {
    for (const [lo, hi] of [
      [0, 0],
      [-1, -1],
      [0x12345, 0],
      [5, 0],
    ] as const) {
      expect(encodeBitmask(lo, hi, 1)).toBeUndefined();
    }
    expect(encodeBitmask(-1, 0, 0)).toBeUndefined();
    expect(encodeBitmask(-1, 0, 1)).toEqual({ N: 1, immr: 0, imms: 31 });
  });
});

/** Page walks of every mode over tables in bare memory: addresses, rights, reserved bits, A and D, error codes. */
import { describe, expect, test } from 'vitest';
import { leafLevel, leafShift, PAGE, PF, patIndex, protectionKey, WANT } from '../src/memory/page.ts';
import type { Paging } from '../src/memory/paging.ts';
import { WalkEnd } from '../src/memory/walk.ts';
import { ALL, E, paging, Tables, walkTo } from './support/tables.ts';

const { Write, User, Fetch, NoSmap } = WANT;
/** Root, and where each level's table lies: PML5 0, PML4 1, PDPT 2, PD 3, PT 4. */
const ROOT = 0x1000;
const at = (level: number): number => ROOT + (5 - level) * 0x1000;
/** A linear address with a different index at every level, and offset 0xabc. */
const VA5 = (3n << 48n) | (5n << 39n) | (7n << 30n) | (9n << 21n) | (11n << 12n) | 0xabcn;
const INDEX: Readonly<Record<number, number>> = { 5: 3, 4: 5, 3: 7, 2: 9, 1: 11 };
const FRAME = 0x1234_5678_9000n;

/** Tables that map VA5 at `leaf` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB), bits of each level to be given. */
function tree(o: {
  readonly top?: 4 | 5;
  readonly leaf?: 1 | 2 | 3;
  readonly bits?: Readonly<Record<number, bigint>>;
  readonly frame?: bigint;
}): { readonly t: Tables; readonly entry: (level: number) => number } {
  const { top = 4, leaf = 1, bits = {}, frame = FRAME } = o;
  const t = new Tables();
  const entry = (level: number): number => at(level) + (INDEX[level] as number) * 8;
  for (let level = top as number; level >= leaf; level--) {
    const b = bits[level] ?? ALL;
    const base = level === leaf ? frame | (level > 1 ? E.PS : 0n) : BigInt(at(level - 1));
    t.put(entry(level), base | b);
  }
  return { t, entry };
}
const four = (o: Partial<Paging> = {}): Paging => paging({ root: at(4), ...o });

describe('addresses', () => {
  test('paging off -> the low half of the linear address, everything allowed, no table read', () => {
    const t = new Tables();
    const r = walkTo(paging({ levels: 0 }), t, 0x1_8000_1234n, Write | User);
    expect([r.end, r.pa, t.reads]).toEqual([WalkEnd.Done, 0x8000_1234, []]);
  });
  test.each([
    [4, 1, 12],
    [4, 2, 21],
    [4, 3, 30],
    [5, 1, 12],
    [5, 2, 21],
    [5, 3, 30],
  ] as const)('%i levels, leaf at level %i -> frame plus the low %i bits', (top, leaf, shift) => {
    const frame = (FRAME >> 30n) << 30n;
    const { t, entry } = tree({ top, leaf, frame });
    const va = top === 5 ? VA5 : VA5 & ((1n << 48n) - 1n);
    const r = walkTo(paging({ levels: top, root: at(top) }), t, va);
    expect(r.end).toBe(WalkEnd.Done);
    expect(BigInt(r.pa)).toBe(frame | (VA5 & ((1n << BigInt(shift)) - 1n)));
    expect([leafLevel(r.attributes), leafShift(r.attributes)]).toEqual([leaf, shift]);
    expect(t.reads).toEqual(Array.from({ length: top - leaf + 1 }, (_, i) => entry(top - i)));
  });
  test('an address of the upper half -> the same tables by its own indices', () => {
    const t = new Tables();
    t.put(at(4) + 511 * 8, BigInt(at(3)) | ALL);
    t.put(at(3) + 510 * 8, BigInt(at(2)) | ALL);
    t.put(at(2) + 509 * 8, 0x4000_0000n | ALL | E.PS);
    expect(walkTo(four(), t, 0xffff_ffff_bfb2_3456n).pa).toBe(0x4012_3456 + 0);
  });
  test('32-bit: PDE and PTE of 4 bytes, and 4 MiB pages with CR4.PSE alone', () => {
    const t = new Tables();
    t.put32(ROOT + 0x300 * 4, 0x5000n | ALL);
    t.put32(0x5000 + 0x101 * 4, 0x8765_4000n | ALL);
    t.put32(ROOT + 0x301 * 4, 0xc000_0000n | ALL | E.PS);
    t.put32(0xc000_0000 + 4, 0x1111_1000n | ALL);
    const p = paging({ levels: 2, nx: false, pse: true });
    expect(walkTo(p, t, 0xc010_1abcn)).toMatchObject({ end: WalkEnd.Done, pa: 0x8765_4abc });
    const large = walkTo(p, t, 0xc040_1abcn);
    expect([large.pa, leafShift(large.attributes), leafLevel(large.attributes)]).toEqual([
      0xc000_1abc, 22, 2,
    ]);
    // without PSE the bit means nothing
    expect(walkTo({ ...p, pse: false }, t, 0xc040_1abcn).pa).toBe(0x1111_1abc);
  });
  test('PSE-36: bits 20:13 of the PDE are address bits 39:32, as many as the CPU has; bit 21 must be 0', () => {
    const t = new Tables();
    const p = paging({ levels: 2, nx: false, pse: true, physicalBits: 40 });
    t.put32(ROOT, 0x0080_0000n | (0xa5n << 13n) | ALL | E.PS);
    expect(walkTo(p, t, 0x3f_ffffn).pa).toBe(0xa5_00bf_ffff);
    expect(walkTo({ ...p, physicalBits: 36 }, t, 0n)).toMatchObject({
      end: WalkEnd.Fault,
      errorCode: PF.P | PF.RSVD,
    });
    t.put32(ROOT, (1n << 21n) | ALL | E.PS);
    expect(walkTo(p, t, 0n).errorCode).toBe(PF.P | PF.RSVD);
  });
  test('PAE: the pointer of the registers, then 8-byte entries; 2 MiB pages', () => {
    const t = new Tables();
    const p = paging({ levels: 3, nx: true });
    p.pdptes.set([0, 0, 0, 0, 0, 0, 0x5001, 0x12]);
    t.put(0x12_0000_5000 + 8, 0x3_4020_0000n | ALL | E.PS);
    t.put(0x12_0000_5000 + 16, 0x7000n | ALL);
    t.put(0x7000 + 3 * 8, 0xf_edcb_a000n | ALL);
    expect(walkTo(p, t, 0xc030_0123n).pa).toBe(0x3_4030_0123);
    expect(walkTo(p, t, 0xc040_3fffn).pa).toBe(0xf_edcb_afff);
    expect(walkTo(p, t, 0x4000_0000n, User)).toMatchObject({ end: WalkEnd.Fault, errorCode: PF.U, level: 3 });
    expect(t.reads[0]).toBe(0x12_0000_5008);
  });
  test('PAE with pointers in memory (nested paging) -> read on demand, their reserved bits checked there', () => {
    const t = new Tables();
    const p = paging({ levels: 3, root: 0x2020, pdptesInMemory: true });
    t.put(0x2038, 0x5001n);
    t.put(0x5000, 0x60_0000n | ALL | E.PS);
    expect(walkTo(p, t, 0xc000_0042n).pa).toBe(0x60_0042);
    expect(t.reads).toEqual([0x2038, 0x5000]);
    t.put(0x2038, 0x5003n);
    expect(walkTo(p, t, 0xc000_0042n).errorCode).toBe(PF.P | PF.RSVD);
  });
});

describe('not present and reserved', () => {
  test.each([4, 3, 2, 1])('P = 0 at level %i -> #PF without P, and what the access was', (level) => {
    const { t } = tree({ bits: { [level]: E.RW | E.US } });
    expect(walkTo(four(), t, VA5, Write | User)).toMatchObject({
      end: WalkEnd.Fault,
      errorCode: PF.W | PF.U,
      level,
    });
    expect(walkTo(four(), t, VA5, Fetch).errorCode).toBe(PF.I);
    expect(walkTo(four({ nx: false }), t, VA5, Fetch).errorCode).toBe(0);
    expect(walkTo(four({ nx: false, smep: true }), t, VA5, Fetch).errorCode).toBe(PF.I);
  });
  test.each<[string, number, bigint, Partial<Paging>, 1 | 2 | 3]>([
    ['bit 51 above MAXPHYADDR of 48, PML4E', 4, 1n << 51n, {}, 1],
    ['bit 48, PTE', 1, 1n << 48n, {}, 1],
    ['NX without NXE, PDPTE', 3, E.NX, { nx: false }, 1],
    ['PS of a PML4E', 4, E.PS, {}, 1],
    ['bit 8 of a PML4E of AMD', 4, E.G, { amd: true }, 1],
    ['PS of a PDPTE without 1 GiB pages', 3, 0n, { gib: false }, 3],
    ['bit 13 of a 1 GiB page', 3, 1n << 13n, {}, 3],
    ['bit 29 of a 1 GiB page', 3, 1n << 29n, {}, 3],
    ['bit 13 of a 2 MiB page', 2, 1n << 13n, {}, 2],
    ['bit 20 of a 2 MiB page', 2, 1n << 20n, {}, 2],
  ])('%s -> #PF with P and RSVD', (_, level, bit, o, leaf) => {
    const { t } = tree({ leaf, frame: 0x4000_0000n, bits: { [level]: ALL | bit } });
    const r = walkTo(four(o), t, VA5, User);
    expect([r.end, r.errorCode, r.level]).toEqual([WalkEnd.Fault, PF.P | PF.RSVD | PF.U, level]);
  });
  test.each<[string, number, bigint, Partial<Paging>, 1 | 2 | 3]>([
    ['bits 62:52', 1, 0x7ffn << 52n, {}, 1],
    ['bit 8 of a PML4E of Intel', 4, E.G, {}, 1],
    ['NX with NXE', 3, E.NX, {}, 1],
    ['bit 7 of a PTE (PAT)', 1, E.PAT, {}, 1],
    ['bit 12 of a 2 MiB page (PAT)', 2, E.PAT_LARGE, {}, 2],
    ['bits 11:9', 2, 0xe00n, {}, 1],
    ['bit 51 with 52 bits of address', 1, 1n << 51n, { physicalBits: 52 }, 1],
  ])('%s -> no fault', (_, level, bit, o, leaf) => {
    const { t } = tree({ leaf, frame: 0x4000_0000n, bits: { [level]: ALL | bit } });
    expect(walkTo(four(o), t, VA5, User).end).toBe(WalkEnd.Done);
  });
  test('PAE: bits 62:52 of an entry are reserved', () => {
    const t = new Tables();
    const p = paging({ levels: 3 });
    p.pdptes.set([0x5001]);
    t.put(0x5000, 0x20_0000n | ALL | E.PS | (1n << 52n));
    expect(walkTo(p, t, 0n).errorCode).toBe(PF.P | PF.RSVD);
  });
});

/** What the manual says, over again and slowly: who may do what with a page (SDM volume 3A, 4.6). */
function allowed(
  page: { readonly rw: boolean; readonly us: boolean; readonly nx: boolean },
  a: { readonly write: boolean; readonly user: boolean; readonly fetch: boolean; readonly ac: boolean },
  p: { readonly wp: boolean; readonly smep: boolean; readonly smap: boolean },
): boolean {
  if (a.user) {
    if (!page.us) return false;
    if (a.fetch) return !page.nx;
    return a.write ? page.rw : true;
  }
  if (a.fetch) return page.us && p.smep ? false : !page.nx;
  if (page.us && p.smap && !a.ac) return false;
  if (!a.write) return true;
  return p.wp ? page.rw : true;
}

describe('rights', () => {
  const booleans = [false, true];
  test('R/W, U/S and NX at two levels, against every kind of access and of protection', () => {
    let denials = 0;
    const each = (n: number, f: (bit: (i: number) => boolean) => void): void => {
      for (let v = 0; v < 2 ** n; v++) f((i) => (v & (1 << i)) !== 0);
    };
    each(6, (bit) => {
      const level = (i: number): bigint =>
        E.P | (bit(i) ? E.RW : 0n) | (bit(i + 1) ? E.US : 0n) | (bit(i + 2) ? E.NX : 0n);
      const page = { rw: bit(0) && bit(3), us: bit(1) && bit(4), nx: bit(2) || bit(5) };
      each(7, (b) => {
        const a = { write: b(0), user: b(1), fetch: b(2), ac: b(3) };
        if (a.write && a.fetch) return;
        const p = { wp: b(4), smep: b(5), smap: b(6) };
        const { t, entry } = tree({ bits: { 3: level(0), 1: level(3) } });
        const want =
          (a.write ? Write : 0) | (a.user ? User : 0) | (a.fetch ? Fetch : 0) | (a.ac ? NoSmap : 0);
        const r = walkTo(four(p), t, VA5, want);
        const ok = allowed(page, a, p);
        expect(r.end).toBe(ok ? WalkEnd.Done : WalkEnd.Fault);
        const leaf = t.get(entry(1));
        expect([(leaf & E.A) !== 0n, (leaf & E.D) !== 0n]).toEqual([ok, ok && a.write]);
        if (ok) return;
        denials++;
        expect(r.errorCode).toBe(PF.P | (want & (PF.W | PF.U | PF.I)));
      });
    });
    expect(denials).toBeGreaterThan(1000);
  });
  test('protection keys: AD denies data, WD writes of the user and, with WP, of the supervisor; never fetches', () => {
    const key = 5;
    for (const [user, supervisorPage, wp] of booleans.flatMap((u) =>
      booleans.flatMap((s) => booleans.map((w) => [u, s, w] as const)),
    ))
      for (const want of [0, Write, Fetch])
        for (const rights of [0, 1, 2, 3]) {
          const bits = { 1: (supervisorPage ? E.P | E.RW : ALL) | (BigInt(key) << 59n) };
          const { t } = tree({ bits });
          const p = four({ keys: true, pkru: rights << (2 * key), wp });
          const r = walkTo(p, t, VA5, want | (user ? User : 0));
          const page = user && supervisorPage;
          const keyed =
            !supervisorPage &&
            want !== Fetch &&
            ((rights & 1) !== 0 || (want === Write && (rights & 2) !== 0 && (user || wp)));
          expect(r.end).toBe(page || keyed ? WalkEnd.Fault : WalkEnd.Done);
          if (r.end === WalkEnd.Fault) expect((r.errorCode & PF.PK) !== 0).toBe(keyed);
        }
  });
  test('the attributes of a page -> all levels together, key, PAT index, G where CR4.PGE', () => {
    const bits = { 1: ALL | E.G | E.PWT | E.PAT | (9n << 59n), 2: E.P | E.US };
    const { t } = tree({ bits });
    const a = walkTo(four(), t, VA5).attributes;
    expect(a & 0xff).toBe(PAGE.User | PAGE.Global);
    expect([protectionKey(a), patIndex(a)]).toEqual([9, 5]);
    expect(walkTo(four({ global: false }), t, VA5).attributes & PAGE.Global).toBe(0);
    const large = tree({ leaf: 2, frame: 0x4000_0000n, bits: { 2: ALL | E.PCD | E.PAT_LARGE } });
    expect(patIndex(walkTo(four(), large.t, VA5).attributes)).toBe(6);
  });
});

describe('A and D', () => {
  test('a read -> A at every level once, no D; a write -> D of the leaf alone; nothing is written twice', () => {
    const { t, entry } = tree({});
    expect(walkTo(four(), t, VA5).attributes & PAGE.Dirty).toBe(0);
    expect([4, 3, 2, 1].map((l) => t.get(entry(l)) & (E.A | E.D))).toEqual([E.A, E.A, E.A, E.A]);
    expect(t.marks.splice(0)).toEqual([4, 3, 2, 1].map(entry));
    expect(walkTo(four(), t, VA5, Write).attributes & PAGE.Dirty).toBe(PAGE.Dirty);
    expect(t.marks.splice(0)).toEqual([entry(1)]);
    expect([4, 3, 2, 1].map((l) => t.get(entry(l)) & (E.A | E.D))).toEqual([E.A, E.A, E.A, E.A | E.D]);
    walkTo(four(), t, VA5, Write);
    expect(t.marks).toEqual([]);
  });
  test('a read of a page with D set -> it may be written without a walk', () => {
    const { t } = tree({ bits: { 1: ALL | E.D } });
    expect(walkTo(four(), t, VA5).attributes & PAGE.Dirty).toBe(PAGE.Dirty);
  });
  test('32-bit: A of the PDE and the PTE, D of the PTE', () => {
    const t = new Tables();
    t.put32(ROOT, 0x5000n | ALL);
    t.put32(0x5000, 0x9000n | ALL);
    walkTo(paging({ levels: 2, nx: false }), t, 0n, Write);
    expect([t.get(ROOT), t.get(0x5000)]).toEqual([0x5000n | ALL | E.A, 0x9000n | ALL | E.A | E.D]);
  });
});

describe('tables that cannot be reached', () => {
  test.each([WalkEnd.Stage2, WalkEnd.External, WalkEnd.Nested, WalkEnd.NoMemory] as const)(
    'reading ends in %i -> so does the walk, with the entry and its level',
    (end) => {
      const { t, entry } = tree({});
      t.trouble.set(entry(2), end);
      expect(walkTo(four(), t, VA5, Write)).toMatchObject({
        end,
        table: entry(2),
        level: 2,
        tableWrite: false,
      });
    },
  );
  test('A cannot be set -> the walk ends there, for writing; D of a page that is read is not missed', () => {
    const { t, entry } = tree({ bits: { 1: ALL | E.A } });
    t.markTrouble.set(entry(3), WalkEnd.Stage2);
    expect(walkTo(four(), t, VA5)).toMatchObject({ end: WalkEnd.Stage2, table: entry(3), tableWrite: true });
    t.markTrouble.clear();
    t.markTrouble.set(entry(1), WalkEnd.Stage2);
    expect(walkTo(four(), t, VA5).end).toBe(WalkEnd.Done);
    expect(walkTo(four(), t, VA5, Write)).toMatchObject({ end: WalkEnd.Stage2, table: entry(1), level: 1 });
  });
});

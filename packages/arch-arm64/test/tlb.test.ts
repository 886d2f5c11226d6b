/** The architectural TLB: what it keeps, what invalidation takes, and that stale translations are used until then. */
import { afterEach, describe, expect, test } from 'vitest';
import { PAGE, packAttributes } from '../src/memory/attributes.ts';
import { Tlb, type TlbHit } from '../src/memory/tlb.ts';
import { closeLabs, type Lab, lab, RAM } from './support/lab.ts';

afterEach(closeLabs);

const hit: TlbHit = { pa: 0, attributes: 0 };
const GLOBAL = packAttributes(0, 0xff, 3, 3, 12);
const LOCAL = packAttributes(PAGE.NotGlobal, 0xff, 3, 3, 12);
const BLOCK = packAttributes(0, 0xff, 3, 2, 21);

describe('Tlb', () => {
  test('a page of one ASID -> found under it alone; a global one under any', () => {
    const t = new Tlb();
    t.add(0x1000, 0, 1, false, 0x8000_1000, LOCAL);
    t.add(0x2000, 0, 1, false, 0x1_2345_6000, GLOBAL);
    expect(t.find(0x1abc, 0, 1, false, hit)).toBe(true);
    expect(hit.pa).toBe(0x8000_1abc);
    expect(t.find(0x1abc, 0, 2, false, hit)).toBe(false);
    expect(t.find(0x2010, 0, 2, false, hit)).toBe(true);
    expect(hit.pa).toBe(0x1_2345_6010);
  });
  test('the same page of two ASIDs -> both stay', () => {
    const t = new Tlb();
    t.add(0x1000, 0, 1, false, 0x1000, LOCAL);
    t.add(0x1000, 0, 2, false, 0x2000, LOCAL);
    t.find(0x1000, 0, 1, false, hit);
    expect(hit.pa).toBe(0x1000);
    t.find(0x1000, 0, 2, false, hit);
    expect(hit.pa).toBe(0x2000);
  });
  test('upper and lower addresses do not meet; eviction names the page', () => {
    const t = new Tlb();
    const gone: string[] = [];
    t.onEvict = (lo, hi) => gone.push(`${(hi >>> 0).toString(16)}:${(lo >>> 0).toString(16)}`);
    t.add(0x8000_0000 | 0, 0xffff_ff80 | 0, 0, false, 0x1000, GLOBAL);
    expect(t.find(0x8000_0000 | 0, 0x0000_ff80, 0, false, hit)).toBe(false);
    t.dropPage(0x8_0000 | (0xff80 << 20) | 0, 0xfff, -1);
    expect(gone).toEqual(['ffffff80:80000000']);
  });
  test('TLBI of an address inside a block -> every piece of the block goes', () => {
    const t = new Tlb();
    t.add(0x40_0000, 0, 0, false, 0x80_0000, BLOCK);
    t.add(0x40_5000, 0, 0, false, 0x80_5000, BLOCK);
    t.add(0x60_0000, 0, 0, false, 0xa0_0000, BLOCK);
    t.dropPage(0x47f, 0, 0);
    expect(t.find(0x40_0000, 0, 0, false, hit)).toBe(false);
    expect(t.find(0x40_5000, 0, 0, false, hit)).toBe(false);
    expect(t.find(0x60_0000, 0, 0, false, hit)).toBe(true);
  });
  test('ASIDE1 takes the pages of one ASID and no global one', () => {
    const t = new Tlb();
    t.add(0x1000, 0, 1, false, 0x1000, LOCAL);
    t.add(0x2000, 0, 2, false, 0x2000, LOCAL);
    t.add(0x3000, 0, 1, false, 0x3000, GLOBAL);
    t.dropAll(1);
    expect([0x1000, 0x2000, 0x3000].map((a, i) => t.find(a, 0, i === 1 ? 2 : 1, false, hit))).toEqual([
      false,
      true,
      true,
    ]);
  });
  test('a full set -> the oldest goes; saved and restored it is the same', () => {
    const t = new Tlb();
    const gone: number[] = [];
    t.onEvict = (lo) => gone.push(lo);
    // five pages of one set: numbers that differ by 2^18 + 2^9 fold to the same
    const pages = [0, 1, 2, 3, 4].map((n) => n * 0x201 * 512);
    for (const p of pages) t.add((p << 12) | 0, p >>> 20, 0, false, p * 4096, GLOBAL);
    const there = (x: Tlb): boolean[] => pages.map((p) => x.find((p << 12) | 0, p >>> 20, 0, false, hit));
    const copy = new Tlb();
    copy.restore(t.save());
    expect(there(copy)).toEqual(there(t));
    expect(copy.save()).toEqual(t.save());
    expect(there(t).filter((x) => !x).length).toBe(gone.length);
  });
});

const DATA = RAM + 0x10_0000n;
const TABLES = RAM + 0x20_0000n;
/** MMU on; VA 8 GiB is a page of its own over {@link DATA}, not global. */
function mapped(code: string): Lab {
  const l = lab(code);
  for (let n = 0n; n < 4n; n++) l.vm.poke(TABLES + 8n * n, (n << 30n) | 0x705n);
  l.vm.poke(TABLES + 64n, (TABLES + 0x1000n) | 3n);
  l.vm.poke(TABLES + 0x1000n, (TABLES + 0x2000n) | 3n);
  l.vm.poke(TABLES + 0x2000n, DATA | 0xf07n);
  l.vm.poke(DATA, 0x11n);
  l.vm.poke(DATA + 0x1000n, 0x22n);
  l.cpu.set('mair_el1', 0xff00n);
  l.cpu.set('tcr_el1', 25n | (1n << 23n) | (5n << 32n) | (1n << 36n));
  l.cpu.set('ttbr0_el1', TABLES | (1n << 48n));
  l.cpu.set('sctlr_el1', 0x30d0_1805n);
  return l;
}
const MOVE = `ldr x1, =0x200000000
ldr x2, [x1]
ldr x5, =${TABLES + 0x2000n}
ldr x6, =${(DATA + 0x1000n) | 0xf07n}
str x6, [x5]
dsb sy
isb
`;

describe('guest', () => {
  test('a descriptor changed without TLBI -> the old page; after another ASID and back -> still the old one', () => {
    const l = mapped(`${MOVE}ldr x3, [x1]
ldr x7, =${TABLES | (2n << 48n)}
msr ttbr0_el1, x7
isb
ldr x8, [x1]
ldr x7, =${TABLES | (1n << 48n)}
msr ttbr0_el1, x7
isb
ldr x9, [x1]
tlbi aside1, x7
dsb sy
isb
ldr x10, [x1]
wfi
.ltorg`);
    l.run();
    expect(['x2', 'x3', 'x8', 'x9', 'x10'].map((r) => l.cpu.get(r))).toEqual([
      0x11n,
      0x11n,
      0x22n,
      0x11n,
      0x22n,
    ]);
  });
  test('the stale translation survives a snapshot and a restore into another VM', () => {
    const l = mapped(`${MOVE}ldr x3, [x1]\nwfi\n.ltorg`);
    // the instructions of MOVE
    l.cpu.run(7);
    const s = l.vm.snapshot();
    const other = lab('wfi');
    other.vm.restore(s);
    s.dispose();
    other.run();
    expect(other.cpu.get('x3')).toBe(0x11n);
    expect(other.arch.walk(0x2_0000_0000n, 'read').gpa).toBe(DATA + 0x1000n);
  });
  test('AT walks as things are now, whatever the TLB holds', () => {
    const l = mapped(`${MOVE}at s1e1r, x1\nisb\nmrs x3, par_el1\nldr x4, [x1]\nwfi\n.ltorg`);
    l.run();
    expect(l.cpu.get('x3') & 0xffff_ffff_f000n).toBe(DATA + 0x1000n);
    expect(l.cpu.get('x4')).toBe(0x11n);
  });
  test('TLBI of one vCPU -> the other walks again', () => {
    const code = `mrs x0, mpidr_el1
tst x0, #1
b.ne second
tlbi vmalle1
dsb sy
b .
second: ldr x1, =0x200000000
ldr x2, [x1]
b .
.ltorg`;
    for (const first of [false, true]) {
      const l = lab(code, { vcpus: 2, secondaries: 'on' });
      const other = mapped('wfi');
      const second = l.vm.vcpus[1];
      if (!second) throw new Error('no second vcpu');
      for (let a = TABLES; a < TABLES + 0x3000n; a += 8n)
        if (other.vm.peek(a)) l.vm.poke(a, other.vm.peek(a));
      l.vm.poke(DATA, 0x11n);
      l.vm.poke(DATA + 0x1000n, 0x22n);
      for (const r of ['mair_el1', 'tcr_el1', 'ttbr0_el1', 'sctlr_el1']) second.set(r, other.cpu.get(r));
      second.pc = RAM;
      second.run(100);
      expect(second.get('x2')).toBe(0x11n);
      l.vm.poke(TABLES + 0x2000n, (DATA + 0x1000n) | 0xf07n);
      if (first) l.cpu.run(100);
      second.pc = RAM;
      second.run(100);
      expect(second.get('x2')).toBe(first ? 0x22n : 0x11n);
    }
  });
});

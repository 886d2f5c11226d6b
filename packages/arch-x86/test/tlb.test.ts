/** The architectural TLB: what it keeps, what invalidation takes, and when the tables are looked at again. */
import { Access } from '@faultyard/engine';
import { describe, expect, test } from 'vitest';
import { PAGE, packAttributes, UNLIMITED } from '../src/memory/page.ts';
import { Tlb, type TlbHit } from '../src/memory/tlb.ts';
import { CR4, SR } from '../src/state.ts';
import { BareMemory, Cause } from './support/bare-memory.ts';

const hit: TlbHit = { pa: 0, attributes: 0 };
const LOCAL = packAttributes(UNLIMITED, 0, 0, 1, 12);
const GLOBAL = packAttributes(UNLIMITED | PAGE.Global, 0, 0, 1, 12);
const LARGE = packAttributes(UNLIMITED, 0, 0, 2, 21);

/** Whether pages are there, under a PCID. */
const there = (t: Tlb, pages: readonly number[], pcid: number, fetch = false): boolean[] =>
  pages.map((p) => t.find(p, 0, pcid, fetch, hit));

describe('Tlb', () => {
  test('a page of one PCID -> found under it alone; a global one under any; data and fetches apart', () => {
    const t = new Tlb();
    t.add(0x1000, 0, 1, false, 0xf_ffff_8000_1000, LOCAL);
    t.add(0x2000, 0, 1, false, 0x1_2345_6000, GLOBAL);
    expect(t.find(0x1abc, 0, 1, false, hit)).toBe(true);
    expect(hit.pa).toBe(0xf_ffff_8000_1abc);
    expect(there(t, [0x1000, 0x2000], 2)).toEqual([false, true]);
    expect(there(t, [0x1000, 0x2000], 1, true)).toEqual([false, false]);
  });
  test('addresses of 57 bits that differ in one bit do not meet; eviction names the canonical page', () => {
    const t = new Tlb();
    const gone: string[] = [];
    t.onEvict = (lo, hi) => gone.push(`${(hi >>> 0).toString(16)}:${(lo >>> 0).toString(16)}`);
    t.add(0x8000_0000 | 0, 0xff00_0000 | 0, 0, false, 0x1000, LOCAL);
    for (const bit of [0, 5, 11, 12, 23, 24]) {
      expect(t.find(0x8000_0000 | 0, 0xff00_0000 ^ (1 << bit), 0, false, hit)).toBe(false);
    }
    t.dropPage(0x8000_0fff | 0, 0xff00_0000 | 0, 0);
    t.add(0x7000, 0x00ff_0000, 0, false, 0x1000, LOCAL);
    t.dropPage(0x7000, 0x00ff_0000, 0);
    expect(gone).toEqual(['ff000000:80000000', 'ff0000:7000']);
  });
  test('the same page added again -> the new translation alone, its fast ones gone', () => {
    const t = new Tlb();
    let gone = 0;
    t.onEvict = () => gone++;
    t.add(0x1000, 0, 1, false, 0x5000, LOCAL & ~PAGE.Dirty);
    t.add(0x1000, 0, 1, false, 0x6000, LOCAL);
    t.find(0x1000, 0, 1, false, hit);
    expect([hit.pa, hit.attributes, gone]).toEqual([0x6000, LOCAL, 1]);
    t.dropPage(0x1000, 0, 1);
    expect(there(t, [0x1000], 1)).toEqual([false]);
  });
  test('INVLPG of an address inside a 2 MiB page -> every piece of it goes, the next page stays', () => {
    const t = new Tlb();
    for (const p of [0x40_0000, 0x40_5000, 0x60_0000]) t.add(p, 0, 0, false, p, LARGE);
    t.add(0x40_5000, 0, 0, true, 0x40_5000, LARGE);
    t.dropPage(0x47_f123, 0, 0);
    expect(there(t, [0x40_0000, 0x40_5000, 0x60_0000], 0)).toEqual([false, false, true]);
    expect(there(t, [0x40_5000], 0, true)).toEqual([false]);
  });
  test.each<[string, (t: Tlb) => void, boolean[]]>([
    // local of PCID 1, global, local of PCID 2
    ['MOV CR3: what is not global', (t) => t.dropNonGlobal(1), [false, true, true]],
    ['INVPCID 3: all PCIDs, not global', (t) => t.dropNonGlobal(), [false, true, false]],
    ['INVPCID 2: everything', (t) => t.dropAll(), [false, false, false]],
    ['INVLPG: the page, global too', (t) => t.dropPage(0x2000, 0, 7), [true, false, true]],
    ['INVLPG of a page of another PCID', (t) => t.dropPage(0x1000, 0, 2), [true, true, true]],
    ['INVPCID 0: not global', (t) => t.dropPage(0x2000, 0, 1, false), [true, true, true]],
    ['INVPCID 0: its page', (t) => t.dropPage(0x3000, 0, 2, false), [true, true, false]],
  ])('%s', (_, drop, left) => {
    for (const fetch of [false, true]) {
      const t = new Tlb();
      t.add(0x1000, 0, 1, fetch, 0x1000, LOCAL);
      t.add(0x2000, 0, 1, fetch, 0x2000, GLOBAL);
      t.add(0x3000, 0, 2, fetch, 0x3000, LOCAL);
      drop(t);
      const found = [...there(t, [0x1000, 0x2000], 1, fetch), ...there(t, [0x3000], 2, fetch)];
      expect(found).toEqual(left);
    }
  });
  test('entries of a nested guest -> seen and dropped under its ASID alone', () => {
    const t = new Tlb();
    t.add(0x1000, 0, 0, false, 0x1000, GLOBAL);
    t.asid = 7;
    expect(there(t, [0x1000], 0)).toEqual([false]);
    t.add(0x1000, 0, 0, false, 0x9000, GLOBAL);
    t.dropNonGlobal();
    expect(there(t, [0x1000], 0)).toEqual([true]);
    t.dropAll();
    expect(there(t, [0x1000], 0)).toEqual([false]);
    t.asid = 0;
    expect(there(t, [0x1000], 0)).toEqual([true]);
    t.asid = 7;
    t.add(0x1000, 0, 0, false, 0x9000, GLOBAL);
    t.dropEverything();
    t.asid = 0;
    expect(there(t, [0x1000], 0)).toEqual([false]);
  });
  test('a full set -> the oldest goes; saved and restored it is the same', () => {
    const t = new Tlb();
    const gone: number[] = [];
    t.onEvict = (lo) => gone.push(lo);
    // numbers that differ by 2^18 + 2^9 fold to the same set
    const pages = [0, 1, 2, 3, 4].map((n) => n * 0x201 * 512);
    for (const p of pages) t.add((p << 12) | 0, p >>> 20, 3, false, p * 4096, LARGE);
    const found = (x: Tlb): boolean[] => pages.map((p) => x.find((p << 12) | 0, p >>> 20, 3, false, hit));
    expect(found(t)).toEqual([false, true, true, true, true]);
    expect(gone).toEqual([0]);
    const copy = new Tlb();
    copy.restore(t.save());
    expect([found(copy), copy.save()]).toEqual([found(t), t.save()]);
    // the restored one knows that it has large leaves
    copy.dropPage(((pages[1] as number) << 12) | 0x1000, (pages[1] as number) >>> 20, 3);
    expect(found(copy)).toEqual([false, false, true, true, true]);
  });
});

const VA = 0x40_0000_0000n;

describe('the port and its TLB', () => {
  test('an entry changed without INVLPG -> the old page; behind it the new one', () => {
    const m = new BareMemory();
    m.map(VA, 0x5000);
    expect(m.access(VA + 0x10n)).toMatchObject({ gpa: 0x5010 });
    m.map(VA, 0x6000);
    expect(m.access(VA + 0x20n)).toMatchObject({ gpa: 0x5020 });
    m.poke(m.entry(VA), 0n);
    expect(m.access(VA)).toMatchObject({ gpa: 0x5000 });
    m.tlb.dropPage(0, 0x40, 0);
    expect(m.access(VA)).toMatchObject({ cause: Cause.PageFault, errorCode: 0 });
  });
  test('more rights without INVLPG -> the tables are looked at again before the fault', () => {
    const m = new BareMemory();
    m.map(VA, 0x5000, 5n);
    m.access(VA);
    m.map(VA, 0x6000, 7n);
    expect(m.access(VA)).toMatchObject({ gpa: 0x5000 });
    expect(m.access(VA, Access.Write)).toMatchObject({ gpa: 0x6000 });
    expect(m.access(VA)).toMatchObject({ gpa: 0x6000 });
  });
  test('fewer rights without INVLPG -> the old ones hold; a fault takes the stale translation along', () => {
    const m = new BareMemory();
    m.map(VA, 0x5000, 5n);
    m.access(VA);
    m.map(VA, 0x6000, 4n);
    expect(m.access(VA)).toMatchObject({ gpa: 0x5000 });
    // the write is not allowed by the old one; the walk finds no page at all
    expect(m.access(VA, Access.Write)).toMatchObject({ cause: Cause.PageFault, errorCode: 2 });
    expect(m.access(VA)).toMatchObject({ cause: Cause.PageFault, errorCode: 0 });
  });
  test('read, then write -> D is set by a second walk; cleared without INVLPG it stays clear', () => {
    const m = new BareMemory();
    m.map(VA, 0x5000);
    const dirty = (): bigint => m.peek(m.entry(VA)) & 0x60n;
    m.access(VA);
    expect(dirty()).toBe(0x20n);
    m.access(VA, Access.Write);
    expect(dirty()).toBe(0x60n);
    m.map(VA, 0x5000);
    m.access(VA, Access.Write);
    m.access(VA);
    expect(dirty()).toBe(0n);
    m.tlb.dropPage(0, 0x40, 0);
    m.access(VA, Access.ReadWrite);
    expect(dirty()).toBe(0x60n);
  });
  test('PCIDs: another address space under another PCID, and back without a flush', () => {
    const m = new BareMemory();
    m.map(VA, 0x5000);
    const cr3 = m.state.sysLo(SR.CR3);
    m.cr4(CR4.PCIDE);
    m.state.setSys(SR.CR3, cr3 | 1, 0);
    m.access(VA);
    m.map(VA, 0x6000);
    m.state.setSys(SR.CR3, cr3 | 2, 0);
    expect(m.access(VA)).toMatchObject({ gpa: 0x6000 });
    m.state.setSys(SR.CR3, cr3 | 1, 0);
    expect(m.access(VA)).toMatchObject({ gpa: 0x5000 });
    m.tlb.dropNonGlobal(1);
    expect(m.access(VA)).toMatchObject({ gpa: 0x6000 });
  });
  test('global pages outlive MOV CR3 only where CR4.PGE was set when they came in', () => {
    for (const pge of [false, true]) {
      const m = new BareMemory();
      m.cr4(CR4.PGE, pge);
      m.map(VA, 0x5000, 0x107n);
      m.access(VA);
      m.map(VA, 0x6000, 0x107n);
      m.tlb.dropNonGlobal();
      expect(m.access(VA)).toMatchObject({ gpa: pge ? 0x5000 : 0x6000 });
    }
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FaultyardError } from '../src/errors.ts';
import { FrameFlag, HostMemory, MAX_HOST_BYTES } from '../src/host/memory.ts';
import { Entry, Mark, PageTable } from '../src/host/page-table.ts';

const MIB = 2 ** 20;
const small = (): HostMemory => new HostMemory({ bytes: 4 * MIB });
const code = (f: () => unknown): string => {
  try {
    f();
  } catch (e) {
    return e instanceof FaultyardError ? e.code : String(e);
  }
  return 'none';
};

describe('tables', () => {
  test('allocate, write, free, allocate again -> zeroed and aligned', () => {
    const h = small();
    const a = h.allocTable(1000, 256);
    expect(a % 256).toBe(0);
    expect(a).toBeGreaterThan(0);
    h.u8.fill(0xaa, a, a + 1000);
    const b = h.allocTable(64);
    h.freeTable(a);
    const c = h.allocTable(512, 256);
    expect(c).toBe(a);
    expect(h.u8.subarray(c, c + 512).every((x) => x === 0)).toBe(true);
    expect(b).toBeGreaterThan(c + 512);
  });

  test('free twice -> FY_ARGUMENT', () => {
    const h = small();
    const a = h.allocTable(64);
    h.freeTable(a);
    expect(code(() => h.freeTable(a))).toBe('FY_ARGUMENT');
  });

  test('random allocations and frees -> never overlap, all room comes back', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            size: fc.integer({ min: 1, max: 9000 }),
            align: fc.constantFrom(8, 64, 4096),
            free: fc.nat(),
          }),
          {
            maxLength: 60,
          },
        ),
        (steps) => {
          const h = small();
          const first = h.allocTable(8, 4096);
          h.freeTable(first);
          const live: { at: number; size: number }[] = [];
          for (const s of steps) {
            const at = h.allocTable(s.size, s.align);
            expect(at % s.align).toBe(0);
            expect(h.u8.subarray(at, at + s.size).every((x) => x === 0)).toBe(true);
            for (const l of live) expect(at >= l.at + l.size || at + s.size <= l.at).toBe(true);
            h.u8.fill(0xff, at, at + s.size);
            live.push({ at, size: s.size });
            if (s.free % 3 === 0) h.freeTable((live.splice(s.free % live.length, 1)[0] as { at: number }).at);
          }
          for (const l of live) h.freeTable(l.at);
          expect(h.allocTable(8, 4096)).toBe(first);
        },
      ),
      { numRuns: 50, seed: 1 },
    );
  });
});

describe('frames', () => {
  test('first touch and reuse -> zero', () => {
    const h = small();
    const p = h.allocFrame();
    expect(h.u8.subarray(p * 4096, p * 4096 + 4096).every((x) => x === 0)).toBe(true);
    h.u8.fill(7, p * 4096, p * 4096 + 4096);
    h.poison(p);
    h.release(p);
    const q = h.allocFrame();
    expect(q).toBe(p);
    expect(h.u8[q * 4096]).toBe(0);
    expect(h.poisoned(q)).toBe(false);
  });

  test('a freed table area becomes a frame -> zero', () => {
    const h = new HostMemory({ bytes: MIB });
    const t = h.allocTable(700 * 1024);
    h.u8.fill(0xee, t, t + 700 * 1024);
    h.freeTable(t);
    for (let p = h.takeFrame(); p !== 0; p = h.takeFrame())
      expect(h.u8.subarray(p * 4096, p * 4096 + 4096).every((x) => x === 0)).toBe(true);
  });

  test('no frame left -> FY_HOST_MEMORY with advice; a table then too', () => {
    const h = new HostMemory({ bytes: MIB });
    while (h.takeFrame() !== 0);
    expect(h.takeFrame()).toBe(0);
    expect(code(() => h.allocFrame())).toBe('FY_HOST_MEMORY');
    expect(() => h.allocFrame()).toThrow(/release snapshots/);
    expect(code(() => h.allocTable(8192))).toBe('FY_HOST_MEMORY');
  });

  test('sizes that are no size -> FY_HOST_MEMORY; 4 GiB - 64 KiB is one', () => {
    for (const bytes of [0, 65535, 3 * MIB + 1, 2 ** 32, -1, 1.5])
      expect(code(() => new HostMemory({ bytes }))).toBe('FY_HOST_MEMORY');
    expect(new HostMemory({ bytes: MAX_HOST_BYTES }).u8.length).toBe(2 ** 32 - 65536);
  });

  test('flags -> which fast translations may be kept', () => {
    const h = small();
    const p = h.allocFrame();
    const may = (): [boolean, boolean] => [h.cacheable(p * 4096, false), h.cacheable(p * 4096, true)];
    expect(may()).toEqual([true, true]);
    h.setCode(p * 4096, true);
    expect(may()).toEqual([true, false]);
    h.setCode(p * 4096, false);
    h.mark(p, FrameFlag.Tracked, true);
    expect(may()).toEqual([true, false]);
    h.mark(p, FrameFlag.Tracked, false);
    h.mark(p, FrameFlag.Watched, true);
    expect(may()).toEqual([false, false]);
    h.mark(p, FrameFlag.Watched, false);
    h.poison(p);
    expect(may()).toEqual([false, false]);
    h.heal(p);
    expect(may()).toEqual([true, true]);
  });

  test('a frame with decoded code is freed or overwritten -> the engine hears of it once', () => {
    const h = small();
    const lost: number[] = [];
    const stop = h.onCodeLost((p) => lost.push(p));
    const p = h.allocFrame();
    h.setCode(p * 4096, true);
    h.codeWritten(p);
    h.codeWritten(p);
    expect(lost).toEqual([p]);
    h.setCode(p * 4096, true);
    h.release(p);
    expect(lost).toEqual([p, p]);
    stop();
    const q = h.allocFrame();
    h.setCode(q * 4096, true);
    h.release(q);
    expect(lost).toEqual([p, p]);
  });
});

describe('copy-on-write page tables', () => {
  /** A table next to plain copies of its pages. */
  type Model = Map<number, number>;
  const PAGES = [0, 1, 511, 512, 513, 2 ** 33 + 5, 2 ** 35 - 1];

  test('random writes, snapshots, restores, forks -> as plain copies; all frames come back', () => {
    const step = fc.oneof(
      fc.record({
        op: fc.constant('write' as const),
        table: fc.nat(),
        page: fc.nat(),
        value: fc.integer({ min: 1, max: 255 }),
      }),
      fc.record({ op: fc.constant('drop' as const), table: fc.nat(), page: fc.nat() }),
      fc.record({ op: fc.constant('share' as const), table: fc.nat() }),
      fc.record({ op: fc.constant('become' as const), table: fc.nat(), other: fc.nat() }),
      fc.record({ op: fc.constant('dispose' as const), table: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const h = small();
        const tables: { t: PageTable; m: Model }[] = [{ t: new PageTable(h), m: new Map() }];
        for (const s of steps) {
          const i = s.table % tables.length;
          const { t, m } = tables[i] as { t: PageTable; m: Model };
          if (s.op === 'write') {
            const page = PAGES[s.page % PAGES.length] as number;
            if (t.get(page) === 0) t.put(page, h.allocFrame());
            const pfn = t.own(page);
            expect(t.exclusive(page)).toBe(true);
            h.u8[pfn * 4096 + 9] = s.value;
            m.set(page, s.value);
          } else if (s.op === 'drop') {
            const page = PAGES[s.page % PAGES.length] as number;
            t.put(page, 0);
            m.delete(page);
          } else if (s.op === 'share') tables.push({ t: t.share(), m: new Map(m) });
          else if (s.op === 'become') {
            const o = tables[s.other % tables.length] as { t: PageTable; m: Model };
            const changed = new Set<number>();
            const before = new Map(PAGES.map((p) => [p, t.get(p)]));
            t.become(o.t, (p) => changed.add(p));
            for (const p of PAGES) if (before.get(p) !== t.get(p)) expect(changed.has(p)).toBe(true);
            (tables[i] as { m: Model }).m = new Map(o.m);
          } else if (tables.length > 1) {
            t.dispose();
            tables.splice(i, 1);
          }
          for (const x of tables)
            for (const p of PAGES) {
              const pfn = x.t.pfn(p);
              expect(pfn === 0 ? undefined : h.u8[pfn * 4096 + 9]).toBe(x.m.get(p));
            }
        }
        for (const x of tables) x.t.dispose();
        expect(h.framesInUse).toBe(0);
      }),
      { numRuns: 200, seed: 2 },
    );
  });

  test('marks and bits stay out of frame accounting', () => {
    const h = small();
    const t = new PageTable(h);
    t.put(3, h.allocFrame());
    t.setBits(3, Entry.Dirty);
    expect(t.get(3) & Entry.Dirty).toBe(Entry.Dirty);
    t.put(3, Mark.HwPoison);
    expect(h.framesInUse).toBe(0);
    expect(t.pfn(3)).toBe(0);
    expect(t.own(3)).toBe(0);
    const seen: number[][] = [];
    t.put(1029, h.allocFrame());
    t.forEach(0, 2000, (p, e) => seen.push([p, Math.sign(e)]));
    expect(seen).toEqual([
      [3, -1],
      [1029, 1],
    ]);
    t.clear(0, 2000);
    expect(h.framesInUse).toBe(0);
  });

  test('poison on a page shared with a snapshot -> the snapshot keeps the sound page', () => {
    const h = small();
    const t = new PageTable(h);
    t.put(0, h.allocFrame());
    const snap = t.share();
    h.poison(t.own(0));
    expect(h.poisoned(t.pfn(0))).toBe(true);
    expect(h.poisoned(snap.pfn(0))).toBe(false);
  });
});

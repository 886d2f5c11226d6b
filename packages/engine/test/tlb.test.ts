/** The fast TLB of one context against a list of what was filled: it may lose entries, it may not keep any too long. */
import { expect, test } from 'vitest';
import { CONTEXT_BYTES } from '../src/cpu-block.ts';
import { ContextTlb, type TableIndex } from '../src/tlb.ts';

interface Kept {
  readonly table: TableIndex;
  readonly lo: number;
  readonly hi: number;
  readonly frame: number;
}

test('random fills and drops -> nothing that was dropped is found, what is found is the last fill', () => {
  let seed = 12345;
  const r = (n: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) | 0;
    return (seed >>> 8) % n;
  };
  const i32 = new Int32Array(CONTEXT_BYTES / 4 + 16);
  const tlb = new ContextTlb(i32, 64);
  let kept = new Map<string, Kept>();
  const key = (t: number, lo: number, hi: number): string => `${t} ${hi} ${lo & -4096}`;
  const drop = (gone: (k: Kept) => boolean): void => {
    kept = new Map([...kept].filter(([, k]) => !gone(k)));
  };
  let found = 0;
  // frames above 2 GiB are negative as int32; some share a counter
  const frame = (): number => (r(2) ? 0xf000_0000 : 0x0100_0000) + r(40) * 4096 + r(3) * 8192 * 4096;
  for (let step = 0; step < 20_000; step++) {
    const table = r(3) as TableIndex;
    const lo = (r(2000) << 12) | r(4096);
    const hi = r(2) ? -1 : 0;
    const kind = r(100);
    if (kind < 80) {
      const f = frame();
      tlb.fill(table, lo, hi, f - (lo & -4096), f);
      kept.set(key(table, lo, hi), { table, lo: lo & -4096, hi, frame: f });
    } else if (kind < 90) {
      const f = frame();
      const mask = 1 + r(7);
      tlb.dropFrame(f, mask);
      drop((k) => k.frame === f && ((mask >>> k.table) & 1) === 1);
    } else if (kind < 98) {
      tlb.dropPage(lo, hi);
      drop((k) => k.lo === (lo & -4096) && k.hi === hi);
    } else if (kind === 98) {
      tlb.flushTable(table);
      drop((k) => k.table === table);
    } else if (r(20) === 0) {
      tlb.flush();
      kept.clear();
    }
    for (let i = 0; i < 20; i++) {
      const t = r(3) as TableIndex;
      const l = r(2000) << 12;
      const h = r(2) ? -1 : 0;
      const w = tlb.find(t, l, h);
      const k = kept.get(key(t, l, h));
      if (w < 0) continue;
      found++;
      expect(k).toBeDefined();
      expect([i32[w + 2], i32[w + 3]]).toEqual([((k as Kept).frame - l) | 0, (k as Kept).frame | 0]);
    }
  }
  expect(found).toBeGreaterThan(5_000);
});

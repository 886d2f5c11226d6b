import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StateHash } from '../src/cell.ts';
import { FaultyardError, KvmError } from '../src/errors.ts';
import { AddressSpace, type MemoryImage } from '../src/host/address-space.ts';
import { memoryBenchmark } from '../src/host/benchmark.ts';
import { HostMemory } from '../src/host/memory.ts';
import { memoryFailure } from '../src/host/memory-failure.ts';
import { Prot } from '../src/host/vma.ts';
import { MemFlag, type MemslotRules, Memslots } from '../src/memslot.ts';
import { type FaultRequest, Stage2 } from '../src/stage2.ts';
import { drive } from '../src/task.ts';

const PAGE = 4096;
const BASE = 0x4000_0000 / PAGE;
const rules: MemslotRules = {
  ids: 32767,
  addressSpaces: 1,
  gpaLimit: 2 ** 40,
  beyondLimit: 'EFAULT',
  refusesDirtyPfnmap: true,
};
const hashOf = (slots: Memslots): string => {
  const h = new StateHash();
  slots.hash(h.feed);
  return h.hex();
};

/** A VM's memory with the fast TLB of a vCPU in front: entries go only when stage 2 says so. */
class Guest {
  readonly host: HostMemory;
  readonly space: AddressSpace;
  readonly slots: Memslots;
  readonly stage2: Stage2;
  readonly #read = new Map<number, number>();
  readonly #write = new Map<number, number>();
  constructor(space: AddressSpace) {
    this.space = space;
    this.host = space.host;
    this.slots = new Memslots(space, rules);
    this.stage2 = new Stage2(space, this.slots, {
      invalidSlot: 'noslot',
      vmaFirst: true,
      execDevice: 'refuse',
    });
    this.stage2.onZap((gfn, n, pfn) => {
      for (const tlb of [this.#read, this.#write])
        for (const [g, frame] of tlb) if ((g >= gfn && g < gfn + n) || frame === pfn * PAGE) tlb.delete(g);
    });
  }
  #frame(gfn: number, write: boolean): number {
    const tlb = write ? this.#write : this.#read;
    const hit = tlb.get(gfn);
    if (hit !== undefined) return hit;
    for (;;) {
      const f = this.stage2.lookup(gfn, write);
      if (f > 0) {
        if (this.host.cacheable(f, write)) tlb.set(gfn, f);
        return f;
      }
      const q: FaultRequest = { gpa: gfn * PAGE, write, exec: false, origin: 'hardware' };
      const r = drive(this.stage2.fault(q));
      if (r.kind !== 'mapped') return -1;
    }
  }
  load(gfn: number): number | undefined {
    const f = this.#frame(gfn, false);
    return f < 0 ? undefined : (this.host.u8[f + 100] as number);
  }
  store(gfn: number, value: number): boolean {
    const f = this.#frame(gfn, true);
    if (f >= 0) this.host.u8[f + 100] = value;
    return f >= 0;
  }
}

describe('a guest with a fast TLB, against plain arrays', () => {
  const PAGES = 6;
  const op = fc.record({
    op: fc.constantFrom(
      'store',
      'store',
      'store',
      'load',
      'vmm',
      'save',
      'restore',
      'fork',
      'drop',
      'dontneed',
      'dirty',
      'hash',
    ),
    who: fc.nat(),
    page: fc.nat({ max: PAGES - 1 }),
    value: fc.integer({ min: 0, max: 255 }),
  });

  test('random stores, snapshots, restores and forks -> every guest reads its own bytes, equal content has equal hash', () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 120 }), (ops) => {
        const host = new HostMemory({ bytes: 8 * 2 ** 20 });
        const first = new Guest(new AddressSpace(host));
        const hva = first.space.map({ size: 3 * PAGE });
        const file = first.space.map({ size: 3 * PAGE, backing: first.space.file(3 * PAGE) });
        const region = (slot: number, gfn: number, at: number): void =>
          drive(
            first.slots.set({
              slot,
              gpa: gfn * PAGE,
              size: 3 * PAGE,
              hva: at,
              flags: slot === 0 ? MemFlag.LogDirty : 0,
            }),
          );
        region(0, BASE, hva);
        region(1, BASE + 3, file);
        // Slot 2 shows the file a second time.
        region(2, BASE + 6, file);
        const address = (page: number): number => (page < 3 ? hva + page * PAGE : file + (page - 3) * PAGE);
        const guests: { g: Guest; m: number[] }[] = [{ g: first, m: new Array(PAGES).fill(0) }];
        const images: { i: MemoryImage; s: ReturnType<Memslots['save']>; m: number[] }[] = [];
        const hashes = new Map<string, string>();
        for (const o of ops) {
          const at = o.who % guests.length;
          const { g, m } = guests[at] as { g: Guest; m: number[] };
          if (o.op === 'store') {
            expect(g.store(BASE + o.page, o.value)).toBe(true);
            m[o.page] = o.value;
          } else if (o.op === 'load') {
            expect(g.load(BASE + o.page)).toBe(m[o.page]);
            if (o.page >= 3) expect(g.load(BASE + 3 + o.page)).toBe(m[o.page]);
          } else if (o.op === 'vmm') {
            g.space.write(address(o.page) + 100, Uint8Array.of(o.value));
            m[o.page] = o.value;
          } else if (o.op === 'save') images.push({ i: g.space.save(), s: g.slots.save(), m: [...m] });
          else if (o.op === 'restore' && images.length > 0) {
            const image = images[o.value % images.length] as (typeof images)[0];
            g.space.restore(image.i);
            g.slots.restore(image.s);
            (guests[at] as { m: number[] }).m = [...image.m];
          } else if (o.op === 'fork' && guests.length < 4) {
            const s = g.slots.save();
            const f = new Guest(g.space.fork());
            f.slots.restore(s);
            guests.push({ g: f, m: [...m] });
          } else if (o.op === 'drop' && images.length > 0)
            images.splice(o.value % images.length, 1)[0]?.i.dispose();
          else if (o.op === 'dontneed') {
            drive(g.space.dontNeed(address(o.page), PAGE));
            if (o.page < 3) m[o.page] = 0;
          } else if (o.op === 'dirty') {
            g.slots.getDirtyLog(0);
            expect(g.store(BASE, o.value)).toBe(true);
            m[0] = o.value;
            expect((g.slots.getDirtyLog(0)[0] as number) & 1).toBe(1);
          } else {
            const { m: now } = guests[at] as { m: number[] };
            const h = hashOf(g.slots);
            const key = now.join();
            expect(hashes.get(key) ?? h).toBe(h);
            hashes.set(key, h);
          }
        }
        expect(new Set(hashes.values()).size).toBe(hashes.size);
        for (const { g, m } of guests)
          for (let p = 0; p < PAGES; p++) {
            expect(g.load(BASE + p)).toBe(m[p]);
            expect(g.space.read(address(p) + 100, 1)).toEqual(Uint8Array.of(m[p] as number));
          }
        for (const { i } of images) i.dispose();
        for (const { g } of guests) {
          g.stage2.dispose();
          g.space.dispose();
        }
        expect(host.framesInUse).toBe(0);
      }),
      { numRuns: 300, seed: 4 },
    );
  });
});

describe('what an image holds', () => {
  const host = new HostMemory({ bytes: 16 * 2 ** 20 });

  test('areas, files, lost pages, PTEs of devices, poison -> all as they were', () => {
    const s = new AddressSpace(host);
    let asked = 0;
    const io = s.ioRegion(
      PAGE,
      () => {
        asked++;
        return 'map';
      },
      'bar0',
    );
    const f = s.file(2 * PAGE);
    const a = s.map({ size: 2 * PAGE });
    const b = s.map({ size: 2 * PAGE, backing: f });
    const c = s.map({ size: PAGE, backing: io });
    const d = s.map({ size: 2 ** 21, hugetlb: '2M' });
    for (const at of [a, a + PAGE, b, c, d]) s.write(at, Uint8Array.of(1));
    s.poison(a);
    drive(memoryFailure(s, a + PAGE));
    drive(memoryFailure(s, d));
    const image = s.save();
    s.poison(a, false);
    drive(s.truncate(f, 0));
    drive(s.dontNeed(a + PAGE, PAGE));
    drive(s.zap(io, 0, 1));
    s.ioRegion(PAGE, () => 'map', 'later');
    drive(s.munmap(d, 2 ** 21));
    drive(s.mprotect(b, PAGE, Prot.None));
    s.restore(image);
    const code = (at: number): unknown => {
      const r = s.read(at, 1);
      return r instanceof Uint8Array ? r[0] : r.code;
    };
    expect([a, a + PAGE, b, b + PAGE, c, d].map(code)).toEqual([
      'BUS_OBJERR',
      'BUS_MCEERR_AR',
      1,
      0,
      1,
      'BUS_MCEERR_AR',
    ]);
    expect([asked, f.length]).toEqual([1, 2 * PAGE]);
    image.dispose();
  });

  test('into a new space -> files come along; a device that is missing is named and nothing changes', () => {
    const s = new AddressSpace(host);
    const io = s.ioRegion(PAGE, () => 'map', 'bar0');
    const f = s.file(PAGE, { id: 'shm' });
    const at = s.map({ size: PAGE, backing: io });
    const ft = s.map({ size: PAGE, backing: f });
    s.write(at, Uint8Array.of(5));
    s.write(ft, Uint8Array.of(6));
    const image = s.save();
    const n = new AddressSpace(host);
    expect(() => n.restore(image)).toThrow(/device region bar0/);
    expect([n.vmas.all.length, n.backings.size]).toEqual([0, 0]);
    n.ioRegion(PAGE, () => 'sigbus', 'bar0');
    n.restore(image);
    expect(n.read(ft, 1)).toEqual(Uint8Array.of(6));
    expect(n.read(at, 1)).toEqual(Uint8Array.of(5));
    n.write(ft, Uint8Array.of(7));
    expect(s.read(ft, 1)).toEqual(Uint8Array.of(6));
    image.dispose();
  });

  test('another host memory, or a change half done -> refused by name', () => {
    const s = new AddressSpace(host);
    const a = s.map({ size: PAGE });
    const image = s.save();
    const code = (f: () => unknown): string => {
      try {
        f();
      } catch (e) {
        return e instanceof FaultyardError ? e.code : String(e);
      }
      return 'none';
    };
    expect(code(() => new AddressSpace(new HostMemory({ bytes: 2 ** 20 })).restore(image))).toBe(
      'FY_SNAPSHOT_FOREIGN',
    );
    const t = s.munmap(a, PAGE);
    while (s.activeInvalidations === 0) t.next();
    expect([code(() => s.save()), code(() => s.restore(image))]).toEqual([
      'FY_SNAPSHOT_BUSY',
      'FY_SNAPSHOT_BUSY',
    ]);
    drive(t);
    expect(code(() => s.restore(image))).toBe('none');
    image.dispose();
  });

  test('slots: dirty log, generation and guest_memfd come back; bitmaps of the VMM stay its own', () => {
    const s = new AddressSpace(host);
    const slots = new Memslots(s, { ...rules, userfault: true });
    const g = s.guestMemfd(PAGE, 3);
    const bitmap = Uint8Array.of(1);
    drive(slots.set({ slot: 0, gpa: 0, size: PAGE, hva: 0x10000, flags: MemFlag.GuestMemfd, guestMemfd: g }));
    drive(slots.set({ slot: 1, gpa: PAGE, size: PAGE, hva: 0x10000, flags: MemFlag.LogDirty }));
    drive(
      slots.set({
        slot: 2,
        gpa: 2 * PAGE,
        size: PAGE,
        hva: 0x10000,
        flags: MemFlag.Userfault,
        userfaultBitmap: bitmap,
      }),
    );
    const logged = slots.byId(1);
    if (logged) slots.markDirty(logged, 1);
    const image = s.save();
    const saved = slots.save();
    slots.getDirtyLog(1);
    bitmap[0] = 0;
    drive(slots.set({ slot: 0, gpa: 0, size: 0, hva: 0 }));
    s.restore(image);
    slots.restore(saved);
    expect(slots.byId(0)?.gmem).toBe(g);
    expect(slots.getDirtyLog(1)[0]).toBe(1);
    expect([slots.byId(2)?.userfault === bitmap, bitmap[0]]).toEqual([true, 1]);
    expect(slots.generation).toBe(saved.generation);
    expect(slots.save().slots.length).toBe(saved.slots.length);
    image.dispose();
    const t = slots.set({ slot: 1, gpa: 0, size: 0, hva: 0 });
    t.next();
    t.next();
    expect(() => slots.save()).toThrow(FaultyardError);
    t.return();
    expect(() => drive(slots.set({ slot: 9, gpa: 1, size: PAGE, hva: 0 }))).toThrow(KvmError);
  });

  test('forgotten images and spaces give their frames back to the collector', async () => {
    const h = new HostMemory({ bytes: 4 * 2 ** 20 });
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    (() => {
      const s = new AddressSpace(h);
      s.write(s.map({ size: PAGE }), Uint8Array.of(1));
      s.save();
    })();
    expect(h.framesInUse).toBe(1);
    for (let i = 0; i < 50 && h.framesInUse > 0; i++) {
      collect();
      await new Promise((r) => setImmediate(r));
    }
    expect(h.framesInUse).toBe(0);
  });
});

describe('content hash', () => {
  const vm = (host: HostMemory): { s: AddressSpace; slots: Memslots; hva: number } => {
    const s = new AddressSpace(host);
    const slots = new Memslots(s, rules);
    const hva = s.map({ size: 8 * PAGE });
    drive(slots.set({ slot: 0, gpa: 0, size: 8 * PAGE, hva }));
    return { s, slots, hva };
  };

  test('touching, and zeros written -> no change; other frames, same bytes -> same hash; one bit -> another', () => {
    const a = vm(new HostMemory({ bytes: 2 ** 20 }));
    const empty = hashOf(a.slots);
    a.s.read(a.hva, 4 * PAGE);
    a.s.write(a.hva + PAGE, new Uint8Array(PAGE));
    expect(hashOf(a.slots)).toBe(empty);
    a.s.write(a.hva + 5, Uint8Array.of(1));
    const b = vm(new HostMemory({ bytes: 2 ** 21 }));
    b.s.write(b.hva + 7 * PAGE, new Uint8Array(1));
    b.s.write(b.hva + 5, Uint8Array.of(1));
    expect(hashOf(b.slots)).toBe(hashOf(a.slots));
    b.s.write(b.hva + 5, Uint8Array.of(3));
    expect(hashOf(b.slots)).not.toBe(hashOf(a.slots));
    b.s.write(b.hva + 5, Uint8Array.of(0, 1));
    expect(hashOf(b.slots)).not.toBe(hashOf(a.slots));
  });

  test('hashed while shared, snapshot dropped, written in place -> the new content counts', () => {
    const { s, slots, hva } = vm(new HostMemory({ bytes: 2 ** 20 }));
    s.write(hva, Uint8Array.of(1));
    const pfn = s.anon.pfn(hva / PAGE);
    const image = s.save();
    const before = hashOf(slots);
    expect(hashOf(slots)).toBe(before);
    image.dispose();
    s.write(hva, Uint8Array.of(2));
    expect(s.anon.pfn(hva / PAGE)).toBe(pfn);
    expect(hashOf(slots)).not.toBe(before);
  });

  test('poison, healing, memory_failure -> all seen', () => {
    const { s, slots, hva } = vm(new HostMemory({ bytes: 2 ** 20 }));
    s.write(hva, Uint8Array.of(1));
    const seen = [hashOf(slots)];
    s.poison(hva);
    seen.push(hashOf(slots));
    s.poison(hva, false);
    expect(hashOf(slots)).toBe(seen[0]);
    drive(memoryFailure(s, hva));
    seen.push(hashOf(slots));
    s.poison(hva + PAGE);
    seen.push(hashOf(slots));
    expect(new Set(seen).size).toBe(4);
  });
});

test('the benchmark of snapshots and forks -> a fork costs one frame per written page', () => {
  let t = 0;
  const r = memoryBenchmark(() => t++, 2, 1);
  expect([r.mib, r.forkFrames, r.snapshotMs]).toEqual([2, 100, 1]);
});

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KvmError } from '../src/errors.ts';
import { AddressSpace } from '../src/host/address-space.ts';
import type { Backing } from '../src/host/backing.ts';
import { HostMemory } from '../src/host/memory.ts';
import {
  MemFlag,
  type MemoryRegion,
  type MemslotRules,
  Memslots,
  type SlotListener,
} from '../src/memslot.ts';
import { drive, type Task } from '../src/task.ts';

interface Region {
  readonly ioctl?: string;
  readonly slot: number;
  readonly asId?: number;
  readonly gpa: string;
  readonly size: string;
  readonly hva: string;
  readonly flags: number;
  readonly guestMemfd?: string;
  readonly guestMemfdOffset?: string;
}
interface Rule {
  readonly id: string;
  readonly given: readonly Region[];
  readonly before?: readonly Region[];
  readonly op: Region;
  readonly expect: string;
  readonly change?: 'none' | 'delete' | 'move' | 'flags';
  readonly ipaBits?: number;
  readonly host?: readonly { readonly hva: string; readonly size: string; readonly vma: string }[];
  readonly memfds?: readonly {
    readonly id: string;
    readonly size: string;
    readonly kind?: string;
    readonly vm?: string;
  }[];
}
const data = JSON.parse(readFileSync(new URL('./data/memslot-rules.json', import.meta.url), 'utf8')) as {
  readonly context: {
    readonly ipaBits: number;
    readonly slotIds: [number, number];
    readonly addressSpaces: number;
  };
  readonly rules: readonly Rule[];
};

const rules = (ipaBits: number = data.context.ipaBits): MemslotRules => ({
  ids: data.context.slotIds[1] + 1,
  addressSpaces: data.context.addressSpaces,
  gpaLimit: 2 ** ipaBits,
  beyondLimit: 'EFAULT',
  refusesDirtyPfnmap: true,
});
const host = new HostMemory({ bytes: 64 * 2 ** 20 });

/** The errno a task is refused with, or `ok`. */
const outcome = (t: Task<unknown>): string => {
  try {
    drive(t);
  } catch (e) {
    if (e instanceof KvmError) return e.errno;
    throw e;
  }
  return 'ok';
};

describe('KVM_SET_USER_MEMORY_REGION, rule by rule (arm64)', () => {
  for (const r of data.rules)
    test(`${r.id} -> ${r.expect}${r.change ? `, change: ${r.change}` : ''}`, () => {
      const space = new AddressSpace(host);
      const other = new AddressSpace(host);
      const files = new Map<string, Backing>();
      for (const f of r.memfds ?? [])
        files.set(
          f.id,
          f.kind === 'memfd'
            ? space.file(Number(f.size))
            : (f.vm === 'other' ? other : space).guestMemfd(Number(f.size), 3),
        );
      const slots = new Memslots(space, rules(r.ipaBits));
      const region = (x: Region): MemoryRegion => ({
        slot: x.slot,
        asId: x.asId ?? 0,
        gpa: BigInt(x.gpa),
        size: BigInt(x.size),
        hva: BigInt(x.hva),
        flags: x.flags,
        ...(x.guestMemfd === undefined ? {} : { guestMemfd: files.get(x.guestMemfd) }),
        ...(x.guestMemfdOffset === undefined ? {} : { guestMemfdOffset: BigInt(x.guestMemfdOffset) }),
      });
      const set = (x: Region): string => outcome(slots.set(region(x), x.ioctl !== 'SET_USER_MEMORY_REGION'));
      for (const h of r.host ?? [])
        space.map({
          at: BigInt(h.hva),
          size: BigInt(h.size),
          backing: space.ioRegion(Number(h.size), () => 'map'),
        });
      for (const g of [...r.given, ...(r.before ?? [])]) expect(set(g)).toBe('ok');
      const before = { slots: slots.list(), generation: slots.generation };
      expect(set(r.op)).toBe(r.expect);
      if (r.expect !== 'ok') expect({ slots: slots.list(), generation: slots.generation }).toEqual(before);
      const now = slots.byId(r.op.slot, r.op.asId);
      if (r.change === 'none') expect({ slots: slots.list(), generation: slots.generation }).toEqual(before);
      if (r.change === 'delete') expect(now).toBeUndefined();
      if (r.change === 'move') expect(now?.baseGfn).toBe(Number(BigInt(r.op.gpa) / 4096n));
      if (r.change === 'flags') expect(now?.flags).toBe(r.op.flags);
      if (r.expect === 'ok' && r.change !== 'delete') {
        const first = Number(BigInt(r.op.gpa) / 4096n);
        expect(slots.find(first)?.id).toBe(r.op.slot);
        expect(slots.find(first + Number(BigInt(r.op.size) / 4096n))?.id).not.toBe(r.op.slot);
      }
      if (r.expect === 'ok' && r.change !== 'none')
        expect(slots.generation).toBeGreaterThan(before.generation);
    });

  test('x86: 32764 ids, two address spaces, EINVAL beyond the limit', () => {
    const x86: MemslotRules = {
      ids: 32764,
      addressSpaces: 2,
      gpaLimit: 2 ** 46,
      beyondLimit: 'EINVAL',
      refusesDirtyPfnmap: false,
    };
    const slots = new Memslots(new AddressSpace(host, { taskSize: 2 ** 47 }), x86);
    const set = (r: Partial<MemoryRegion>): string =>
      outcome(slots.set({ slot: 0, gpa: 0n, size: 4096n, hva: 0x10000n, ...r }));
    expect(set({ slot: 32763 })).toBe('ok');
    expect(set({ slot: 32764 })).toBe('EINVAL');
    expect(set({ asId: 1 })).toBe('ok');
    expect(set({ asId: 2 })).toBe('EINVAL');
    expect(set({ slot: 1, gpa: 2n ** 46n })).toBe('EINVAL');
    expect(set({ slot: 1, hva: 2n ** 47n })).toBe('EINVAL');
    expect(slots.find(0, 0)?.id).toBe(32763);
    expect(slots.find(0, 1)?.id).toBe(0);
  });
});

describe('against a naive model', () => {
  interface M {
    base: bigint;
    size: bigint;
    hva: bigint;
    flags: number;
  }
  const LIMIT = 2n ** 20n;
  /** KVM's rules, one by one, on plain records. */
  const naive = (m: Map<number, M>, r: { slot: number } & M): string => {
    const page = 4096n;
    if (r.flags & ~3 || r.size % page || r.base % page || r.hva % page) return 'EINVAL';
    if (r.slot > 3) return 'EINVAL';
    const old = m.get(r.slot);
    if (r.size === 0n) {
      if (!old) return 'EINVAL';
      m.delete(r.slot);
      return 'ok';
    }
    if (old && (old.size !== r.size || old.hva !== r.hva || (old.flags ^ r.flags) & 2)) return 'EINVAL';
    if (!old || old.base !== r.base) {
      for (const [id, s] of m) {
        if (id === r.slot) continue;
        for (let p = r.base; p < r.base + r.size; p += page)
          if (p >= s.base && p < s.base + s.size) return 'EEXIST';
      }
      if (r.base + r.size > LIMIT) return 'EFAULT';
    }
    m.set(r.slot, { base: r.base, size: r.size, hva: r.hva, flags: r.flags });
    return 'ok';
  };

  test('random calls -> same errno, same slots, same lookups', () => {
    const call = fc.record({
      slot: fc.integer({ min: 0, max: 4 }),
      base: fc.integer({ min: 0, max: 2 * 264 }).map((n) => BigInt(n) * 2048n),
      size: fc.integer({ min: 0, max: 2 * 8 }).map((n) => BigInt(n) * 2048n),
      hva: fc.integer({ min: 0, max: 2 * 2 }).map((n) => 0x100000n + BigInt(n) * 2048n),
      flags: fc.constantFrom(0, 0, 0, 1, 2, 3, 4, 32),
    });
    fc.assert(
      fc.property(fc.array(call, { maxLength: 40 }), (calls) => {
        const model = new Map<number, M>();
        const slots = new Memslots(new AddressSpace(host), { ...rules(20), ids: 4 });
        for (const c of calls) {
          const got = outcome(
            slots.set({ slot: c.slot, gpa: c.base, size: c.size, hva: c.hva, flags: c.flags }, false),
          );
          expect(got).toBe(naive(model, c));
          expect(slots.list().map((s) => [s.slot, s.gpa, s.size, s.hva, s.flags])).toEqual(
            [...model]
              .sort((a, b) => (a[1].base < b[1].base ? -1 : 1))
              .map(([id, s]) => [id, s.base, s.size, s.hva, s.flags]),
          );
        }
        for (let gfn = 0; gfn < 300; gfn++) {
          const want = [...model].find(
            ([, s]) => BigInt(gfn) * 4096n >= s.base && BigInt(gfn) * 4096n < s.base + s.size,
          );
          expect(slots.find(gfn)?.id).toBe(want?.[0]);
        }
      }),
      { numRuns: 150, seed: 3 },
    );
  });
});

describe('two phases', () => {
  const make = (): { slots: Memslots; space: AddressSpace; log: string[] } => {
    const space = new AddressSpace(host);
    const slots = new Memslots(space, rules());
    const log: string[] = [];
    const l: SlotListener = {
      zap: (s) => log.push(`zap ${s.id}${s.invalid ? ' invalid' : ''}`),
      protect: (s, first, n) => log.push(`protect ${s.id} ${first}+${n}`),
      unprotect: (s) => log.push(`unprotect ${s.id}`),
      reset: () => log.push('reset'),
    };
    slots.listen(l);
    drive(slots.set({ slot: 0, gpa: 0x1000n, size: 0x2000n, hva: 0x10000n }));
    return { slots, space, log };
  };
  const step = (t: Task<unknown>): string => {
    const s = t.next();
    return s.done ? 'done' : s.value.at;
  };

  test('delete -> INVALID copy, zap, final set, generation twice', () => {
    const { slots, log } = make();
    const before = slots.generation;
    const t = slots.set({ slot: 0, gpa: 0n, size: 0n, hva: 0n });
    expect(step(t)).toBe('lock.slots_lock');
    expect(step(t)).toBe('slots.invalid');
    expect(slots.find(1)?.invalid).toBe(true);
    expect(log).toEqual([]);
    expect(step(t)).toBe('slots.zap');
    expect(log).toEqual(['zap 0 invalid']);
    expect(slots.find(1)?.invalid).toBe(true);
    expect(step(t)).toBe('slots.publish');
    expect(slots.find(1)).toBeUndefined();
    expect(step(t)).toBe('done');
    expect(slots.generation).toBe(before + 2);
  });

  test('move -> old range invalid, then gone; new range live', () => {
    const { slots } = make();
    const t = slots.set({ slot: 0, gpa: 0x2000n, size: 0x2000n, hva: 0x10000n });
    step(t);
    step(t);
    expect([slots.find(1)?.invalid, slots.find(2)?.invalid, slots.find(3)]).toEqual([true, true, undefined]);
    drive(t);
    expect([slots.find(1), slots.find(2)?.id, slots.find(3)?.id]).toEqual([undefined, 0, 0]);
  });

  test('a reader from before -> the change waits for its end; one from after does not matter', () => {
    const { slots } = make();
    const leave = slots.enter();
    const t = slots.set({ slot: 0, gpa: 0n, size: 0n, hva: 0n });
    step(t);
    const s = t.next();
    expect(s.done ? '' : s.value.at).toBe('slots.srcu');
    const late = slots.enter();
    expect(s.done ? true : s.value.ready?.()).toBe(false);
    leave();
    expect(s.done ? true : s.value.ready?.()).toBe(true);
    late();
    drive(t);
    expect(slots.byId(0)).toBeUndefined();
  });

  test('an invalidation in flight -> the change waits for its end', () => {
    const { slots, space } = make();
    const hva = space.map({ at: 0x10000, size: 0x2000 });
    const other = space.mprotect(hva, 0x1000, 1);
    while (space.activeInvalidations === 0) other.next();
    const t = slots.set({ slot: 0, gpa: 0n, size: 0n, hva: 0n });
    step(t);
    const s = t.next();
    expect(s.done ? '' : s.value.at).toBe('slots.notifier');
    expect(s.done ? true : s.value.ready?.()).toBe(false);
    drive(other);
    drive(t);
    expect(slots.byId(0)).toBeUndefined();
  });

  test('dirty log: on -> protect; off -> unprotect', () => {
    const { slots, log } = make();
    const set = (flags: number): void =>
      drive(slots.set({ slot: 0, gpa: 0x1000n, size: 0x2000n, hva: 0x10000n, flags }));
    set(MemFlag.LogDirty);
    set(0);
    expect(log).toEqual(['protect 0 0+2', 'unprotect 0']);
  });
});

describe('dirty log', () => {
  const make = (pages: number): Memslots => {
    const slots = new Memslots(new AddressSpace(host), rules());
    drive(
      slots.set({ slot: 5, gpa: 0n, size: BigInt(pages) * 4096n, hva: 0x10000n, flags: MemFlag.LogDirty }),
    );
    return slots;
  };
  const errno = (f: () => unknown): string => {
    try {
      f();
    } catch (e) {
      return e instanceof KvmError ? e.errno : String(e);
    }
    return 'ok';
  };

  test('get -> bits padded to 8 bytes, then clean', () => {
    const slots = make(70);
    const s = slots.byId(5);
    if (!s) throw new Error('no slot');
    for (const gfn of [0, 9, 69]) slots.markDirty(s, gfn);
    const log = slots.getDirtyLog(5);
    expect(log.length).toBe(16);
    expect(
      [...log].flatMap((b, i) => [0, 1, 2, 3, 4, 5, 6, 7].filter((k) => b & (1 << k)).map((k) => 8 * i + k)),
    ).toEqual([0, 9, 69]);
    expect(slots.getDirtyLog(5).every((b) => b === 0)).toBe(true);
  });

  test('manual protection -> get keeps, clear clears what it names', () => {
    const slots = make(130);
    slots.manualDirty = true;
    const s = slots.byId(5);
    if (!s) throw new Error('no slot');
    for (const gfn of [1, 64, 129]) slots.markDirty(s, gfn);
    expect(slots.getDirtyLog(5)).toEqual(slots.getDirtyLog(5));
    slots.clearDirtyLog(5, 64, 64, Uint8Array.of(0xff, 0, 0, 0, 0, 0, 0, 0));
    slots.clearDirtyLog(5, 128, 2, Uint8Array.of(0x01));
    const log = slots.getDirtyLog(5);
    expect([log[0], log[8], log[16]]).toEqual([2, 0, 2]);
  });

  test('refusals -> ENOENT without a log, EINVAL for bad ids and ranges', () => {
    const slots = make(130);
    drive(slots.set({ slot: 6, gpa: 0x100000n, size: 4096n, hva: 0x10000n }));
    expect(errno(() => slots.getDirtyLog(6))).toBe('ENOENT');
    expect(errno(() => slots.getDirtyLog(7))).toBe('ENOENT');
    expect(errno(() => slots.getDirtyLog(32767))).toBe('EINVAL');
    expect(errno(() => slots.getDirtyLog(5, 1))).toBe('EINVAL');
    const none = new Uint8Array(32);
    expect(errno(() => slots.clearDirtyLog(5, 1, 64, none))).toBe('EINVAL');
    expect(errno(() => slots.clearDirtyLog(5, 0, 65, none))).toBe('EINVAL');
    expect(errno(() => slots.clearDirtyLog(5, 0, 131, none))).toBe('EINVAL');
    expect(errno(() => slots.clearDirtyLog(5, 0, 130, none))).toBe('ok');
    expect(errno(() => slots.clearDirtyLog(6, 0, 1, none))).toBe('ENOENT');
  });
});

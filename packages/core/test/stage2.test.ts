import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { AddressSpace } from '../src/host/address-space.ts';
import type { IoAnswer, IoFault } from '../src/host/backing.ts';
import { FrameFlag, HostMemory } from '../src/host/memory.ts';
import { gmemFailure, memoryFailure } from '../src/host/memory-failure.ts';
import { userfaultCopy, userfaultRegister } from '../src/host/userfault.ts';
import { Prot } from '../src/host/vma.ts';
import { MemFlag, Memslots } from '../src/memslot.ts';
import { ERROR_PFN, ERROR_PFN_MASK, type ErrorPfn } from '../src/pfn.ts';
import { type FaultRequest, Miss, Stage2, type Stage2Outcome, type Stage2Rules } from '../src/stage2.ts';
import { drive, Lock, type Task } from '../src/task.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const B = 0x4000_0000;
const host = new HostMemory({ bytes: 256 * MIB });
const ARM64: Stage2Rules = { invalidSlot: 'noslot', vmaFirst: true, execDevice: 'refuse' };
const X86: Stage2Rules = { invalidSlot: 'retry', vmaFirst: false, execDevice: 'allow' };

class Rig {
  readonly space: AddressSpace = new AddressSpace(host);
  readonly slots: Memslots = new Memslots(this.space, {
    ids: 32767,
    addressSpaces: 1,
    gpaLimit: 2 ** 40,
    beyondLimit: 'EFAULT',
    refusesDirtyPfnmap: true,
    userfault: true,
  });
  readonly stage2: Stage2;
  readonly zaps: string[] = [];
  constructor(rules: Stage2Rules = ARM64) {
    this.stage2 = new Stage2(this.space, this.slots, rules);
    this.stage2.onZap((gfn, n, pfn) =>
      this.zaps.push(`${gfn}+${n === Number.MAX_SAFE_INTEGER ? 'all' : n}${pfn >= 0 ? ' one' : ''}`),
    );
  }
  slot(o: {
    hva: number;
    size?: number;
    gpa?: number;
    flags?: number;
    id?: number;
    bitmap?: Uint8Array;
  }): void {
    drive(
      this.slots.set({
        slot: o.id ?? 0,
        gpa: o.gpa ?? B,
        size: o.size ?? PAGE,
        hva: o.hva,
        flags: o.flags ?? 0,
        ...(o.bitmap ? { userfaultBitmap: o.bitmap } : {}),
      }),
    );
  }
  fault(o: Partial<FaultRequest> = {}): Task<Stage2Outcome> {
    return this.stage2.fault({ gpa: B + 0x10, write: false, exec: false, origin: 'hardware', ...o });
  }
  /** Outcome in one word. */
  now(o: Partial<FaultRequest> = {}): string {
    return word(drive(this.fault(o)));
  }
}
const word = (r: Stage2Outcome): string =>
  r.kind === 'error-pfn' ? r.pfn : r.kind === 'gmem-error' ? `gmem ${r.errno}` : r.kind;
/** Points a task passes until `stop` (which it has then reached) or its end. */
const until = (t: Task<unknown>, stop: string): string[] => {
  const seen: string[] = [];
  for (let s = t.next(); !s.done; s = t.next()) {
    seen.push(s.value.at);
    if (s.value.at === stop) return seen;
    if (s.value.ready?.() === false) throw new Error(`blocked at ${s.value.at}`);
  }
  return seen;
};

describe('error pfns', () => {
  const data = JSON.parse(readFileSync(new URL('./data/error-pfn.json', import.meta.url), 'utf8')) as {
    readonly errorMask: { readonly base: string };
    readonly values: readonly { readonly id: string; readonly value: string }[];
  };
  for (const v of data.values)
    test(`${v.id} -> ${v.value}`, () => {
      const name = v.id.toLowerCase().replace('_', '-') as ErrorPfn;
      expect(ERROR_PFN[name]).toBe(BigInt(v.value));
      expect((ERROR_PFN[name] & ERROR_PFN_MASK) === BigInt(data.errorMask.base)).toBe(name !== 'noslot');
    });
  test('none is missing from either side', () => {
    expect(data.values.length).toBe(Object.keys(ERROR_PFN).length);
  });
});

describe('host backings (rows of table 6.4, arm64 L: EF = fault or ro-fault, SIG = hwpoison, OK = mapped)', () => {
  const data = JSON.parse(readFileSync(new URL('./data/backings-arm64-L.json', import.meta.url), 'utf8')) as {
    readonly rows: readonly {
      readonly id: string;
      readonly title: string;
      readonly cases: readonly {
        readonly access: string;
        readonly code: string | null;
        readonly lsb?: number;
      }[];
    }[];
  };
  /** Makes the row's backing behind one slot. */
  const rows: Record<string, (r: Rig) => void> = {
    M1: (r) => r.slot({ hva: r.space.map({ size: PAGE, prot: Prot.None }) }),
    M2: (r) =>
      r.slot({
        hva: r.space.map({ size: PAGE, prot: Prot.None, backing: r.space.ioRegion(PAGE, () => 'map') }),
      }),
    M3: (r) => r.slot({ hva: r.space.map({ size: PAGE, prot: Prot.Read }) }),
    M4: (r) => r.slot({ hva: r.space.map({ size: PAGE, prot: Prot.Write }) }),
    M5: (r) => {
      const hva = r.space.map({ size: PAGE });
      r.slot({ hva });
      drive(r.space.munmap(hva, PAGE));
    },
    M6: (r) => r.slot({ hva: r.space.map({ size: PAGE, backing: r.space.file(0) }) }),
    M8: (r) => r.slot({ hva: r.space.map({ size: PAGE, backing: r.space.ioRegion(PAGE, () => 'sigbus') }) }),
    M9: (r) => {
      const hva = r.space.map({ size: PAGE, prot: Prot.Read, backing: r.space.ioRegion(PAGE, () => 'map') });
      r.slot({ hva });
      r.space.read(hva, 1);
    },
    M10: (r) =>
      r.slot({
        hva: r.space.map({ size: PAGE, prot: Prot.Read, backing: r.space.ioRegion(PAGE, () => 'map') }),
      }),
    M14: (r) => {
      const hva = r.space.map({ size: PAGE, prot: Prot.None });
      r.slot({ hva });
      expect(r.now()).toBe('fault');
      drive(r.space.mprotect(hva, PAGE, Prot.Read | Prot.Write));
    },
    M15: (r) => {
      const hva = r.space.map({ size: PAGE });
      r.slot({ hva });
      r.space.write(hva, Uint8Array.of(1));
      drive(memoryFailure(r.space, hva));
    },
    M16: (r) => {
      const g = gmem(r);
      expect(r.now()).toBe('mapped');
      drive(gmemFailure(r.space, g, 0));
    },
    M17: (r) => drive(r.space.closeGuestMemfd(gmem(r))),
    M18: (r) => {
      const g = gmem(r);
      const hva = r.space.map({ at: 0x10000, size: PAGE, backing: g });
      drive(r.space.munmap(hva, PAGE));
    },
  };
  rows.M7 = rows.M6 as (r: Rig) => void;
  rows.M11 = rows.M1 as (r: Rig) => void;
  const gmem = (r: Rig): ReturnType<AddressSpace['guestMemfd']> => {
    const g = r.space.guestMemfd(PAGE, 3);
    drive(
      r.slots.set({ slot: 0, gpa: B, size: PAGE, hva: 0x10000, flags: MemFlag.GuestMemfd, guestMemfd: g }),
    );
    return g;
  };
  const codes: Record<string, readonly string[]> = {
    EF: ['fault', 'ro-fault'],
    OK: ['mapped'],
    SIG: ['hwpoison'],
    HWP: ['gmem EHWPOISON'],
    MF: ['gmem EFAULT'],
  };
  for (const row of data.rows)
    for (const c of row.cases) {
      if (c.code === null) continue;
      test(`${row.id} ${row.title}: ${c.access} -> ${c.code}`, () => {
        const r = new Rig();
        (rows[row.id] as (r: Rig) => void)(r);
        const write = c.access === 'store' || c.access === 'atomic';
        const out = drive(
          r.fault({ write, exec: c.access === 'exec', origin: c.access === 'walk' ? 'walk' : 'hardware' }),
        );
        expect(codes[c.code as string]).toContain(word(out));
        if (out.kind === 'error-pfn' && c.lsb !== undefined) expect(out.lsb).toBe(c.lsb);
        expect(r.stage2.lookup(B / PAGE, write) >= 0).toBe(out.kind === 'mapped');
      });
    }

  test('M9 is a read-only PTE, M10 a handler that is not asked', () => {
    const pfn = (id: string): string => {
      const r = new Rig();
      (rows[id] as (r: Rig) => void)(r);
      return r.now({ write: true });
    };
    expect([pfn('M9'), pfn('M10')]).toEqual(['ro-fault', 'fault']);
  });

  test('M4 on x86: store -> mapped, then the load reads', () => {
    const r = new Rig(X86);
    (rows.M4 as (r: Rig) => void)(r);
    expect([r.now(), r.now({ write: true }), r.now()]).toEqual(['fault', 'mapped', 'mapped']);
    expect(r.stage2.lookup(B / PAGE, false)).toBeGreaterThan(0);
  });

  test('x86 first pass on a file beyond its end -> needs-io; PFNMAP and PROT_NONE fail at once', () => {
    const x = (id: string): string => {
      const r = new Rig(X86);
      (rows[id] as (r: Rig) => void)(r);
      return r.now({ nowait: true });
    };
    expect([x('M6'), x('M8'), x('M1')]).toEqual(['needs-io', 'fault', 'fault']);
  });
});

describe('holes, READONLY slots, device memory', () => {
  test('no slot -> noslot; READONLY slot: load maps without write, store leaves before the VMA is looked at', () => {
    const r = new Rig();
    expect(r.now()).toBe('noslot');
    const hva = r.space.map({ size: PAGE });
    r.slot({ hva, flags: MemFlag.ReadOnly });
    expect([r.now(), r.stage2.lookup(B / PAGE, false) > 0, r.stage2.lookup(B / PAGE, true)]).toEqual([
      'mapped',
      true,
      Miss.ReadOnly,
    ]);
    expect(r.now({ write: true })).toBe('readonly-slot');
    drive(r.space.munmap(hva, PAGE));
    expect([r.now({ write: true }), r.now()]).toEqual(['readonly-slot', 'fault']);
  });

  test('enabled device memory: load maps, fetch is refused on arm64 and allowed on x86', () => {
    for (const [rules, exec] of [
      [ARM64, 'exec-device'],
      [X86, 'mapped'],
    ] as const) {
      const r = new Rig(rules);
      r.slot({ hva: r.space.map({ size: PAGE, backing: r.space.ioRegion(PAGE, () => 'map') }) });
      expect(drive(r.fault())).toMatchObject({ kind: 'mapped', device: true });
      expect(r.now({ exec: true })).toBe(exec);
      expect(r.stage2.lookupExec(B / PAGE) > 0).toBe(exec === 'mapped');
      expect(r.stage2.isDevice(B / PAGE)).toBe(true);
    }
  });

  test('userfault bitmap (proposed): set bit -> userfault; an existing mapping stays until the flag is toggled', () => {
    const r = new Rig();
    const hva = r.space.map({ size: 2 * PAGE });
    const bitmap = Uint8Array.of(0b10);
    r.slot({ hva, size: 2 * PAGE, flags: MemFlag.Userfault, bitmap });
    expect([r.now(), r.now({ gpa: B + PAGE })]).toEqual(['mapped', 'userfault']);
    bitmap[0] = 0b01;
    expect([r.stage2.lookup(B / PAGE, false) > 0, r.now({ gpa: B + PAGE })]).toEqual([true, 'mapped']);
    r.slot({ hva, size: 2 * PAGE });
    r.slot({ hva, size: 2 * PAGE, flags: MemFlag.Userfault, bitmap });
    expect([r.stage2.lookup(B / PAGE, false), r.now()]).toEqual([Miss.None, 'userfault']);
  });

  test('userfaultfd on the hva -> the fault waits, without exit, until the page is there', () => {
    const r = new Rig();
    const hva = r.space.map({ size: PAGE });
    r.slot({ hva });
    drive(userfaultRegister(r.space, hva, PAGE));
    const t = r.fault();
    const seen = until(t, 'fault.userfault');
    expect(seen).toEqual([
      'fault.lookup',
      'lock.mmap_lock',
      'fault.gup',
      'lock.mmap_lock',
      'fault.userfault',
    ]);
    expect(r.space.mmapLock.held).toBe(false);
    drive(userfaultCopy(r.space, hva, new Uint8Array(PAGE).fill(8)));
    expect(word(drive(t))).toBe('mapped');
    expect(host.u8[r.stage2.lookup(B / PAGE, false)]).toBe(8);
  });
});

describe('lookups from generated code', () => {
  const rig = (flags = 0): Rig => {
    const r = new Rig();
    r.slot({ hva: r.space.map({ size: 4 * PAGE }), size: 4 * PAGE, flags });
    return r;
  };
  const gfn = B / PAGE;

  test('poisoned page -> Poison for any access, frame still known, fast translations dropped', () => {
    const r = rig();
    r.now({ write: true });
    r.space.poison((r.space.vmas.all[0]?.start as number) * PAGE);
    expect(r.zaps).toEqual([`${gfn}+1 one`]);
    expect([r.stage2.lookup(gfn, false), r.stage2.lookup(gfn, true)]).toEqual([Miss.Poison, Miss.Poison]);
    expect(host.poisoned(r.stage2.frameOf(gfn))).toBe(true);
    r.space.poison((r.space.vmas.all[0]?.start as number) * PAGE, false);
    expect(r.stage2.lookup(gfn, true)).toBeGreaterThan(0);
  });

  test('dirty log: load maps clean, store marks, reading the log protects again', () => {
    const r = rig(MemFlag.LogDirty);
    const log = (): number => r.slots.getDirtyLog(0)[0] as number;
    r.now();
    r.now({ gpa: B + PAGE, write: true });
    expect(log()).toBe(0b10);
    expect(r.zaps).toEqual([`${gfn}+4`]);
    expect(log()).toBe(0);
    r.stage2.lookup(gfn, true);
    r.stage2.lookup(gfn + 1, false);
    expect(log()).toBe(0b01);
  });

  test('snapshot -> fast translations dropped; store -> own frame, other mappings of the page follow', () => {
    const r = rig();
    const hva = (r.space.vmas.all[0]?.start as number) * PAGE;
    r.slot({ id: 1, hva, gpa: 2 * B });
    r.now({ write: true });
    r.now({ gpa: 2 * B });
    const before = r.stage2.lookup(gfn, true);
    host.u8[before] = 1;
    const image = r.space.save();
    expect(r.zaps).toEqual(['0+all']);
    r.zaps.length = 0;
    expect(r.stage2.lookup(gfn, false)).toBe(before);
    const after = r.stage2.lookup(gfn, true);
    expect(after).not.toBe(before);
    expect(r.zaps).toEqual([`${gfn}+1 one`, `${2 * gfn}+1 one`]);
    host.u8[after] = 2;
    expect([host.u8[before], host.u8[r.stage2.lookup(2 * gfn, false)]]).toEqual([1, 2]);
    expect(r.stage2.lookup(gfn, true)).toBe(after);
    r.space.restore(image);
    expect(r.space.read(hva, 1)).toEqual(Uint8Array.of(1));
    image.dispose();
  });

  test('write tracking, watchpoints, decoded code -> mapped, but not to be cached', () => {
    const r = rig();
    r.now({ write: true });
    const f = r.stage2.lookup(gfn, true);
    for (const flag of [FrameFlag.Tracked, FrameFlag.Watched, FrameFlag.Code]) {
      host.mark(f / PAGE, flag, true);
      expect(r.stage2.lookup(gfn, true)).toBe(f);
      expect(host.cacheable(f, true)).toBe(false);
      host.mark(f / PAGE, flag, false);
    }
    expect(host.cacheable(f, true)).toBe(true);
  });

  test('slot deleted, mprotect, munmap, DONTNEED, memory_failure -> the mapping is gone, neighbours stay', () => {
    const changes: Record<string, (r: Rig, hva: number) => void> = {
      mprotect: (r, hva) => drive(r.space.mprotect(hva, PAGE, Prot.Read)),
      munmap: (r, hva) => drive(r.space.munmap(hva, PAGE)),
      dontneed: (r, hva) => drive(r.space.dontNeed(hva, PAGE)),
      failure: (r, hva) => void drive(memoryFailure(r.space, hva)),
    };
    for (const [name, change] of Object.entries(changes)) {
      const r = rig();
      for (const i of [0, 1]) r.now({ gpa: B + i * PAGE, write: true });
      change(r, (r.space.vmas.all[0]?.start as number) * PAGE);
      expect([name, r.stage2.lookup(gfn, false), r.stage2.lookup(gfn + 1, true) > 0]).toEqual([
        name,
        Miss.None,
        true,
      ]);
      expect(r.zaps).toEqual([`${gfn}+1 one`]);
    }
    const r = rig();
    r.now();
    r.slot({ hva: 0, size: 0 });
    expect(r.stage2.lookup(gfn, false)).toBe(Miss.None);
  });
});

describe('how large a block is', () => {
  const shift = (o: {
    kind: '2M' | '1G' | 'thp' | '4K';
    gpa: number;
    size: number;
    flags?: number;
  }): number => {
    const r = new Rig();
    const hva = r.space.map({
      size: 2 ** 30 * 2,
      at: 2 ** 40,
      ...(o.kind === 'thp' ? { thp: true } : o.kind === '4K' ? {} : { hugetlb: o.kind }),
    });
    r.slot({ hva, gpa: o.gpa, size: o.size, flags: o.flags ?? 0 });
    return r.stage2.mappingShift(o.gpa / PAGE + 3);
  };
  test.each([
    ['1G backing, congruent', 30, { kind: '1G', gpa: B, size: 2 ** 30 }],
    ['1G backing, slot a page short', 21, { kind: '1G', gpa: B, size: 2 ** 30 - PAGE }],
    ['1G backing, congruent modulo 2M only', 21, { kind: '1G', gpa: B + 2 * MIB, size: 2 ** 30 }],
    ['2M backing', 21, { kind: '2M', gpa: B, size: 2 ** 30 }],
    ['2M backing, not congruent', 12, { kind: '2M', gpa: B + PAGE, size: 2 ** 30 }],
    ['THP', 21, { kind: 'thp', gpa: B, size: 2 ** 30 }],
    ['THP, slot smaller than 2M', 12, { kind: 'thp', gpa: B, size: MIB }],
    ['THP, dirty logging', 12, { kind: 'thp', gpa: B, size: 2 ** 30, flags: MemFlag.LogDirty }],
    ['small pages', 12, { kind: '4K', gpa: B, size: 2 ** 30 }],
  ] as const)('%s -> 2^%i', (_, want, o) => {
    expect(shift(o)).toBe(want);
  });

  test.each([
    ['2M', 0, 21],
    ['1G', 0, 30],
    ['1G', 2 * MIB, 21],
    ['2M', PAGE, 12],
  ] as const)('lost %s page at congruence %i -> hwpoison with lsb %i', (hugetlb, skew, lsb) => {
    const r = new Rig();
    const hva = r.space.map({ size: 2 ** 31, at: 2 ** 40, hugetlb });
    r.slot({ hva, gpa: B + skew, size: 2 ** 30 });
    r.space.write(hva, Uint8Array.of(1));
    drive(memoryFailure(r.space, hva));
    expect(drive(r.fault({ gpa: B + skew }))).toMatchObject({ kind: 'error-pfn', pfn: 'hwpoison', hva, lsb });
  });
});

describe('a device that stops answering, and a vCPU that touches it (rows T1 to T7 of table 6.6)', () => {
  /** The kernel half of a passthrough device: memory_lock and the virtual MEM bit. */
  const rig = (rules: Stage2Rules): { r: Rig; disable: () => Task<void>; del: () => Task<void> } => {
    const r = new Rig(rules);
    const lock = new Lock('memory_lock');
    let enabled = true;
    const fault: IoFault = function* (): Task<IoAnswer> {
      yield* lock.read();
      try {
        return enabled ? 'map' : 'sigbus';
      } finally {
        lock.endRead();
      }
    };
    const io = r.space.ioRegion(PAGE, fault);
    const hva = r.space.map({ size: PAGE, backing: io });
    r.slot({ hva });
    r.space.write(hva, Uint8Array.of(0x42));
    const disable = function* (): Task<void> {
      yield* lock.write();
      yield { at: 'K1' };
      yield* r.space.zap(io, 0, 1);
      yield { at: 'K2' };
      enabled = false;
      yield { at: 'K4' };
      lock.endWrite();
      yield { at: 'K5' };
    };
    return { r, disable, del: () => r.slots.set({ slot: 0, gpa: 0, size: 0, hva: 0 }) };
  };

  test('T1 mapped before the zap -> the device value', () => {
    const { r, disable } = rig(ARM64);
    r.now();
    until(disable(), 'K1');
    expect(host.u8[r.stage2.lookup(B / PAGE, false)]).toBe(0x42);
  });

  test('T2 pfn looked up before the zap, mapped after -> retry, nothing mapped', () => {
    const { r, disable } = rig(ARM64);
    const b = r.fault();
    until(b, 'fault.map');
    const a = disable();
    until(a, 'K2');
    expect(word(drive(b))).toBe('retry');
    expect(r.stage2.lookup(B / PAGE, false)).toBe(Miss.None);
    drive(a);
    expect(r.now()).toBe('fault');
  });

  test.each([
    ['arm64', ARM64],
    ['x86', X86],
  ] as const)('T3 between start and end of the invalidation, %s -> retry', (_, rules) => {
    const { r, disable } = rig(rules);
    const a = disable();
    until(a, 'notifier.start');
    const b = r.fault();
    // The PTE is still there between start and the removal: the lookup succeeds, the sequence check does not.
    expect(word(drive(b))).toBe('retry');
    drive(a);
  });

  test('T4 after the zap, before the unlock -> blocks on memory_lock holding mmap_lock; then the fault', () => {
    const { r, disable } = rig(ARM64);
    const a = disable();
    until(a, 'K2');
    const b = r.fault();
    until(b, 'fault.io');
    const s = b.next();
    expect(s.done ? '' : [s.value.at, s.value.ready?.()]).toEqual(['lock.memory_lock', false]);
    expect(r.space.mmapLock.held).toBe(true);
    drive(a);
    expect(word(drive(b))).toBe('fault');
    expect(r.space.mmapLock.held).toBe(false);
  });

  test('T5 after the unlock, slot still there -> fault', () => {
    const { r, disable } = rig(ARM64);
    drive(disable());
    expect(r.now()).toBe('fault');
  });

  test('T6 while the slot is INVALID -> retry on x86, no slot on arm64; T7 after it is gone -> no slot', () => {
    for (const [rules, meanwhile] of [
      [X86, 'retry'],
      [ARM64, 'noslot'],
    ] as const) {
      const { r, disable, del } = rig(rules);
      drive(disable());
      const d = del();
      until(d, 'slots.invalid');
      expect(r.now()).toBe(meanwhile);
      until(d, 'slots.zap');
      expect(r.now()).toBe(meanwhile);
      drive(d);
      expect(r.now()).toBe('noslot');
    }
  });

  test('T4 with the slot deleted meanwhile -> the delete waits for the blocked fault (SRCU)', () => {
    const { r, disable, del } = rig(ARM64);
    const a = disable();
    until(a, 'K2');
    const b = r.fault();
    until(b, 'fault.io');
    b.next();
    const d = del();
    until(d, 'slots.srcu');
    drive(a);
    expect(word(drive(b))).toBe('fault');
    drive(d);
    expect(r.now()).toBe('noslot');
  });

  test('a dropped fault -> gives its locks and its SRCU section back', () => {
    const { r, disable, del } = rig(ARM64);
    const a = disable();
    until(a, 'K2');
    const b = r.fault();
    until(b, 'fault.io');
    b.next();
    b.return({ kind: 'retry' });
    expect(r.space.mmapLock.held).toBe(false);
    drive(a);
    drive(del());
    expect(r.now()).toBe('noslot');
  });
});

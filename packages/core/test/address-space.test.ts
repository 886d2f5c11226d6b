import { describe, expect, test } from 'vitest';
import { FaultyardError, KvmError } from '../src/errors.ts';
import { load as loadTask } from '../src/host/access.ts';
import { AddressSpace, type MmuNotifier } from '../src/host/address-space.ts';
import type { IoAnswer } from '../src/host/backing.ts';
import { HostMemory } from '../src/host/memory.ts';
import { frameFailure, memoryFailure } from '../src/host/memory-failure.ts';
import { userfaultCopy, userfaultPoison, userfaultRegister } from '../src/host/userfault.ts';
import { Prot } from '../src/host/vma.ts';
import { drive, Lock, type Task } from '../src/task.ts';

const PAGE = 4096;
const host = new HostMemory({ bytes: 64 * 2 ** 20 });
const space = (): AddressSpace => new AddressSpace(host);
const one = Uint8Array.of(0x5a);

/** First byte, or the signal. */
const load = (s: AddressSpace, addr: number): number | string => {
  const r = s.read(addr, 1);
  return r instanceof Uint8Array
    ? (r[0] as number)
    : `${r.code}${r.lsb === undefined ? '' : ` lsb ${r.lsb}`}`;
};
const store = (s: AddressSpace, addr: number): string => s.write(addr, one)?.code ?? 'ok';
const errno = (t: Task<unknown>): string => {
  try {
    drive(t);
  } catch (e) {
    return e instanceof KvmError ? e.errno : String(e);
  }
  return 'ok';
};

/** Invalidations as text. */
const watch = (s: AddressSpace): string[] => {
  const log: string[] = [];
  const n: MmuNotifier = {
    invalidateStart: (a, b) => log.push(`start ${a}-${b}`),
    invalidateEnd: (a, b) => log.push(`end ${a}-${b}`),
    gmemStart: (_, a, b) => log.push(`gmem start ${a}-${b}`),
    gmemEnd: (_, a, b) => log.push(`gmem end ${a}-${b}`),
    refresh: (p) => log.push(`refresh ${p}`),
    gmemRefresh: (_, p) => log.push(`gmem refresh ${p}`),
    shared: () => log.push('shared'),
    forget: (p) => log.push(`forget ${p}`),
    gmemForget: (_, p) => log.push(`gmem forget ${p}`),
    forgetAll: () => log.push('forget all'),
  };
  s.listen(n);
  return log;
};

describe('what the VMM meets, by kind of mapping', () => {
  test('nothing mapped -> SIGSEGV MAPERR with the address', () => {
    expect(space().read(0x1234, 8)).toEqual({ signal: 'SIGSEGV', code: 'SEGV_MAPERR', addr: 0x1234n });
  });

  test('anonymous -> zeros, then what was stored, across pages', () => {
    const s = space();
    const a = s.map({ size: 3 * PAGE });
    expect(load(s, a)).toBe(0);
    const bytes = Uint8Array.from({ length: 2 * PAGE }, (_, i) => i % 251);
    expect(s.write(a + 100, bytes)).toBeUndefined();
    expect(s.read(a + 100, bytes.length)).toEqual(bytes);
  });

  test('protections -> SEGV_ACCERR, and write-only reads as hardware does', () => {
    const s = space();
    const by = (prot: number): [number | string, string] => {
      const a = s.map({ size: PAGE, prot });
      return [load(s, a), store(s, a)];
    };
    expect(by(Prot.None)).toEqual(['SEGV_ACCERR', 'SEGV_ACCERR']);
    expect(by(Prot.Read)).toEqual([0, 'SEGV_ACCERR']);
    expect(by(Prot.Write)).toEqual([0, 'ok']);
    expect(by(Prot.Read | Prot.Write)).toEqual([0, 'ok']);
  });

  test('a copy that ends in a bad page -> the fault of that page, earlier bytes stored', () => {
    const s = space();
    const a = s.map({ size: PAGE });
    expect(s.write(a + PAGE - 2, Uint8Array.of(1, 2, 3))).toEqual({
      signal: 'SIGSEGV',
      code: 'SEGV_MAPERR',
      addr: BigInt(a + PAGE),
    });
    expect(s.read(a + PAGE - 2, 2)).toEqual(Uint8Array.of(1, 2));
  });

  test('memfd mapped twice -> one content; beyond its end SIGBUS ADRERR until it grows', () => {
    const s = space();
    const f = s.file(PAGE + 10);
    const a = s.map({ size: 4 * PAGE, backing: f });
    const b = s.map({ size: PAGE, backing: f, offset: PAGE });
    expect(store(s, a + PAGE + 3)).toBe('ok');
    expect(load(s, b + 3)).toBe(0x5a);
    expect(load(s, a + 2 * PAGE)).toBe('BUS_ADRERR');
    drive(s.truncate(f, 3 * PAGE));
    expect(load(s, a + 2 * PAGE)).toBe(0);
  });

  test('truncate and grow again -> pages gone, tail of the last page zero, invalidation for each mapping', () => {
    const s = space();
    const f = s.file(3 * PAGE);
    const a = s.map({ size: 3 * PAGE, backing: f });
    const b = s.map({ size: PAGE, backing: f, offset: 2 * PAGE });
    for (const at of [a + 8, a + 100, a + 2 * PAGE]) store(s, at);
    const log = watch(s);
    drive(s.truncate(f, 50));
    const p = a / PAGE;
    expect(log).toEqual([
      `start ${p + 1}-${p + 3}`,
      `end ${p + 1}-${p + 3}`,
      `start ${b / PAGE}-${b / PAGE + 1}`,
      `end ${b / PAGE}-${b / PAGE + 1}`,
    ]);
    expect([load(s, a + 8), load(s, a + 2 * PAGE)]).toEqual([0x5a, 'BUS_ADRERR']);
    drive(s.truncate(f, 3 * PAGE));
    expect([load(s, a + 8), load(s, a + 100), load(s, a + 2 * PAGE)]).toEqual([0x5a, 0, 0]);
  });

  test('file on disk -> its bytes, zeros behind them', () => {
    const s = space();
    const f = s.file(2 * PAGE, { disk: Uint8Array.of(7, 8) });
    const a = s.map({ size: 2 * PAGE, backing: f });
    expect(s.peek(a, 3)).toEqual(Uint8Array.of(7, 8, 0));
    expect([load(s, a), load(s, a + 1), load(s, a + 2), load(s, a + PAGE)]).toEqual([7, 8, 0, 0]);
  });

  test('guest_memfd -> mmap needs its flag, touch needs INIT_SHARED, offset and size are checked', () => {
    const s = space();
    const map = (flags: number, o: { size?: number; offset?: number } = {}): number | string => {
      const backing = s.guestMemfd(2 * PAGE, flags);
      try {
        return load(s, s.map({ size: PAGE, backing, ...o }));
      } catch (e) {
        return e instanceof KvmError ? e.errno : String(e);
      }
    };
    expect([map(0), map(1), map(3), map(3, { offset: 2 * PAGE })]).toEqual([
      'ENODEV',
      'BUS_ADRERR',
      0,
      'EINVAL',
    ]);
    for (const [size, flags] of [
      [0, 0],
      [100, 0],
      [PAGE, 4],
    ] as const)
      expect(() => s.guestMemfd(size, flags)).toThrow(/EINVAL/);
  });

  test('IO mapping -> its driver is asked once per page; SIGBUS when it refuses; read-only PTEs refuse stores', () => {
    const s = space();
    const asked: string[] = [];
    let answer: IoAnswer = 'sigbus';
    const io = s.ioRegion(2 * PAGE, (page, write) => {
      asked.push(`${page}${write ? 'w' : 'r'}`);
      return answer;
    });
    const a = s.map({ size: 2 * PAGE, backing: io });
    expect([load(s, a), store(s, a + PAGE)]).toEqual(['BUS_ADRERR', 'BUS_ADRERR']);
    answer = 'map';
    expect([load(s, a), store(s, a), load(s, a)]).toEqual([0, 'ok', 0x5a]);
    answer = 'map-readonly';
    expect([load(s, a + PAGE), store(s, a + PAGE)]).toEqual([0, 'SEGV_ACCERR']);
    expect(asked).toEqual(['0r', '1w', '0r', '1r']);
    drive(s.zap(io, 0, 2));
    answer = 'sigbus';
    expect(load(s, a)).toBe('BUS_ADRERR');
    expect(() => s.map({ size: 3 * PAGE, backing: io })).toThrow(/EINVAL/);
  });

  test('IO mapping whose driver waits for a lock -> the load blocks, holding mmap_lock', () => {
    const s = space();
    const lock = new Lock('device');
    drive(lock.write());
    const io = s.ioRegion(PAGE, function* () {
      yield* lock.read();
      lock.endRead();
      return 'map';
    });
    const a = s.map({ size: PAGE, backing: io });
    expect(() => s.read(a, 1)).toThrow(FaultyardError);
    expect(s.mmapLock.held).toBe(false);
    const t = loadTask(s, a, 1);
    const seen: string[] = [];
    for (let r = t.next(); !r.done; r = t.next()) {
      seen.push(r.value.at);
      if (r.value.ready?.() !== false) continue;
      expect(s.mmapLock.held).toBe(true);
      lock.endWrite();
    }
    expect(seen).toEqual(['lock.mmap_lock', 'lock.device', 'lock.mmap_lock']);
    expect(s.mmapLock.held).toBe(false);
    expect(load(s, a)).toBe(0);
  });
});

describe('mmap, munmap, mprotect, madvise', () => {
  test('munmap in the middle -> two areas, private pages gone, file offsets kept', () => {
    const s = space();
    const f = s.file(4 * PAGE);
    const a = s.map({ size: 4 * PAGE, backing: f });
    for (let i = 0; i < 4; i++) s.write(a + i * PAGE, Uint8Array.of(i + 1));
    drive(s.munmap(a + PAGE, PAGE));
    expect([0, 1, 2, 3].map((i) => load(s, a + i * PAGE))).toEqual([1, 'SEGV_MAPERR', 3, 4]);
    expect(s.vmas.all.length).toBe(2);
    const b = s.map({ size: PAGE });
    store(s, b);
    drive(s.munmap(b, PAGE));
    expect(s.map({ at: b, size: PAGE })).toBe(b);
    expect(load(s, b)).toBe(0);
  });

  test('MAP_FIXED over something -> replaced after an invalidation; NOREPLACE -> EEXIST', () => {
    const s = space();
    const a = s.map({ size: 2 * PAGE });
    store(s, a);
    store(s, a + PAGE);
    const log = watch(s);
    expect(errno(s.mmap({ at: a, size: PAGE, noReplace: true }))).toBe('EEXIST');
    expect(log).toEqual([]);
    s.map({ at: a, size: PAGE });
    expect(log).toEqual([`start ${a / PAGE}-${a / PAGE + 1}`, `end ${a / PAGE}-${a / PAGE + 1}`]);
    expect([load(s, a), load(s, a + PAGE)]).toEqual([0, 0x5a]);
  });

  test('places are chosen lowest first and aligned to the page size asked for', () => {
    const s = new AddressSpace(host, { mmapBase: 0x1000_0000 });
    const a = s.map({ size: PAGE });
    const b = s.map({ size: 2 ** 21, hugetlb: '2M' });
    const c = s.map({ size: PAGE });
    expect([a, b % 2 ** 21, c]).toEqual([0x1000_0000, 0, 0x1000_1000]);
  });

  test('refusals -> mmap(2)s errnos', () => {
    const s = space();
    const a = s.map({ size: 2 ** 21, hugetlb: '2M' });
    const io = s.map({
      size: PAGE,
      backing: s.ioRegion(PAGE, () => 'map'),
    });
    expect([
      errno(s.mmap({ size: 0 })),
      errno(s.mmap({ at: 5, size: PAGE })),
      errno(s.mmap({ at: 2 ** 48, size: PAGE })),
      errno(s.mmap({ at: PAGE, size: 2 ** 21, hugetlb: '2M' })),
      errno(s.munmap(1, PAGE)),
      errno(s.munmap(a, PAGE)),
      errno(s.mprotect(a + PAGE, PAGE, Prot.Read)),
      errno(s.mprotect(0, PAGE, Prot.Read)),
      errno(s.dontNeed(0, PAGE)),
      errno(s.dontNeed(io, PAGE)),
    ]).toEqual([
      'EINVAL',
      'EINVAL',
      'ENOMEM',
      'EINVAL',
      'EINVAL',
      'EINVAL',
      'EINVAL',
      'ENOMEM',
      'ENOMEM',
      'EINVAL',
    ]);
  });

  test('mprotect part of an area -> only that part, back again, content kept', () => {
    const s = space();
    const a = s.map({ size: 3 * PAGE });
    for (let i = 0; i < 3; i++) store(s, a + i * PAGE);
    drive(s.mprotect(a + PAGE, PAGE, Prot.None));
    expect([0, 1, 2].map((i) => load(s, a + i * PAGE))).toEqual([0x5a, 'SEGV_ACCERR', 0x5a]);
    drive(s.mprotect(a + PAGE, PAGE, Prot.Read));
    expect(load(s, a + PAGE)).toBe(0x5a);
  });

  test('MADV_DONTNEED -> private memory reads zero, a memfd keeps its pages', () => {
    const s = space();
    const a = s.map({ size: PAGE });
    const b = s.map({ size: PAGE, backing: s.file(PAGE) });
    store(s, a);
    store(s, b);
    drive(s.dontNeed(a, PAGE));
    drive(s.dontNeed(b, PAGE));
    expect([load(s, a), load(s, b)]).toEqual([0, 0x5a]);
  });

  test('punch a hole -> those pages of the memfd read zero through every mapping', () => {
    const s = space();
    const f = s.file(3 * PAGE);
    const a = s.map({ size: 3 * PAGE, backing: f });
    for (let i = 0; i < 3; i++) store(s, a + i * PAGE);
    drive(s.punch(f, PAGE, PAGE));
    expect([0, 1, 2].map((i) => load(s, a + i * PAGE))).toEqual([0x5a, 0, 0x5a]);
  });
});

describe('bad memory', () => {
  test('poison -> the VMM load gets BUS_OBJERR, other pages do not; healed -> the old bytes', () => {
    const s = space();
    const a = s.map({ size: 2 * PAGE });
    store(s, a + 7);
    const log = watch(s);
    expect(s.poison(a + 7)).toBe(true);
    expect(log).toEqual([`refresh ${a / PAGE}`]);
    expect([load(s, a + 7), load(s, a + PAGE)]).toEqual(['BUS_OBJERR', 0]);
    expect(s.peek(a + 7, 1)).toEqual(one);
    s.poison(a, false);
    expect(load(s, a + 7)).toBe(0x5a);
    expect(s.poison(0x10)).toMatchObject({ code: 'SEGV_MAPERR' });
  });

  test('memory_failure on anonymous memory -> marked, invalidated, BUS_MCEERR_AR lsb 12, DONTNEED brings a new page', () => {
    const s = space();
    const a = s.map({ size: 2 * PAGE, thp: true });
    store(s, a);
    store(s, a + PAGE);
    const log = watch(s);
    const r = drive(memoryFailure(s, a + 5));
    expect(r).toEqual({ how: 'killed', signal: true, addr: BigInt(a), lsb: 12 });
    expect(log).toEqual([`start ${a / PAGE}-${a / PAGE + 1}`, `end ${a / PAGE}-${a / PAGE + 1}`]);
    expect([load(s, a), store(s, a), load(s, a + PAGE)]).toEqual([
      'BUS_MCEERR_AR lsb 12',
      'BUS_MCEERR_AR',
      0x5a,
    ]);
    expect(drive(memoryFailure(s, a)).how).toBe('already');
    drive(s.dontNeed(a, PAGE));
    expect(load(s, a)).toBe(0);
  });

  test('memory_failure on a memfd page -> lost through every mapping, until the hole is punched', () => {
    const s = space();
    const f = s.file(2 * PAGE);
    const a = s.map({ size: 2 * PAGE, backing: f });
    const b = s.map({ size: 2 * PAGE, backing: f });
    store(s, a + PAGE);
    expect(drive(memoryFailure(s, a + PAGE)).how).toBe('killed');
    expect([load(s, a + PAGE), load(s, b + PAGE), load(s, b)]).toEqual([
      'BUS_MCEERR_AR lsb 12',
      'BUS_MCEERR_AR lsb 12',
      0,
    ]);
    drive(s.dontNeed(a, 2 * PAGE));
    expect(load(s, a + PAGE)).toBe('BUS_MCEERR_AR lsb 12');
    drive(s.punch(f, PAGE, PAGE));
    expect(load(s, a + PAGE)).toBe(0);
  });

  test('clean page of a file on disk -> dropped without a signal, read again; dirty page -> killed', () => {
    const s = space();
    const f = s.file(2 * PAGE, { disk: Uint8Array.of(9) });
    const a = s.map({ size: 2 * PAGE, backing: f });
    load(s, a);
    s.poison(a);
    expect(drive(memoryFailure(s, a))).toMatchObject({ how: 'recovered', signal: false });
    expect(load(s, a)).toBe(9);
    store(s, a);
    expect(drive(memoryFailure(s, a))).toMatchObject({ how: 'killed', signal: true });
  });

  test.each([
    ['2M', 21],
    ['1G', 30],
  ] as const)(
    'memory_failure in a %s hugetlb page -> the whole page, lsb %i, neighbours fine',
    (hugetlb, lsb) => {
      const s = space();
      const size = 2 ** lsb;
      const a = s.map({ size: 2 * size, hugetlb });
      store(s, a);
      store(s, a + size - PAGE);
      const log = watch(s);
      expect(drive(memoryFailure(s, a + size - 3))).toEqual({
        how: 'killed',
        signal: true,
        addr: BigInt(a + size - PAGE),
        lsb,
      });
      expect(log[0]).toBe(`start ${a / PAGE}-${(a + size) / PAGE}`);
      expect([load(s, a), load(s, a + size)]).toEqual([`BUS_MCEERR_AR lsb ${lsb}`, 0]);
      drive(s.munmap(a, size));
      s.map({ at: a, size, hugetlb });
      expect(load(s, a)).toBe(0);
    },
  );

  test('memory_failure by frame -> every page that stands in it', () => {
    const s = space();
    const f = s.file(PAGE);
    const a = s.map({ size: PAGE, backing: f });
    store(s, a);
    const pfn = f.pages.pfn(0);
    expect(drive(frameFailure(s, pfn)).map((r) => r.addr)).toEqual([BigInt(a)]);
    expect(load(s, a)).toBe('BUS_MCEERR_AR lsb 12');
  });

  test('memory_failure where no page is, or on device memory -> ignored', () => {
    const s = space();
    const a = s.map({ size: PAGE });
    expect(drive(memoryFailure(s, a))).toMatchObject({ how: 'ignored', signal: false });
    expect(drive(memoryFailure(s, 0)).how).toBe('ignored');
  });
});

describe('userfaultfd', () => {
  test('touch of an absent page -> waits; COPY of the page -> goes on with it', () => {
    const s = space();
    const a = s.map({ size: 2 * PAGE });
    drive(userfaultRegister(s, a, 2 * PAGE));
    expect(() => s.read(a, 1)).toThrow(/userfaultfd to resolve/);
    expect([...s.userfaults]).toEqual([[a / PAGE, false]]);
    drive(userfaultCopy(s, a, new Uint8Array(PAGE).fill(3)));
    expect(load(s, a)).toBe(3);
    expect(s.userfaults.size).toBe(0);
  });

  test('a handler that answers at once -> no wait; ZEROPAGE, POISON, EEXIST, ENOENT', () => {
    const s = space();
    const a = s.map({ size: 3 * PAGE });
    drive(userfaultRegister(s, a, 3 * PAGE));
    s.onUserfault = (page, write) =>
      drive(write ? userfaultPoison(s, page * PAGE, PAGE) : userfaultCopy(s, page * PAGE, PAGE));
    expect([load(s, a), store(s, a), store(s, a + PAGE), load(s, a + PAGE)]).toEqual([
      0,
      'ok',
      'BUS_MCEERR_AR',
      'BUS_MCEERR_AR lsb 12',
    ]);
    expect(errno(userfaultCopy(s, a, PAGE))).toBe('EEXIST');
    drive(userfaultRegister(s, a, 3 * PAGE, false));
    expect(errno(userfaultCopy(s, a + 2 * PAGE, PAGE))).toBe('ENOENT');
    expect(load(s, a + 2 * PAGE)).toBe(0);
    expect(errno(userfaultRegister(s, a + 1, PAGE))).toBe('EINVAL');
  });
});

/**
 * The memory-fault sheet's tables 6.2 (holes and READONLY slots, column x86 TDP) and 6.4 (host backings, column x86 L),
 * driven by a guest: its own paging, its own instruction at CPL 0 and 3, and what KVM_RUN and its IDT say of it.
 */
import { readFileSync } from 'node:fs';
import {
  drive,
  type Exit,
  type GuestMemfd,
  gmemFailure,
  MemFlag,
  memoryFailure,
  Prot,
} from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { assemble } from '../src/index.ts';
import { CODE, closeLabs, IDT, type LongLab, longLab, STACK } from './support/long-lab.ts';

afterEach(closeLabs);

/** One outcome of a row. */
interface Case {
  readonly access: string;
  readonly exits: readonly string[];
  readonly cpl?: 0 | 3;
  readonly lsb?: number;
  readonly then?: { readonly access: string; readonly exits: readonly string[] };
}
interface Row {
  readonly id: string;
  readonly title: string;
  readonly cases: readonly Case[];
}
const sheet = (file: string): readonly Row[] =>
  JSON.parse(readFileSync(new URL(`./data/${file}`, import.meta.url), 'utf8')).rows;

const PAGE = 4096;
/** GPA of the slot under test, and of a GiB without any slot; the guest maps both one to one. */
const B = 0x4000_0000;
const H = 0x8000_0000;
/** GiBs whose page directory is at B, and at H. */
const TABLE_B = 0x1_0000_0000;
const TABLE_H = 0x1_4000_0000;

/** Assembly of an access at rdi, by its name in the data. */
const ACCESSES: Readonly<Record<string, string>> = {
  'load 1': 'mov al, [rdi]',
  'load 2': 'mov ax, [rdi]',
  'load 4': 'mov eax, [rdi]',
  'load 8': 'mov rax, [rdi]',
  'load 16': 'movdqu xmm0, [rdi]',
  'store 1': 'mov [rdi], dl',
  'store 2': 'mov [rdi], dx',
  'store 4': 'mov [rdi], edx',
  'store 8': 'mov [rdi], rdx',
  'store 16': 'movdqu [rdi], xmm1',
  'lock xadd': 'lock xadd [rdi], edx',
  'lock cmpxchg': 'lock cmpxchg [rdi], edx',
  push: 'push rdx',
  exec: 'jmp rdi',
  prefetch: 'prefetcht0 [rdi]',
  movs: 'movsb',
};
/** A value with every byte different, and what stands at B. */
const STORED = 0x1122_3344_5566_7788n;
const INT3 = 0xcc;

/** A guest with one access to `va` at its pc and INT3 behind it. */
function guest(access: string, va: number, cpl: 0 | 3): LongLab {
  const l = longLab(`${ACCESSES[access]}\nmov rsp, rbx\nint3`, { cpl });
  l.cpu.set('rbx', STACK);
  l.gib(B, B);
  l.gib(H, H);
  l.directory(TABLE_B, B);
  l.directory(TABLE_H, H);
  point(l, access, va);
  return l;
}
/** Registers of an access. */
function point(l: LongLab, access: string, va: number): void {
  l.cpu.set('rdi', va);
  l.cpu.set('rsi', H + 0x10);
  l.cpu.set('rdx', STORED);
  l.cpu.set('rax', 0);
  l.cpu.set('xmm1', (STORED << 64n) | STORED);
  if (access === 'push') l.cpu.set('rsp', va + 8);
}

const reason = (l: LongLab): number => l.cpu.kvmRun.getUint32(8, true);
const union = (l: LongLab): string =>
  Array.from({ length: 24 }, (_, i) => l.cpu.kvmRun.getUint8(32 + i).toString(16)).join(' ');

/** An address as the sheet's legend writes it. */
function symbol(gpa: bigint): string {
  const n = Number(gpa);
  const from = (base: number, name: string): string =>
    n - base === 0x10 ? name : `${name}+0x${(n - base - 0x10).toString(16).toUpperCase()}`;
  return n >= H ? from(H, 'H') : from(B, 'B');
}

/** The exception whose handler halted. */
function taken(l: LongLab, va: number): string {
  switch (l.vector) {
    case 3:
      return 'OK';
    case 6:
      return '#UD';
    case 14:
      expect(l.cpu.get('cr2')).toBe(BigInt(va));
      return `#PF(0x${l.pushed(0).toString(16)})`;
    default:
      return `vector ${l.vector}`;
  }
}

/** One KVM_RUN, in the legend's codes. */
function once(l: LongLab, va: number, site: bigint, length: number): string {
  for (let i = 0; i < 24; i++) l.cpu.kvmRun.setUint8(32 + i, 0xa5);
  const before = union(l);
  const e = l.run() as Exit;
  // a branch has gone to its target before it is fetched
  const stays = (): void => expect([site, BigInt(va)]).toContain(l.cpu.pc);
  switch (e.kind) {
    case 'mmio':
      expect([e.ret, reason(l)]).toEqual([0, 6]);
      if (!e.write) {
        stays();
        l.cpu.answer(e, -1n);
      } else expect(l.cpu.pc).toBe(site + BigInt(length));
      return `MMIO${e.write ? 'w' : 'r'}(${symbol(e.gpa)},${e.size})`;
    case 'run-error':
      stays();
      expect([e.ret, reason(l), union(l)]).toEqual([-1, 0, before]);
      return e.errno === 'EFAULT' ? 'EF' : `${e.errno}`;
    case 'memory-fault':
      stays();
      expect([e.ret, reason(l), e.flags, e.gpa, e.size]).toEqual([-1, 39, 0n, BigInt(B), 4096n]);
      return e.errno === 'EHWPOISON' ? 'HWP' : 'MF';
    case 'internal-error':
      stays();
      expect([e.ret, reason(l)]).toEqual([0, 17]);
      return e.suberror === 1 ? `IE1(${e.data.length})` : `IE${e.suberror}`;
    case 'intr':
      stays();
      expect([e.ret, e.errno, reason(l)]).toEqual([-1, 'EINTR', 10]);
      return l.vm.signals.pending().length > 0 ? 'SIG' : 'intr';
    case 'hlt':
      return taken(l, va);
    default:
      return e.kind;
  }
}
/** KVM_RUNs until the access is over, or repeats itself. */
function outcomes(l: LongLab, va: number, access: string): string[] {
  const site = l.cpu.pc;
  const { length } = assemble(ACCESSES[access] as string).bytes;
  const seen: string[] = [];
  for (let n = 0; n < 4; n++) {
    const one = once(l, va, site, length);
    seen.push(one);
    if (!one.startsWith('MMIO')) break;
  }
  return seen;
}

/** A READONLY slot at B with INT3 at 10h. */
function readonlySlot(l: LongLab, touched: boolean): number {
  const hva = l.vm.mm.map({ size: PAGE });
  l.vm.mm.write(hva + 0x10, Uint8Array.of(INT3));
  l.vm.setMemoryRegion({ slot: 5, gpa: BigInt(B), size: BigInt(PAGE), hva, flags: MemFlag.ReadOnly });
  if (touched) drive(l.vm.stage2.fault({ gpa: B, write: false, exec: false, origin: 'hardware' }));
  return hva;
}
const broken = (l: LongLab): void => void drive(l.vm.mm.munmap(readonlySlot(l, false), PAGE));

/** What stands behind B in a row of table 6.2, and the VA of the access. */
const HOLES: Readonly<Record<string, { readonly make?: (l: LongLab) => void; readonly va?: number }>> = {
  H4: { va: H + 0xffc },
  H7: { va: TABLE_H + 0x2010 },
  R1: { make: (l) => void readonlySlot(l, false) },
  R2: { make: (l) => void readonlySlot(l, true) },
  R3: { make: (l) => void readonlySlot(l, true) },
  R4: { make: broken },
  R5: { make: broken },
  R6: {
    va: TABLE_B + 0x2010,
    // one 2 MiB page, of RAM
    make: (l) => void l.vm.mm.write(readonlySlot(l, false), Uint8Array.of(0x87, 0, 0, 0, 0, 0, 0, 0)),
  },
};

describe('holes and READONLY slots, driven by a guest (table 6.2, column x86 TDP)', () => {
  const cases = sheet('holes-x86.json').flatMap((r) =>
    r.cases.flatMap((c) => (c.cpl === undefined ? ([0, 3] as const) : [c.cpl]).map((cpl) => ({ r, c, cpl }))),
  );
  test.each(cases.map((x) => [x.r.id, x.c.access, x.cpl, x.c.exits.join(' '), x] as const))(
    '%s: %s at CPL %i -> %s',
    (id, access, cpl, _, { c }) => {
      const va = HOLES[id]?.va ?? (id.startsWith('R') ? B : H) + 0x10;
      const l = guest(access, va, cpl);
      HOLES[id]?.make?.(l);
      expect(outcomes(l, va, access)).toEqual(c.exits);
    },
  );

  test('H1: every load answered with ones -> ones in its register; 4 bytes clear the upper half', () => {
    const ones: Readonly<Record<string, bigint>> = {
      'load 1': 0xffn,
      'load 2': 0xffffn,
      'load 4': 0xffff_ffffn,
      'load 8': 2n ** 64n - 1n,
    };
    const seen = Object.keys(ones).map((access) => {
      const l = guest(access, H + 0x10, 0);
      outcomes(l, H + 0x10, access);
      return [access, l.cpu.get('rax')];
    });
    expect(Object.fromEntries(seen)).toEqual(ones);
  });
  test('H5, R3: the value written is the sum; of a CMPXCHG that does not match, the old value', () => {
    const written = (access: string, va: number, make?: (l: LongLab) => void): bigint[] => {
      const l = guest(access, va, 0);
      make?.(l);
      const values: bigint[] = [];
      for (let n = 0; n < 3; n++) {
        const e = l.run();
        if (e.kind !== 'mmio') break;
        if (e.write) values.push(e.value);
        else l.cpu.answer(e, 0x1000n);
      }
      return values;
    };
    const low = STORED & 0xffff_ffffn;
    expect(written('lock xadd', H + 0x10)).toEqual([low + 0x1000n]);
    const slot = (l: LongLab): void => {
      l.vm.mm.write(readonlySlot(l, true) + 0x10, Uint8Array.of(5, 0, 0, 0));
    };
    expect(written('lock xadd', B + 0x10, slot)).toEqual([low + 5n]);
    expect(written('lock cmpxchg', B + 0x10, slot)).toEqual([5n]);
  });
  test('R6: a load and a store through tables in a READONLY slot -> RAM read and written, the table as it was', () => {
    for (const access of ['load 4', 'store 4']) {
      const va = TABLE_B + 0x2010;
      const l = guest(access, va, 0);
      HOLES['R6']?.make?.(l);
      l.vm.poke(0x2010, 0x77n | (l.vm.peek(0x2010) & ~0xffffn));
      outcomes(l, va, access);
      if (access === 'load 4') expect(l.cpu.get('rax') & 0xffn).toBe(0x77n);
      else expect(l.vm.peek(0x2010) & 0xffff_ffffn).toBe(STORED & 0xffff_ffffn);
      expect(l.vm.peek(B)).toBe(0x87n);
    }
  });
  test('data at the same offset as the entry of a broken table -> the gpa of the table is taken for it', () => {
    // PDE 0 of the directory at H, and at B: data at offset 0 of their GiB
    const hole = guest('load 8', TABLE_H, 0);
    expect(hole.run()).toMatchObject({ kind: 'mmio', gpa: BigInt(H), size: 8, write: false });
    const l = guest('load 8', TABLE_B, 0);
    HOLES['R6']?.make?.(l);
    expect(outcomes(l, TABLE_B, 'load 8')).toEqual(['OK']);
    expect(l.cpu.get('rax')).toBe(0x87n);
  });
  test.each([
    ['stack in a hole', H + 0x800, (l: LongLab) => l.cpu.set('rsp', H + 0x800)],
    ['IDT in a hole', H + 0x60, (l: LongLab) => l.cpu.set('idtr.base', H)],
    [
      'stack in a READONLY slot',
      B + 0x800,
      (l: LongLab) => {
        readonlySlot(l, true);
        l.cpu.set('rsp', B + 0x800);
      },
    ],
  ] as const)('H8, R7: an exception with its %s -> IE3 with the gpa', (_, at, make) => {
    const l = longLab('ud2');
    l.gib(B, B);
    l.gib(H, H);
    make(l);
    const e = l.run();
    if (e.kind !== 'internal-error') throw new Error(`exit ${e.kind}`);
    expect([e.suberror, e.data.length, e.data[1]]).toEqual([3, 5, 0x400n]);
    expect(e.data[0]).toBe(e.data[3]);
    const gpa = Number(e.data[3]);
    expect(gpa).toBeGreaterThan(at - 64);
    expect(gpa).toBeLessThanOrEqual(at + 16);
  });
});

/** Binds a slot at B to memory of the VMM. */
const bind = (l: LongLab, hva: number): void =>
  l.vm.setMemoryRegion({ slot: 5, gpa: BigInt(B), size: BigInt(PAGE), hva });
/** A slot of shared guest_memfd memory. */
function gmem(l: LongLab, hva: number): GuestMemfd {
  const g = l.vm.mm.guestMemfd(PAGE, 3);
  const slot = { slot: 5, gpa: BigInt(B), size: BigInt(PAGE), hva, flags: MemFlag.GuestMemfd };
  l.vm.setMemoryRegion({ ...slot, guestMemfd: g });
  return g;
}
/** Device memory whose driver answers so. */
const io = (l: LongLab, prot: number, answer: 'map' | 'sigbus'): number =>
  l.vm.mm.map({ size: PAGE, prot, backing: l.vm.mm.ioRegion(PAGE, () => answer) });
const unmapped = (l: LongLab): void => {
  const hva = l.vm.mm.map({ size: PAGE });
  bind(l, hva);
  drive(l.vm.mm.munmap(hva, PAGE));
};

/** What stands behind B in a row of table 6.4. */
const BACKINGS: Readonly<Record<string, (l: LongLab) => void>> = {
  M1: (l) => bind(l, l.vm.mm.map({ size: PAGE, prot: Prot.None })),
  M2: (l) => bind(l, io(l, Prot.None, 'map')),
  M3: (l) => {
    const hva = l.vm.mm.map({ size: PAGE });
    l.vm.mm.write(hva + 0x10, Uint8Array.of(INT3));
    drive(l.vm.mm.mprotect(hva, PAGE, Prot.Read));
    bind(l, hva);
  },
  M4: (l) => bind(l, l.vm.mm.map({ size: PAGE, prot: Prot.Write })),
  M5: unmapped,
  M6: (l) => bind(l, l.vm.mm.map({ size: PAGE, backing: l.vm.mm.file(0) })),
  M8: (l) => bind(l, io(l, Prot.Read | Prot.Write, 'sigbus')),
  M9: (l) => {
    const hva = io(l, Prot.Read, 'map');
    l.vm.mm.read(hva, 1);
    bind(l, hva);
  },
  M10: (l) => bind(l, io(l, Prot.Read, 'map')),
  M15: (l) => {
    const hva = l.vm.mm.map({ size: PAGE });
    l.vm.mm.write(hva, Uint8Array.of(1));
    bind(l, hva);
    drive(memoryFailure(l.vm.mm, hva));
  },
  M16: (l) => {
    const g = gmem(l, l.vm.mm.map({ size: PAGE }));
    drive(l.vm.stage2.fault({ gpa: B, write: true, exec: false, origin: 'hardware' }));
    drive(gmemFailure(l.vm.mm, g, 0));
  },
  M17: (l) => drive(l.vm.mm.closeGuestMemfd(gmem(l, l.vm.mm.map({ size: PAGE })))),
  M18: (l) => {
    const hva = l.vm.mm.map({ size: PAGE });
    gmem(l, hva);
    drive(l.vm.mm.munmap(hva, PAGE));
  },
  M21: unmapped,
};

describe('host backings, driven by a guest (table 6.4, column x86 L)', () => {
  const rows = sheet('backings-x86-L.json');
  const cases = rows.flatMap((r) => r.cases.flatMap((c) => ([0, 3] as const).map((cpl) => ({ r, c, cpl }))));
  test.each(cases.map((x) => [x.r.id, x.r.title, x.c.access, x.cpl, x.c.exits.join(' '), x.c] as const))(
    '%s, %s: %s at CPL %i -> %s',
    (id, _, access, cpl, __, c) => {
      const l = guest(access, B + 0x10, cpl);
      (BACKINGS[id] as (l: LongLab) => void)(l);
      expect(outcomes(l, B + 0x10, access)).toEqual(c.exits);
      if (c.lsb !== undefined)
        expect(l.vm.signals.pending()).toMatchObject([
          { code: 'BUS_MCEERR_AR', lsb: c.lsb, to: { vcpu: 0 } },
        ]);
      // nothing was done by half: the same access gives the same again
      if (c.exits[0] === 'EF') expect(outcomes(l, B + 0x10, access)).toEqual(['EF']);
      if (!c.then) return;
      l.vm.write(CODE, assemble(`${ACCESSES[c.then.access]}\nint3`, { origin: CODE }).bytes);
      l.cpu.pc = BigInt(CODE);
      if (cpl === 3)
        for (const [r, v] of [
          ['cs', 0x1b],
          ['cs.attr', 0x2fb],
          ['ss', 0x23],
          ['ss.attr', 0xcf3],
          ['cpl', 3],
        ] as const)
          l.cpu.set(r, v);
      point(l, c.then.access, B + 0x10);
      expect(outcomes(l, B + 0x10, c.then.access)).toEqual(c.then.exits);
    },
  );

  test.each(['M1', 'M5', 'M6'])('M11: guest tables in a page of %s -> EF', (id) => {
    const l = guest('load 4', TABLE_B + 0x2010, 0);
    (BACKINGS[id] as (l: LongLab) => void)(l);
    expect(outcomes(l, TABLE_B + 0x2010, 'load 4')).toEqual(['EF']);
  });
  test('M11, PROT_READ tables -> EF: the walk of nested paging is a write', () => {
    const l = guest('load 4', TABLE_B + 0x2010, 0);
    (BACKINGS['M3'] as (l: LongLab) => void)(l);
    expect(outcomes(l, TABLE_B + 0x2010, 'load 4')).toEqual(['EF']);
  });
  test('M12: an instruction that crosses from a good page into one of M1 -> EF, rip at its start', () => {
    const l = longLab('jmp rdi');
    l.gib(B, B);
    const hva = l.vm.mm.map({ size: 2 * PAGE });
    // mov eax, imm32: three bytes of it before the edge
    l.vm.mm.write(hva + 0xffd, Uint8Array.of(0xb8, 1, 2));
    l.vm.setMemoryRegion({ slot: 5, gpa: BigInt(B), size: BigInt(2 * PAGE), hva });
    drive(l.vm.mm.mprotect(hva + PAGE, PAGE, Prot.None));
    l.cpu.set('rdi', B + 0xffd);
    expect(l.run()).toMatchObject({ kind: 'run-error', errno: 'EFAULT' });
    expect(l.cpu.pc).toBe(BigInt(B + 0xffd));
    drive(l.vm.mm.mprotect(hva + PAGE, PAGE, Prot.Read | Prot.Write));
    l.vm.mm.write(hva + PAGE, Uint8Array.of(3, 4, INT3));
    expect(l.run().kind).toBe('hlt');
    expect([l.vector, l.cpu.get('rax')]).toEqual([3, 0x0403_0201n]);
  });
  test('M13: exception stack in a page of M1 -> EF each time; repaired, the event is delivered once', () => {
    const l = longLab('ud2');
    l.gib(B, B);
    const hva = l.vm.mm.map({ size: PAGE, prot: Prot.None });
    bind(l, hva);
    l.cpu.set('rsp', B + 0x800);
    for (let n = 0; n < 2; n++) {
      expect(l.run()).toMatchObject({ kind: 'run-error', errno: 'EFAULT' });
      expect(l.cpu.pc).toBe(BigInt(CODE));
    }
    drive(l.vm.mm.mprotect(hva, PAGE, Prot.Read | Prot.Write));
    expect(l.run().kind).toBe('hlt');
    expect([l.vector, l.pushed(0), l.cpu.get('rsp')]).toEqual([6, BigInt(CODE), BigInt(B + 0x800 - 40)]);
  });
  test('M13: IDT in a page of M5 -> EF; mapped again, the event is delivered', () => {
    const l = longLab('ud2');
    l.gib(B, B);
    const hva = l.vm.mm.map({ size: PAGE });
    bind(l, hva);
    const table = l.vm.read(IDT, 256);
    drive(l.vm.mm.munmap(hva, PAGE));
    l.cpu.set('idtr.base', B);
    expect(l.run()).toMatchObject({ kind: 'run-error', errno: 'EFAULT' });
    l.vm.mm.map({ at: hva, size: PAGE });
    l.vm.mm.write(hva, table);
    expect(l.run().kind).toBe('hlt');
    expect(l.vector).toBe(6);
  });
  test('M14: EF, then mprotect or a new mapping, KVM_RUN again -> the load completes', () => {
    for (const repair of ['mprotect', 'mmap'] as const) {
      const l = guest('load 4', B + 0x10, 0);
      const hva = l.vm.mm.map({ size: PAGE, prot: Prot.None });
      bind(l, hva);
      expect(outcomes(l, B + 0x10, 'load 4')).toEqual(['EF']);
      if (repair === 'mprotect') drive(l.vm.mm.mprotect(hva, PAGE, Prot.Read | Prot.Write));
      else l.vm.mm.map({ at: hva, size: PAGE });
      l.vm.mm.write(hva + 0x10, Uint8Array.of(0x5a));
      expect(outcomes(l, B + 0x10, 'load 4')).toEqual(['OK']);
      expect(l.cpu.get('rax')).toBe(0x5an);
    }
  });
  test('every row of the data is driven, and drives something', () => {
    expect(rows.map((r) => r.id).filter((id) => !BACKINGS[id])).toEqual([]);
  });
});

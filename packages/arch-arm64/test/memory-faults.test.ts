/**
 * The memory-fault sheet's tables 6.2 (holes and READONLY slots, column arm64) and 6.4 (host backings, column arm64 L),
 * driven by a guest: its own stage 1, its own instruction at EL1 and EL0, and what KVM_RUN and its vectors say of it.
 */
import { readFileSync } from 'node:fs';
import {
  drive,
  type Exit,
  type GuestMemfd,
  gmemFailure,
  hex,
  MemFlag,
  memoryFailure,
  Prot,
} from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { assemble } from '../src/index.ts';
import { closeLabs, type Lab, lab, RAM } from './support/lab.ts';

afterEach(closeLabs);

/** One outcome of a row. */
interface Case {
  readonly access: string;
  readonly code: string | null;
  readonly stage1?: 'Normal' | 'Device';
  readonly siCode?: number;
  readonly lsb?: number;
  readonly repeats?: boolean;
}
interface Row {
  readonly id: string;
  readonly title: string;
  readonly cases: readonly Case[];
}
const sheet = (file: string): readonly Row[] =>
  JSON.parse(readFileSync(new URL(`../../core/test/data/${file}`, import.meta.url), 'utf8')).rows;

const PAGE = 4096;
/** GPA of the slot under test, and of a GiB without any slot; the guest maps both one to one. */
const B = 0x8000_0000;
const H = 0xc000_0000;
/** VA whose level 1 descriptor is a block of Device memory at {@link H}; VAs whose descriptors are tables at B and H. */
const DEVICE = 0x1_0000_0000;
const TABLE_B = 0x1_4000_0000;
const TABLE_H = 0x1_8000_0000;
const TABLES = RAM + 0x2_0000n;
/** Where a guest goes on that branched to the target. */
const BACK = RAM + 0x100n;

/** Assembly of an access at x0, by its name in the data. */
const ACCESSES: Readonly<Record<string, string>> = {
  ldrb: 'ldrb w1, [x0]',
  ldrsb: 'ldrsb x1, [x0]',
  ldrh: 'ldrh w1, [x0]',
  'ldr w': 'ldr w1, [x0]',
  'ldr x': 'ldr x1, [x0]',
  'ldar x': 'ldar x1, [x0]',
  strb: 'strb w2, [x0]',
  strh: 'strh w2, [x0]',
  'str w': 'str w2, [x0]',
  'str x': 'str x2, [x0]',
  'stlr x': 'stlr x2, [x0]',
  'ldp x, x': 'ldp x1, x3, [x0]',
  'ldr q': 'ldr q1, [x0]',
  'stp x, x': 'stp x2, x3, [x0]',
  'str q': 'str q1, [x0]',
  ldadd: 'ldadd x2, x1, [x0]',
  br: 'br x0',
  fetch: 'br x0',
  'dc civac': 'dc civac, x0',
  prfm: 'prfm pldl1keep, [x0]',
  load: 'ldr x1, [x0]',
  walk: 'ldr x1, [x0]',
  store: 'str x2, [x0]',
  exec: 'br x0',
  'load 16 B': 'ldp x1, x3, [x0]',
  atomic: 'ldadd x2, x1, [x0]',
};
/** A value with every byte different. */
const STORED = 0x1122_3344_5566_7788n;

/** A guest at `el` whose stage 1 is on, with one access to `va` at its pc and WFI behind it. */
function guest(access: string, va: number, el: 0 | 1): Lab {
  const l = lab(ACCESSES[access] as string, { lse: true, memory: 1n << 20n });
  const { vm, cpu } = l;
  vm.write(RAM + 4n, assemble('wfi').bytes);
  vm.write(BACK, assemble('wfi').bytes);
  // 39-bit VAs, 4K: blocks of 1 GiB, RAM read-only so that both levels may execute it
  const user = el === 0 ? 1 << 6 : 0;
  const block = (at: number | bigint, attributes: number): bigint => BigInt(at) | BigInt(0x701 | attributes);
  vm.poke(TABLES + 8n, block(RAM, el === 0 ? 3 << 6 : 0));
  vm.poke(TABLES + 16n, block(B, user));
  vm.poke(TABLES + 24n, block(H, user));
  vm.poke(TABLES + 32n, block(H, user | (1 << 2)));
  vm.poke(TABLES + 40n, BigInt(B) | 3n);
  vm.poke(TABLES + 48n, BigInt(H) | 3n);
  cpu.set('ttbr0_el1', TABLES);
  cpu.set('tcr_el1', 25n | (1n << 23n));
  cpu.set('mair_el1', 0x04ffn);
  cpu.set('cpacr_el1', 3n << 20n);
  // M, nTWI, nTWE, UCI
  cpu.set('sctlr_el1', cpu.get('sctlr_el1') | 1n | (1n << 16n) | (1n << 18n) | (1n << 26n));
  cpu.set('pstate', el === 1 ? 5n : 0n);
  cpu.set('x0', BigInt(va));
  cpu.set('x2', STORED);
  cpu.set('x30', BACK);
  return l;
}

/** kvm_run.exit_reason, and the bytes of kvm_run.memory_fault. */
const reason = (l: Lab): number => l.cpu.kvmRun.getUint32(8, true);
const union = (l: Lab): string =>
  Array.from({ length: 24 }, (_, i) => l.cpu.kvmRun.getUint8(32 + i).toString(16)).join(' ');

/** An address as the sheet's legend writes it. */
function symbol(gpa: bigint): string {
  const n = Number(gpa);
  const from = (base: number, name: string): string =>
    n - base === 0x10 ? name : `${name}+0x${(n - base).toString(16).toUpperCase()}`;
  return n >= H ? from(H, 'H') : from(B, 'B');
}

/** What the vectors took of the exception: its EC, FSC and FAR. */
function taken(l: Lab, el: 0 | 1, va: number): string {
  expect(l.vector).toBe(el === 0 ? 0x400 : 0x200);
  const esr = Number(l.cpu.get('esr_el1'));
  const ec = esr >>> 26;
  const fsc = `0x${(esr & 0x3f).toString(16)}`;
  expect(l.cpu.get('far_el1')).toBe(BigInt(va));
  if ((esr & 0x3f) === 0x21) return 'guest alignment fault';
  const name: Record<number, string> = {
    [0x24 + el]: `SEA-D(${fsc})`,
    [0x20 + el]: `SEA-I(${fsc})`,
  };
  return name[ec] ?? `EC ${hex(ec)}`;
}

/** Runs the access once and says, in the legend's codes, what became of it. */
function outcome(l: Lab, el: 0 | 1, va: number): string {
  const site = l.cpu.pc;
  for (let i = 0; i < 24; i++) l.cpu.kvmRun.setUint8(32 + i, 0xa5);
  const before = union(l);
  const e = l.run() as Exit;
  // a branch has gone to its target before it is fetched
  const stays = (): void => expect([site, BigInt(va)]).toContain(l.cpu.pc);
  switch (e.kind) {
    case 'mmio':
      stays();
      expect([e.ret, reason(l)]).toEqual([0, 6]);
      if (e.write) expect(e.value).toBe(BigInt.asUintN(8 * e.size, STORED));
      return `MMIO${e.write ? 'w' : 'r'}(${symbol(e.gpa)},${e.size})`;
    case 'run-error':
      stays();
      expect([e.ret, reason(l), union(l)]).toEqual([-1, 0, before]);
      return e.errno === 'ENOSYS' ? 'NISV' : e.errno === 'EFAULT' ? 'EF' : `${e.errno}`;
    case 'memory-fault':
      stays();
      expect([e.ret, reason(l), e.flags, e.gpa, e.size]).toEqual([-1, 39, 0n, BigInt(B), 4096n]);
      return e.errno === 'EHWPOISON' ? 'HWP' : 'MF';
    case 'intr': {
      if (l.vm.signals.pending().length > 0) {
        stays();
        expect([e.ret, e.errno, reason(l)]).toEqual([-1, 'EINTR', 10]);
        return 'SIG';
      }
      if (l.vector !== undefined) return taken(l, el, va);
      // WFI behind the access, or where the branch returned to
      const past = [site + 8n, BACK + 4n];
      expect(past).toContain(l.cpu.pc);
      return 'OK';
    }
    default:
      return e.kind;
  }
}

/** The same access with KVM_CAP_ARM_NISV_TO_USER: the low bits of its syndrome. */
function nisv(l: Lab): string {
  l.vm.enableCap('arm-nisv-to-user');
  const e = l.run() as Exit;
  if (e.kind !== 'arm-nisv') return e.kind;
  expect([e.ret, reason(l)]).toEqual([0, 28]);
  return `NISV(0x${e.esrIss.toString(16).toUpperCase().padStart(2, '0')})`;
}

/** A READONLY slot at B whose page holds RET and one word, and the address of the VMM's mapping. */
function readonlySlot(l: Lab, touched: boolean): number {
  const hva = l.vm.mm.map({ size: PAGE });
  l.vm.mm.write(hva + 0x10, assemble('ret').bytes);
  l.vm.setMemoryRegion({ slot: 5, gpa: BigInt(B), size: BigInt(PAGE), hva, flags: MemFlag.ReadOnly });
  if (touched) drive(l.vm.stage2.fault({ gpa: B, write: false, exec: false, origin: 'hardware' }));
  return hva;
}
const broken = (l: Lab): void => void drive(l.vm.mm.munmap(readonlySlot(l, false), PAGE));

/** What stands behind B in a row of table 6.2, and the VA of the access. */
const HOLES: Readonly<Record<string, { readonly make?: (l: Lab) => void; readonly va?: number }>> = {
  H4: { va: H + 0xffc },
  H7: { va: TABLE_H + 0x2010 },
  R1: { make: (l) => readonlySlot(l, false) },
  R2: { make: (l) => readonlySlot(l, true) },
  R3: { make: (l) => readonlySlot(l, true) },
  R4: { make: broken },
  R5: { make: broken },
  R6: {
    va: TABLE_B + 0x10,
    make: (l) => {
      const hva = readonlySlot(l, false);
      // one 2 MiB block, of RAM
      l.vm.mm.write(hva, Uint8Array.of(0x41, 0x07, 0, 0x40, 0, 0, 0, 0));
    },
  },
};

describe('holes and READONLY slots, driven by a guest (table 6.2, column arm64)', () => {
  const rows = sheet('holes-arm64.json').filter((r) => r.id !== 'H8' && r.id !== 'R7');
  const cases = rows.flatMap((r) => r.cases.flatMap((c) => ([1, 0] as const).map((el) => ({ r, c, el }))));
  test.each(cases.map((x) => [x.r.id, x.c.access, x.c.stage1 ?? 'Normal', x.el, x.c.code ?? '', x] as const))(
    '%s: %s (%s) at EL%i -> %s',
    (id, access, stage1, el, code, { r }) => {
      const normal = HOLES[id]?.va ?? (r.id.startsWith('R') ? B : H) + 0x10;
      const va = stage1 === 'Device' ? normal - H + DEVICE : normal;
      const l = guest(access, va, el);
      HOLES[id]?.make?.(l);
      l.vm.traced = true;
      const got = outcome(l, el, va);
      // 39-bit VAs begin at level 1, so the descriptor in the hole is of level 2
      const want = code.replace('0x14+level', '0x16');
      if (want === 'SKIP') {
        // the guest trapped there, once, and went on behind the instruction
        const there = l.vm.trace
          .events()
          .filter((t) => t.name === 'kvm_guest_fault' && t.gpa === BigInt(H + 0x10));
        expect(there).toHaveLength(1);
        expect(got).toBe('OK');
      } else if (want.startsWith('NISV')) {
        expect(got).toBe('NISV');
        const iss = nisv(l);
        expect(want === 'NISV' ? iss.slice(0, 4) : iss).toBe(want);
      } else expect(got).toBe(want);
    },
  );

  test('H1: every load answered with ones -> ones in its register, extended as the instruction says', () => {
    const ones: Readonly<Record<string, bigint>> = {
      ldrb: 0xffn,
      ldrh: 0xffffn,
      'ldr w': 0xffff_ffffn,
      'ldr x': 2n ** 64n - 1n,
      ldrsb: 2n ** 64n - 1n,
      'ldar x': 2n ** 64n - 1n,
    };
    const seen = Object.keys(ones).map((access) => {
      const l = guest(access, H + 0x10, 1);
      const e = l.run();
      expect(e.kind).toBe('mmio');
      l.cpu.answer(e, -1n);
      l.run();
      return [access, l.cpu.get('x1')];
    });
    expect(Object.fromEntries(seen)).toEqual(ones);
  });

  test('H8: vectors in a hole -> abort upon abort at +0x200, no exit', () => {
    const l = guest('br', H + 0x10, 1);
    l.cpu.set('vbar_el1', H);
    for (let i = 0; i < 3; i++) {
      expect(l.cpu.run(50).kind).toBe('budget');
      expect(l.cpu.pc).toBe(BigInt(H) + 0x200n);
      expect(l.cpu.get('esr_el1')).toBe(0x8600_0010n);
      expect(l.cpu.get('far_el1')).toBe(BigInt(H) + 0x200n);
    }
  });

  test('R2 and R4, page never read -> still the permission fault of level 3: stage 2 is derived and shows nowhere', () => {
    const show = (make: (l: Lab) => void): string => {
      const l = guest('stp x, x', B + 0x10, 1);
      make(l);
      expect(outcome(l, 1, B + 0x10)).toBe('NISV');
      return nisv(l);
    };
    expect([show((l) => readonlySlot(l, false)), show(broken)]).toEqual(['NISV(0x4F)', 'NISV(0x4F)']);
  });

  test('two pages, one of Device memory, an 8-byte access over the edge -> alignment fault from either side', () => {
    for (const [first, second] of [
      [0, 1 << 2],
      [1 << 2, 0],
    ] as const) {
      const va = TABLE_B + 0xffc;
      const l = guest('ldr x', va, 1);
      // a table of level 2 and one of level 3 in RAM, whose two pages are RAM
      const [two, three] = [TABLES + 0x1000n, TABLES + 0x2000n];
      l.vm.poke(TABLES + 40n, two | 3n);
      l.vm.poke(two, three | 3n);
      l.vm.poke(three, 0x4003_0703n | BigInt(first));
      l.vm.poke(three + 8n, 0x4003_1703n | BigInt(second));
      expect(l.run().kind).toBe('intr');
      expect([l.vector, l.cpu.get('esr_el1') & 0x3fn]).toEqual([0x200, 0x21n]);
    }
  });
});

/** Binds a slot at B to memory of the VMM. */
const bind = (l: Lab, hva: number): void =>
  l.vm.setMemoryRegion({ slot: 5, gpa: BigInt(B), size: BigInt(PAGE), hva });
/** A slot of shared guest_memfd memory. */
function gmem(l: Lab, hva: number): GuestMemfd {
  const g = l.vm.mm.guestMemfd(PAGE, 3);
  const slot = { slot: 5, gpa: BigInt(B), size: BigInt(PAGE), hva, flags: MemFlag.GuestMemfd };
  l.vm.setMemoryRegion({ ...slot, guestMemfd: g });
  return g;
}
/** Device memory whose driver answers so. */
const io = (l: Lab, prot: number, answer: 'map' | 'sigbus'): number =>
  l.vm.mm.map({ size: PAGE, prot, backing: l.vm.mm.ioRegion(PAGE, () => answer) });
const beyondEof = (l: Lab): void => bind(l, l.vm.mm.map({ size: PAGE, backing: l.vm.mm.file(0) }));

/** What stands behind B in a row of table 6.4. */
const BACKINGS: Readonly<Record<string, (l: Lab) => void>> = {
  M1: (l) => bind(l, l.vm.mm.map({ size: PAGE, prot: Prot.None })),
  M2: (l) => bind(l, io(l, Prot.None, 'map')),
  M3: (l) => {
    const hva = l.vm.mm.map({ size: PAGE });
    l.vm.mm.write(hva + 0x10, assemble('ret').bytes);
    drive(l.vm.mm.mprotect(hva, PAGE, Prot.Read));
    bind(l, hva);
  },
  M4: (l) => bind(l, l.vm.mm.map({ size: PAGE, prot: Prot.Write })),
  M5: (l) => {
    const hva = l.vm.mm.map({ size: PAGE });
    bind(l, hva);
    drive(l.vm.mm.munmap(hva, PAGE));
  },
  M6: beyondEof,
  M7: beyondEof,
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
};

describe('host backings, driven by a guest (table 6.4, column arm64 L)', () => {
  const rows = sheet('backings-arm64-L.json').filter((r) => BACKINGS[r.id]);
  const cases = rows.flatMap((r) => r.cases.filter((c) => c.code !== null).map((c) => ({ r, c })));
  test.each(cases.map((x) => [x.r.id, x.r.title, x.c.access, x.c.code as string, x.c] as const))(
    '%s, %s: %s -> %s',
    (id, _, access, code, c) => {
      const l = guest(access, B + 0x10, 1);
      BACKINGS[id]?.(l);
      expect(outcome(l, 1, B + 0x10)).toBe(code);
      if (c.lsb !== undefined)
        expect(l.vm.signals.pending()).toMatchObject([
          { code: 'BUS_MCEERR_AR', lsb: c.lsb, to: { vcpu: 0 } },
        ]);
      // nothing was done by half: the same access gives the same again
      if (code === 'EF') expect(outcome(l, 1, B + 0x10)).toBe('EF');
    },
  );

  test.each(['M1', 'M5', 'M6'])('M11: guest tables in a page of %s -> EF', (id) => {
    const l = guest('walk', TABLE_B + 0x2010, 1);
    BACKINGS[id]?.(l);
    expect(outcome(l, 1, TABLE_B + 0x2010)).toBe('EF');
  });

  test('M14: EF, then mprotect or a new mapping, KVM_RUN again -> the load completes', () => {
    for (const repair of ['mprotect', 'mmap'] as const) {
      const l = guest('load', B + 0x10, 1);
      const hva = l.vm.mm.map({ size: PAGE, prot: Prot.None });
      bind(l, hva);
      expect(outcome(l, 1, B + 0x10)).toBe('EF');
      if (repair === 'mprotect') drive(l.vm.mm.mprotect(hva, PAGE, Prot.Read | Prot.Write));
      else l.vm.mm.map({ at: hva, size: PAGE });
      l.vm.mm.write(hva + 0x10, Uint8Array.of(0x5a));
      expect(outcome(l, 1, B + 0x10)).toBe('OK');
      expect(l.cpu.get('x1')).toBe(0x5an);
    }
  });

  test('every row that the sheet gives an outcome is driven', () => {
    const given = sheet('backings-arm64-L.json').filter((r) => r.cases.some((c) => c.code !== null));
    expect(given.map((r) => r.id).filter((id) => !BACKINGS[id])).toEqual(['M11', 'M14']);
  });
});

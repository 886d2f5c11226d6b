/** Accesses beyond the fast path: crossings, devices, alignment, permissions, what is kept and what is not. */
import { describe, expect, test } from 'vitest';
import { Access, Leave } from '../src/index.ts';
import { Machine } from './support/machine.ts';
import { ins, mini } from './support/mini.ts';

/** A machine with code at 0x1000, two data pages at 0x8000, nothing at 0xa000, a device page at 0xd000. */
function machine(...code: number[]): Machine {
  const m = new Machine(mini);
  m.map(0x1000n);
  m.map(0x8000n, 2);
  m.devices.add(0xd);
  m.words(0x1000n, [...code, ins('slow', 0, 0, 0)]);
  m.pc = 0x1000n;
  return m;
}
const bytes = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

describe('an access that crosses pages', () => {
  test.each([1, 2, 3, 4, 5, 6, 7])('load of 8 bytes, %i in the first page -> the bytes of both', (first) => {
    const m = machine(ins('ld8', 1, 2, 0));
    m.poke(0x9000n - BigInt(first), bytes(8));
    m.setX(2, 0x9000n - BigInt(first));
    expect(m.cpu.run(100)).toBe(Leave.Slow);
    expect(m.x(1)).toBe(0x0807060504030201n);
  });
  test('store whose second page is not mapped -> fault there, first page unchanged', () => {
    for (const name of ['st8', 'stp', 'rmw8']) {
      const m = machine(ins(name, 1, 2, 0));
      const before = m.peek(0x9ff0n, 16);
      m.setX(1, 2n ** 64n - 1n);
      m.setX(2, 0x9ffdn);
      expect(m.cpu.run(100)).toBe(Leave.Fault);
      expect(m.cpu.retired).toBe(0);
      expect(m.pc).toBe(0x1000n);
      expect(m.faults).toEqual([
        {
          lo: 0xa000,
          hi: 0,
          size: name === 'stp' ? 13 : 5,
          kind: name === 'rmw8' ? Access.ReadWrite : Access.Write,
          why: 'unmapped',
        },
      ]);
      expect(m.peek(0x9ff0n, 16)).toEqual(before);
    }
  });
  test('store over the top of the address space -> both pages, second at 0', () => {
    const m = machine(ins('st8', 1, 2, 0), ins('ld8', 3, 2, 0));
    m.map(0xffff_ffff_ffff_f000n);
    m.map(0n);
    m.setX(1, 0x1122334455667788n);
    m.setX(2, 0xffff_ffff_ffff_fffdn);
    expect(m.cpu.run(100)).toBe(Leave.Slow);
    expect(m.peek(0n, 5)).toEqual([0x55, 0x44, 0x33, 0x22, 0x11]);
    expect(m.x(3)).toBe(0x1122334455667788n);
  });
  test('load from memory into a device -> the device serves its part', () => {
    const m = machine(ins('ld8', 1, 2, 0), ins('stp', 1, 2, 3));
    m.map(0xc000n);
    m.poke(0xcffdn, [1, 2, 3]);
    m.setX(2, 0xcffdn);
    expect(m.cpu.run(100)).toBe(Leave.Slow);
    expect(m.x(1)).toBe(0x8811223344030201n);
    expect(m.bus).toEqual(['r d000 5', 'w d000 5 8811223344', 'w d005 8 0']);
  });
});

describe('a device', () => {
  test('load and store of each size -> one bus access each, value cut to size', () => {
    for (const n of [1, 2, 4, 8] as const) {
      const m = machine(ins(`ld${n}`, 1, 2, 8), ins(`st${n}`, 1, 2, 16));
      m.setX(2, 0xd000n);
      expect(m.cpu.run(100)).toBe(Leave.Slow);
      const v = n === 8 ? 0x5566778811223344n : BigInt.asUintN(8 * n, 0x11223344n);
      expect(m.x(1)).toBe(v);
      expect(m.bus).toEqual([`r d008 ${n}`, `w d010 ${n} ${v.toString(16)}`]);
    }
  });
  test('pair and read-modify-write -> element by element; load before store', () => {
    const m = machine(ins('ldp', 1, 2, 3), ins('rmw4', 1, 2, 3));
    m.setX(2, 0xd000n);
    expect(m.cpu.run(100)).toBe(Leave.Slow);
    expect(m.bus).toEqual(['r d000 8', 'r d008 8', 'r d000 4', 'w d000 4 22446688']);
  });
  test('that does not answer -> fault, the instruction not done', () => {
    for (const name of ['ldpost', 'stpost', 'ldp', 'stp', 'rmw8']) {
      const m = machine(ins('addi', 4, 4, 1), ins(name, 1, 2, 3));
      m.deviceAnswers = false;
      m.setX(2, 0xd000n);
      m.setX(1, 5n);
      expect(m.cpu.run(100)).toBe(Leave.Fault);
      expect([m.cpu.retired, m.pc, m.x(1), m.x(2), m.x(4)]).toEqual([1, 0x1004n, 5n, 0xd000n, 1n]);
    }
  });
  test('fetched from -> fault', () => {
    const m = machine();
    m.pc = 0xd000n;
    expect(m.cpu.run(100)).toBe(Leave.Fault);
    expect(m.cpu.retired).toBe(0);
  });
});

describe('the slow path', () => {
  test('is told everything about the access', () => {
    const m = machine(ins('ldal8', 1, 2), ins('ldother', 1, 2), ins('stp', 1, 2, 3));
    m.setX(2, 0x8008n);
    m.cpu.run(100);
    const data = m.accesses.filter((a) => a.kind !== Access.Exec);
    expect(data).toEqual([
      { lo: 0x8008, hi: 0, size: 8, kind: Access.Read, ctx: 0, cls: 5, ordinal: 0, align: 8 },
      { lo: 0x8008, hi: 0, size: 8, kind: Access.Read, ctx: 1, cls: 0, ordinal: 0, align: 1 },
      { lo: 0x8008, hi: 0, size: 16, kind: Access.Write, ctx: 0, cls: 0, ordinal: 0, align: 1 },
    ]);
  });
  test('is taken once a page, kind and context; unaligned accesses within the page are fast', () => {
    const m = machine(
      ins('ld8', 1, 2, 1),
      ins('ld8', 1, 2, 3),
      ins('st8', 1, 2, 5),
      ins('st8', 1, 2, 9),
      ins('ldal4', 1, 3),
    );
    m.setX(2, 0x8000n);
    m.setX(3, 0x8004n);
    expect(m.cpu.run(100)).toBe(Leave.Slow);
    expect(m.accesses.map((a) => a.kind)).toEqual([Access.Exec, Access.Read, Access.Write]);
  });
  test('demanded alignment not met -> asked even where the page is known', () => {
    for (const [name, at] of [
      ['ldal8', 0x8004n],
      ['ldal4', 0x8006n],
    ] as const) {
      const m = machine(ins('ld8', 1, 2), ins(name, 1, 3));
      m.setX(2, 0x8000n);
      m.setX(3, at);
      expect(m.cpu.run(100)).toBe(Leave.Fault);
      expect(m.faults).toMatchObject([{ lo: Number(at), why: 'checked' }]);
      expect(m.cpu.retired).toBe(1);
    }
  });
  test('a translation not to be kept -> asked again each time', () => {
    const m = machine(ins('ld8', 1, 2), ins('ld8', 1, 2), ins('st8', 1, 2), ins('st8', 1, 2));
    m.page(0x8000n).cache = false;
    m.setX(2, 0x8000n);
    m.cpu.run(100);
    expect(m.accesses.map((a) => a.kind)).toEqual([Access.Exec, 0, 0, 1, 1]);
  });
  test('code in a page not to be kept -> runs, one fetch an instruction', () => {
    const m = machine(ins('addi', 1, 1, 1), ins('addi', 1, 1, 1), ins('b', 0, 0));
    m.page(0x1000n).cache = false;
    expect(m.cpu.run(5000)).toBe(Leave.Budget);
    expect([m.cpu.retired, m.x(1), m.pc]).toEqual([5000, 2n, 0x1008n]);
    expect(m.engine.figures().codePages).toBe(0);
  });
  test('step -> asked for every access, nothing kept, explicit contexts too', () => {
    const m = machine(ins('ld8', 1, 2), ins('ldother', 1, 2), ins('st8', 1, 2));
    m.setX(2, 0x8000n);
    m.cpu.run(3);
    m.pc = 0x1000n;
    m.accesses.length = 0;
    for (let i = 0; i < 3; i++) expect(m.cpu.step()).toBe(Leave.Budget);
    expect(m.accesses.map((a) => [a.kind, a.ctx])).toEqual([
      [2, 0],
      [0, 0],
      [2, 0],
      [0, 1],
      [2, 0],
      [1, 0],
    ]);
    m.cpu.flush();
    m.pc = 0x1000n;
    m.accesses.length = 0;
    m.cpu.run(3);
    expect(m.accesses.length).toBe(4);
  });
  test('a read-only page read, then written -> the read does not open it for writing', () => {
    const m = machine(ins('ld8', 1, 2), ins('st8', 1, 2));
    m.page(0x8000n).writable = false;
    m.setX(2, 0x8000n);
    expect(m.cpu.run(100)).toBe(Leave.Fault);
    expect(m.faults).toMatchObject([{ why: 'readonly', kind: Access.Write }]);
  });
});

describe('the program counter', () => {
  test('misaligned -> check sees it; fault', () => {
    const m = machine();
    m.pc = 0x1002n;
    expect(m.cpu.run(100)).toBe(Leave.Fault);
    expect(m.faults).toMatchObject([{ lo: 0x1002, kind: Access.Exec, why: 'checked' }]);
  });
  test('rewritten by check -> the fetch starts over there', () => {
    const m = machine(ins('br', 1));
    m.setX(1, 0x0500_0000_0000_1004n);
    m.onCheck = (a) => {
      if (a.kind === Access.Exec && a.hi >>> 24 === 5) m.pc = BigInt(a.lo >>> 0);
      return 0;
    };
    expect(m.cpu.run(100)).toBe(Leave.Slow);
    expect(m.pc).toBe(0x1004n);
  });
  test('in no page -> fault with what ran before counted', () => {
    const m = machine(ins('addi', 1, 1, 1), ins('b', 0, 0x1000));
    expect(m.cpu.run(100)).toBe(Leave.Fault);
    expect([m.cpu.retired, m.pc]).toEqual([2, 0x5004n]);
    expect(m.faults).toMatchObject([{ lo: 0x5004, kind: Access.Exec }]);
  });
  test('budget used up at a page that would fault -> budget, no fetch', () => {
    const m = machine(ins('b', 0, 0x1000));
    expect(m.cpu.run(1)).toBe(Leave.Budget);
    expect([m.pc, m.faults]).toEqual([0x5000n, []]);
  });
});

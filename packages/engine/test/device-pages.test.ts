/** Device pages that a port lets the engine remember: what goes straight to the device, and what asks again. */
import { describe, expect, test } from 'vitest';
import { Access, type AccessInfo, Leave, type Resolution } from '../src/index.ts';
import { Machine } from './support/machine.ts';
import { ins, mini } from './support/mini.ts';

/** A port that lets every device translation be kept. */
class Keeping extends Machine {
  /** Data accesses that were resolved, as `kind page context`. */
  readonly asked: string[] = [];
  override resolve(a: AccessInfo, out: Resolution): number {
    const kind = super.resolve(a, out);
    if (a.kind !== Access.Exec) this.asked.push(`${a.kind} ${(a.lo >>> 12).toString(16)} ${a.ctx}`);
    if (kind === 1) out.cache = true;
    return kind;
  }
}

/** Code at 0x1000 that ends in a slow operation, memory at 0x8000, devices at 0xd000 and 0xe000; x2 = 0xd000. */
function machine(...code: number[]): Keeping {
  const m = new Keeping(mini);
  m.map(0x1000n);
  m.map(0x8000n);
  m.devices.add(0xd);
  m.devices.add(0xe);
  m.words(0x1000n, [...code, ins('slow', 0, 0, 0)]);
  m.setX(2, 0xd000n);
  m.setX(3, 0xe000n);
  m.pc = 0x1000n;
  return m;
}

describe('a device page that may be kept', () => {
  test('loads and stores of each size -> resolved once each, values and addresses as ever', () => {
    for (const n of [1, 2, 4, 8]) {
      const m = machine(
        ins(`ld${n}`, 4, 2, 8),
        ins(`ld${n}`, 5, 2, 16),
        ins(`st${n}`, 5, 2, 24),
        ins(`st${n}`, 4, 2, 32),
      );
      expect(m.cpu.run(100)).toBe(Leave.Slow);
      const v = n === 8 ? 0x5566778811223344n : BigInt.asUintN(8 * n, 0x11223344n);
      const h = v.toString(16);
      expect([m.x(4), m.x(5)]).toEqual([v, v]);
      expect(m.bus).toEqual([`r d008 ${n}`, `r d010 ${n}`, `w d018 ${n} ${h}`, `w d020 ${n} ${h}`]);
      expect(m.asked).toEqual(['0 d 0', '1 d 0']);
    }
  });
  test('two pages, another size, another context -> asked for each', () => {
    const m = machine(
      ins('ld4', 4, 2, 0),
      ins('ld4', 4, 3, 0),
      ins('ld8', 4, 2, 0),
      ins('ldother', 4, 2, 0),
      ins('ld4', 4, 3, 4),
      ins('ldother', 4, 2, 0),
    );
    expect(m.cpu.run(100)).toBe(Leave.Slow);
    expect(m.asked).toEqual(['0 d 0', '0 e 0', '0 d 0', '0 d 1']);
    expect(m.bus).toEqual(['r d000 4', 'r e000 4', 'r d000 8', 'r d000 8', 'r e004 4', 'r d000 8']);
  });
  test('the current context changed -> asked again', () => {
    const m = machine(ins('ld4', 4, 2, 0), ins('b', 0, -1));
    m.cpu.run(6);
    expect(m.asked).toEqual(['0 d 0']);
    m.cpu.setContext(1);
    m.cpu.run(6);
    expect(m.asked).toEqual(['0 d 0', '0 d 1']);
    m.cpu.setContext(0);
    m.cpu.run(6);
    expect(m.asked).toEqual(['0 d 0', '0 d 1']);
  });
  test('not naturally aligned, pairs, read-modify-write -> asked each time, one bus access an element', () => {
    const m = machine(
      ins('ld4', 4, 2, 0),
      ins('ld4', 4, 2, 2),
      ins('ld4', 4, 2, 2),
      ins('ldp', 4, 2, 5),
      ins('ldp', 4, 2, 5),
      ins('rmw4', 4, 2, 5),
      ins('rmw4', 4, 2, 5),
    );
    expect(m.cpu.run(100)).toBe(Leave.Slow);
    expect(m.asked).toEqual(['0 d 0', '0 d 0', '0 d 0', '0 d 0', '0 d 0', '3 d 0', '3 d 0']);
    expect(m.bus.filter((b) => b.startsWith('r'))).toEqual([
      'r d000 4',
      'r d002 4',
      'r d002 4',
      'r d000 8',
      'r d008 8',
      'r d000 8',
      'r d008 8',
      'r d000 4',
      'r d000 4',
    ]);
  });
  test('refused by the device -> fault with the whole access told, nothing done; served again later', () => {
    for (const [name, kind] of [
      ['ld4', Access.Read],
      ['st4', Access.Write],
    ] as const) {
      const m = machine(ins(name, 4, 2, 4), ins('b', 0, -1));
      m.cpu.run(4);
      m.deviceAnswers = false;
      m.setX(4, 77n);
      expect(m.cpu.run(100)).toBe(Leave.Fault);
      expect([m.cpu.retired, m.pc, m.x(4)]).toEqual([0, 0x1000n, 77n]);
      expect(m.faults).toEqual([{ lo: 0xd004, hi: 0, size: 4, kind, why: 'device' }]);
      m.deviceAnswers = true;
      expect(m.cpu.run(10)).toBe(Leave.Budget);
      expect(m.asked).toEqual([`${kind} d 0`]);
    }
  });
});

describe('a device page that was kept goes', () => {
  const gone: readonly (readonly [string, (m: Keeping) => void])[] = [
    ['flush', (m) => m.cpu.flush()],
    ['flush of another context', (m) => m.cpu.flush(1)],
    ['dropPage', (m) => m.cpu.dropPage(0xd000, 0)],
  ];
  test.each(gone)('%s -> asked again, memory in its place is used', (_, drop) => {
    const m = machine(ins('ld4', 4, 2, 0), ins('st4', 4, 2, 4), ins('b', 0, -2));
    m.cpu.run(30);
    expect(m.asked).toEqual(['0 d 0', '1 d 0']);
    m.devices.delete(0xd);
    m.map(0xd000n);
    m.poke(0xd000n, [1, 2, 3, 4]);
    drop(m);
    const before = m.bus.length;
    m.cpu.run(30);
    expect(m.asked).toEqual(['0 d 0', '1 d 0', '0 d 0', '1 d 0']);
    expect(m.bus.length).toBe(before);
    expect(m.peek(0xd004n, 4)).toEqual([1, 2, 3, 4]);
  });
  test('step -> asked for each access; what was kept serves on afterwards', () => {
    const m = machine(ins('ld4', 4, 2, 0), ins('b', 0, -1));
    m.cpu.run(2);
    m.cpu.step();
    m.cpu.step();
    m.cpu.step();
    expect(m.asked).toEqual(['0 d 0', '0 d 0', '0 d 0']);
    m.cpu.run(10);
    expect(m.asked.length).toBe(3);
  });
});

test('codeAt -> host offset of the instruction at the pc once it ran, -1 before and after a flush', () => {
  const m = machine(ins('nop'), ins('nop'));
  expect(m.cpu.codeAt()).toBe(-1);
  m.cpu.run(1);
  expect(m.cpu.codeAt()).toBe(m.at(0x1004n));
  m.cpu.flush();
  expect(m.cpu.codeAt()).toBe(-1);
});

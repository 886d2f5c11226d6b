/** Code that is written: by itself, by another vCPU, by another engine, through a page that moves. */
import { describe, expect, test } from 'vitest';
import { createEngine, Leave } from '../src/index.ts';
import { testHost } from './support/host.ts';
import { Machine } from './support/machine.ts';
import { ins, mini } from './support/mini.ts';

const put2 = ins('addi', 1, 0, 2);
/** Stores the word in x3 to [x2], then runs what it overwrote: `addi x1, x0, 1`. */
const code = [ins('st4', 3, 2), ins('nop'), ins('addi', 1, 0, 1), ins('slow')];

function machine(words: readonly number[] = code, host = testHost()): Machine {
  const m = new Machine(mini, host, createEngine(host, mini));
  m.map(0x1000n);
  m.words(0x1000n, words);
  m.pc = 0x1000n;
  m.setX(2, 0x1008n);
  m.setX(3, BigInt(put2));
  return m;
}

describe('a store to an instruction later in the same run', () => {
  test.each([
    ['fast', (m: Machine) => m.cpu.run(100_000)],
    ['counted', (m: Machine) => m.cpu.run(10)],
    [
      'stepped',
      (m: Machine) => {
        for (let i = 0; i < 3; i++) m.cpu.step();
        return m.cpu.step();
      },
    ],
  ] as const)('%s -> the new instruction runs', (_, go) => {
    const m = machine();
    expect(go(m)).toBe(Leave.Slow);
    expect(m.x(1)).toBe(2n);
    m.pc = 0x1008n;
    m.words(0x1008n, [ins('addi', 1, 0, 3)]);
    m.engine.invalidateFrame(m.page(0x1000n).frame);
    expect(go(m)).toBe(Leave.Slow);
    expect(m.x(1)).toBe(3n);
  });
  test('to the very next instruction, and to itself -> as written', () => {
    const m = machine([ins('st4', 3, 2), ins('addi', 1, 0, 1), ins('slow')]);
    m.setX(2, 0x1004n);
    expect(m.cpu.run(5000)).toBe(Leave.Slow);
    expect(m.x(1)).toBe(2n);
    const n = machine([ins('st4', 3, 2), ins('bz', 1, -1), ins('slow')]);
    n.setX(2, 0x1000n);
    expect(n.cpu.run(5000)).toBe(Leave.Slow);
    expect([n.x(1), n.cpu.retired]).toEqual([2n, 4]);
  });
});

describe('a frame with code', () => {
  test('decoded after its writes became fast -> they are slow again', () => {
    const m = machine([
      ins('st4', 3, 2),
      ins('bl', 0, 0x3ff),
      ins('st4', 4, 2),
      ins('bl', 0, 0x3fd),
      ins('slow'),
    ]);
    m.map(0x2000n);
    m.words(0x2000n, [ins('addi', 1, 0, 9), ins('br', 15)]);
    m.setX(2, 0x2000n);
    m.setX(4, BigInt(ins('addi', 1, 0, 5)));
    expect(m.cpu.run(5000)).toBe(Leave.Slow);
    expect(m.x(1)).toBe(5n);
    expect(m.host.code.has(m.page(0x2000n).frame)).toBe(true);
  });
  test('written where no instruction was decoded -> given up after a while, then fast and still right', () => {
    const loop = [ins('st4', 3, 2), ins('addi', 1, 1, -1), ins('bnz', 1, -2), ins('slow')];
    const m = machine(loop);
    m.setX(1, 500n);
    m.setX(2, 0x1800n);
    expect(m.cpu.run(100_000)).toBe(Leave.Slow);
    expect(m.cpu.retired).toBe(1500);
    const again = machine([ins('bl', 0, 0x400), ins('slow')]);
    again.map(0x2000n);
    again.words(0x2000n, [ins('br', 15)]);
    again.setX(2, 0x2800n);
    again.cpu.run(5000);
    const frame = again.page(0x2000n).frame;
    expect(again.host.code.has(frame)).toBe(true);
    again.words(0x1100n, [...loop.slice(0, 3), ins('slow')]);
    again.pc = 0x1100n;
    again.setX(1, 500n);
    again.accesses.length = 0;
    expect(again.cpu.run(100_000)).toBe(Leave.Slow);
    expect(again.host.code.has(frame)).toBe(false);
    expect(again.accesses.length).toBeLessThan(100);
    again.pc = 0x2000n;
    again.setX(15, 0x1004n);
    expect(again.cpu.run(10)).toBe(Leave.Slow);
  });
  test('written by another vCPU of the engine -> its records go', () => {
    const m = machine();
    const other = m.engine.createCpu(m);
    m.words(0x1800n, [ins('addi', 1, 0, 1), ins('slow')]);
    const { dv } = m.host;
    dv.setBigUint64(other.pcAddr, 0x1800n, true);
    expect(other.run(5000)).toBe(Leave.Slow);
    expect(dv.getBigUint64(other.regAddr('x', 1), true)).toBe(1n);
    m.setX(2, 0x1800n);
    m.cpu.run(1);
    dv.setBigUint64(other.pcAddr, 0x1800n, true);
    expect(other.run(5000)).toBe(Leave.Slow);
    expect(dv.getBigUint64(other.regAddr('x', 1), true)).toBe(2n);
  });
  test('written by a vCPU of another engine of the host -> its records go', () => {
    const one = machine();
    one.cpu.run(2);
    const two = new Machine(mini, one.host, createEngine(one.host, mini));
    for (const [k, p] of one.pages) two.pages.set(k, p);
    two.words(0x1f00n, [ins('st4', 3, 2), ins('slow')]);
    two.pc = 0x1f00n;
    two.setX(2, 0x100cn);
    two.setX(3, BigInt(ins('addi', 7, 0, 77)));
    expect(two.cpu.run(5000)).toBe(Leave.Slow);
    one.words(0x1010n, [ins('slow')]);
    expect(one.cpu.run(5000)).toBe(Leave.Slow);
    expect(one.x(7)).toBe(77n);
  });
  test('that moves when it is written (copy on write) -> the copy runs, in and after the same run', () => {
    // The store moves the page; a second store then changes the copy; a loop inside the page must see it.
    const m = machine([
      ins('st4', 5, 4),
      ins('st4', 3, 2),
      ins('nop'),
      ins('addi', 1, 0, 1),
      ins('addi', 6, 6, -1),
      ins('bnz', 6, -5),
      ins('slow'),
    ]);
    m.setX(2, 0x100cn);
    m.setX(4, 0x1ff0n);
    m.setX(6, 3n);
    m.page(0x1000n).writable = false;
    m.onResolve = (a) => {
      const p = m.pages.get(Machine.key(a.lo, a.hi));
      if (a.kind !== 1 || !p || p.writable) return;
      const frame = m.host.frame();
      m.host.u8.copyWithin(frame, p.frame, p.frame + 4096);
      m.cpu.dropFrame(p.frame);
      p.frame = frame;
      p.writable = true;
    };
    expect(m.cpu.run(5000)).toBe(Leave.Slow);
    expect([m.x(1), m.cpu.retired]).toEqual([2n, 18]);
  });
  test("all vCPUs disposed and frames invalidated -> only the engine's own tables are left", () => {
    const m = machine();
    m.cpu.run(5000);
    const before = m.host.tableBytes;
    m.engine.invalidateFrame(m.page(0x1000n).frame);
    m.pc = 0x9000n;
    m.cpu.run(1);
    expect(m.host.tableBytes).toBe(before - 1025 * mini.recordSize);
    m.cpu.dispose();
    m.cpu.dispose();
    expect(m.host.tableBytes).toBe(0);
    expect(m.host.code.size).toBe(0);
  });
});

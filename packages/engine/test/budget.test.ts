/** The budget is exact. */
import { expect, test } from 'vitest';
import { Leave } from '../src/index.ts';
import { Machine } from './support/machine.ts';
import { ins, mini, mini16, miniCold } from './support/mini.ts';

/** A loop over a page border with a call through a register. */
function machine(isa: typeof mini): Machine {
  const m = new Machine(isa);
  m.map(0x1000n, 2);
  m.words(0x1ff0n, [
    ins('addi', 1, 1, 1),
    ins('bz', 0, 1),
    ins('addi', 2, 2, 1),
    ins('pc', 3),
    ins('addi', 4, 4, 1),
    ins('bl', 0, 3),
    ins('b', 0, -6),
    ins('slow'),
    ins('br', 15),
  ]);
  m.pc = 0x1ff0n;
  return m;
}

test.each([mini, mini16, miniCold])(
  '$name: run(n) for every n up to 3,000 -> exactly n, in the state of n steps',
  (isa) => {
    const stepped = machine(isa);
    const states = [stepped.state()];
    for (let i = 0; i < 3000; i++) {
      stepped.cpu.step();
      states.push(stepped.state());
    }
    const m = machine(isa);
    const start = m.state();
    for (let n = 1; n <= 3000; n += n < 64 || (n > 1000 && n < 1100) ? 1 : 29) {
      for (let i = 0; i < 16; i++) m.setX(i, 0n);
      m.pc = 0x1ff0n;
      expect(m.state()).toBe(start);
      expect(m.cpu.run(n)).toBe(Leave.Budget);
      expect(m.cpu.retired).toBe(n);
      expect(m.state()).toBe(states[n]);
    }
  },
);
test('a budget of many slices -> exactly that', () => {
  const m = new Machine(mini);
  m.map(0x1000n);
  m.words(0x1000n, [ins('addi', 1, 1, 1), ins('b', 0, -1)]);
  m.pc = 0x1000n;
  expect(m.cpu.run(7_654_321)).toBe(Leave.Budget);
  expect([m.cpu.retired, m.x(1), m.pc]).toEqual([7_654_321, 3_827_161n, 0x1004n]);
});
test('a page of 1,024 straight instructions, run by the fast variant -> every budget behind it exact', () => {
  const m = new Machine(mini);
  m.map(0x1000n, 2);
  m.words(0x1000n, [...new Array<number>(1600).fill(ins('addi', 1, 1, 1)), ins('b', 0, -1600)]);
  for (const n of [1023, 1024, 1025, 1600, 1601, 1602, 2049, 5000]) {
    m.pc = 0x1000n;
    m.setX(1, 0n);
    m.cpu.run(n);
    expect([m.cpu.retired, m.x(1)]).toEqual([n, BigInt(n - Math.floor(n / 1601))]);
  }
});
test('slow operations and guards -> arguments, number, not retired; a cleared guard runs on', () => {
  const m = new Machine(mini);
  m.map(0x1000n);
  m.words(0x1000n, [ins('addi', 1, 0, -5), ins('guard', 2), ins('slow', 1, 0, 9), ins('undefined')]);
  m.pc = 0x1000n;
  m.host.dv.setUint32(m.cpu.guardAddr, 8, true);
  expect([m.cpu.run(5000), m.cpu.retired, m.cpu.slowOp, m.pc]).toEqual([Leave.Guard, 1, 3, 0x1004n]);
  m.host.dv.setUint32(m.cpu.guardAddr, ~8, true);
  expect([m.cpu.run(5000), m.cpu.retired, m.cpu.slowOp, m.pc]).toEqual([Leave.Slow, 1, 7, 0x1008n]);
  expect(m.host.dv.getBigInt64(m.cpu.slowArgs, true)).toBe(-5n);
  expect(m.host.dv.getBigInt64(m.cpu.slowArgs + 8, true)).toBe(9n);
  m.pc = 0x100cn;
  expect([m.cpu.run(5000), m.cpu.slowOp]).toEqual([Leave.Slow, 0xdead]);
});

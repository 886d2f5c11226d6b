import { expect, test } from 'vitest';
import { Leave } from '../src/index.ts';
import { Machine } from './support/machine.ts';
import { ins, mini, mini16 } from './support/mini.ts';

for (const isa of [mini, mini16])
  test(`${isa.name}: a counting loop runs to its slow operation`, () => {
    const m = new Machine(isa);
    m.map(0x1000n, 2);
    m.words(0x1000n, [
      ins('addi', 1, 0, 100),
      ins('addi', 2, 2, 3),
      ins('addi', 1, 1, -1),
      ins('bnz', 1, -2),
      ins('slow', 2, 0, 5),
    ]);
    m.pc = 0x1000n;
    expect(m.cpu.run(1_000_000)).toBe(Leave.Slow);
    expect(m.cpu.retired).toBe(301);
    expect(m.cpu.slowOp).toBe(7);
    expect(m.x(2)).toBe(300n);
    expect(m.pc).toBe(0x1010n);
  });

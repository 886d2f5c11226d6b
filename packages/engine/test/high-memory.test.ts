/** Host memory of 4 GiB - 64 KiB: frames and tables above 2 GiB and up to the last byte are like any other. */
import { expect, test } from 'vitest';
import { createEngine, Leave } from '../src/index.ts';
import { testHost } from './support/host.ts';
import { Machine } from './support/machine.ts';
import { ins, mini } from './support/mini.ts';

const GIB = 2 ** 30;
const LAST = 4 * GIB - 65536;

/** Runs a loop that walks over four pages and into the hole behind them. */
function walk(m: Machine): Machine {
  const code = 0xffff_fff0_0000_0000n;
  m.map(code);
  m.map(0x8000n, 4);
  m.words(code, [
    ins('st8', 1, 2),
    ins('ld8', 3, 2),
    ins('stp', 3, 2, 1),
    ins('rmw8', 4, 2, 2),
    ins('ldp', 5, 2, 6),
    ins('addi', 2, 2, 8),
    ins('b', 0, -6),
  ]);
  m.pc = code;
  m.setX(1, 0x1234_5678_9abc_def0n);
  m.setX(2, 0x8001n);
  expect(m.cpu.run(1_000_000)).toBe(Leave.Fault);
  return m;
}

test.each([
  ['frames across 2 GiB', 4096, 2 * GIB - 8192],
  ['frames up to the last one', 4096, LAST - 5 * 4096],
  ['tables across 2 GiB, frames above', 2 * GIB - 40_000, 3 * GIB],
  ['tables up to the end, frames below', LAST - 600_000, 2 * GIB + 4096],
] as const)('%s -> code, loads, stores, crossings and faults as ever', (_, tablesAt, framesAt) => {
  const high = testHost({ bytes: LAST, tablesAt, framesAt });
  const m = walk(new Machine(mini, high, createEngine(high, mini)));
  expect(m.faults).toMatchObject([{ lo: 0xc000, hi: 0, why: 'unmapped', size: 1 }]);
  expect(m.x(2)).toBe(0xbff1n);
  const low = walk(new Machine(mini));
  expect([m.state(), m.memory(), m.faults]).toEqual([low.state(), low.memory(), low.faults]);
  m.cpu.dispose();
});

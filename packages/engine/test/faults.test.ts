/** Precise faults: wherever a run is cut by one, state and count are those of single steps. */
import { expect, test } from 'vitest';
import { Leave } from '../src/index.ts';
import { Machine } from './support/machine.ts';
import { ins, mini } from './support/mini.ts';

/** A loop whose loads and stores walk over holes in memory: most iterations fault somewhere. */
const loop = [
  ins('cmp', 0, 1, 2),
  ins('flags', 3),
  ins('ldpost', 4, 1, 24),
  ins('add', 5, 5, 4),
  ins('stpost', 5, 2, 40),
  ins('rmw4', 6, 2, 5),
  ins('ldp', 7, 1, 8),
  ins('mul', 9, 5, 7),
  ins('stp', 9, 2, 3),
  ins('count'),
  ins('elem', 1, 2),
  ins('tov', 2, 9),
  ins('b', 0, -12),
];
const FAULTS = 5000;

function run(next: (m: Machine) => number): { hash: number; retired: number } {
  const m = new Machine(mini);
  m.map(0x1000n);
  for (let page = 0; page < 64; page++)
    if (page % 3) m.map(0x100000n + BigInt(page) * 4096n, 1, { writable: page % 4 > 0 });
  m.words(0x1000n, loop);
  m.pc = 0x1000n;
  m.setX(1, 0x100000n);
  m.setX(2, 0x100800n);
  let hash = 0x811c9dc5;
  let retired = 0;
  for (let faults = 0; faults < FAULTS; ) {
    const why = next(m);
    retired += m.cpu.retired;
    if (why !== Leave.Fault) continue;
    faults++;
    const text = `${retired} ${m.state()} ${JSON.stringify(m.faults.at(-1))}`;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    m.pc += 4n;
    // Keep both pointers inside the 64 pages.
    for (const n of [1, 2]) if (m.x(n) >= 0x13f000n) m.setX(n, m.x(n) - 0x3f000n);
  }
  return { hash: (hash ^ m.memory()) >>> 0, retired };
}

test('5,000 faults in the middle of runs, fast -> state and count of counted runs and of single steps', () => {
  const fast = run((m) => m.cpu.run(1_000_000));
  const counted = run((m) => m.cpu.run(17));
  const stepped = run((m) => m.cpu.step());
  expect(fast.retired).toBeGreaterThan(FAULTS);
  expect(counted).toEqual(fast);
  expect(stepped).toEqual(fast);
});

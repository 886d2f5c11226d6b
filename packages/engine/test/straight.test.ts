/** Constant fields: one instruction as a straight function does what the interpreter's handler does. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeFrames } from '../src/code-frames.ts';
import { layoutBlock } from '../src/cpu-block.ts';
import { hostViews } from '../src/host.ts';
import { createEngine } from '../src/index.ts';
import { SlowPath } from '../src/slow.ts';
import { emitStraight } from '../src/straight.ts';
import { testHost } from './support/host.ts';
import { Machine } from './support/machine.ts';
import { ins, mini, names, OP } from './support/mini.ts';

const reals = names.filter((n) => n !== 'undefined');
const value = fc.oneof(
  fc.constantFrom(0x8000n, 0x8ff9n, 0x8ffcn, 0x9ff9n, 0x3000n, 0n, 2n ** 63n, 2n ** 64n - 1n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);

function machine(x: readonly bigint[], word: number, guard: boolean): Machine {
  const host = testHost({ bytes: 1 << 20, framesAt: 512 << 10 });
  const m = new Machine(mini, host, createEngine(host, mini));
  m.map(0x1000n);
  m.map(0x8000n, 2);
  m.poke(
    0x8ff0n,
    Array.from({ length: 32 }, (_, i) => i * 7 + 1),
  );
  m.words(0x1100n, [word]);
  for (const [i, v] of x.entries()) m.setX(i, v);
  m.pc = 0x1100n;
  host.dv.setUint32(m.cpu.guardAddr, guard ? 8 : 0, true);
  host.dv.setBigUint64(m.cpu.stateAddr('last'), 0x1234n, true);
  return m;
}

/** Compiles and runs the instruction at the machine's pc, every access on the slow path. */
function compiled(m: Machine, word: number): number {
  const { host, cpu } = m;
  const record = host.allocTable(mini.recordSize);
  const code = m.at(m.pc);
  const views = hostViews(host.memory);
  const out = { handler: 0 };
  mini.decode({ ...views, code, avail: 4096, offset: 0, record, mode: 0 }, out);
  expect(out.handler).toBe(word & 255);
  const bytes = emitStraight(mini, {
    handler: out.handler,
    dv: host.dv,
    record,
    lo: Number(m.pc),
    hi: 0,
    length: 4,
  });
  const slow = new SlowPath({ port: m, views, frames: codeFrames(host), tlbs: [], data: cpu.block + 144 });
  const context = host.allocTable(3 * 16384, 64);
  host.u8.fill(255, context, context + 3 * 16384);
  for (let i = 0; i < 2; i++) host.dv.setUint32(cpu.block + 72 + 4 * i, context, true);
  const e = {
    memory: host.memory,
    load: slow.load.bind(slow),
    store: slow.store.bind(slow),
    storeMany: slow.storeMany.bind(slow),
    rmwLoad: slow.rmwLoad.bind(slow),
    rmwStore: slow.rmwStore.bind(slow),
    complete: () => -1,
  };
  const { run } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e }).exports;
  return (run as (block: number, context: number) => number)(cpu.block, context);
}

describe('an instruction with constant fields', () => {
  test.each(reals)('%s, compiled straight -> the state the interpreter leaves', (name) => {
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 16, maxLength: 16 }),
        fc.nat(15),
        fc.nat(15),
        fc.nat(127),
        fc.boolean(),
        (x, a, b, c, guard) => {
          const word = ins(name, a, b, c);
          expect(OP[name]).toBe(word & 255);
          const [one, two] = [machine(x, word, guard), machine(x, word, guard)];
          const why = one.cpu.step();
          expect([compiled(two, word), two.state(), two.memory(), two.faults]).toEqual([
            why,
            one.state(),
            one.memory(),
            one.faults,
          ]);
        },
      ),
      { numRuns: 12, seed: 5 },
    );
  });
  test('the block layout has room for what every handler addresses', () => {
    const l = layoutBlock(mini);
    expect([...l.files.values()].every((at) => at % 16 === 0)).toBe(true);
    expect(l.tlb % 64).toBe(0);
  });
});

/** Random programs on the interpreter against the reference model: every mode, any budget, any loss of translations. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createEngine, Leave } from '../src/index.ts';
import { testHost } from './support/host.ts';
import { Machine } from './support/machine.ts';
import { ins, mini, mini16, miniCold, names } from './support/mini.ts';
import { Model } from './support/model.ts';

const CODE = 0x1000n;
const DATA = 0x8000n;
const HIGH = 0xffff_ffff_ffff_e000n;
/** Addresses that matter: data, borders, code itself, read-only, unmapped, the top of the address space. */
const addresses = [
  0x8000n,
  0x8ff9n,
  0x8ffcn,
  0x9ff0n,
  0x9ff8n,
  0xaffdn,
  0xb7f0n,
  0xbff9n,
  0x1010n,
  0x1ff8n,
  0x4000n,
  HIGH + 8n,
  HIGH + 0x1ffcn,
];

interface Program {
  readonly words: readonly number[];
  readonly x: readonly bigint[];
  readonly budget: number;
  readonly seed: number;
}
const value = fc.oneof(
  fc.constantFrom(...addresses),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(0n, 1n, 2n ** 63n, 2n ** 64n - 1n),
);
const plain = names.filter((n) => !['undefined', 'slow', 'guard', 'b', 'bl', 'bz', 'bnz', 'br'].includes(n));
const instruction = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.tuple(fc.constantFrom(...plain), fc.nat(14), fc.nat(15), fc.integer({ min: -20, max: 40 })),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(
      fc.constantFrom('b', 'bl', 'bz', 'bnz'),
      fc.nat(15),
      fc.integer({ min: -12, max: 12 }),
      fc.constant(0),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(
      fc.constantFrom('slow', 'guard', 'undefined', 'br'),
      fc.nat(15),
      fc.nat(15),
      fc.nat(15),
    ),
  },
);
const program: fc.Arbitrary<Program> = fc.record({
  words: fc.array(
    instruction.map(([n, a, b, c]) => ins(n, a, b, c)),
    { minLength: 4, maxLength: 60 },
  ),
  x: fc.array(value, { minLength: 16, maxLength: 16 }),
  budget: fc.constantFrom(1, 7, 50, 1000, 1025, 3000),
  seed: fc.nat(),
});

/** Code ends at a page border half of the time, so that runs go on into the next page. */
const start = (p: Program): bigint => (p.seed % 2 ? CODE : CODE + 4096n - BigInt(4 * (p.words.length >> 1)));

function model(p: Program): { state: string; memory: number; retired: number; why: string } {
  const m = new Model();
  const add = (va: bigint, writable = true): void => {
    m.pages.set(va / 4096n, { bytes: new Uint8Array(4096), writable });
  };
  for (const va of layout) add(...va);
  for (const [i, w] of p.words.entries()) m.write(start(p) + BigInt(4 * i), 4, BigInt(w));
  m.pc = start(p);
  p.x.forEach((v, i) => {
    m.x[i] = v;
  });
  m.guards = p.seed % 3 ? 0 : 8;
  let retired = 0;
  let why = 'ok';
  while (retired < p.budget && why === 'ok') {
    why = m.step();
    if (why === 'ok') retired++;
  }
  return { state: m.state(), memory: m.memory(), retired, why };
}
const layout: readonly [bigint, boolean][] = [
  [CODE, true],
  [CODE + 4096n, true],
  [DATA, true],
  [DATA + 0x1000n, true],
  [DATA + 0x2000n, false],
  [DATA + 0x3000n, true],
  [HIGH, true],
  [HIGH + 0x1000n, true],
];

const engines = new Map(
  [mini, mini16, miniCold].map((isa) => [
    isa,
    [testHost({ bytes: 256 << 20, framesAt: 64 << 20 }), undefined] as const,
  ]),
);
function machine(isa: typeof mini, p: Program): Machine {
  const host = engines.get(isa)?.[0] ?? testHost();
  const m = new Machine(isa, host, createEngine(host, isa));
  for (const [va, writable] of layout) m.map(va, 1, { writable });
  m.words(start(p), p.words);
  m.pc = start(p);
  for (const [i, v] of p.x.entries()) m.setX(i, v);
  host.dv.setUint32(m.cpu.guardAddr, p.seed % 3 ? 0 : 8, true);
  return m;
}
const reason = ['ok', 'fault', 'slow', 'guard'];
function result(m: Machine, retired: number, why: number): ReturnType<typeof model> {
  const r = { state: m.state(), memory: m.memory(), retired, why: reason[why] ?? '?' };
  m.cpu.dispose();
  return r;
}
/** A small generator for drops and slices. */
function random(seed: number): (n: number) => number {
  let s = (seed | 1) >>> 0;
  return (n) => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return Math.floor((s / 2 ** 32) * n);
  };
}
function inSlices(
  m: Machine,
  budget: number,
  slice: () => number,
  between: () => void = () => undefined,
): [number, number] {
  let retired = 0;
  while (retired < budget) {
    const n = Math.min(budget - retired, slice());
    const why = m.cpu.run(n);
    retired += m.cpu.retired;
    if (why !== Leave.Budget) return [retired, why];
    expect(m.cpu.retired).toBe(n);
    between();
  }
  return [retired, Leave.Budget];
}

describe.each([mini, mini16, miniCold])('$name: a random program', (isa) => {
  const runs = 150;
  test("run whole -> registers, memory, retired and reason are the model's", () => {
    fc.assert(
      fc.property(program, (p) => {
        const m = machine(isa, p);
        const why = m.cpu.run(p.budget);
        expect(result(m, m.cpu.retired, why)).toEqual(model(p));
      }),
      { numRuns: runs * 2, seed: 1 },
    );
  });
  test('run in random slices -> the same', () => {
    fc.assert(
      fc.property(program, (p) => {
        const m = machine(isa, p);
        const r = random(p.seed);
        expect(result(m, ...inSlices(m, p.budget, () => 1 + r(40)))).toEqual(model(p));
      }),
      { numRuns: runs, seed: 2 },
    );
  });
  test('stepped -> the same, and no translation is kept', () => {
    fc.assert(
      fc.property(program, (p) => {
        const m = machine(isa, p);
        let retired = 0;
        let why = 0;
        while (retired < p.budget && why === 0) {
          why = m.cpu.step();
          retired += m.cpu.retired;
        }
        expect(result(m, retired, why)).toEqual(model(p));
      }),
      { numRuns: runs >> 1, seed: 3 },
    );
  });
  test('translations, records and contexts lost at any time -> the same', () => {
    fc.assert(
      fc.property(program, (p) => {
        const m = machine(isa, p);
        const r = random(p.seed);
        const lose = (): void => {
          const page = [...m.pages.values()][r(m.pages.size)];
          const va = layout[r(layout.length)]?.[0] ?? 0n;
          switch (r(9)) {
            case 0:
              m.cpu.flush();
              break;
            case 1:
              m.cpu.flush(r(2));
              break;
            case 2:
              m.cpu.dropFrame(page?.frame ?? 0, r(2) === 0);
              break;
            case 3:
              m.cpu.dropPage(Number(BigInt.asIntN(32, va)), Number(BigInt.asIntN(32, va >> 32n)));
              break;
            case 4:
              m.engine.invalidateFrame(page?.frame ?? 0);
              break;
            case 5:
              m.cpu.dropWrites();
              break;
            default:
          }
          if (page) page.cache = r(4) > 0;
        };
        m.onResolve = lose;
        expect(result(m, ...inSlices(m, p.budget, () => (r(3) ? 1 + r(60) : 3000), lose))).toEqual(model(p));
      }),
      { numRuns: runs * 2, seed: 4 },
    );
  });
});

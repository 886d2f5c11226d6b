/** Instructions of one to seven bytes on the engine: lengths, joins, overlaps, pages, self-modifying code. */
import {
  type AccessInfo,
  type AccessPort,
  type Cpu,
  createEngine,
  type Engine,
  type EngineHost,
  Leave,
  type Resolution,
} from '@faultyard/engine';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  TOY_REGISTERS,
  ToySlow,
  toyAddi,
  toyBz,
  toyHalt,
  toyIsa,
  toyLoad,
  toyStore,
} from '../src/toy/isa.ts';

/** Pages 1 to 4 of a 32-bit address space are memory, in scattered frames; page 3 is read-only. */
class Toy implements AccessPort {
  readonly memory: WebAssembly.Memory = new WebAssembly.Memory({ initial: 64, maximum: 64 });
  readonly dv: DataView = new DataView(this.memory.buffer);
  readonly engine: Engine;
  readonly cpu: Cpu;
  readonly fault: { at: bigint | undefined } = { at: undefined };
  onResolve: () => void = () => undefined;
  #table = 4096;

  constructor() {
    const host: EngineHost = {
      memory: this.memory,
      allocTable: (bytes, align = 16) => {
        const at = Math.ceil(this.#table / align) * align;
        this.#table = at + bytes;
        return at;
      },
      freeTable: () => undefined,
      setCode: () => undefined,
    };
    this.engine = createEngine(host, toyIsa);
    this.cpu = this.engine.createCpu(this);
  }
  frame(page: number): number {
    return page >= 1 && page <= 4 ? 0x3f0000 + ((page * 3) & 7) * 4096 : 0;
  }
  check(): number {
    return 0;
  }
  resolve(a: AccessInfo, out: Resolution): number {
    this.onResolve();
    const page = a.hi === 0 ? a.lo >>> 12 : 0;
    out.frame = this.frame(page);
    out.cache = true;
    if (out.frame !== 0 && (a.kind !== 1 || page !== 3)) return 0;
    this.fault.at = BigInt(a.hi >>> 0) * 2n ** 32n + BigInt(a.lo >>> 0);
    return -1;
  }
  deviceLoad(): number {
    return -1;
  }
  deviceStore(): number {
    return -1;
  }
  at(va: number): number {
    return this.frame(va >>> 12) + (va & 4095);
  }
  poke(va: number, bytes: readonly number[]): void {
    for (const [i, b] of bytes.entries()) this.dv.setUint8(this.at(va + i), b);
  }
  r(n: number): bigint {
    return this.dv.getBigUint64(this.cpu.regAddr('r', n), true);
  }
  setR(n: number, v: bigint): void {
    this.dv.setBigUint64(this.cpu.regAddr('r', n), v, true);
  }
  get pc(): bigint {
    return this.dv.getBigUint64(this.cpu.pcAddr, true);
  }
  set pc(v: bigint) {
    this.dv.setBigUint64(this.cpu.pcAddr, v, true);
  }
  state(): string {
    let h = 0;
    for (let page = 1; page <= 4; page++)
      for (let i = 0; i < 4096; i += 4)
        h = Math.imul(h ^ this.dv.getInt32(this.frame(page) + i, true), 0x01000193);
    return `${this.pc} ${Array.from({ length: TOY_REGISTERS }, (_, i) => this.r(i).toString(16)).join(' ')} ${h}`;
  }
}

function toy(at: number, ...code: number[][]): Toy {
  const t = new Toy();
  t.poke(at, code.flat());
  t.pc = BigInt(at);
  return t;
}

describe('a run of instructions of every length', () => {
  const code = [
    toyAddi(1, 0, 5, 1),
    toyAddi(1, 1, 0, 0),
    toyAddi(2, 1, 300, 2),
    toyAddi(3, 2, 70000),
    toyBz(0, 7),
    toyHalt(),
  ];
  test('-> its result', () => {
    const t = toy(0x1000, ...code);
    expect([t.cpu.run(5000), t.cpu.slowOp, t.cpu.retired]).toEqual([Leave.Slow, ToySlow.Halt, 5]);
    expect([t.r(1), t.r(2), t.r(3)]).toEqual([6n, 306n, 70306n]);
  });
  test('at every offset before a page border -> the same; the crossing instruction fetches both pages', () => {
    const length = code.flat().length;
    for (let before = 0; before <= length; before++) {
      const t = toy(0x2000 - before, ...code);
      expect([t.cpu.run(5000), t.cpu.retired, t.r(3)]).toEqual([Leave.Slow, 5, 70306n]);
      expect(t.pc).toBe(BigInt(0x2000 - before + length - 1));
    }
  });
  test('with a crossing instruction whose second page is missing -> fault there; one that fits does not ask', () => {
    const t = toy(0x4ffd, toyAddi(1, 0, 1, 4));
    expect([t.cpu.run(5000), t.cpu.retired, t.pc, t.fault.at]).toEqual([Leave.Fault, 0, 0x4ffdn, 0x5000n]);
    const u = toy(0x4ffd, toyAddi(1, 0, 1, 1));
    expect([u.cpu.run(1), u.r(1), u.pc, u.fault.at]).toEqual([Leave.Budget, 1n, 0x5000n, undefined]);
    expect([u.cpu.run(1), u.fault.at]).toEqual([Leave.Fault, 0x5000n]);
  });
});

describe('overlapping instructions', () => {
  // 13 12 | 10 11 40 ..: from the start one addi; from byte 2 `inc r1, r1`, then `bz`.
  const inner = [...toyAddi(1, 1, 0, 0), ...toyBz(0, 2, 1).slice(0, 2)];
  const outer = [0x13, 0x12, ...inner];
  test('entered at both starts, in both orders -> both meanings, joined behind', () => {
    for (const order of [
      [0, 2, 0, 2],
      [2, 0, 2, 0],
    ]) {
      const t = toy(0x1000, outer, [3], toyAddi(7, 7, 1, 1), toyHalt());
      for (const start of order) {
        t.pc = BigInt(0x1000 + start);
        t.setR(1, 0n);
        t.setR(0, 0n);
        const why = t.cpu.run(5000);
        // From the start: addi, then the undefined byte 03. From byte 2: inc, bz by 3 over itself, addi, halt.
        if (start === 0)
          expect([why, t.cpu.slowOp, t.cpu.retired]).toEqual([Leave.Slow, ToySlow.Undefined, 1]);
        else expect([why, t.cpu.slowOp, t.cpu.retired, t.r(1)]).toEqual([Leave.Slow, ToySlow.Halt, 3, 1n]);
      }
      expect(t.r(7)).toBe(2n);
    }
  });
  test('a run longer than the engine decodes at once -> goes on', () => {
    const t = toy(
      0x1000,
      ...Array.from({ length: 900 }, () => toyAddi(1, 1, 1, 1)),
      toyAddi(2, 2, 1, 0),
      toyBz(0, -2702),
      toyHalt(),
    );
    expect(t.cpu.run(10_000)).toBe(Leave.Budget);
    expect([t.cpu.retired, t.r(1), t.r(2)]).toEqual([10_000, 9978n, 11n]);
  });
});

describe('code that changes', () => {
  test('a store to the next instruction, to the one after, across its border -> as written', () => {
    for (const [name, at, value] of [
      ['next', 0x1006, 0x0205_1111n],
      ['shorter than before', 0x1006, 0x0101_0101_0101_1010n],
      ['immediate only', 0x1008, 0x0101_0109n],
    ] as const) {
      const make = (): Toy => {
        const t = toy(
          0x1000,
          toyStore(name === 'shorter than before' ? 8 : 4, 2, 3, 0, 4),
          toyAddi(1, 1, 1, 1),
          toyHalt(),
        );
        t.setR(2, value);
        t.setR(3, BigInt(at));
        return t;
      };
      const fast = make();
      fast.cpu.run(5000);
      const stepped = make();
      while (stepped.cpu.step() === Leave.Budget);
      expect(fast.state()).toBe(stepped.state());
    }
  });
});

describe('random bytes as code', () => {
  /** Registers that hold addresses, and the others: pointers stay what they are. */
  const pointer = fc.constantFrom(3, 4, 5);
  const plain = fc.constantFrom(0, 1, 2, 6, 7);
  const instruction = fc.oneof(
    fc
      .tuple(plain, fc.nat(7), fc.integer({ min: -300, max: 300 }), fc.constantFrom(0, 1, 2, 4))
      .map(([d, n, i, w]) => toyAddi(d, n, i, w as 0)),
    fc
      .tuple(
        fc.constantFrom(1, 2, 4, 8),
        plain,
        pointer,
        fc.integer({ min: -20, max: 60 }),
        fc.constantFrom(1, 4),
      )
      .map(([s, d, n, o, w]) => toyLoad(s as 1, d, n, o, w as 1)),
    fc
      .tuple(
        fc.constantFrom(1, 2, 4, 8),
        plain,
        pointer,
        fc.integer({ min: -20, max: 60 }),
        fc.constantFrom(1, 4),
      )
      .map(([s, d, n, o, w]) => toyStore(s as 1, d, n, o, w as 1)),
    fc
      .tuple(fc.nat(7), fc.integer({ min: -60, max: 60 }), fc.constantFrom(1, 2, 4))
      .map(([n, o, w]) => toyBz(n, o, w as 1)),
    fc.nat(4095).map((b) => (b < 256 ? [b] : toyAddi(7, 7, b, 2))),
  );
  const program = fc.record({
    code: fc.array(instruction, { minLength: 3, maxLength: 60 }),
    start: fc.constantFrom(0x1000, 0x1fa0, 0x2ff1, 0x1f3c),
    r: fc.array(fc.constantFrom(0n, 0n, 0x1004n, 0x1fa8n, 0x1ffdn, 0x2008n, 0x2ffcn, 0x3000n, 0x4800n, 5n), {
      minLength: 8,
      maxLength: 8,
    }),
    budget: fc.constantFrom(20, 300, 4000),
    seed: fc.nat(),
  });
  const make = (p: typeof program extends fc.Arbitrary<infer T> ? T : never): Toy => {
    const size = p.code.flat().length;
    // Back to the start as long as one of two registers is 0.
    const t = toy(p.start, ...p.code, toyBz(0, -size), toyBz(6, -size - 7));
    for (const [i, v] of p.r.entries()) t.setR(i, v);
    return t;
  };
  test('fast, in slices, stepped, with translations lost -> one state, one count, one reason', () => {
    let faults = 0;
    let budgets = 0;
    fc.assert(
      fc.property(program, (p) => {
        const stepped = make(p);
        let retired = 0;
        let why: number = Leave.Budget;
        while (retired < p.budget && why === Leave.Budget) {
          why = stepped.cpu.step();
          retired += stepped.cpu.retired;
        }
        const want = [stepped.state(), retired, why, stepped.fault.at];
        if (why === Leave.Fault) faults++;
        if (why === Leave.Budget) budgets++;
        const fast = make(p);
        const reason = fast.cpu.run(p.budget);
        expect([fast.state(), fast.cpu.retired, reason, fast.fault.at]).toEqual(want);

        const sliced = make(p);
        let s = p.seed | 1;
        const random = (n: number): number => {
          s = (Math.imul(s, 1664525) + 1013904223) | 0;
          return (s >>> 8) % n;
        };
        const lose = (): void => {
          const frame = sliced.frame(1 + random(4));
          [
            () => sliced.cpu.flush(),
            () => sliced.cpu.dropFrame(frame),
            () => sliced.engine.invalidateFrame(frame),
            () => sliced.cpu.dropPage(0x1000 * (1 + random(4)), 0),
            () => sliced.cpu.dropWrites(),
          ][random(8)]?.();
        };
        sliced.onResolve = lose;
        retired = 0;
        why = Leave.Budget;
        while (retired < p.budget && why === Leave.Budget) {
          why = sliced.cpu.run(Math.min(p.budget - retired, random(4) ? 1 + random(30) : 2000));
          retired += sliced.cpu.retired;
          lose();
        }
        expect([sliced.state(), retired, why, sliced.fault.at]).toEqual(want);
      }),
      { numRuns: 250, seed: 8 },
    );
    expect([faults > 20, budgets > 20]).toEqual([true, true]);
  });
});

import { answer, createVm, FaultyardError, resume, stop, type Vm } from '@faultyard/core';
import { describe, expect, test } from 'vitest';
import {
  cellKnobs,
  type DecisionTable,
  defineScenario,
  expectedCode,
  type Machine,
  Ride,
  type Scenario,
  scenarioSet,
  toy,
  toyAddi,
  toyHalt,
  toyLoad,
  toyStore,
  type Way,
} from '../src/index.ts';

const table: DecisionTable = {
  source: 'a test',
  columns: {
    P0: { title: 'plain', knobs: { answer: 1 } },
    P1: { title: 'other', knobs: { answer: 2 } },
  },
  knobs: { size: 4, colour: 'red' },
  rows: [
    {
      id: '1',
      row: '1',
      title: 'a load',
      scenario: 'toy/1',
      cells: { P0: 'L(1)', P1: 'L(2)' },
      why: { P1: 'because' },
      alt: [
        { knobs: { answer: 9 }, cells: { P0: 'L(9)' } },
        { knobs: { answer: 9, size: 8 }, cells: { P0: 'L(90)' } },
        { kernel: 'before 1.0', cells: { P0: 'never' } },
        { reading: 'ignored', cells: { P0: 'never' } },
      ],
    },
    {
      id: '1/wide',
      row: '1',
      variant: 'wide',
      title: 'a wide load',
      scenario: 'toy/1',
      knobs: { size: 8 },
      cells: { P0: 'L(1)', P1: 'n/a' },
    },
    { id: '2', row: '2', title: 'a store', scenario: 'toy/2', cells: { P0: 'wrong', P1: 'S' } },
    { id: '3', row: '3', title: 'not driven', scenario: 'toy/3', gap: true, cells: { P0: 'S', P1: 'S' } },
  ],
};

/** A machine that loads from a device, adds, stores to it, halts; the VMM counts exits in a cell. */
function machine(value: number): Machine & { readonly vm: Vm } {
  const vm = createVm({ arch: toy(), memslots: [{ gpa: 0x10_0000n, size: 0x10000n }] }) as unknown as Vm;
  const code = [
    ...toyLoad(4, 1, 0, 0x900_0000),
    ...toyAddi(1, 1, 100),
    ...toyStore(4, 1, 0, 0x900_0004),
    ...toyHalt(),
  ];
  vm.write(0x10_0000, Uint8Array.from(code));
  for (const v of vm.vcpus) v.pc = 0x10_0000n;
  let exits = 0;
  vm.keep({
    name: 'vmm.count',
    version: 1,
    side: 'vmm',
    read: () => exits,
    write: (n) => {
      exits = n as number;
    },
  });
  return {
    vm,
    handler(e) {
      exits++;
      if (e.kind === 'mmio') return e.write ? resume : answer(value);
      return stop(`${e.kind} after ${exits} exits`);
    },
  };
}

const load: Scenario = defineScenario({
  id: 'toy/1',
  aliases: ['toy/load'],
  title: 'a load from a device',
  prose: 'The guest loads; the VMM answers.',
  run(c) {
    const ride = c.ride(() => machine(Number(c.knobs['answer'])));
    const end = ride.drive();
    return {
      actual: `L(${Number(ride.vm.vcpus[0]?.get('r1')) - 100})`,
      ride,
      log: [end.why, String(c.knobs['size'])],
    };
  },
});
const store: Scenario = {
  id: 'toy/2',
  title: 'a store',
  prose: '',
  run: (c) => ({ actual: 'S', ride: c.ride(() => machine(0)) }),
};
const set = scenarioSet({ path: 'toy', table, scenarios: [load, store] });
const refusal = (f: () => unknown): string => {
  try {
    f();
  } catch (e) {
    if (e instanceof FaultyardError) return e.message;
    throw e;
  }
  return 'nothing was thrown';
};

describe('a decision table', () => {
  const [one, wide] = table.rows as [(typeof table.rows)[0], (typeof table.rows)[0]];
  test('knobs of a cell -> pinned, column, entry, set by hand: the later wins, by bare name', () => {
    expect(cellKnobs(table, one, 'P1')).toEqual({ size: 4, colour: 'red', answer: 2 });
    expect(cellKnobs(table, wide, 'P0', { 'toy.vmm.answer': 5 })).toEqual({
      size: 8,
      colour: 'red',
      answer: 5,
    });
  });
  test.each([
    [{}, 'L(1)'],
    [{ answer: 9 }, 'L(9)'],
    [{ 'toy.answer': '9' }, 'L(9)'],
    [{ answer: 9, size: 8 }, 'L(90)'],
    [{ answer: 7 }, 'L(1)'],
  ])('%j set -> expected %s: the alternative with the most knobs that match', (knobs, code) => {
    expect(expectedCode(table, one, 'P0', knobs)).toBe(code);
  });
  test('a column that is not there -> FY_SCENARIO', () => {
    expect(refusal(() => expectedCode(table, one, 'P9'))).toMatch(
      /FY_SCENARIO: scenario toy\/1: row 1 has no column P9; columns: P0, P1/,
    );
  });
});

describe('a set of scenarios', () => {
  test('list -> id, aliases, columns, rows', () => {
    expect(set.scenarios).toEqual([
      {
        id: 'toy/1',
        title: 'a load from a device',
        prose: 'The guest loads; the VMM answers.',
        plugin: 'toy',
        aliases: ['toy/load'],
        columns: ['P0', 'P1'],
        entries: ['1', '1/wide'],
      },
      {
        id: 'toy/2',
        title: 'a store',
        prose: '',
        plugin: 'toy',
        aliases: [],
        columns: ['P0', 'P1'],
        entries: ['2'],
      },
    ]);
    expect(set.find('toy/load')?.id).toBe('toy/1');
    expect(set.find('toy/1/wide')?.id).toBe('toy/1');
    expect(set.find('toy/1/narrow')).toBeUndefined();
  });
  test('run -> outcome, expected, exits, count, hash, log', () => {
    const r = set.run('toy/load', { column: 'P1' });
    expect(r).toEqual({
      scenario: 'toy/1',
      entry: '1',
      column: 'P1',
      set: {},
      outcome: 'L(2)',
      expected: 'L(2)',
      ok: true,
      exits: ['mmio', 'mmio', 'hlt'],
      instructions: 4,
      stateHash: expect.stringMatching(/^[0-9a-f]{16}$/),
      log: ['hlt after 3 exits', '4'],
    });
  });
  test('run with a knob -> it reaches the scenario, and the expected code follows', () => {
    expect(set.run('toy/1', { set: { answer: 9 } })).toMatchObject({
      outcome: 'L(9)',
      expected: 'L(9)',
      ok: true,
    });
    expect(set.run('toy/1', { set: { answer: 7 } })).toMatchObject({
      outcome: 'L(7)',
      expected: 'L(1)',
      ok: false,
    });
    expect(set.run('toy/1', { variant: 'wide' })).toMatchObject({
      entry: '1/wide',
      log: ['hlt after 3 exits', '8'],
    });
    expect(set.run('toy/1/wide')).toMatchObject({ entry: '1/wide' });
  });
  test('matrix -> every cell with an outcome, row by row; gaps and n/a left out', () => {
    const cells = set.matrix();
    expect(cells.map((c) => `${c.row} ${c.column} ${c.expected}`)).toEqual([
      '1 P0 L(1)',
      '1 P1 L(2)',
      '1/wide P0 L(1)',
      '2 P0 wrong',
      '2 P1 S',
    ]);
    expect(cells.map((c) => c.run().ok)).toEqual([true, true, true, false, true]);
    expect(cells[1]).toMatchObject({ scenario: 'toy/1', why: 'because' });
    expect(cells[2]).toMatchObject({ variant: 'wide' });
    expect(set.matrix('toy/1').length).toBe(3);
    expect(set.matrix('toy/1/wide').map((c) => c.row)).toEqual(['1/wide']);
  });
  test('unknown scenario, variant, path -> FY_SCENARIO that names what there is', () => {
    expect(refusal(() => set.run('toy/9'))).toMatch(
      /scenario toy\/9: is not known; scenarios of toy: toy\/1 toy\/2/,
    );
    expect(refusal(() => set.run('toy/1', { variant: 'x' }))).toMatch(/has no variant x; variants: wide/);
    expect(refusal(() => set.matrix('toy/9'))).toMatch(/is not known/);
  });
  test('scenarios that do not fit their table -> FY_SCENARIO', () => {
    const s = (id: string, aliases: string[] = []): Scenario => ({ ...store, id, aliases });
    expect(refusal(() => scenarioSet({ path: 'toy', table, scenarios: [s('other/1')] }))).toMatch(
      /does not belong to toy/,
    );
    expect(refusal(() => scenarioSet({ path: 'toy', table, scenarios: [s('toy/9')] }))).toMatch(
      /is in no row of the table/,
    );
    expect(
      refusal(() => scenarioSet({ path: 'toy', table, scenarios: [s('toy/1'), s('toy/2', ['toy/1'])] })),
    ).toMatch(/is defined twice/);
    expect(refusal(() => defineScenario(s('Toy One')))).toMatch(/is not named <path>\/<name>/);
  });
});

describe('a ride', () => {
  const ways: readonly Way[] = [
    { kind: 'slices', seed: 3, most: 1 },
    { kind: 'slices', seed: 4 },
    { kind: 'moves' },
    { kind: 'cuts', seed: 5, most: 2 },
  ];
  test.each(ways)('%j -> outcome, exits, count, hash and VMM state as whole', (way) => {
    const whole = set.run('toy/1');
    expect(set.run('toy/1', { way })).toEqual(whole);
  });
  test('moves -> another VM at every exit, its memory given back', () => {
    const made: Vm[] = [];
    const make = (): Machine => {
      const m = machine(1);
      made.push(m.vm);
      return m;
    };
    const ride = new Ride(make, { kind: 'moves' });
    expect(ride.drive().why).toBe('hlt after 3 exits');
    expect(made.length).toBe(4);
    expect(ride.vm).toBe(made[3]);
    const frames = ride.vm.host.framesInUse;
    ride.vm.dispose();
    expect(ride.vm.host.framesInUse).toBeLessThan(frames);
  });
  test('a budget -> a budget exit after exactly that many, in any slices', () => {
    for (const way of [{ kind: 'whole' }, ...ways] as const) {
      const ride = new Ride(() => machine(1), way);
      ride.answer(ride.run(0), 5);
      expect(ride.run(0, 1).kind).toBe('budget');
      expect(ride.instructions).toBe(1);
    }
  });
  test('a machine without handler -> the drive stops and says so', () => {
    const { vm } = machine(1);
    expect(new Ride(() => ({ vm })).drive()).toMatchObject({ why: 'no handler for mmio', exits: 1 });
  });
});

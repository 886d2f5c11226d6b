/** Row 14 under every interleaving: two vCPUs load from one bad page, and the VMM handles the exits as they come. */
import { type Exit, explore, type Task, type Vm, type World } from '@faultyard/core';
import { expect, it } from 'vitest';
import { inject, SeaPolicy, threshold, unmap } from '../src/vmm/index.ts';
import { bench, ELSEWHERE, I, start, VBAR } from './support/bench.ts';

function* load(vm: Vm, cpu: number, exits: Exit[]): Task<void> {
  const v = vm.vcpus[cpu];
  if (!v) throw new Error(`no vcpu ${cpu}`);
  exits.push(yield* v.runTask(20, 1));
}

function world(): World {
  const b = bench({ vcpus: 2, set: { 'sea.capEnabled': 'on' } });
  for (const v of b.vm.vcpus) {
    start(v);
    v.pc = ELSEWHERE;
  }
  b.vm.poison(I);
  const exits: Exit[] = [];
  const counting = threshold({ pages: 2 });
  const policy = new SeaPolicy(b.vm, [counting, unmap(), inject()]);
  return {
    tasks: { A: load(b.vm, 0, exits), B: load(b.vm, 1, exits) },
    check() {
      const seas = exits.filter((e) => e.kind === 'arm-sea');
      if (seas.length !== 2) return `exits: ${exits.map((e) => e.kind).join(' ')}`;
      if (seas.some((e) => e.gpa !== I)) return 'another gpa';
      for (const e of exits) policy.handle(e);
      if (counting.pages.length !== 1 || counting.total !== 2)
        return `#D ${counting.pages.length} of ${counting.total}`;
      if (b.vm.memslots.list().length !== 2) return `${b.vm.memslots.list().length} slots`;
      const entered = b.vm.vcpus.filter((v) => v.pc === VBAR + 0x400n);
      return entered.length === 2 ? undefined : `${entered.length} entries`;
    },
  };
}

it('two loads, every interleaving with one preemption -> two exits 41, one page, one cut, one injection each', () => {
  const r = explore(world, { preemptions: 1, runs: 2000 });
  expect(r.failures.map((f) => `${f.schedule}: ${f.failure}`)).toEqual([]);
  expect(r.complete).toBe(true);
  expect(r.runs).toBeGreaterThan(5);
});

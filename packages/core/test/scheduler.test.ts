/** Virtual time and the schedule (architecture: decision 6), seen through vCPUs that follow scripts. */
import { afterEach, describe, expect, test } from 'vitest';
import { createVm, type Schedule, type Vm } from '../src/index.ts';
import { type Act, type ScriptVcpu, scriptArch } from './support/script-arch.ts';

const open: Vm[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});
function make(
  scripts: readonly (readonly Act[])[],
  schedule?: Schedule,
): { vm: Vm; log: (n: number) => [number, number][] } {
  const vm = createVm({
    arch: scriptArch(scripts),
    vcpus: scripts.length,
    ...(schedule ? { schedule } : {}),
  }) as unknown as Vm;
  open.push(vm);
  return { vm, log: (n) => (vm.vcpus[n]!.arch as ScriptVcpu).log };
}
const spin: readonly Act[] = [{ run: 1e9 }];

describe('rounds', () => {
  test('round robin -> each vcpu gets the same slice of virtual time', () => {
    const { vm, log } = make([spin, spin, spin], { kind: 'round-robin', quantum: 10 });
    vm.run(60);
    for (const n of [0, 1, 2])
      expect(log(n)).toEqual([
        [0, 10],
        [10, 10],
      ]);
    expect(vm.clock.now).toBe(20);
  });
  test('a budget that ends within a slice -> the next run goes on there', () => {
    const { vm, log } = make([spin, spin], { kind: 'round-robin', quantum: 10 });
    expect(vm.run(13)).toMatchObject({ kind: 'budget', vcpu: 1, retired: 13 });
    expect(vm.run(7)).toMatchObject({ kind: 'budget', vcpu: 1, retired: 7 });
    expect([log(0), log(1)]).toEqual([
      [[0, 10]],
      [
        [0, 3],
        [3, 7],
      ],
    ]);
  });
  test('an exit within a slice -> the others have theirs; the one that left goes on', () => {
    const { vm, log } = make([[{ run: 4 }, 'hlt', { run: 1e9 }], spin], { kind: 'round-robin', quantum: 10 });
    expect(vm.run()).toMatchObject({ kind: 'hlt', vcpu: 0 });
    vm.run(16);
    expect([log(0), log(1)]).toEqual([
      [
        [0, 4],
        [4, 6],
      ],
      [[0, 10]],
    ]);
  });
  test('explicit steps -> these vcpus, this many, then round robin', () => {
    const { vm, log } = make([spin, spin], { kind: 'list', steps: '1*5 0*3 1' });
    vm.run(9);
    expect([log(0), log(1)]).toEqual([
      [[5, 3]],
      [
        [0, 5],
        [8, 1],
      ],
    ]);
    vm.run(1);
    expect(log(0).at(-1)).toEqual([9, 1]);
  });
  test('random slices -> the same for one seed, others for another', () => {
    const run = (seed: number): unknown => {
      const { vm, log } = make([spin, spin], { kind: 'random', seed, quantum: 100 });
      vm.run(5000);
      return [log(0), log(1)];
    };
    expect(run(1)).toEqual(run(1));
    expect(run(1)).not.toEqual(run(2));
  });
  test('a vcpu that is off -> gets nothing', () => {
    const { vm, log } = make([spin, spin], { kind: 'round-robin', quantum: 10 });
    (vm.vcpus[0]!.arch as ScriptVcpu).power = 'off';
    vm.run(20);
    expect([log(0), log(1)]).toEqual([
      [],
      [
        [0, 10],
        [10, 10],
      ],
    ]);
  });
});

describe('waiting', () => {
  test('a vcpu alone that waits for its timer -> time jumps there', () => {
    const { vm, log } = make([[{ run: 5 }, { wait: 1000 }, { run: 2 }, 'hlt']]);
    expect(vm.vcpus[0]?.run().kind).toBe('hlt');
    expect(log(0).map(([at]) => at)).toEqual([0, 1000, 1001]);
    expect(vm.clock.now).toBe(1002);
  });
  test('nobody can run before a deadline -> the schedule jumps to the earliest', () => {
    const { vm, log } = make([
      [{ wait: 500 }, { run: 1 }, 'hlt'],
      [{ wait: 300 }, { run: 1 }, 'hlt'],
    ]);
    expect(vm.run()).toMatchObject({ kind: 'hlt', vcpu: 1 });
    expect(log(1)).toEqual([[300, 1]]);
  });
  test('nothing can ever wake anybody -> intr, as if the VMM had kicked the thread', () => {
    const { vm } = make([[{ wait: Infinity }], [{ wait: Infinity }]]);
    expect(vm.run()).toEqual({ kind: 'intr', vcpu: 0, ret: -1, errno: 'EINTR' });
    expect(vm.vcpus[1]?.run()).toMatchObject({ kind: 'intr', vcpu: 1 });
  });
  test('one waits for ever, one runs -> only the slices of the one that runs', () => {
    const { vm, log } = make([[{ wait: Infinity }], spin], { kind: 'round-robin', quantum: 10 });
    expect(vm.run(25)).toMatchObject({ kind: 'budget', retired: 25 });
    expect(log(1)).toEqual([
      [0, 10],
      [10, 10],
      [20, 5],
    ]);
  });
});

describe('deadlines of the clock', () => {
  test('armed for a time within a slice -> the round ends there and it fires on time', () => {
    const { vm, log } = make([spin, spin], { kind: 'round-robin', quantum: 100 });
    const fired: number[] = [];
    vm.clock.arm({ key: 'device#0', when: 30, fire: () => fired.push(vm.clock.now) });
    vm.run(80);
    expect(fired).toEqual([30]);
    expect(log(0)).toEqual([
      [0, 30],
      [30, 20],
    ]);
  });
  test('a vcpu run on its own -> stops for it too', () => {
    const { vm } = make([spin]);
    const fired: number[] = [];
    vm.clock.arm({ key: 'b', when: 7, fire: () => fired.push(vm.clock.now) });
    vm.clock.arm({ key: 'a', when: 7, fire: () => fired.push(-vm.clock.now) });
    vm.vcpus[0]?.run(20);
    expect(fired).toEqual([-7, 7]);
  });
  test('one that kicks -> the run ends with intr at that time', () => {
    const { vm } = make([spin]);
    vm.clock.arm({ key: 'kick', when: 50, fire: () => vm.signals.kick(0) });
    expect(vm.vcpus[0]?.run(1000).kind).toBe('intr');
    expect(vm.vcpus[0]?.retired).toBe(50);
  });
  test('one that wakes a vcpu -> it runs from that time on', () => {
    const { vm, log } = make([[{ wait: Infinity }, { run: 3 }, 'hlt'], spin], {
      kind: 'round-robin',
      quantum: 10,
    });
    vm.clock.arm({
      key: 'irq',
      when: 25,
      fire: () => {
        (vm.vcpus[0]!.arch as ScriptVcpu).woken = true;
      },
    });
    expect(vm.run()).toMatchObject({ kind: 'hlt', vcpu: 0 });
    expect(log(0)).toEqual([[25, 3]]);
  });
  test('disarmed, or replaced under its key -> only what is armed last fires', () => {
    const { vm } = make([spin]);
    const fired: string[] = [];
    vm.clock.arm({ key: 'x', when: 5, fire: () => fired.push('first') });
    vm.clock.arm({ key: 'x', when: 6, fire: () => fired.push('second') });
    vm.clock.arm({ key: 'y', when: 5, fire: () => fired.push('y') });
    vm.clock.disarm('y');
    vm.vcpus[0]?.run(10);
    expect(fired).toEqual(['second']);
  });
});

test('nsPerInstruction -> virtual time moves that much', () => {
  const vm = createVm({ arch: scriptArch([spin]), nsPerInstruction: 4 }) as unknown as Vm;
  open.push(vm);
  vm.vcpus[0]?.run(10);
  expect(vm.clock.now).toBe(40);
});

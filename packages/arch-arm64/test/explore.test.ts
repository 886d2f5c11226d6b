/** An arm64 vCPU under the explorer: its access against a change of the VMM's address space, in every order. */
import { createVm, explore, HostMemory, type Task, type World } from '@faultyard/core';
import { expect, test } from 'vitest';
import { arm64, assemble } from '../src/index.ts';

const RAM = 0x4000_0000n;
const DATA = 0x4100_0000n;

test('a load while its page is dropped -> every order ends: old bytes or zeroes, and RETRY never goes round alone', () => {
  const host = new HostMemory();
  const values = new Map<bigint, number>();
  const points = new Set<string>();
  const make = (): World => {
    const vm = createVm({
      arch: arm64(),
      host,
      memslots: [
        { gpa: RAM, size: 4096n },
        { gpa: DATA, size: 4096n },
      ],
    });
    const [cpu] = vm.vcpus;
    const hva = vm.memory.hvaOf(Number(DATA));
    if (!cpu || hva === undefined) throw new Error('the VM has a vCPU and memory');
    vm.write(RAM, assemble('ldr x0, [x1]\nwfi').bytes);
    vm.poke(DATA, 77);
    cpu.pc = RAM;
    cpu.set('x1', DATA);
    function* run(): Task<void> {
      const task = cpu?.runTask(1);
      for (let s = task?.next(); s && !s.done; s = task?.next()) {
        points.add(s.value.at);
        yield s.value;
      }
    }
    const check = (): string | undefined => {
      const x0 = cpu.get('x0');
      values.set(x0, (values.get(x0) ?? 0) + 1);
      vm.dispose();
      return x0 === 77n || x0 === 0n ? undefined : `x0 is ${x0}`;
    };
    return { tasks: { cpu: run(), vmm: vm.mm.dontNeed(hva, 4096) }, check };
  };
  const { complete, failures } = explore(make, { preemptions: 2, first: false });
  expect(failures).toEqual([]);
  expect(complete).toBe(true);
  expect([...values.keys()].sort()).toEqual([0n, 77n]);
  expect(points).toContain('arm64.retry');
});

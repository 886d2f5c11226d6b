/** An x86 vCPU under the explorer: its access against changes that the VMM makes, in every order. */
import { createVm, explore, HostMemory, type Task, type Vcpu, type World } from '@faultyard/core';
import { expect, test } from 'vitest';
import { assemble, x86 } from '../src/index.ts';

/** Real mode: code at 0:1000h, its data at 4000:0. */
const CODE = 0x1000;
const DATA = 0x4_0000;

/** Explores `mov eax, [data]` against a task of the VMM's; counts what RAX was, and the points that were passed. */
function against(change: (vm: ReturnType<typeof createVm>) => Task<unknown>): {
  readonly values: readonly string[];
  readonly points: ReadonlySet<string>;
} {
  const host = new HostMemory();
  const values = new Set<string>();
  const points = new Set<string>();
  const make = (): World => {
    const memslots = [
      { gpa: 0n, size: 0x2000n },
      { gpa: BigInt(DATA), size: 4096n },
    ];
    const vm = createVm({ arch: x86(), host, memslots });
    const cpu = vm.vcpus[0] as unknown as Vcpu;
    vm.write(CODE, assemble('.code16\nmov eax, es:[0]\nhlt').bytes);
    vm.poke(DATA, 77n);
    cpu.set('cs', 0);
    cpu.set('cs.base', 0);
    cpu.set('es', DATA >> 4);
    cpu.set('es.base', DATA);
    cpu.set('rip', CODE);
    cpu.set('rax', 5);
    let exit = '';
    function* run(): Task<void> {
      const task = cpu.runTask(1000);
      let s = task.next();
      for (; !s.done; s = task.next()) {
        points.add(s.value.at);
        yield s.value;
      }
      exit = s.value.kind;
    }
    const check = (): string | undefined => {
      values.add(exit === 'hlt' ? `${cpu.get('rax')}` : exit);
      vm.dispose();
      return undefined;
    };
    return { tasks: { cpu: run(), vmm: change(vm) as Task<void> }, check };
  };
  const { complete, failures } = explore(make, { preemptions: 2, first: false });
  expect(failures).toEqual([]);
  expect(complete).toBe(true);
  return { values: [...values].sort(), points };
}

test('a load while its page is dropped -> old bytes or zeroes; RETRY never goes round alone', () => {
  const { values, points } = against((vm) => vm.mm.dontNeed(vm.memory.hvaOf(DATA) as number, 4096));
  expect(values).toEqual(['0', '77']);
  expect(points).toContain('x86.retry');
});

test('a load while its slot is deleted -> the bytes, or MMIO once the slot is gone; RETRY while it is INVALID (T6, T7)', () => {
  const { values, points } = against((vm) => {
    const slot = vm.memory.slotAt(DATA);
    if (!slot) throw new Error('the data have a slot');
    return vm.memslots.set({ slot: slot.slot, gpa: DATA, size: 0, hva: slot.hva });
  });
  expect(values).toEqual(['77', 'mmio']);
  expect(points).toContain('x86.retry');
});

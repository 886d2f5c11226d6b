/** One state whatever the cuts: whole, in slices, saved and restored into a new VM. */
import type { Vm } from '@faultyard/core';
import { createVm } from '@faultyard/core';
import { afterAll, describe, expect, test } from 'vitest';
import { arm64 } from '../src/index.ts';
import { CPUS, type CpuName, image } from './support/bare-metal.ts';
import { SYSTEM_IMAGES, type SystemImage } from './system/images.ts';

const ORIGIN = 0x4008_0000n;
const made: Vm[] = [];
afterAll(() => {
  for (const vm of made) vm.dispose();
});

/** A VM with the image's code, without text output: device stores are ignored. */
function fresh(i: SystemImage, bytes?: Uint8Array): Vm {
  const vm = createVm({
    arch: arm64({ ...CPUS[i.cpu as CpuName] }),
    vcpus: i.vcpus ?? 1,
    memslots: [{ gpa: 0x4000_0000n, size: 64n << 20n }],
    schedule: { kind: 'round-robin', quantum: 500 },
  }) as unknown as Vm;
  made.push(vm);
  if (bytes) {
    vm.memory.write(ORIGIN, bytes);
    const first = vm.vcpus[0];
    if (first) first.pc = ORIGIN;
  }
  return vm;
}

/** xorshift32. */
function random(seed: number): (below: number) => number {
  let x = seed;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}

/** Runs until a system event; `cut` may replace the VM after every exit. Returns the VM and its number of exits. */
function toEnd(vm: Vm, budget: () => number, cut: (vm: Vm) => Vm = (v) => v): { vm: Vm; exits: number } {
  for (let exits = 1; exits < 200_000; exits++) {
    const e = vm.run(budget());
    if (e.kind === 'system-event') return { vm, exits };
    if (e.kind !== 'mmio' && e.kind !== 'budget') throw new Error(`ended in ${e.kind}`);
    vm = cut(vm);
  }
  throw new Error('does not end');
}

const names = ['calls-n1', 'alignment-a57', 'hierarchy-4k', 'tlbi', 'psci', 'step', 'wxn'];
describe('state hash at the end', () => {
  for (const i of SYSTEM_IMAGES.filter((x) => names.includes(x.name))) {
    const bytes = image(i.body());
    test(`${i.name}: whole, in random slices, and restored into another VM now and then -> the same`, () => {
      const whole = toEnd(fresh(i, bytes), () => 10_000_000).vm.stateHash();
      for (const seed of [1, 2]) {
        const r = random(seed);
        expect(toEnd(fresh(i, bytes), () => 1 + r(400)).vm.stateHash()).toBe(whole);
      }
      const r = random(3);
      const restored = toEnd(
        fresh(i, bytes),
        () => 1 + r(3000),
        (vm) => {
          if (r(40) !== 0) return vm;
          const s = vm.snapshot();
          const next = fresh(i);
          next.restore(s);
          s.dispose();
          return next;
        },
      );
      expect(restored.vm.stateHash()).toBe(whole);
    });
  }
});

describe('a hash is the same from one version to the next', () => {
  test('fresh vCPU -> stateHash: as it was before there was a second architecture', () => {
    const vm = createVm({
      arch: arm64(),
      memslots: [{ gpa: 0x4000_0000n, size: 1n << 20n }],
    }) as unknown as Vm;
    made.push(vm);
    expect(vm.stateHash()).toBe('a87caf1b226c3879');
  });
});

import { createVm } from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { arm64, asm } from '../src/index.ts';

const RAM = 0x4000_0000n;
type Lab = ReturnType<typeof lab>;
const open: { dispose(): void }[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});

/** A VM with 1 MiB of RAM and `code` at its start, pc there. */
function lab(code: { readonly bytes: Uint8Array }, options = {}, vcpus = 1) {
  const vm = createVm({ arch: arm64(options), vcpus, memslots: [{ gpa: RAM, size: 1n << 20n }] });
  open.push(vm);
  const cpu = vm.vcpus[0] as (typeof vm.vcpus)[0] & object;
  vm.memory.write(RAM, code.bytes);
  cpu.pc = RAM;
  return { vm, cpu };
}

describe('first instructions', () => {
  test('mov, add, wfi -> registers hold the sum, KVM_RUN says intr', () => {
    const { cpu }: Lab = lab(asm`mov x0, #40
      add x1, x0, #2
      wfi`);
    const exit = cpu.run();
    expect(exit.kind).toBe('intr');
    expect(cpu.get('x1')).toBe(42n);
    expect(cpu.pc).toBe(RAM + 12n);
  });
});

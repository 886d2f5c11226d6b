import { createVm } from '@faultyard/core';
import { expect, test } from 'vitest';
import { x86 } from '../src/index.ts';

test('mov, add and hlt from the reset vector -> exit hlt: registers', () => {
  const vm = createVm({ arch: x86(), memslots: [{ gpa: 0xfff0_0000n, size: 1n << 20n }] });
  // mov ax, 1234h; add ax, 1111h; hlt
  vm.write(0xffff_fff0, Uint8Array.of(0xb8, 0x34, 0x12, 0x05, 0x11, 0x11, 0xf4));
  const v = vm.vcpus[0];
  expect(v?.run().kind).toBe('hlt');
  expect(v?.get('rax')).toBe(0x2345n);
  expect(v?.pc).toBe(0xfff7n);
  vm.dispose();
});

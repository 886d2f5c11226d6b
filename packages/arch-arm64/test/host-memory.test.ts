/** A guest that wants more memory than the lab's process has. */
import { createVm, HostMemory } from '@faultyard/core';
import { expect, test } from 'vitest';
import { arm64, assemble } from '../src/index.ts';

const BASE = 0x4000_0000n;

test('a guest that touches more pages than the host has -> -1/EFAULT at the access, and the VM goes on', () => {
  const host = new HostMemory({ bytes: 96 << 20 });
  const vm = createVm({ arch: arm64(), host, memslots: [{ gpa: BASE, size: 256n << 20n }] });
  vm.write(BASE, assemble('1: str x1, [x1]\n add x1, x1, #1, lsl #12\n b 1b', { origin: BASE }).bytes);
  const v = vm.vcpus[0] as (typeof vm.vcpus)[number];
  v.pc = BASE;
  v.set('x1', BASE + 0x1000n);
  const e = v.run(10_000_000);
  expect(e).toEqual({ kind: 'run-error', vcpu: 0, ret: -1, errno: 'EFAULT' });
  expect(v.pc).toBe(BASE);
  expect(v.get('x1')).toBeLessThan(BASE + (256n << 20n));
  expect(v.run(10)).toEqual(e);
  const snapshot = vm.snapshot();
  v.set('x1', BASE + 0x1000n); // a page of its own, now shared with the snapshot: the copy cannot be had either
  expect(v.run(10)).toEqual(e);
  snapshot.dispose();
  expect(v.run(9)).toMatchObject({ kind: 'budget', retired: 9 });
});

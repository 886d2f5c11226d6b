/** Port accesses: exit io, the port data of the kvm_run mapping, and accesses of one instruction in a row. */
import { expect, test } from 'vitest';
import { createVm, type Vcpu } from '../src/index.ts';
import { type Act, type ScriptVcpu, scriptArch } from './support/script-arch.ts';

const make = (...acts: Act[]): { v: Vcpu; script: ScriptVcpu } => {
  const vm = createVm({ arch: scriptArch([[...acts, 'hlt']]) });
  const v = vm.vcpus[0] as Vcpu;
  return { v, script: v.arch as ScriptVcpu };
};
const io = { kind: 'io', vcpu: 0, ret: 0 } as const;

test('a port store -> VMM: exit io with its value, in the second page of the mapping', () => {
  const { v } = make({ port: 0x3f8, size: 2, write: [0x1_2345] });
  expect(v.run()).toEqual({ ...io, port: 0x3f8, size: 2, write: true, count: 1, data: [0x2345] });
  const page = v.kvmRun;
  expect([page.byteLength, page.getUint32(8, true), page.getUint8(32), page.getUint8(33)]).toEqual([
    12288, 2, 1, 2,
  ]);
  expect([page.getUint16(34, true), page.getBigUint64(40, true), page.getUint16(4096, true)]).toEqual([
    0x3f8,
    4096n,
    0x2345,
  ]);
  expect(v.run().kind).toBe('hlt');
});

test('a port load answered -> guest: the value; unanswered: the bytes that stand there', () => {
  const { v, script } = make({ port: 0x60, size: 1 }, { run: 1 }, { port: 0x60, size: 1 });
  v.answer(v.run(), 0xfff0ab);
  expect(v.run()).toMatchObject({ port: 0x60, write: false, data: [] });
  expect(v.run().kind).toBe('hlt');
  expect(script.answers).toEqual([0xab, 0xab]);
});

test('userspace writes the page itself -> guest: that', () => {
  const { v, script } = make({ port: 0x60, size: 4 });
  v.run();
  v.kvmRun.setUint32(4096, 0xdeadbeef, true);
  v.run();
  expect(script.answers.map((n) => n >>> 0)).toEqual([0xdeadbeef]);
});

test('string accesses -> VMM: all elements; a short answer leaves the rest', () => {
  const { v, script } = make(
    { port: 0x1f0, size: 1, write: [1, 2, 3] },
    { run: 1 },
    { port: 0x1f0, size: 1, read: 3 },
  );
  expect(v.run()).toMatchObject({ count: 3, data: [1, 2, 3] });
  const e = v.run();
  expect(e).toMatchObject({ count: 3, write: false });
  v.answer(e, [9, 8]);
  expect([...v.portData.slice(0, 3)]).toEqual([9, 8, 3]);
  expect(v.run().kind).toBe('hlt');
  expect(script.answers).toEqual([9]);
  expect(() => v.answer(e, [1])).toThrow(/FY_EXIT_ANSWER/);
});

test('one instruction with two accesses, immediate_exit set -> the second access first, then intr', () => {
  const { v } = make({ port: 0x10, size: 1 }, { port: 0x11, size: 1 });
  const first = v.run();
  v.answer(first, 1);
  v.immediateExit = true;
  const second = v.run();
  expect(second).toMatchObject({ kind: 'io', port: 0x11 });
  v.answer(second, 2);
  expect(v.run()).toMatchObject({ kind: 'intr', errno: 'EINTR' });
});

test('a snapshot with a port load pending -> another VM ends it the same way', () => {
  const { v, script } = make({ port: 0x60, size: 2 });
  v.run();
  v.portData.set([0x34, 0x12]);
  const s = v.vm.snapshot();
  v.portData.set([0, 0]);
  v.vm.restore(s);
  expect([...v.portData.slice(0, 2)]).toEqual([0x34, 0x12]);
  v.run();
  expect(script.answers).toEqual([0x1234]);
});

test('KVM_GET_VCPU_MMAP_SIZE -> what the architecture maps', () => {
  const { v } = make();
  expect(v.vm.op('get-vcpu-mmap-size', {})).toBe(12288);
});

/** Conformance: device accesses leave restartable, are answered once, and complete exactly. */
import type { Exit, Vcpu, Vm } from '@faultyard/core';
import { check, first, inLab, type Lab, refused, same } from './lab.ts';
import type { Case, Subject } from './subject.ts';

const SIZES = [1, 2, 4, 8] as const;

/** Runs to the next exit, which must be a device access. */
function mmio(v: Vcpu): Exit<'mmio'> {
  const e = v.run();
  check(e.kind === 'mmio', `exit ${e.kind}, expected mmio`);
  return e as Exit<'mmio'>;
}
const oneLoad = (lab: Lab, size: 1 | 2 | 4 | 8): { vm: Vm; v: Vcpu; at: number } => {
  const { vm, codes } = lab.make([[{ do: 'load', size, gpa: lab.subject.hole + 0x40 }, { do: 'end' }]]);
  return { vm, v: first(vm), at: lab.subject.ram + (codes[0]?.last[0] ?? 0) };
};
const general = (v: Vcpu): Record<string, string> =>
  Object.fromEntries(v.arch.registers.map((r) => [r.name, v.get(r.name).toString(16)]));

/** Cases about devices. */
export function devices(make: () => Subject): Case[] {
  return [
    inLab(
      make,
      'a device load of 1, 2, 4, 8 bytes -> exit mmio: gpa and size; pc at the instruction',
      (lab) => {
        for (const size of SIZES) {
          const { v, at } = oneLoad(lab, size);
          const gpa = BigInt(lab.subject.hole + 0x40);
          same(mmio(v), { kind: 'mmio', vcpu: 0, ret: 0, gpa, size, write: false, value: 0n }, 'exit');
          same(v.pc, BigInt(at), 'pc');
        }
      },
    ),
    inLab(make, 'the answer to a device load -> register: the low bytes, zero-extended', (lab) => {
      for (const size of SIZES) {
        const { v } = oneLoad(lab, size);
        v.answer(mmio(v), 0xf1e2d3c4b5a69788n);
        same(v.run().kind, lab.subject.end, 'exit after the answer');
        same(
          v.get(lab.subject.result),
          BigInt.asUintN(8 * size, 0xf1e2d3c4b5a69788n),
          `load of ${size} bytes`,
        );
      }
    }),
    inLab(make, 'a device load -> registers: nothing changed before the answer', (lab) => {
      const { v } = oneLoad(lab, 4);
      const plain = lab.make([[{ do: 'load', size: 4, gpa: lab.subject.hole + 0x40 }, { do: 'end' }]]);
      mmio(v);
      const instructions = (plain.codes[0]?.instructions[0] ?? 1) - 1;
      if (instructions > 0) first(plain.vm).run(instructions);
      same(general(v), general(first(plain.vm)), 'registers at the exit');
      same(v.retired, instructions, 'retired at the exit');
    }),
    inLab(make, 'a device store of 1, 2, 4, 8 bytes -> exit mmio: value; it is done once', (lab) => {
      for (const size of SIZES) {
        const { vm } = lab.make([
          [{ do: 'store', size, gpa: lab.subject.hole, value: 0x71625344 }, { do: 'end' }],
        ]);
        const e = mmio(first(vm));
        same(e.value, BigInt.asUintN(8 * size, 0x71625344n), `value of ${size} bytes`);
        same([e.write, e.size], [true, size], 'write, size');
        same(first(vm).run().kind, lab.subject.end, 'next exit');
      }
    }),
    inLab(make, 'an unanswered load -> register: the bytes of the exit before', (lab) => {
      const { vm } = lab.make([
        [
          { do: 'load', size: 8, gpa: lab.subject.hole },
          { do: 'load', size: 4, gpa: lab.subject.hole + 8 },
          { do: 'end' },
        ],
      ]);
      const v = first(vm);
      v.answer(mmio(v), 0x1122334455667788n);
      mmio(v);
      v.run();
      same(v.get(lab.subject.result), 0x55667788n, 'stale bytes');
    }),
    inLab(make, 'bytes written to the kvm_run page -> register: they are the answer', (lab) => {
      const { v } = oneLoad(lab, 8);
      mmio(v);
      v.kvmRun.setBigUint64(40, 0xcafebabe12345678n, true);
      v.run();
      same(v.get(lab.subject.result), 0xcafebabe12345678n, 'register');
    }),
    inLab(make, 'wrong answers -> FY_EXIT_ANSWER, nothing changed', (lab) => {
      const { hole } = lab.subject;
      const steps = [
        { do: 'load', size: 4, gpa: hole },
        { do: 'store', size: 4, gpa: hole, value: 1 },
        { do: 'load', size: 4, gpa: hole },
        { do: 'end' },
      ] as const;
      const { vm } = lab.make([steps, steps]);
      const v = first(vm);
      const other = vm.vcpus[1] as Vcpu;
      const e = mmio(v);
      const theirs = mmio(other);
      refused(vm, 'FY_EXIT_ANSWER', () => v.answer(theirs, 1));
      refused(vm, 'FY_EXIT_ANSWER', () => v.answer({ ...e }, 1));
      v.answer(e, 5);
      refused(vm, 'FY_EXIT_ANSWER', () => v.answer(e, 6));
      const store = mmio(v);
      refused(vm, 'FY_EXIT_ANSWER', () => v.answer(e, 7));
      refused(vm, 'FY_EXIT_ANSWER', () => v.answer(store, 7));
      same(v.get(lab.subject.result), 5n, 'the first answer');
      v.answer(mmio(v), 9);
      const end = v.run();
      refused(vm, 'FY_EXIT_ANSWER', () => v.answer(end, 1));
      same(v.get(lab.subject.result), 9n, 'the last answer');
    }),
    inLab(make, 'immediate_exit after an answer -> run: intr, the load is done', (lab) => {
      const { v, at } = oneLoad(lab, 4);
      v.answer(mmio(v), 77);
      v.immediateExit = true;
      same(v.run().kind, 'intr', 'exit');
      same(v.get(lab.subject.result), 77n, 'register');
      check(v.pc > BigInt(at), 'pc did not move past the load');
    }),
    inLab(make, 'memory that appears before the completion -> register: the answer still counts', (lab) => {
      const { vm, v } = oneLoad(lab, 4);
      const e = mmio(v);
      vm.addMemory({ gpa: BigInt(lab.subject.hole), size: 0x1000n });
      v.answer(e, 123);
      same(v.run().kind, lab.subject.end, 'exit');
      same(v.get(lab.subject.result), 123n, 'register');
    }),
    inLab(make, 'a device on the in-kernel bus -> run: no exit; what it refuses goes to userspace', (lab) => {
      const { hole } = lab.subject;
      const { vm } = lab.make([
        [
          { do: 'store', size: 4, gpa: hole, value: 0x1234 },
          { do: 'load', size: 4, gpa: hole },
          { do: 'load', size: 4, gpa: hole + 8 },
          { do: 'end' },
        ],
      ]);
      let kept = 0;
      vm.bus.add({
        name: 'latch',
        gpa: hole,
        size: 16,
        load(offset, _size, _vcpu, out) {
          out.lo = kept + 1;
          out.hi = 0;
          return offset === 0;
        },
        store(offset, _size, _vcpu, lo) {
          kept = lo;
          return offset === 0;
        },
      });
      const v = first(vm);
      const e = mmio(v);
      same(e.gpa, BigInt(hole + 8), 'the refused access');
      same(v.get(lab.subject.result), 0x1235n, 'what the device answered');
      v.answer(e, 1);
      same(v.run().kind, lab.subject.end, 'end');
    }),
  ];
}

/** Conformance: memslots, dirty log, poison, code that changes. */
import { MemFlag, type Vcpu } from '@faultyard/core';
import { check, first, inLab, same, toEnd } from './lab.ts';
import type { Case, Subject } from './subject.ts';

/** Cases about memory. */
export function memory(make: () => Subject): Case[] {
  return [
    inLab(make, 'stores and loads of every size -> memory: little-endian, nothing beside them', (lab) => {
      const at = lab.data;
      const sizes = [1, 2, 4, 8] as const;
      const { vm } = lab.make([
        [
          ...sizes.map((size, i) => ({ do: 'store', size, gpa: at + 16 * i, value: 0x71625344 }) as const),
          { do: 'load', size: 2, gpa: at + 33 },
          { do: 'end' },
        ],
      ]);
      vm.write(at, new Uint8Array(64).fill(0xee));
      toEnd(
        lab,
        () => first(vm).run(),
        () => vm,
      );
      for (const [i, size] of sizes.entries()) {
        same(vm.peek(at + 16 * i, size), BigInt.asUintN(8 * size, 0x71625344n), `store of ${size} bytes`);
        if (size < 8) same(vm.peek(at + 16 * i + size, 1), 0xeen, `byte behind a store of ${size}`);
      }
      same(first(vm).get(lab.subject.result), 0x6253n, 'unaligned load');
    }),
    inLab(make, 'an access that crosses two pages -> memory: both halves', (lab) => {
      const at = lab.data + 0x1000 - 4;
      const { vm } = lab.make([
        [
          { do: 'store', size: 8, gpa: at, value: 0x71625344 },
          { do: 'load', size: 8, gpa: at - 2 },
          { do: 'end' },
        ],
      ]);
      toEnd(
        lab,
        () => first(vm).run(),
        () => vm,
      );
      same(vm.peek(at, 8), 0x71625344n, 'memory');
      same(first(vm).get(lab.subject.result), 0x716253440000n, 'load across');
    }),
    inLab(make, 'a READONLY slot -> a load reads it, a store is an mmio exit and changes nothing', (lab) => {
      const gpa = lab.subject.hole;
      const { vm } = lab.make(
        [
          [
            { do: 'load', size: 4, gpa },
            { do: 'store', size: 4, gpa, value: 99 },
            { do: 'load', size: 4, gpa },
            { do: 'end' },
          ],
        ],
        { more: [{ gpa: BigInt(gpa), size: 0x1000n, flags: MemFlag.ReadOnly }] },
      );
      vm.poke(gpa, 0x1234567, 4);
      const v = first(vm);
      const e = v.run();
      same(e.kind === 'mmio' && [e.write, e.gpa, e.size, e.value], [true, BigInt(gpa), 4, 99n], 'the store');
      same(v.get(lab.subject.result), 0x1234567n, 'load before');
      same(v.run().kind, lab.subject.end, 'end');
      same(v.get(lab.subject.result), 0x1234567n, 'load after');
    }),
    inLab(make, 'a slot deleted and added between loads -> memory, mmio exit, new memory', (lab) => {
      const gpa = lab.subject.hole;
      const load = { do: 'load', size: 4, gpa } as const;
      const store = (value: number) => ({ do: 'store', size: 4, gpa: gpa + 0x800, value }) as const;
      const { vm } = lab.make([[load, store(1), load, store(2), load, { do: 'end' }]], {
        more: [{ gpa: BigInt(gpa), size: 0x1000n, slot: 5 }],
      });
      const v = first(vm);
      vm.poke(gpa, 11, 4);
      v.run(lab.subject.assemble([load, store(1)]).instructions.reduce((a, b) => a + b, 0));
      same(v.get(lab.subject.result), 11n, 'load from the slot');
      const hva = vm.memslots.byId(5)?.hvaPage ?? 0;
      vm.setMemoryRegion({ slot: 5, gpa: BigInt(gpa), size: 0n, hva: 0n });
      const e = v.run();
      same([e.kind, v.get(lab.subject.result)], ['mmio', 11n], 'load without the slot');
      v.answer(e, 22);
      same(v.run().kind, 'mmio', 'store without the slot');
      same(v.get(lab.subject.result), 22n, 'answered load');
      vm.setMemoryRegion({ slot: 5, gpa: BigInt(gpa), size: 0x1000n, hva: BigInt(hva) * 4096n });
      same(v.run().kind, lab.subject.end, 'end');
      same(v.get(lab.subject.result), 11n, 'load from the slot again');
    }),
    inLab(make, 'stores to a logged slot -> KVM_GET_DIRTY_LOG: their pages, once each time', (lab) => {
      const gpa = lab.subject.hole;
      const { vm } = lab.make(
        [
          [
            { do: 'store', size: 4, gpa: gpa + 0x1000, value: 1 },
            { do: 'load', size: 4, gpa: gpa + 0x2000 },
            { do: 'store', size: 4, gpa: gpa + 0x1ffe, value: 1 },
            { do: 'store', size: 4, gpa: 16 * 4096 + gpa, value: 1 },
            { do: 'store', size: 4, gpa: gpa + 0x1000, value: 1 },
            { do: 'end' },
          ],
        ],
        { more: [{ gpa: BigInt(gpa), size: 0x10000n, slot: 7, flags: MemFlag.LogDirty }] },
      );
      const v = first(vm);
      same(v.run().kind, 'mmio', 'the store behind the slot');
      same([...vm.memslots.getDirtyLog(7)], [6, 0, 0, 0, 0, 0, 0, 0], 'dirty log');
      same([...vm.memslots.getDirtyLog(7)], [0, 0, 0, 0, 0, 0, 0, 0], 'dirty log read again');
      same(v.run().kind, lab.subject.end, 'end');
      same(
        [...vm.memslots.getDirtyLog(7)],
        [2, 0, 0, 0, 0, 0, 0, 0],
        'dirty log of a page that was mapped writable',
      );
    }),
    inLab(make, 'code rewritten by the VMM between runs -> the new code runs', (lab) => {
      const { vm } = lab.make([[{ do: 'spin' }]]);
      const v = first(vm);
      same(v.run(5000).kind, 'budget', 'the old code');
      vm.write(Number(v.pc), lab.subject.assemble([{ do: 'end' }]).bytes);
      same(v.run(5000).kind, lab.subject.end, 'the new code');
    }),
    inLab(make, 'code stored over by another vcpu -> the new code runs', (lab) => {
      const end = lab.subject.assemble([{ do: 'end' }]).bytes;
      const { vm } = lab.make([[{ do: 'spin' }], [{ do: 'spin' }]]);
      const v = first(vm);
      v.run(5000);
      // The writer's code is assembled for where the first one spins.
      const at = Number(v.pc);
      const words = Array.from({ length: Math.ceil(end.length / 2) }, (_, i) => ({
        do: 'store' as const,
        size: 2 as const,
        gpa: at + 2 * i,
        value: (end[2 * i] ?? 0) | ((end[2 * i + 1] ?? 0) << 8),
      }));
      const done = { do: 'store', size: 4, gpa: lab.subject.hole, value: 1 } as const;
      const writer = lab.subject.assemble([...words.reverse(), done]);
      const entry = lab.subject.ram + 0x8000;
      vm.write(entry, writer.bytes);
      lab.subject.start(vm.vcpus[1] as Vcpu, entry);
      same((vm.vcpus[1] as Vcpu).run().kind, 'mmio', 'the writer');
      same(v.run(5000).kind, lab.subject.end, 'the other vcpu');
    }),
    ...(make().poison
      ? [
          inLab(
            make,
            'a load from a poisoned page -> what the architecture makes of it; healed -> the data',
            (lab) => {
              const gpa = lab.data + 0x4000;
              const { vm } = lab.make([[{ do: 'load', size: 4, gpa }, { do: 'end' }]]);
              vm.poke(gpa, 0x600d, 4);
              const fine = lab.track(vm.snapshot());
              vm.poison(gpa);
              const wrong = lab.subject.poison?.(vm, gpa);
              check(wrong === undefined, wrong ?? '');
              vm.restore(fine);
              same(first(vm).run().kind, lab.subject.end, 'end without poison');
              same(first(vm).get(lab.subject.result), 0x600dn, 'data without poison');
            },
          ),
        ]
      : []),
  ];
}

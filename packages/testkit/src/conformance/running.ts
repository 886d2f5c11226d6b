/** Conformance: budgets, counts, exits of KVM_RUN, registers, observers. */
import { check, first, inLab, mixed, refused, same, toEnd } from './lab.ts';
import type { Case, Subject } from './subject.ts';

/** Cases about running. */
export function running(make: () => Subject): Case[] {
  return [
    inLab(make, 'budgets of 1 to 64 instructions -> run: exactly that many retired', (lab) => {
      for (const n of [1, 2, 3, 5, 8, 13, 21, 34, 64]) {
        const { vm } = lab.make([[{ do: 'compute', times: 200 }, { do: 'spin' }]]);
        const e = first(vm).run(n);
        same(e, { kind: 'budget', vcpu: 0, ret: 0, retired: n }, `run(${n})`);
        same(first(vm).retired, n, 'vcpu.retired');
      }
    }),
    inLab(make, 'a large budget cut anywhere -> state: as run whole', (lab) => {
      const whole = lab.make([
        [{ do: 'compute', times: 50 }, { do: 'count', gpa: lab.data, times: 300 }, { do: 'spin' }],
      ]);
      first(whole.vm).run(1500);
      for (const cut of [1, 7, 49, 50, 51, 777, 1499]) {
        const { vm } = lab.make([
          [{ do: 'compute', times: 50 }, { do: 'count', gpa: lab.data, times: 300 }, { do: 'spin' }],
        ]);
        first(vm).run(cut);
        first(vm).run(1500 - cut);
        same(vm.stateHash(), whole.vm.stateHash(), `state hash after ${cut} + ${1500 - cut} instructions`);
      }
    }),
    inLab(make, 'an endless loop and 3,000,000 instructions -> run: exactly that many', (lab) => {
      const { vm } = lab.make([[{ do: 'spin' }]]);
      same(first(vm).run(3_000_000).kind, 'budget', 'exit');
      same(first(vm).retired, 3_000_000, 'vcpu.retired');
    }),
    inLab(make, 'a program with memory and device accesses -> retired: every instruction once', (lab) => {
      const steps = mixed(lab).filter((s) => s.do !== 'count');
      const { vm, codes } = lab.make([steps]);
      toEnd(
        lab,
        () => first(vm).run(),
        () => vm,
      );
      const expected = codes[0]?.instructions.reduce((a, b) => a + b, 0) ?? 0;
      first(vm).immediateExit = true;
      first(vm).run();
      const got = first(vm).retired;
      // An end by a call into KVM may be counted with the next entry.
      check(
        got === expected || got === expected - 1,
        `retired ${got}, the program has ${expected} instructions`,
      );
    }),
    inLab(make, 'a kick -> run: intr once, no instruction', (lab) => {
      const { vm } = lab.make([[{ do: 'spin' }]]);
      vm.signals.kick(0);
      same(first(vm).run(10), { kind: 'intr', vcpu: 0, ret: -1, errno: 'EINTR' }, 'first run');
      same(first(vm).retired, 0, 'retired');
      same(first(vm).run(10).kind, 'budget', 'second run');
    }),
    inLab(make, 'immediate_exit -> run: intr each time, no instruction, then on', (lab) => {
      const { vm } = lab.make([[{ do: 'spin' }]]);
      const v = first(vm);
      v.immediateExit = true;
      for (let i = 0; i < 3; i++) same(v.run(10).kind, 'intr', 'run');
      same(v.retired, 0, 'retired');
      v.immediateExit = false;
      same(v.run(10).kind, 'budget', 'run without it');
    }),
    inLab(make, 'a budget that is no positive whole number -> FY_ARGUMENT, nothing changed', (lab) => {
      const { vm } = lab.make([[{ do: 'spin' }], [{ do: 'spin' }]]);
      // a round is under way
      vm.run(5);
      for (const b of [0, -1, 1.5, Number.NaN, Infinity]) {
        refused(vm, 'FY_ARGUMENT', () => first(vm).run(b));
        refused(vm, 'FY_ARGUMENT', () => vm.run(b));
      }
    }),
    inLab(make, 'every register -> read and written by name; unknown names are refused', (lab) => {
      const { vm } = lab.make([[{ do: 'spin' }]]);
      const v = first(vm);
      const seen = new Set<string>();
      for (const r of v.arch.registers) {
        check(!seen.has(r.name), `register ${r.name} is listed twice`);
        seen.add(r.name);
        const before = v.get(r.name);
        check(
          before >= 0n && before < 1n << BigInt(r.bits),
          `${r.name} = ${before} does not fit ${r.bits} bits`,
        );
        if (r.readOnly) continue;
        v.set(r.name, before ^ 0x5n);
        const masked = v.get(r.name);
        check(masked < 1n << BigInt(r.bits), `${r.name} = ${masked} does not fit ${r.bits} bits`);
        if (r.group === 'general' && r.name !== 'pstate') same(masked, before ^ 0x5n, `${r.name} written`);
        v.set(r.name, before);
      }
      check(seen.has('pc'), 'there is no register pc');
      check(seen.has(lab.subject.result), `there is no register ${lab.subject.result}`);
      refused(vm, 'FY_REGISTER_UNKNOWN', () => v.get('no-such-register'));
      refused(vm, 'FY_REGISTER_UNKNOWN', () => v.set('no-such-register', 1n));
    }),
    inLab(make, 'walk, disassemble, registers, read -> state: nothing changed', (lab) => {
      const { vm, codes } = lab.make([
        [{ do: 'compute', times: 8 }, { do: 'load', size: 4, gpa: lab.data }, { do: 'end' }],
      ]);
      const v = first(vm);
      const before = vm.stateHash();
      const walk = v.arch.walk(BigInt(lab.data), 'read');
      same(walk.gpa, BigInt(lab.data), 'walk of data');
      const lines = v.arch.disassemble(v.pc, 8);
      same(lines.length, 8, 'lines of disassembly');
      same(lines[0]?.pc, v.pc, 'address of the first line');
      const bytes = lines.flatMap((l) => [...l.bytes]);
      same(bytes, [...(codes[0]?.bytes.subarray(0, bytes.length) ?? [])], 'bytes of the disassembly');
      check(
        lines.every((l) => l.text.length > 0),
        'a line of disassembly is empty',
      );
      v.arch.disassemble(BigInt(lab.subject.hole), 2);
      vm.read(lab.subject.hole, 16);
      same(vm.stateHash(), before, 'state hash');
    }),
  ];
}

/** The toy under the conformance suite: its programs. r0 stays 0; loads fill r1. */
import type { Code, Step, Subject } from '../conformance/subject.ts';
import { toyAddi, toyBz, toyHalt, toyLoad, toyStore } from './isa.ts';
import { toy } from './plugin.ts';
import { ToyTrap } from './vcpu.ts';

/** Instructions of one step. */
function instructions(s: Step): number[][] {
  switch (s.do) {
    case 'compute':
      return Array.from({ length: s.times }, (_, i) =>
        toyAddi(2, 2, i + 1, ([0, 1, 2, 4] as const)[i % 4] ?? 4),
      );
    case 'load':
      return [toyLoad(s.size, 1, 0, s.gpa)];
    case 'store':
      return [toyAddi(3, 0, s.value), toyStore(s.size, 3, 0, s.gpa)];
    case 'count': {
      const body = [
        toyLoad(4, 5, 0, s.gpa),
        toyAddi(5, 5, 1, 0),
        toyStore(4, 5, 0, s.gpa),
        toyAddi(4, 4, 1, 1),
      ];
      const length = body.flat().length;
      const over = toyBz(4, 3 + 3, 1);
      const back = toyBz(0, -(length + 3), 1);
      return [toyAddi(4, 0, -s.times), ...body, over, back];
    }
    case 'spin':
      return [toyAddi(2, 2, 1, 0), toyBz(0, -2, 1)];
    case 'end':
      return [toyHalt()];
  }
}

function assemble(steps: readonly Step[]): Code {
  const bytes: number[] = [];
  const last: number[] = [];
  const counts: number[] = [];
  for (const s of steps) {
    const list = instructions(s);
    counts.push(list.length);
    bytes.push(...list.flat());
    last.push(bytes.length - (list.at(-1)?.length ?? 0));
  }
  return { bytes: Uint8Array.from(bytes), instructions: counts, last };
}

/** The toy as a subject. */
export function toySubject(): Subject {
  return {
    name: 'toy',
    arch: toy(),
    ram: 0x10_0000,
    hole: 0x900_0000,
    result: 'r1',
    end: 'hlt',
    assemble,
    start(vcpu, entry) {
      for (let n = 0; n < 8; n++) vcpu.set(`r${n}`, 0);
      vcpu.pc = BigInt(entry);
    },
    poison(vm, gpa) {
      const v = vm.vcpus[0];
      if (!v) return 'no vcpu';
      const at = v.pc;
      v.set('tvec', 0x10_8000);
      vm.write(0x10_8000, Uint8Array.from(toyHalt()));
      const e = v.run();
      const got = [e.kind, v.get('r6'), v.get('r7'), v.get('taddr'), v.get('r1')].join(' ');
      const expected = ['hlt', at, ToyTrap.Poison, gpa, 0].join(' ');
      return got === expected ? undefined : `exit, r6, r7, taddr, r1: ${got}, expected ${expected}`;
    },
  };
}

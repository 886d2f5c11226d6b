/** VMs for conformance cases, and how cases say what is wrong. */
import {
  createVm,
  type Exit,
  FaultyardError,
  type InitialMemslot,
  type Schedule,
  type Vcpu,
  type Vm,
} from '@faultyard/core';
import type { Case, Code, Step, Subject } from './subject.ts';

/** Bytes of a subject's memory. */
const RAM_SIZE: number = 1 << 20;
/** Offset of data in it; code of vCPU n starts at n * 0x4000. */
const DATA = 0x80000;

/** Fails unless `ok`. */
export function check(ok: boolean, otherwise: string): void {
  if (!ok) throw new Error(otherwise);
}
const text = (v: unknown): string =>
  typeof v === 'string' ? v : JSON.stringify(v, (_, x) => (typeof x === 'bigint' ? `${x}n` : x));
/** Fails unless the two are the same plain data. */
export function same(actual: unknown, expected: unknown, what: string): void {
  check(text(actual) === text(expected), `${what}: ${text(actual)}, expected ${text(expected)}`);
}
/** Fails unless `f` throws a FaultyardError with this code and leaves the VM's state as it was. */
export function refused(vm: Vm, code: string, f: () => unknown): void {
  const before = vm.stateHash();
  let got = 'nothing was thrown';
  try {
    f();
  } catch (e) {
    if (!(e instanceof FaultyardError)) throw e;
    got = e.code;
  }
  same(got, code, 'refusal');
  same(vm.stateHash(), before, `state hash after ${code}`);
}

/** Options of {@link Lab.make}. */
export interface MakeOptions {
  readonly vcpus?: number;
  readonly schedule?: Schedule;
  readonly more?: readonly InitialMemslot[];
}

/** The first vCPU. */
export function first(vm: Vm): Vcpu {
  return vm.vcpus[0] as Vcpu;
}

/** What a case works with; VMs are disposed of when it ends. */
export class Lab {
  readonly subject: Subject;
  readonly #made: { dispose(): void }[] = [];
  constructor(subject: Subject) {
    this.subject = subject;
  }
  /** gpa of data. */
  get data(): number {
    return this.subject.ram + DATA;
  }
  /** A VM without programs. */
  bare(o: MakeOptions = {}): Vm {
    const { arch, plugins, ram } = this.subject;
    const vm = createVm({
      arch,
      plugins: plugins ?? [],
      vcpus: o.vcpus ?? 1,
      memslots: [{ gpa: BigInt(ram), size: BigInt(RAM_SIZE) }, ...(o.more ?? [])],
      ...(o.schedule ? { schedule: o.schedule } : {}),
    }) as unknown as Vm;
    return this.track(vm);
  }
  /** A VM whose vCPUs are about to run one program each (the last one serves the rest). */
  make(programs: readonly (readonly Step[])[], o: MakeOptions = {}): { vm: Vm; codes: readonly Code[] } {
    const vm = this.bare({ vcpus: programs.length, ...o });
    const codes = programs.map((p) => this.subject.assemble(p));
    for (const [i, c] of codes.entries()) {
      const entry = this.subject.ram + i * 0x4000;
      vm.write(entry, c.bytes);
      this.subject.start(vm.vcpus[i] as Vcpu, entry);
    }
    return { vm, codes };
  }
  /** Disposes of it with the lab. */
  track<T extends { dispose(): void }>(x: T): T {
    this.#made.push(x);
    return x;
  }
  close(): void {
    for (const m of this.#made.reverse()) m.dispose();
  }
}

/** A case in a lab of its own. */
export function inLab(make: () => Subject, name: string, run: (lab: Lab) => void): Case {
  return {
    name,
    run() {
      const lab = new Lab(make());
      try {
        run(lab);
      } finally {
        lab.close();
      }
    },
  };
}

/** Programs that cases share: memory and devices in turn, then the end. */
export function mixed(lab: Lab): readonly Step[] {
  const { data, subject } = lab;
  return [
    { do: 'compute', times: 5 },
    { do: 'store', size: 8, gpa: data, value: 0x12345678 },
    { do: 'store', size: 4, gpa: subject.hole + 8, value: 0x55aa },
    { do: 'load', size: 2, gpa: subject.hole + 0x10 },
    { do: 'count', gpa: data + 64, times: 20 },
    { do: 'load', size: 8, gpa: subject.hole + 0x18 },
    { do: 'store', size: 1, gpa: data + 0x2fff, value: 0x7f },
    { do: 'load', size: 4, gpa: data },
    { do: 'end' },
  ];
}

/** The answer cases give to a device load: different at every address, all bytes set. */
export function answerFor(e: Exit<'mmio'>): bigint {
  return BigInt.asUintN(64, BigInt(e.gpa) * 0x9e3779b97f4a7c15n);
}
/** Runs to the subject's end, answering loads; calls `at` at every exit, and stops a guest that runs wild. */
export function toEnd(lab: Lab, run: () => Exit, vm: () => Vm, at: (e: Exit) => void = () => {}): void {
  for (let n = 0; n < 10_000; n++) {
    const e = run();
    at(e);
    if (e.kind === lab.subject.end) return;
    check(e.kind === 'mmio', `exit ${text(e)} before the program's end`);
    if (e.kind === 'mmio' && !e.write) (vm().vcpus[e.vcpu] as Vcpu).answer(e, answerFor(e));
  }
  throw new Error('the program does not end');
}

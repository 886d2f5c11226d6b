/**
 * The globals of a session and of a script: everything a person types to put a guest on a vCPU, break something, and look.
 * Their documentation is what `help` shows.
 */
import type { Exit, Snapshot, TraceEvent, Vcpu, Vm, Walk } from '@faultyard/core';
import { type Architecture, bytesAt, type Code } from '../architectures/architecture.ts';
import type { Exports, LoadedPackage } from '../builtin.ts';
import { scenarioTable } from '../commands/list.ts';
import { runMatrix } from '../commands/matrix.ts';
import { resultText } from '../commands/result.ts';
import { UserError } from '../errors.ts';
import type { Help, HelpDesk } from '../help/desk.ts';
import { Interrupted, type Interrupts } from '../interrupt/interrupts.ts';
import type { Io } from '../io.ts';
import type { RunOptions, ScenarioInfo, ScenarioResult, Scenarios } from '../scenarios.ts';
import { type FieldDecoder, printableExit } from '../show/exits.ts';
import { Dump, Listing } from '../show/memory.ts';
import { printableEvents, printableSnapshot } from '../show/records.ts';
import { Registers } from '../show/registers.ts';
import { printsAs } from '../show/text.ts';
import { printableWalk } from '../show/walk.ts';
import type { Journal, ScenarioHead } from './journal.ts';
import {
  type Assemble,
  type Cpu,
  createMachineVm,
  type Machine,
  type MachineOptions,
  machineOf,
  present,
} from './machine.ts';
import { saveSession } from './save.ts';

/** What a session is made of. */
export interface LabContext {
  readonly io: Io;
  readonly packages: readonly LoadedPackage[];
  readonly scenarios: Scenarios;
  readonly interrupts: Interrupts;
  readonly journal: Journal;
  readonly desk: HelpDesk;
  /** Knob values from the command line, which every machine gets. */
  readonly set: RunOptions['set'];
  /** `--plugin` words, for the head of a saved session. */
  readonly plugins: readonly string[];
}

/** The globals of a session. */
export interface SessionGlobals {
  /**
   * Makes machines: `lab.arm64({ plugins: [sea()] })` returns `{ vm, cpu, asm }` and makes it the machine that the other
   * functions work on; `lab.x86()` makes a PC's vCPU, in long mode unless `{ start: 'protected' | 'real' | 'reset' }` says
   * otherwise. Options are those of a VM (plugins, vcpus, memslots, set, seed, schedule) and the architecture's own; without
   * `memslots` there are 64 MiB, at 0x40000000 on arm64, at 0 on x86.
   */
  lab: Readonly<Record<string, (options?: MachineOptions) => Machine>>;
  /** The VM of the current machine: memory, memslots, capabilities, operations, clock, trace. */
  readonly vm: Vm | undefined;
  /** vCPU 0 of the current machine. Its registers are members: `cpu.x0 = 0x40002000n`, `cpu.esr_el1`. */
  readonly cpu: Cpu | undefined;
  /** Assembles for the current machine: `` asm`ldr x1, [x2]; wfi` ``. Returns the code, for `load`. */
  readonly asm: Assemble;
  /**
   * Writes code of `asm`, or any bytes, to guest memory at a gpa and points vCPU 0 at them; `{ pc: false }` leaves the
   * vCPU alone. Returns the written bytes as a dump.
   */
  load(gpa: bigint | number, code: Code, options?: { readonly pc?: boolean }): Dump;
  /**
   * Steps the current machine to its next exit and returns it; `run(1)` executes one instruction. With a name it runs that
   * scenario instead: `run('sea/1', { set: { walkRule: 'v2' } })`.
   */
  run: {
    (budget?: number): Exit;
    (scenario: string, options?: RunOptions): ScenarioResult;
  };
  /** Everything of the current machine, now: registers, memory, devices, time. Any exit is a good moment. */
  snap(): Snapshot;
  /** Takes the current machine back to a snapshot. */
  restore(snapshot: Snapshot): void;
  /** Poisons the host page behind a gpa: the next access that consumes it is an external abort. */
  poison(gpa: bigint | number): void;
  /** Takes the poison of the page behind a gpa away; its data are what they were. */
  heal(gpa: bigint | number): void;
  /**
   * Injects an event into the vCPU of the last exit, as KVM's userspace can: `inject('sea')`. The names depend on the
   * architecture; `inject()` lists them.
   */
  inject(event?: string, options?: Readonly<Record<string, unknown>>): readonly string[] | undefined;
  /** Runs a decision table (`'sea'`) or a row of it (`'sea/1'`), live, and says whether all is as expected. */
  matrix(path: string): boolean;
  /** The scenarios of all packages, or those whose id starts with a prefix. */
  list(prefix?: string): readonly ScenarioInfo[];
  /** Guest memory as a hex dump; what is not there reads as ones. */
  mem(gpa: bigint | number, length?: number): Dump;
  /** Disassembles guest memory from a gva on; by default from the pc. */
  dis(gva?: bigint | number, count?: number): Listing;
  /** Walks the guest's page tables for a gva, without changing anything. */
  walk(gva: bigint | number, access?: 'read' | 'write' | 'exec'): Walk;
  /** The registers of vCPU 0: the general ones, a group (`'system'`), one name, or a pattern (`'*_el1'`). */
  regs(which?: string): Registers;
  /**
   * The last events of the current machine's trace, oldest first. Exits are traced for the first ten thousand of a session;
   * `vm.traced = true` switches it on again.
   */
  trace(count?: number): readonly TraceEvent[];
  /** Makes a machine, or a VM (a fork, for example), the one that the other functions work on. */
  use(machine: Machine | Vm): Machine;
  /**
   * Writes the lines of this session to `<name>.ts` as a scenario that expects what happened: the exits and the final
   * state. `npm start --silent -- run ./<name>.ts` runs it. Returns the path; an existing file needs `{ force: true }`.
   */
  save(name: string, options?: { readonly force?: boolean }): string;
  /** Says what a scenario file is and what it must come to; `save` writes it. */
  scenario(head: ScenarioHead): void;
  /** Documentation of anything: a function, an object, or a name (register, knob, exit, capability, operation, command). */
  help(about?: unknown): Help;
  /** What the plugins of the current machine offer, by name: `api.sea.knobs`, `api.arm64.model`. */
  readonly api: Readonly<Record<string, unknown>>;
  /** What the VMM could do about an exit, by plugin: `policy.sea`. */
  policy: Readonly<Record<string, Exports>>;
}

/** What a package is called in a session: `sea` of `@faultyard/plugin-sea`, `acme` of `acme-plugin`. */
function shortName(specifier: string): string {
  const last = specifier.replace(/^.*\//, '');
  return last.replace(/^(.*-)?plugin-/, '').replace(/-plugin$/, '');
}

/** Whether a value can be what `snap` returned; scripts have no types when they run. */
function isSnapshot(value: unknown): value is Snapshot {
  return typeof value === 'object' && value !== null && (value as Partial<Snapshot>).cells instanceof Map;
}

/** The machine that the functions work on, and how it was made. */
interface Current {
  readonly machine: Machine;
  readonly arch: Architecture;
}

/** Makes the globals. Those that follow the current machine are getters. */
export function createGlobals(context: LabContext): SessionGlobals & Readonly<Record<string, unknown>> {
  const { journal, interrupts, scenarios } = context;
  const architectures = context.packages.flatMap((p) => p.architectures ?? []);
  const made = new WeakMap<Vm, Current>();
  let current: Current | undefined;

  const here = (): Current => {
    if (current) return current;
    const example = `const { vm, cpu, asm } = lab.${architectures[0]?.name ?? 'arm64'}()`;
    throw new UserError(`there is no machine yet\nmake one: ${example}`);
  };
  const becomes = (next: Current): Machine => {
    current = next;
    return next.machine;
  };
  /** Takes a VM, and later its forks, into the session. */
  const adopt = (vm: Vm, arch: Architecture): Current => {
    present(vm, arch, (fork) => void adopt(fork, arch));
    vm.signals.interrupted = () => interrupts.requested();
    journal.follow(vm);
    const next = { machine: machineOf(vm, arch), arch };
    made.set(vm, next);
    return next;
  };
  const make =
    (arch: Architecture) =>
    (options: MachineOptions = {}): Machine =>
      becomes(adopt(createMachineVm(arch, options, context.set), arch));
  const lastVcpu = (): Vcpu => {
    const { vm, cpu } = here().machine;
    return vm.vcpus.findLast((v) => v.exit !== undefined) ?? cpu;
  };
  const decoders = (): Readonly<Record<string, FieldDecoder>> => here().arch.decoders;

  const globals: SessionGlobals = {
    // nothing but the architectures: completion lists them alone
    lab: Object.assign(
      Object.create(null) as Record<string, (options?: MachineOptions) => Machine>,
      Object.fromEntries(architectures.map((arch) => [arch.name, make(arch)])),
    ),
    get vm() {
      return current?.machine.vm;
    },
    get cpu() {
      return current?.machine.cpu;
    },
    get asm() {
      return here().machine.asm;
    },
    load(gpa, code, { pc = true } = {}) {
      const { vm, cpu } = here().machine;
      const bytes = bytesAt(code, BigInt(gpa));
      vm.write(gpa, bytes);
      if (pc) cpu.pc = BigInt(gpa);
      return new Dump(BigInt(gpa), bytes);
    },
    run: ((what?: number | string, options?: RunOptions) => {
      if (typeof what === 'string') {
        const result = scenarios.run(what, { ...options, set: { ...context.set, ...options?.set } });
        return printsAs(result, () => resultText(result, context.io.colors));
      }
      const { vm } = here().machine;
      const exit = vm.run(what);
      // the guest stands at an instruction boundary, and the line ends here
      if (interrupts.requested()) throw new Interrupted();
      return printableExit(exit, vm.vcpus[exit.vcpu], decoders());
    }) as SessionGlobals['run'],
    snap() {
      const { vm } = here().machine;
      return printableSnapshot(vm.snapshot(), vm);
    },
    restore(snapshot) {
      const { vm } = here().machine;
      if (!isSnapshot(snapshot))
        throw new UserError(
          `restore takes what snap() returned, not ${String(snapshot)}\nconst s = snap(); …; restore(s)`,
        );
      vm.restore(snapshot);
    },
    poison: (gpa) => here().machine.vm.poison(gpa),
    heal: (gpa) => here().machine.vm.heal(gpa),
    inject(event, options = {}) {
      const { events, name } = here().arch;
      const known = Object.keys(events);
      if (event === undefined) return known;
      const doIt = events[event];
      if (!doIt) throw UserError.unknown('event', event, known, `events of ${name}: ${known.join(' ')}`);
      doIt(lastVcpu(), options);
      return undefined;
    },
    matrix: (path) => runMatrix(context.io, scenarios.matrix(path), interrupts),
    list(prefix = '') {
      const chosen = scenarios.all.filter((s) => s.id.startsWith(prefix));
      return printsAs(chosen, () => scenarioTable(chosen, context.io));
    },
    mem: (gpa, length = 64) => new Dump(BigInt(gpa), here().machine.vm.read(gpa, length)),
    dis(gva, count = 8) {
      const { machine, arch } = here();
      const { cpu } = machine;
      const from = gva === undefined ? cpu.pc : BigInt(gva);
      return new Listing(cpu.arch.disassemble(from, count), arch.encoding, cpu.pc);
    },
    walk: (gva, access = 'read') =>
      printableWalk(BigInt(gva), here().machine.cpu.arch.walk(BigInt(gva), access)),
    regs: (which) => new Registers(here().machine.cpu, which, decoders()),
    trace: (count = 20) => printableEvents(here().machine.vm.trace.events().slice(-count)),
    use(machine) {
      const known = made.get('vm' in machine ? machine.vm : machine);
      if (!known) throw new UserError('use takes a machine that lab made, its VM, or a fork of it');
      return becomes(known);
    },
    save: (name, options) => saveSession(journal, name, { ...options, plugins: context.plugins }),
    scenario(head) {
      journal.head = head;
    },
    help: (...about) =>
      context.desk.help(about.length === 0 ? undefined : { about: about[0], vm: current?.machine.vm }),
    get api() {
      const vm = current?.machine.vm;
      return Object.fromEntries((vm?.plugins ?? []).map((p) => [p.def.name, vm?.api(p.def.name)]));
    },
    policy: Object.fromEntries(
      context.packages.flatMap((p) => (p.vmm ? [[shortName(p.specifier), p.vmm]] : [])),
    ),
  };
  const brought = context.packages.flatMap((p) =>
    Object.entries(p.main).filter(([name]) => name !== 'default' && (p.globals?.includes(name) ?? true)),
  );
  return Object.defineProperties(
    Object.fromEntries(brought),
    Object.getOwnPropertyDescriptors(globals),
  ) as ReturnType<typeof createGlobals>;
}

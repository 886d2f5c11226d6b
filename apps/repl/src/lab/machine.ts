/**
 * A machine of a session: a VM whose vCPUs have their registers as members (`cpu.x0`), and which print themselves.
 *
 * The members are added between the instance and its class, so that a vCPU stays the object that the kernel made; what is
 * neither a register nor a member of the class cannot be set by mistake.
 */
import { type AnyPlugin, createVm, type Vcpu, type Vm, type VmOptions } from '@faultyard/core';
import type { Architecture, Code } from '../architectures/architecture.ts';
import { UserError } from '../errors.ts';
import { presentParts } from '../show/kernel.ts';
import { Listing } from '../show/memory.ts';
import { Registers } from '../show/registers.ts';
import { hex, PRINT, type PrintOptions, printsAs } from '../show/text.ts';

/** A vCPU with its registers as members. */
export type Cpu = Vcpu & { [register: string]: bigint };

/** The tagged template that assembles for one architecture: `` asm`ldr x1, [x2]; wfi` ``. */
export type Assemble = (text: TemplateStringsArray, ...values: readonly (bigint | number | string)[]) => Code;

/** What `lab.<architecture>()` returns. */
export interface Machine {
  readonly vm: Vm;
  /** vCPU 0. */
  readonly cpu: Cpu;
  readonly asm: Assemble;
}

/** Options of `lab.<architecture>()`: those of a VM, and the architecture's own (`model`). */
export interface MachineOptions extends Partial<Omit<VmOptions<readonly AnyPlugin[]>, 'arch'>> {
  readonly [ofTheArchitecture: string]: unknown;
}

const VM_OPTIONS: ReadonlySet<string> = new Set([
  'plugins',
  'vcpus',
  'memslots',
  'set',
  'seed',
  'schedule',
  'host',
  'nsPerInstruction',
] satisfies (keyof VmOptions<readonly AnyPlugin[]>)[]);

/** Memory of a machine that is not told otherwise: 64 MiB at 1 GiB. */
const DEFAULT_MEMORY = { gpa: 0x4000_0000n, size: 64n << 20n };

/**
 * Makes the VM of a machine. `set` are knob values that the command line adds.
 * @throws UserError for an option that neither a VM nor the architecture has.
 */
export function createMachineVm(arch: Architecture, options: MachineOptions, set: VmOptions<[]>['set']): Vm {
  const entries = Object.entries(options);
  const stray = Object.keys(options).find((name) => !VM_OPTIONS.has(name) && !arch.options.includes(name));
  if (stray !== undefined) {
    const known = [...VM_OPTIONS, ...arch.options];
    throw UserError.unknown('option', stray, known, `options of lab.${arch.name}: ${known.join(' ')}`);
  }
  const own = Object.fromEntries(entries.filter(([name]) => !VM_OPTIONS.has(name)));
  const forVm = Object.fromEntries(entries.filter(([name]) => VM_OPTIONS.has(name)));
  const vm = createVm({
    memslots: [arch.memory ?? DEFAULT_MEMORY],
    ...(forVm as Partial<VmOptions<readonly AnyPlugin[]>>),
    set: { ...options.set, ...set },
    arch: arch.plugin(own),
  }) as unknown as Vm;
  arch.prepare?.(vm, own);
  return vm;
}

/** The machine around a VM of an architecture. */
export function machineOf(vm: Vm, arch: Architecture): Machine {
  const machine: Machine = {
    vm,
    cpu: vm.vcpus[0] as Cpu,
    asm(strings, ...values) {
      const text = String.raw(strings, ...values.map(operandText));
      return printsAs(
        arch.assemble(text, vm),
        ({ stylize }) => `${stylize('asm', 'special')} { ${text.trim()} }`,
      );
    },
  };
  return printsAs(machine, (options) => printVm.call(vm, 0, options));
}

/** A value in an `asm` template: numbers in hexadecimal, as every assembler reads them. */
function operandText(value: bigint | number | string): string {
  return typeof value === 'string' ? value : value < 0 ? `-${hex(-value)}` : hex(value);
}

/** Gives a VM and its vCPUs the members and the looks they have in a session; `forked` is told of its forks. */
export function present(vm: Vm, arch: Architecture, forked: (fork: Vm) => void): void {
  const type = Object.getPrototypeOf(vm) as Vm;
  const fork = (): Vm => {
    const copy = type.fork.call(vm) as Vm;
    forked(copy);
    return copy;
  };
  Object.setPrototypeOf(
    vm,
    Object.create(type, { [PRINT]: { value: printVm }, fork: { value: fork } }) as object,
  );
  presentParts(vm);
  for (const vcpu of vm.vcpus) {
    Object.setPrototypeOf(
      vcpu,
      Object.create(Object.getPrototypeOf(vcpu) as object, {
        ...Object.fromEntries(
          [...vcpu.arch.registers.map((r) => r.name), ...(arch.aliases ?? [])]
            .filter((name) => !(name in vcpu))
            .map((name) => [name, member(name)]),
        ),
        [PRINT]: {
          value: (depth: number, options: PrintOptions) => printVcpu(vcpu, arch, depth, options),
        },
      }) as object,
    );
    Object.preventExtensions(vcpu);
  }
}

function member(register: string): PropertyDescriptor {
  return {
    get(this: Vcpu): bigint {
      return this.get(register);
    },
    set(this: Vcpu, value: bigint | number) {
      if (typeof value !== 'bigint' && !Number.isSafeInteger(value))
        throw new UserError(
          `${register} takes a whole number, not ${JSON.stringify(value)}\ne.g. 0x4000_0000n`,
        );
      this.set(register, value);
    },
    enumerable: true,
  };
}

function printVm(this: Vm, _depth: number, options: PrintOptions): string {
  const lines = [
    `${options.stylize('Vm', 'special')} ${this.arch.name}, plugins ${this.plugins.map((p) => p.def.name).join(' ')}`,
  ];
  for (const slot of this.memslots.list()) {
    const end = slot.gpa + slot.size;
    lines.push(
      `  memslot ${slot.slot}  ${hex(slot.gpa, 8)}..${hex(end, 8)}  ${Number(slot.size) / 2 ** 20} MiB`,
    );
  }
  for (const v of this.vcpus)
    lines.push(
      `  vcpu ${v.id}  pc=${hex(v.pc)}  ${v.retired} instructions${v.exit ? `, left with ${v.exit.kind}` : ''}`,
    );
  const changed = [...this.knobDefs].filter(([id, def]) => this.knobs[id] !== def.default);
  if (changed.length > 0) lines.push(`  set ${changed.map(([id]) => `${id}=${this.knobs[id]}`).join(' ')}`);
  lines.push(`  time ${this.clock.now} ns, state ${this.stateHash()}`);
  return lines.join('\n');
}

function printVcpu(vcpu: Vcpu, arch: Architecture, depth: number, options: PrintOptions): string {
  const print = (value: Registers | Listing): string =>
    (value[PRINT as never] as (d: number, o: PrintOptions) => string).call(value, depth, options);
  return [
    `${options.stylize(`Vcpu ${vcpu.id}`, 'special')}`,
    print(new Registers(vcpu)),
    print(new Listing(vcpu.arch.disassemble(vcpu.pc, 1), arch.encoding, vcpu.pc)),
  ].join('\n');
}

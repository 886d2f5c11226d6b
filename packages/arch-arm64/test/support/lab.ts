/** A small VM for tests: RAM, code at its start, and a vector table that stops at every exception. */
import { type AnyPlugin, createVm, type KnobValue, type Vcpu, type Vm } from '@faultyard/core';
import {
  type Arm64PluginOptions,
  type Arm64Vcpu,
  type AssemblyText,
  arm64,
  assemble,
} from '../../src/index.ts';

/** Base of RAM and of the code. */
export const RAM = 0x4000_0000n;
/** Vectors: each slot does WFI at once, so that a run stops in the slot that was entered. */
const VECTORS = 0x4001_0000n;
/** A hole. */
export const HOLE = 0x0900_0000n;

/** A VM and its first vCPU. */
export interface Lab {
  readonly vm: Vm;
  readonly cpu: Vcpu;
  readonly arch: Arm64Vcpu;
  /** Runs to the next exit. */
  run(): ReturnType<Vcpu['run']>;
  /** Vector offset the vCPU sits in, or `undefined`. */
  readonly vector: number | undefined;
}

/** Options of {@link lab}. */
export interface LabOptions extends Arm64PluginOptions {
  readonly vcpus?: number;
  readonly memory?: bigint;
  readonly set?: Readonly<Record<string, KnobValue>>;
  readonly daif?: boolean;
  readonly plugins?: readonly AnyPlugin[];
}

const made: Vm[] = [];
/** Disposes every VM that {@link lab} made. */
export function closeLabs(): void {
  for (const vm of made.splice(0)) vm.dispose();
}

/** Makes the VM; pc at the code, VBAR at {@link VECTORS}, everything unmasked unless `daif`. */
export function lab(code: AssemblyText | string, o: LabOptions = {}): Lab {
  const { vcpus = 1, memory = 4n << 20n, set = {}, daif = false, plugins = [], ...options } = o;
  const memslots = [{ gpa: RAM, size: memory }];
  const vm = createVm({ arch: arm64(options), plugins, vcpus, memslots, set }) as unknown as Vm;
  made.push(vm);
  const cpu = vm.vcpus[0] as Vcpu;
  vm.memory.write(RAM, assemble(typeof code === 'string' ? code : code.text, { origin: RAM }).bytes);
  const wfi = assemble('wfi\nb .-4').bytes;
  for (let n = 0n; n < 16n; n++) vm.memory.write(VECTORS + n * 128n, wfi);
  cpu.set('vbar_el1', VECTORS);
  cpu.pc = RAM;
  if (!daif) cpu.set('pstate', 5n);
  return {
    vm,
    cpu,
    arch: cpu.arch as Arm64Vcpu,
    run: () => cpu.run(100_000),
    get vector() {
      const at = cpu.pc - VECTORS;
      return at >= 0n && at < 0x800n ? Number(at) & 0x780 : undefined;
    },
  };
}

/** The architecture plugin: `arm64({ model, … })`. */
import {
  type CapDef,
  type Contribution,
  definePlugin,
  FaultyardError,
  type HostMemory,
  type Plugin,
  type Point,
  type Vm,
} from '@faultyard/core';
import { checkHandler, createEngine, type Engine, type Handler } from '@faultyard/engine';
import { ARM64_OPS } from './events/events.ts';
import { PluginGuards } from './guard-bits.ts';
import type { Feature, Form } from './isa/form.ts';
import { type A64Isa, a64 } from './isa/isa.ts';
import { syntaxOf } from './isa/syntax.ts';
import { withNames } from './isa/sysreg-names.ts';
import { blaming, type Table } from './isa/table.ts';
import { Stage2Tables } from './memory/stage2-tables.ts';
import { type Arm64Options, instructionFeatures, type Model, resolveModel } from './model.ts';
import { guards as guardPoint, instructions, type KvmRules, kvmRules, systemRegisters } from './points.ts';
import { sysregKey } from './sysregs/def.ts';
import { SystemRegisters } from './sysregs/system-registers.ts';
import { Arm64Vcpu } from './vcpu.ts';

/** Options of {@link arm64}. */
export interface Arm64PluginOptions extends Arm64Options {
  /** Whether vCPUs come initialised (KVM_ARM_VCPU_INIT done). Default true. */
  readonly init?: boolean;
  /** Whether vCPUs other than the first start running; default `off`, as VMMs do it (PSCI CPU_ON starts them). */
  readonly secondaries?: 'on' | 'off';
}

/** What `vm.api(arm64)` gives. */
export interface Arm64Api {
  /** The resolved model (with the VM's RAS as fault plugins set it). */
  readonly model: Model;
  /**
   * Instructions and system registers of this VM, those of plugins included: `assemble(text, { table })`,
   * `disassemble(table, word)`.
   */
  readonly table: Table;
  /**
   * Damages a stage 2 table page of the host: every stage 2 walk for the guest page at `gpa` ends in an external
   * abort. Hardware may say that it was walking for a stage 1 walk (`s1ptw`), or report the descriptor's own address.
   */
  poisonStage2Table(gpa: bigint, report: { readonly level: number; readonly s1ptw: boolean }): void;
  /** Undoes {@link poisonStage2Table}. */
  healStage2Table(gpa: bigint): void;
}

/** Capabilities of KVM/arm64 that the architecture itself brings. */
const CAPS: readonly CapDef[] = [
  {
    name: 'vcpu-events',
    kvm: 'KVM_CAP_VCPU_EVENTS',
    number: 41,
    meaning: 'KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS exist',
  },
  {
    name: 'arm-inject-serror-esr',
    kvm: 'KVM_CAP_ARM_INJECT_SERROR_ESR',
    number: 158,
    meaning: 'an injected SError may carry a syndrome (host with FEAT_RAS)',
  },
  {
    name: 'arm-nisv-to-user',
    kvm: 'KVM_CAP_ARM_NISV_TO_USER',
    number: 177,
    enable: 'vm',
    meaning: 'data aborts outside memory without a syndrome leave as KVM_EXIT_ARM_NISV; off: -1/ENOSYS',
  },
  {
    name: 'arm-inject-ext-dabt',
    kvm: 'KVM_CAP_ARM_INJECT_EXT_DABT',
    number: 178,
    meaning: 'kvm_vcpu_events.ext_dabt_pending exists',
  },
];

/** Instruction sets by their features and added rows, so that one list of handlers is compiled once. */
const isas = new Map<string, { readonly extra: readonly Form[]; readonly isa: A64Isa }[]>();

function isaOf(
  features: ReadonlySet<Feature>,
  added: readonly Contribution<void, readonly Form[]>[],
): A64Isa {
  const owners = new Map(added.flatMap(({ plugin, fn }) => fn().map((form) => [form, plugin] as const)));
  const extra = [...owners.keys()];
  const key = [...features].sort().join(' ');
  const known = isas.get(key) ?? [];
  isas.set(key, known);
  const hit = known.find((k) => k.extra.length === extra.length && k.extra.every((f, i) => f === extra[i]));
  if (hit) return hit.isa;
  const isa = a64({ features: [...features], forms: extra, owner: (form) => owners.get(form) ?? 'arm64' });
  // mistakes in added rows show now, not when somebody assembles or runs them
  for (const row of isa.table.rows) {
    const plugin = owners.get(row.form);
    if (plugin === undefined) continue;
    blaming(plugin, row.form, () => {
      syntaxOf(row);
      for (const { index } of row.variants) checkHandler(isa, isa.handlers[index] as Handler);
    });
  }
  known.push({ extra, isa });
  return isa;
}

/** Engines by host memory and instruction set: VMs of one host share predecoded code. */
const engines: WeakMap<HostMemory, Map<A64Isa, Engine>> = new WeakMap();

function engineOf(host: HostMemory, isa: A64Isa): Engine {
  let of = engines.get(host);
  if (!of) {
    of = new Map();
    engines.set(host, of);
  }
  let e = of.get(isa);
  if (!e) {
    e = createEngine(host, isa);
    const made = e;
    host.onCodeLost((pfn) => made.invalidateFrame(pfn * 4096));
    of.set(isa, made);
  }
  return e;
}

/** What all vCPUs of a VM share. */
interface Shared {
  readonly model: Model;
  readonly sysregs: SystemRegisters;
  readonly isa: A64Isa;
  readonly table: Table;
  readonly guards: PluginGuards;
  readonly engine: Engine;
  readonly rules: KvmRules;
  readonly tables: Stage2Tables;
}
const shared: WeakMap<Vm, Shared> = new WeakMap();

function share(vm: Vm, base: Model): Shared {
  let s = shared.get(vm);
  if (!s) {
    const rules = vm.ask(kvmRules as Point<void, KvmRules>)(undefined);
    const ras = rules.vmRas ?? base.ras;
    const model: Model = { ...base, ras, rasRegisters: ras > 0 ? 'RAZ' : rules.rasRegisters };
    const isa = isaOf(instructionFeatures(model), vm.contributions(instructions));
    const guards = new PluginGuards(vm.contributions(guardPoint));
    const added = vm
      .contributions(systemRegisters)
      .flatMap(({ plugin, fn }) => fn().map((def) => ({ plugin, def })));
    for (const { plugin, def } of added)
      if (def.guard !== undefined && !guards.ownedBy(def.guard, plugin)) {
        const why = `its system register ${def.name} asks guard bit ${def.guard}, which it did not claim`;
        throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why });
      }
    const sysregs = new SystemRegisters(model, added);
    const names = added.filter(({ def }) => sysregs.named(def.name)?.def === def);
    const registers = withNames(new Map(names.map(({ def }) => [sysregKey(def.enc), def.name])));
    s = {
      model,
      isa,
      table: names.length ? { ...isa.table, registers } : isa.table,
      guards,
      sysregs,
      engine: engineOf(vm.host, isa),
      rules,
      tables: new Stage2Tables(),
    };
    shared.set(vm, s);
  }
  return s;
}

/**
 * AArch64: EL0 and EL1 of Armv8.0 with the options given, under KVM's rules.
 * @example
 * ```ts
 * import { arm64 } from '@faultyard/arch-arm64';
 * import { createVm } from '@faultyard/core';
 *
 * const memslots = [{ gpa: 0x4000_0000n, size: 1n << 20n }];
 * const vm = createVm({ arch: arm64({ model: 'generic-v8.0+ras' }), memslots });
 * vm.vcpus[0]?.get('currentel'); //=> 4n
 * ```
 */
export function arm64(options: Arm64PluginOptions = {}): Plugin<never, Arm64Api> {
  const base = resolveModel(options);
  return definePlugin<never, Arm64Api>({
    name: 'arm64',
    core: '^1.0.0',
    summary: 'AArch64 vCPUs: EL0 and EL1, stage 1, exceptions, timers, PSCI',
    caps: CAPS,
    ops: ARM64_OPS,
    arch: {
      name: 'arm64',
      memslots: {
        ids: 32767,
        addressSpaces: 1,
        gpaLimit: 2 ** base.ipaBits,
        beyondLimit: 'EFAULT',
        refusesDirtyPfnmap: true,
        userfault: true,
      },
      stage2: { invalidSlot: 'noslot', vmaFirst: true, execDevice: 'refuse' },
      taskSize: 2 ** 48,
      createVcpu: (vm, core) => {
        const s = share(vm, base);
        return new Arm64Vcpu({
          vm,
          core,
          model: s.model,
          rules: s.rules,
          tables: s.tables,
          sysregs: s.sysregs,
          isa: s.isa,
          table: s.table,
          guards: s.guards,
          cpu: (port) => s.engine.createCpu(port),
          init: options.init ?? true,
          secondaries: options.secondaries ?? 'off',
        });
      },
    },
    setup: (ctx) => {
      const tables = (): Stage2Tables => share(ctx.vm, base).tables;
      ctx.cell({
        name: 'arm64.stage2-tables',
        version: 1,
        side: 'guest',
        read: () => tables().save(),
        write: (v) => tables().restore(v),
      });
      const flush = (): void => {
        for (const v of ctx.vm.vcpus) v.arch.flush();
      };
      return {
        get model(): Model {
          return share(ctx.vm, base).model;
        },
        get table(): Table {
          return share(ctx.vm, base).table;
        },
        poisonStage2Table(gpa, report): void {
          tables().add(Math.floor(Number(gpa) / 4096), report.level, report.s1ptw);
          flush();
        },
        healStage2Table(gpa): void {
          tables().remove(Math.floor(Number(gpa) / 4096));
          flush();
        },
      };
    },
  });
}

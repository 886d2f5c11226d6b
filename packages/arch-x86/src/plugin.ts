/** The architecture plugin: `x86({ model, … })`. */
import {
  type Contribution,
  definePlugin,
  FaultyardError,
  type HostMemory,
  type Plugin,
  type Vm,
} from '@faultyard/core';
import { checkHandler, createEngine, type Engine } from '@faultyard/engine';
import { Code, type Instruction } from 'iced-x86';
import { X86_CAPS } from './caps.ts';
import { type CpuidTable, cpuidTable, ownCpuid } from './cpuid/cpuid.ts';
import { EVENT_EXITS } from './events/exits.ts';
import { PluginGuards } from './guard-bits.ts';
import { createIrqChip, irqChip, restoreIrqChip, type X86IrqChip } from './irqchip/irq-chip.ts';
import { type X86Isa, x86Isa } from './isa/isa.ts';
import type { Row } from './isa/row.ts';
import { Slow } from './isa/slow.ts';
import { smmStage2 } from './memory/smm-space.ts';
import { walk } from './memory/walks.ts';
import { type Model, resolveModel, type X86Options } from './model.ts';
import { MSR_EXITS } from './msr/exits.ts';
import { MsrFilter } from './msr/filter.ts';
import { type MsrTable, msrTable } from './msr/msrs.ts';
import { ownMsrs } from './msr/table.ts';
import type { NextStep } from './next.ts';
import { X86_OPS } from './ops/ops.ts';
import { cpuid, guards as guardPoint, type InstructionDef, instructions, msr } from './points.ts';
import { resetVcpu } from './reset.ts';
import { SYSTEM_EXITS } from './system/exits.ts';
import { reset } from './system/points.ts';
import { tsc } from './tsc.ts';
import { X86Vcpu } from './vcpu.ts';

/** Options of {@link x86}. */
export interface X86PluginOptions extends X86Options {}

/** Exits that the architecture brings. */
export type X86Exit = 'x86-rdmsr' | 'x86-wrmsr' | 'irq-window-open' | 'debug' | 'set-tpr';

/** What `vm.api(x86)` gives. */
export interface X86Api {
  /** The resolved model. */
  readonly model: Model;
  /** The MSR filter (KVM_X86_SET_MSR_FILTER). */
  readonly msrFilter: MsrFilter;
}

/** What plugins' instructions do, by number. */
type Operation = (v: X86Vcpu, i: Instruction) => NextStep;

/** An instruction set with the operations of plugins. */
interface Instructions {
  readonly isa: X86Isa;
  readonly operations: readonly Operation[];
}

/** Instruction sets by model and added rows, so that one list of handlers is compiled once. */
const isas = new Map<string, { readonly added: readonly InstructionDef[]; readonly made: Instructions }[]>();

function instructionsOf(
  model: Model,
  contributions: readonly Contribution<void, readonly InstructionDef[]>[],
): Instructions {
  const owners = new Map<InstructionDef, string>();
  for (const { plugin, fn } of contributions) for (const d of fn()) owners.set(d, plugin);
  const added = [...owners.keys()];
  const key = `${model.vendor} ${[...model.features].sort().join(' ')}`;
  const known = isas.get(key) ?? [];
  isas.set(key, known);
  const hit = known.find((k) => k.added.length === added.length && k.added.every((d, i) => d === added[i]));
  if (hit) return hit.made;
  const operations: Operation[] = [];
  const byRow = new Map<Row, string>();
  for (const d of added) byRow.set(rowOf(d, owners.get(d) as string, operations), owners.get(d) as string);
  const isa = x86Isa({
    features: model.features,
    vendor: model.vendor,
    rows: [...byRow.keys()],
    owner: (row) => byRow.get(row) ?? 'x86',
  });
  // mistakes in added rows show now, not when somebody runs them
  for (const h of isa.handlers)
    for (const [row, plugin] of byRow)
      if (h.name === row.name || h.name.startsWith(`${row.name}.`))
        blaming(plugin, row, () => checkHandler(isa, h));
  const made = { isa, operations };
  known.push({ added, made });
  return made;
}

/** The row of a plugin's instruction; what TypeScript carries out gets the next slow operation. */
function rowOf(d: InstructionDef, plugin: string, operations: Operation[]): Row {
  const { name, codes, encodings = [], feature, sem, run } = d;
  if ((sem === undefined) === (run === undefined)) {
    const why = `its instruction ${name} must have either sem or run`;
    throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why });
  }
  for (const code of codes)
    if (typeof (Code as unknown as Record<string, unknown>)[code] !== 'number') {
      const why = `its instruction ${name}: iced-x86 has no code ${code}`;
      throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why });
    }
  const of = { name, codes, encodings, ...(feature === undefined ? {} : { feature }) };
  if (sem) return { ...of, sem: (o, rep) => sem(o, rep) };
  const op = Slow.Plugin + operations.length;
  operations.push((v, i) => (run as Operation)(v, i));
  return { ...of, bare: true, ends: true, sem: ({ b }) => b.slow(op) };
}

function blaming(plugin: string, row: Row, check: () => void): void {
  try {
    check();
  } catch (e) {
    const why = `its instruction ${row.name}: ${e instanceof Error ? e.message : String(e)}`;
    throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why });
  }
}

/** Engines by host memory and instruction set: VMs of one host share predecoded code. */
const engines: WeakMap<HostMemory, Map<X86Isa, Engine>> = new WeakMap();

function engineOf(host: HostMemory, isa: X86Isa): Engine {
  let of = engines.get(host);
  if (!of) {
    of = new Map();
    engines.set(host, of);
  }
  let e = of.get(isa);
  if (!e) {
    const made = createEngine(host, isa);
    host.onCodeLost((pfn) => made.invalidateFrame(pfn * 4096));
    of.set(isa, made);
    e = made;
  }
  return e;
}

/** What all vCPUs of a VM share. */
interface Shared extends Instructions {
  readonly cpuid: CpuidTable;
  readonly msrs: MsrTable;
  readonly guards: PluginGuards;
  readonly engine: Engine;
}
const shared: WeakMap<Vm, Shared> = new WeakMap();

function share(vm: Vm, model: Model): Shared {
  let s = shared.get(vm);
  if (!s) {
    const made = instructionsOf(model, vm.contributions(instructions));
    s = {
      ...made,
      cpuid: cpuidTable(vm, model),
      msrs: msrTable(vm, model),
      guards: new PluginGuards(vm.contributions(guardPoint)),
      engine: engineOf(vm.host, made.isa),
    };
    shared.set(vm, s);
  }
  return s;
}

/**
 * x86-64: real mode to long mode of an AMD or Intel CPU, under KVM's rules.
 * @example
 * ```ts
 * import { x86 } from '@faultyard/arch-x86';
 * import { createVm } from '@faultyard/core';
 *
 * const vm = createVm({ arch: x86(), memslots: [{ gpa: 0n, size: 1n << 20n }] });
 * vm.vcpus[0]?.get('rip'); //=> 65520n
 * ```
 */
export function x86(options: X86PluginOptions = {}): Plugin<X86Exit, X86Api> {
  const model = resolveModel(options);
  return definePlugin<X86Exit, X86Api>({
    name: 'x86',
    core: '^1.0.0',
    summary: 'x86-64 vCPUs: real mode to long mode, paging, exceptions, CPUID and MSRs',
    exits: { ...MSR_EXITS, ...EVENT_EXITS, ...SYSTEM_EXITS },
    caps: X86_CAPS,
    ops: X86_OPS,
    arch: {
      name: 'x86',
      memslots: {
        ids: 32764,
        addressSpaces: 2,
        gpaLimit: 2 ** model.physicalBits,
        beyondLimit: 'EINVAL',
        refusesDirtyPfnmap: false,
        userfault: true,
      },
      stage2: { invalidSlot: 'retry', vmaFirst: false, execDevice: 'allow' },
      taskSize: 2 ** 47 - 4096,
      runBytes: 0x3000,
      createVcpu: (vm, core) => {
        const s = share(vm, model);
        const v = new X86Vcpu({
          vm,
          core,
          model,
          isa: s.isa,
          cpuid: s.cpuid,
          msrs: s.msrs,
          filter: vm.api<never, X86Api>('x86').msrFilter,
          operations: s.operations,
          guards: s.guards,
          cpu: (port) => s.engine.createCpu(port),
        });
        (vm.irqchip as X86IrqChip | undefined)?.attach(v);
        return v;
      },
    },
    setup: (ctx) => {
      const msrFilter = new MsrFilter();
      const { vm } = ctx;
      if (options.irqchip === 'kernel') createIrqChip(vm).createPit(true);
      ctx.cell({
        name: 'x86.irqchip',
        version: 1,
        side: 'guest',
        read: () => irqChip(vm)?.save() ?? null,
        write: (v) => restoreIrqChip(vm, v),
      });
      ctx.contribute(cpuid, ({ model: m }) => ownCpuid(m));
      ctx.contribute(msr, ({ model: m }) => ownMsrs(m));
      ctx.contribute(reset, ({ vcpu, kind }) => resetVcpu(vcpu as X86Vcpu, kind === 'init'));
      ctx.contribute(tsc, (q) => q.vcpu.tsc.addOffset(q));
      ctx.contribute(walk, ({ vcpu }) => (vcpu.events.smi.smm ? { stage2: smmStage2(vcpu.vm) } : undefined));
      ctx.cell({
        name: 'x86.msr-filter',
        version: 1,
        side: 'guest',
        read: () => msrFilter.save(),
        write: (v) => msrFilter.restore(v),
      });
      return { model, msrFilter };
    },
  });
}

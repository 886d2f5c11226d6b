/** A VM: plugins resolved once, memory, vCPUs, capabilities, operations, and the run loop. */
import type { ArchDef } from './arch.ts';
import { KernelBus } from './bus.ts';
import { Capabilities } from './cap.ts';
import type { Cell } from './cell.ts';
import { checkInterface, exitsOf, knobsOf } from './clash.ts';
import { Clock } from './clock.ts';
import { FaultyardError } from './errors.ts';
import type { Exit, ExitCodec, ExitKind } from './exit.ts';
import { GuestMemory } from './guest-memory.ts';
import { AddressSpace } from './host/address-space.ts';
import { HostMemory } from './host/memory.ts';
import type { IrqChip } from './irq-chip.ts';
import { type KnobDef, type Knobs, type KnobValue, resolveKnobs } from './knob.ts';
import { type MemoryRegion, Memslots } from './memslot.ts';
import { type IoctlResult, type OpDef, type OpMap, type OpName, Ops } from './op.ts';
import { type AnyPlugin, type InstalledExits, type Plugin, resolvePlugins, type SetupCtx } from './plugin.ts';
import type { Contribution, Point } from './point.ts';
import { type Schedule, Scheduler } from './scheduler.ts';
import { SignalQueue } from './signal.ts';
import { hashState, restoreSnapshot, type Snapshot, takeSnapshot } from './snapshot.ts';
import { Stage2 } from './stage2.ts';
import { drive } from './task.ts';
import { Trace } from './trace.ts';
import { DEFAULT_BUDGET, Vcpu } from './vcpu.ts';

let shared: HostMemory | undefined;
/** The process's host memory: one for all VMs that bring none of their own, so that forks can share frames. */
function sharedHost(): HostMemory {
  shared ??= new HostMemory();
  return shared;
}

/** A memslot to start with; without `hva` the VM maps anonymous memory for it. */
export interface InitialMemslot {
  readonly gpa: bigint;
  /** Bytes, a multiple of the page size. */
  readonly size: bigint;
  readonly slot?: number;
  readonly flags?: number;
  readonly hva?: bigint;
}

/** What a VM is made of. */
export interface VmOptions<P extends readonly AnyPlugin[]> {
  /** The architecture plugin. */
  readonly arch: AnyPlugin;
  readonly plugins?: P;
  /** Number of vCPUs. Default 1. */
  readonly vcpus?: number;
  readonly memslots?: readonly InitialMemslot[];
  /** Knob values; ids in full, or bare where unique. */
  readonly set?: Readonly<Record<string, KnobValue | undefined>>;
  /** Seed of everything pseudo-random in this VM. Default 1. */
  readonly seed?: number;
  readonly schedule?: Schedule;
  /** Host memory to live in (shared by VMs of one process). Default: the process's own. */
  readonly host?: HostMemory;
  /** Virtual nanoseconds per instruction. Default 1. */
  readonly nsPerInstruction?: number;
}

/** What a handler says after an exit; see {@link Vm.drive}. */
export type Verdict =
  | { readonly verdict: 'run' }
  | { readonly verdict: 'stop'; readonly why: string }
  | { readonly verdict: 'answer'; readonly value: bigint | number | readonly (bigint | number)[] };

/** Go on. */
export const resume: Verdict = { verdict: 'run' };
/** Stop driving, for this reason. */
export function stop(why: string): Verdict {
  return { verdict: 'stop', why };
}
/** Answer the pending load with `value` (of a string port access: its values in order) and go on. */
export function answer(value: bigint | number | readonly (bigint | number)[]): Verdict {
  return { verdict: 'answer', value };
}

/** How a drive ended. */
export interface Driven<E extends ExitKind> {
  readonly why: string;
  readonly exit: Exit<E>;
  /** Exits seen, the last one included. */
  readonly exits: number;
}

/** A virtual machine. `E`: the exits that its plugins can produce. */
export class Vm<E extends ExitKind = ExitKind> {
  readonly arch: ArchDef;
  readonly plugins: readonly AnyPlugin[];
  readonly knobs: Knobs;
  readonly knobDefs: ReadonlyMap<string, KnobDef>;
  readonly seed: number;
  readonly host: HostMemory;
  /** The VMM process's address space as KVM sees it. */
  readonly mm: AddressSpace;
  readonly memslots: Memslots;
  readonly stage2: Stage2;
  /** Guest memory as the VMM reaches it. */
  readonly memory: GuestMemory;
  readonly bus: KernelBus = new KernelBus();
  /** In-kernel devices by I/O port (x86): first refusal on every port access. */
  readonly ports: KernelBus = new KernelBus();
  /** Interrupt controllers in the kernel, where the architecture made some. */
  irqchip: IrqChip | undefined = undefined;
  readonly clock: Clock;
  readonly trace: Trace = new Trace();
  readonly signals: SignalQueue = new SignalQueue();
  readonly scheduler: Scheduler;
  readonly caps: Capabilities;
  readonly ops: Ops;
  readonly vcpus: readonly Vcpu<E>[];
  /** How many {@link vcpus} there will be; known before the first is made. */
  readonly vcpuCount: number;
  readonly exitCodecs: ReadonlyMap<string, ExitCodec>;
  /** Set while a VMM task stands between two of its steps; snapshots refuse then. */
  busy: { readonly task: string; readonly point: string } | undefined;
  /** KVM_BUG_ON happened: every later operation fails with EIO. */
  bugged = false;
  /** Whether exits are traced; off by default because hot loops pay for it. */
  traced = false;
  readonly #options: VmOptions<readonly AnyPlugin[]>;
  readonly #contributions = new Map<string, Contribution<never, unknown>[]>();
  readonly #combined = new Map<string, (i: never) => unknown>();
  readonly #apis = new Map<string, unknown>();
  readonly #cells = new Map<string, Cell>();
  /** Plugins that brought the cells; `the VMM` for the others. */
  readonly #cellOwners = new Map<string, string>();
  #settled = false;

  /** Use {@link createVm}. */
  constructor(o: VmOptions<readonly AnyPlugin[]>) {
    this.#options = o;
    this.plugins = resolvePlugins([o.arch, ...(o.plugins ?? [])]);
    const arch = o.arch.def.arch;
    if (!arch)
      throw new FaultyardError('FY_PLUGIN_INVALID', {
        plugin: o.arch.def.name,
        why: 'it is not an architecture',
      });
    this.arch = arch;
    this.knobDefs = knobsOf(this.plugins);
    this.knobs = resolveKnobs(this.knobDefs, o.set ?? {});
    this.exitCodecs = exitsOf(this.plugins, this.knobs);
    checkInterface(this.plugins, this.knobs);
    this.seed = o.seed ?? 1;
    this.clock = new Clock(o.nsPerInstruction);
    this.host = o.host ?? sharedHost();
    this.mm = new AddressSpace(this.host, { taskSize: arch.taskSize });
    this.memslots = new Memslots(this.mm, arch.memslots);
    this.stage2 = new Stage2(this.mm, this.memslots, arch.stage2);
    this.memory = new GuestMemory(this.mm, this.memslots, (gpa, size) =>
      this.trace.emit({ name: 'unmapped_read', time: this.clock.now, vcpu: -1, gpa: BigInt(gpa), size }),
    );
    this.caps = new Capabilities(this.plugins, this.knobs);
    this.ops = new Ops(this.plugins);
    this.scheduler = new Scheduler(this as Vm);
    const onVcpu: ((v: Vcpu) => void)[] = [];
    for (const { def } of this.plugins) this.#apis.set(def.name, def.setup(this.#setup(def.name, onVcpu)));
    const vcpus: Vcpu<E>[] = [];
    this.vcpus = vcpus;
    const n = o.vcpus ?? 1;
    if (!(Number.isInteger(n) && n >= 1 && n <= 512))
      throw new FaultyardError('FY_ARGUMENT', {
        what: 'vcpus',
        value: n,
        why: 'is not 1..512',
        fix: 'give a number of vCPUs',
      });
    this.vcpuCount = n;
    for (let id = 0; id < n; id++) {
      const v = new Vcpu<E>(this, id, (self) => arch.createVcpu(this as Vm, self as Vcpu));
      vcpus.push(v);
      for (const c of v.arch.cells) this.#addCell(c, o.arch.def.name);
      for (const f of onVcpu) f(v as Vcpu);
    }
    this.#settled = true;
    this.stage2.onZap((gfn, count, pfn) => {
      for (const v of vcpus) v.arch.zapped(gfn, count, pfn);
    });
    this.memslots.onPublish(() => {
      for (const v of vcpus) v.arch.flush();
    });
    if (o.schedule) this.scheduler.schedule = o.schedule;
    for (const s of o.memslots ?? []) this.addMemory(s);
  }

  #setup(plugin: string, onVcpu: ((v: Vcpu) => void)[]): SetupCtx {
    const early = (what: string): void => {
      const why = `it called ${what} when the VM was made already; nothing can be added later`;
      if (this.#settled) throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why });
    };
    return {
      vm: this as Vm,
      knobs: this.knobs,
      contribute: (point, fn) => {
        early('contribute');
        if (this.#combined.has(point.id)) {
          const why = `it contributes to ${point.id}, which was asked already: contribute in setup, ask later`;
          throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why });
        }
        const list = this.#contributions.get(point.id) ?? [];
        list.push({ plugin, fn: fn as never });
        this.#contributions.set(point.id, list);
      },
      cell: (c) => {
        early('cell');
        if (!c.name.startsWith(`${plugin}.`)) {
          const why = `its cell ${c.name} must be named ${plugin}.<name>`;
          throw new FaultyardError('FY_PLUGIN_INVALID', { plugin, why });
        }
        this.#addCell(c as unknown as Cell, plugin);
      },
      enabled: (cap) => this.caps.enabled(cap),
      onVcpu: (f) => {
        early('onVcpu');
        onVcpu.push(f);
      },
    };
  }
  #addCell(c: Cell, plugin: string): void {
    const other = this.#cellOwners.get(c.name);
    if (other !== undefined) {
      const fix = 'rename one; a cell is named <plugin>.<name>';
      throw new FaultyardError('FY_PLUGIN_CLASH', { what: 'cell', name: c.name, plugin, other, fix });
    }
    this.#cells.set(c.name, c);
    this.#cellOwners.set(c.name, plugin);
  }
  /** All state. */
  get cells(): ReadonlyMap<string, Cell> {
    return this.#cells;
  }
  /** Adds VMM-side state (device models, handler counters) that snapshots keep; returns the disposer. */
  keep(cell: Cell): () => void {
    this.#addCell(cell, 'the VMM');
    return () => {
      this.#cells.delete(cell.name);
      this.#cellOwners.delete(cell.name);
    };
  }
  /** Who contributed what to a point, in plugin order; for definers whose errors must name a plugin. */
  contributions<In, Out>(point: Point<In, Out>): readonly Contribution<In, Out>[] {
    return (this.#contributions.get(point.id) ?? []) as readonly Contribution<In, Out>[];
  }
  /** What the plugins make of a point; resolved at the first question, the same ever after. */
  ask<In, Out>(point: Point<In, Out>): (i: In) => Out {
    let f = this.#combined.get(point.id);
    if (!f) {
      f = point.combine(this.contributions(point).map((c) => c.fn)) as never;
      this.#combined.set(point.id, f as never);
    }
    return f as (i: In) => Out;
  }
  /** What a plugin's setup returned. */
  api<K extends ExitKind, Api>(plugin: Plugin<K, Api> | string): Api {
    const name = typeof plugin === 'string' ? plugin : plugin.def.name;
    if (!this.#apis.has(name)) throw new FaultyardError('FY_PLUGIN_UNKNOWN', { plugin: name });
    return this.#apis.get(name) as Api;
  }

  /** Adds memory: a memslot, with anonymous memory behind it unless `hva` is given. */
  addMemory(s: InitialMemslot): void {
    let slot = s.slot ?? 0;
    if (s.slot === undefined) while (this.memslots.byId(slot)) slot++;
    const hva = s.hva ?? drive(this.mm.mmap({ size: s.size }));
    this.setMemoryRegion({ slot, gpa: s.gpa, size: s.size, hva, ...(s.flags ? { flags: s.flags } : {}) });
  }
  /** KVM_SET_USER_MEMORY_REGION2, driven to its end. @throws KvmError with KVM's errno. */
  setMemoryRegion(r: MemoryRegion): void {
    drive(this.memslots.set(r));
  }
  /** An operation on the VM by name. @throws KvmError, FaultyardError FY_OP_UNKNOWN. */
  op<N extends OpName>(name: N, arg: OpMap[N]['arg']): OpMap[N]['result'] {
    return this.ops.call(this as Vm, name, arg);
  }
  /** ioctl on the VM (or the system), in bytes; see {@link Ops.ioctl}. */
  ioctl(number: number, arg?: Uint8Array | bigint | number): IoctlResult {
    return this.ops.ioctl(this as Vm, number, arg);
  }
  /**
   * KVM_ENABLE_CAP. @throws KvmError EINVAL for one that cannot be enabled, FaultyardError FY_CAP_UNSUPPORTED for an
   * unknown name.
   */
  enableCap(name: string, o: { readonly flags?: number; readonly args?: readonly bigint[] } = {}): void {
    this.caps.enable(name, o);
  }
  /** KVM_CHECK_EXTENSION by name or number; 0 when KVM does not know it. */
  checkExtension(cap: string | number): number {
    return this.caps.check(cap);
  }

  /**
   * Looks at `length` bytes of guest memory without any effect: no page appears, no poison is consumed. What is not there
   * reads as ones and is told to the trace.
   */
  read(gpa: bigint | number, length: number): Uint8Array {
    return this.memory.read(gpa, length);
  }
  /**
   * Writes guest memory as the VMM would.
   * @throws FaultyardError FY_ADDRESS when a page is in no slot or cannot be written; what precedes it is written.
   */
  write(gpa: bigint | number, bytes: Uint8Array): void {
    this.memory.write(gpa, bytes);
  }
  /** Looks at an unsigned little-endian value of 1, 2, 4 or 8 bytes. */
  peek(gpa: bigint | number, size: 1 | 2 | 4 | 8 = 8): bigint {
    return this.read(gpa, size).reduceRight((v, b) => (v << 8n) | BigInt(b), 0n);
  }
  /** Writes a little-endian value. */
  poke(gpa: bigint | number, value: bigint | number, size: 1 | 2 | 4 | 8 = 8): void {
    const v = BigInt.asUintN(64, BigInt(value));
    this.write(
      gpa,
      Uint8Array.from({ length: size }, (_, i) => Number((v >> BigInt(8 * i)) & 0xffn)),
    );
  }
  /** Marks the host page behind a gpa bad: the next consumption is an external abort. */
  poison(gpa: bigint | number): void {
    this.memory.poison(gpa, true);
  }
  /** Makes it good again (the data are what they were). */
  heal(gpa: bigint | number): void {
    this.memory.poison(gpa, false);
  }

  /** Steps the schedule to the next exit of any vCPU. */
  run(budget: number = DEFAULT_BUDGET): Exit<E> {
    return this.scheduler.run(this.vcpus, budget);
  }
  /** run -> handler -> settle, until the handler stops it. */
  drive(handler: (exit: Exit<E>, vm: this) => Verdict, budget: number = DEFAULT_BUDGET): Driven<E> {
    for (let exits = 1; ; exits++) {
      const exit = this.run(budget);
      const v = handler(exit, this);
      if (v.verdict === 'stop') return { why: v.why, exit, exits };
      if (v.verdict === 'answer') (this.vcpus[exit.vcpu] as Vcpu<E>).answer(exit as Exit, v.value);
    }
  }

  /** Everything, now. Memory is shared copy-on-write. @throws FaultyardError FY_SNAPSHOT_BUSY. */
  snapshot(): Snapshot {
    return takeSnapshot(this as Vm);
  }
  /** Back to a snapshot of this VM or of one made the same way. @throws FaultyardError FY_SNAPSHOT_FOREIGN, FY_CELL_MISSING. */
  restore(s: Snapshot): void {
    restoreSnapshot(this as Vm, s);
  }
  /**
   * Another VM in the same state; memory is shared until one of them writes. `build` puts the VMM's devices around it,
   * as around this one; state of devices that it does not build stays behind.
   */
  fork(build: (vm: Vm<E>) => void = () => {}): Vm<E> {
    const vm = new Vm<E>({ ...this.#options, memslots: [], host: this.host });
    const s = this.snapshot();
    build(vm);
    restoreSnapshot(vm as Vm, s, true);
    s.dispose();
    return vm;
  }
  /** 16 hex digits over the guest's canonical state: registers, memory, in-kernel devices, time. */
  stateHash(): string {
    return hashState(this as Vm);
  }
  /** Traces an exit. */
  traceExit(e: Exit): void {
    this.trace.emit({
      name: 'kvm_userspace_exit',
      time: this.vcpus[e.vcpu]?.now ?? this.clock.now,
      vcpu: e.vcpu,
      kind: e.kind,
      ret: e.ret,
    });
  }
  /** Gives memory back. The VM cannot be used afterwards. */
  dispose(): void {
    for (const v of this.vcpus) v.arch.dispose();
    this.stage2.dispose();
    this.mm.dispose();
  }
}

/**
 * Makes a VM. Plugins are checked and resolved once; nothing can be added later.
 * @throws FaultyardError FY_PLUGIN_*, FY_KNOB_*, FY_ARGUMENT; KvmError for memslots that KVM refuses.
 */
export function createVm<const P extends readonly AnyPlugin[] = []>(o: VmOptions<P>): Vm<InstalledExits<P>> {
  return new Vm<InstalledExits<P>>(o);
}

/** Exits a VM can return. */
export type ExitOf<V> = V extends Vm<infer E> ? Exit<E> : never;
export type { OpDef };

/** Snapshots: a fold over cells, and guest memory shared copy-on-write. */
import { type Cell, digest, type Plain, StateHash } from './cell.ts';
import { FaultyardError } from './errors.ts';
import type { MemoryImage } from './host/address-space.ts';
import type { Knobs } from './knob.ts';
import type { VcpuImage } from './vcpu.ts';
import type { Vm } from './vm.ts';

/** A point in a VM's life. It holds references to memory until {@link Snapshot.dispose}. */
export interface Snapshot {
  /** Names of the plugins it was made with. */
  readonly plugins: readonly string[];
  readonly vcpus: number;
  /** Cell values by name. */
  readonly cells: ReadonlyMap<string, SavedCell>;
  /** Values of all knobs. */
  readonly knobs: Knobs;
  readonly memory: MemoryImage;
  /** State of core itself. */
  readonly core: CoreState;
  /** Gives back the memory that only this snapshot holds. */
  dispose(): void;
}

/** A cell's value in a snapshot. */
export interface SavedCell {
  readonly version: number;
  readonly side: Cell['side'];
  readonly value: Plain;
}

/** See {@link Vm.snapshot}. */
export function takeSnapshot(vm: Vm): Snapshot {
  if (vm.busy) throw new FaultyardError('FY_SNAPSHOT_BUSY', vm.busy);
  const cells = new Map<string, SavedCell>();
  for (const c of vm.cells.values()) cells.set(c.name, { version: c.version, side: c.side, value: c.read() });
  const memory = vm.mm.save();
  for (const v of vm.vcpus) v.arch.flush();
  return {
    plugins: vm.plugins.map((p) => p.def.name),
    vcpus: vm.vcpus.length,
    cells,
    knobs: vm.knobs,
    memory,
    core: coreState(vm),
    dispose: () => memory.dispose(),
  };
}

/**
 * See {@link Vm.restore}. Checks everything before it changes anything.
 * @param partial leaves out VMM-side cells that nobody here knows.
 */
export function restoreSnapshot(vm: Vm, s: Snapshot, partial: boolean = false): void {
  if (vm.busy) throw new FaultyardError('FY_SNAPSHOT_BUSY', vm.busy);
  if (s.vcpus !== vm.vcpus.length)
    throw new FaultyardError('FY_SNAPSHOT_FOREIGN', {
      why: `is of ${s.vcpus} vcpus, this VM has ${vm.vcpus.length}`,
      fix: 'restore it into a VM made the same way',
    });
  if (s.memory.host !== vm.host)
    throw new FaultyardError('FY_SNAPSHOT_FOREIGN', {
      why: 'lives in another host memory',
      fix: 'make both VMs with the same host',
    });
  const todo: [Cell, Plain][] = [];
  for (const [name, { version, side, value }] of s.cells) {
    const c = vm.cells.get(name);
    if (!c && partial && side === 'vmm') continue;
    const plugin = name.split('.')[0] as string;
    if (!c)
      throw new FaultyardError('FY_CELL_MISSING', { cell: name, version, why: 'nobody here knows', plugin });
    if (c.version !== version)
      throw new FaultyardError('FY_CELL_MISSING', {
        cell: name,
        version,
        why: `is version ${c.version} here`,
        plugin,
      });
    todo.push([c, value]);
  }
  const here = new Set(vm.plugins.map((p) => p.def.name));
  const lacks = s.plugins.find((p) => !here.has(p));
  if (lacks !== undefined)
    throw new FaultyardError('FY_SNAPSHOT_FOREIGN', {
      why: `was made with plugin ${lacks}, which this VM lacks`,
      fix: 'restore it into a VM made the same way',
    });
  const lost = [...vm.cells.values()].find((c) => c.side === 'guest' && !s.cells.has(c.name));
  if (lost)
    throw new FaultyardError('FY_SNAPSHOT_FOREIGN', {
      why: `holds no cell ${lost.name}, which this VM has`,
      fix: `take it with ${lost.name.split('.')[0]} installed, or restore it into a VM without`,
    });
  vm.mm.restore(s.memory);
  restoreCore(vm, s.core);
  for (const [c, value] of todo) c.write(value);
  for (const v of vm.vcpus) v.arch.flush();
}

/** See {@link Vm.stateHash}. */
export function hashState(vm: Vm): string {
  const h = new StateHash();
  for (const name of [...vm.cells.keys()].sort()) {
    const c = vm.cells.get(name) as Cell;
    if (c.side !== 'guest') continue;
    digest(name, h.feed);
    digest(c.read(), h.feed);
  }
  digest(hashedCore(vm), h.feed);
  vm.memslots.hash(h.feed);
  return h.hex();
}

interface CoreState {
  readonly clock: number;
  readonly scheduler: ReturnType<Vm['scheduler']['save']>;
  readonly signals: ReturnType<Vm['signals']['save']>;
  readonly caps: readonly string[];
  readonly memslots: ReturnType<Vm['memslots']['save']>;
  readonly bugged: boolean;
  readonly vcpus: readonly VcpuImage[];
}

/** What of core's own state belongs to the hash: not the exits returned, nor how a run was cut into calls. */
function hashedCore(vm: Vm): Plain {
  return {
    clock: vm.clock.now,
    scheduler: vm.scheduler.save() as unknown as Plain,
    signals: vm.signals.save() as unknown as Plain,
    caps: vm.caps.save(),
    bugged: vm.bugged,
    vcpus: vm.vcpus.map((v): Plain => {
      const { now, retired, immediateExit, device, page } = v.save();
      return { now, retired, immediateExit, device: hashedDevice(device), page: { ...page } };
    }),
  };
}

/** Without what no architecture but one of ports and strings sets, so that the others' hashes stay what they were. */
function hashedDevice({ port, count, ...rest }: VcpuImage['device']): Plain {
  return port || count !== 1 ? { ...rest, port, count } : rest;
}

function coreState(vm: Vm): CoreState {
  return {
    clock: vm.clock.now,
    scheduler: vm.scheduler.save(),
    signals: vm.signals.save(),
    caps: vm.caps.save(),
    memslots: vm.memslots.save(),
    bugged: vm.bugged,
    vcpus: vm.vcpus.map((v) => v.save()),
  };
}

function restoreCore(vm: Vm, s: CoreState): void {
  vm.clock.reset(s.clock);
  vm.scheduler.restore(s.scheduler);
  vm.signals.restore(s.signals);
  vm.caps.restore(s.caps);
  vm.memslots.restore(s.memslots);
  vm.bugged = s.bugged;
  for (const [i, x] of s.vcpus.entries()) vm.vcpus[i]?.restore(x);
}

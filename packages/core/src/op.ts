/** Ops: ioctl-like operations on the system, a VM or a vCPU (architecture: decision 7). */
import { FaultyardError, KvmError } from './errors.ts';
import type { AnyPlugin } from './plugin.ts';
import { drive, type Task } from './task.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/** Operations by name; plugins add theirs by declaration merging as `{ on, arg, result }`. */
export interface OpMap {
  'check-extension': { readonly on: 'vm'; readonly arg: { readonly cap: number }; readonly result: number };
  'enable-cap': {
    readonly on: 'vm';
    readonly arg: { readonly cap: number; readonly flags?: number; readonly args?: readonly bigint[] };
    readonly result: 0;
  };
  'set-user-memory-region': { readonly on: 'vm'; readonly arg: MemoryRegion; readonly result: 0 };
  'get-dirty-log': {
    readonly on: 'vm';
    readonly arg: { readonly slot: number };
    readonly result: Uint8Array;
  };
  'set-one-reg': {
    readonly on: 'vcpu';
    readonly arg: { readonly id: bigint; readonly value: bigint };
    readonly result: 0;
  };
  'get-one-reg': { readonly on: 'vcpu'; readonly arg: { readonly id: bigint }; readonly result: bigint };
}

/** struct kvm_userspace_memory_region(2); addresses and sizes in bytes. */
export interface MemoryRegion {
  /** Bits 15:0 id, 31:16 address space. */
  readonly slot: number;
  /** 1 LOG_DIRTY_PAGES, 2 READONLY, 4 GUEST_MEMFD. */
  readonly flags?: number;
  readonly gpa: bigint;
  readonly size: bigint;
  readonly hva: bigint;
  readonly guestMemfd?: { readonly file: unknown; readonly offset: bigint };
}

/** Names of operations. */
export type OpName = keyof OpMap;

/** Bytes in, bytes out: how an operation's argument and result stand in KVM's struct. */
export interface OpCodec<N extends OpName = OpName> {
  /** Size of the argument struct in bytes. */
  readonly size: number;
  decode(arg: DataView): OpMap[N]['arg'];
  encode(arg: OpMap[N]['arg'], out: DataView): void;
  /** Writes a result into the struct (KVM_GET_*). */
  result?(r: OpMap[N]['result'], out: DataView): void;
}

/** Definition of an operation. */
export interface OpDef<N extends OpName = OpName> {
  readonly name: N;
  /** KVM's name, `KVM_SET_VCPU_EVENTS`. */
  readonly kvm: string;
  /** ioctl number (type 0xAE), e.g. 0x4040aea0. */
  readonly ioctl: number;
  readonly on: OpMap[N]['on'];
  /** Capability that must be supported, else ENOTTY. */
  readonly cap?: string;
  readonly codec?: OpCodec<N>;
  /**
   * Carries it out. Throws KvmError with KVM's errno to refuse; a refused operation changes nothing unless its
   * documentation says so.
   */
  readonly run: (
    target: OpMap[N]['on'] extends 'vcpu' ? Vcpu : Vm,
    arg: OpMap[N]['arg'],
  ) => OpMap[N]['result'] | Task<OpMap[N]['result']>;
}

/** The operations of a VM and its vCPUs. */
export class Ops {
  // biome-ignore lint/suspicious/noExplicitAny: operations of any name
  readonly #defs = new Map<string, OpDef<any>>();
  constructor(plugins: readonly AnyPlugin[]) {
    for (const p of plugins) for (const d of p.def.ops ?? []) this.#defs.set(d.name, d);
  }
  /** Every operation. */
  get all(): readonly OpDef[] {
    return [...this.#defs.values()];
  }
  /** The operation with this ioctl number. */
  byIoctl(n: number): OpDef | undefined {
    return this.all.find((d) => d.ioctl === n);
  }
  /**
   * Carries an operation out, driven to its end.
   * @throws FaultyardError FY_OP_UNKNOWN; KvmError with KVM's errno (EIO on a dead VM).
   */
  call<N extends OpName>(target: Vm | Vcpu, name: N, arg: OpMap[N]['arg']): OpMap[N]['result'] {
    const d = this.#defs.get(name) as OpDef<N> | undefined;
    if (!d)
      throw new FaultyardError('FY_OP_UNKNOWN', {
        op: name,
        known: [...this.#defs.keys()].sort().join(', '),
      });
    const vm = 'vcpus' in target ? target : target.vm;
    if (vm.bugged) throw new KvmError(d.kvm, 'EIO', 'the VM is dead after KVM_BUG_ON');
    const r = d.run(target as never, arg);
    return isTask(r) ? drive(r) : r;
  }
}

function isTask<R>(r: R | Task<R>): r is Task<R> {
  return typeof r === 'object' && r !== null && typeof (r as { next?: unknown }).next === 'function';
}

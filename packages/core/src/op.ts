/** Ops: ioctl-like operations on the system, a VM or a vCPU (architecture: decision 7). */
import { type Errno, FaultyardError, KvmError } from './errors.ts';
import type { MemoryRegion } from './memslot.ts';
import { CORE_OPS } from './ops.ts';
import type { AnyPlugin } from './plugin.ts';
import { drive, type Task } from './task.ts';
import { type UserSpace, userSpace } from './user-space.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/**
 * Operations by name; plugins add theirs by declaration merging as `{ on, arg, result }`. Operations of the system
 * (KVM_CHECK_EXTENSION on /dev/kvm, …) are asked of a VM, which is the only one of its process here.
 */
export interface OpMap {
  /** KVM_CHECK_EXTENSION: 0 when KVM does not know the capability. */
  'check-extension': { readonly on: 'vm'; readonly arg: { readonly cap: number }; readonly result: number };
  /** KVM_GET_VCPU_MMAP_SIZE: bytes of the kvm_run page. */
  'get-vcpu-mmap-size': { readonly on: 'vm'; readonly arg: Record<never, never>; readonly result: number };
  /** KVM_ENABLE_CAP on the VM: EINVAL for unknown capabilities, flags, and those that only inform. */
  'enable-cap': {
    readonly on: 'vm';
    readonly arg: { readonly cap: number; readonly flags?: number; readonly args?: readonly bigint[] };
    readonly result: 0;
  };
  /** KVM_SET_USER_MEMORY_REGION; see {@link Memslots.set} for its errnos. */
  'set-user-memory-region': { readonly on: 'vm'; readonly arg: MemoryRegion; readonly result: 0 };
  /** KVM_SET_USER_MEMORY_REGION2: with guest_memfd. */
  'set-user-memory-region2': { readonly on: 'vm'; readonly arg: MemoryRegion; readonly result: 0 };
  /** KVM_GET_DIRTY_LOG: EINVAL for a bad id, ENOENT without a log. */
  'get-dirty-log': {
    readonly on: 'vm';
    readonly arg: { readonly slot: number; readonly asId?: number };
    readonly result: Uint8Array;
  };
  /** KVM_CLEAR_DIRTY_LOG: EINVAL, ENOENT. `bitmap` starts at `firstPage`, bit 0 of byte 0. */
  'clear-dirty-log': {
    readonly on: 'vm';
    readonly arg: {
      readonly slot: number;
      readonly asId?: number;
      readonly firstPage: number;
      readonly pages: number;
      readonly bitmap: Uint8Array;
    };
    readonly result: 0;
  };
  /** KVM_CREATE_GUEST_MEMFD: a descriptor; EINVAL for a bad size or flag. */
  'create-guest-memfd': {
    readonly on: 'vm';
    readonly arg: { readonly size: bigint; readonly flags?: bigint };
    readonly result: number;
  };
  /** KVM_IRQ_LINE: the level of a global interrupt (GSI); ENXIO without interrupt controllers in the kernel. */
  'gsi-line': {
    readonly on: 'vm';
    readonly arg: { readonly irq: number; readonly level: boolean };
    readonly result: 0;
  };
  /** KVM_IRQ_LINE_STATUS: the same; how many vCPUs were told, 0: merged with one that waits, -1: ignored. */
  'gsi-line-status': {
    readonly on: 'vm';
    readonly arg: { readonly irq: number; readonly level: boolean };
    readonly result: number;
  };
  /** KVM_SIGNAL_MSI: how many vCPUs took it; EINVAL without interrupt controllers, EPERM when it is for nobody. */
  'signal-msi': {
    readonly on: 'vm';
    readonly arg: { readonly address: bigint; readonly data: number };
    readonly result: number;
  };
  /** KVM_SET_ONE_REG: ENOENT for an id the architecture does not know, EINVAL for a read-only one. */
  'set-one-reg': {
    readonly on: 'vcpu';
    readonly arg: { readonly id: bigint; readonly value: bigint };
    readonly result: 0;
  };
  /** KVM_GET_ONE_REG: ENOENT for an id the architecture does not know. */
  'get-one-reg': { readonly on: 'vcpu'; readonly arg: { readonly id: bigint }; readonly result: bigint };
  /** KVM_RUN: the exit stands in the kvm_run page; -1 with the exit's errno where KVM_RUN fails. */
  run: { readonly on: 'vcpu'; readonly arg: Record<never, never>; readonly result: 0 };
}

/** Names of operations. */
export type OpName = keyof OpMap;

/** Bytes in, bytes out: how an operation's argument and result stand in KVM's struct. */
export interface OpCodec<N extends OpName = OpName> {
  /** Size of the argument struct in bytes. */
  readonly size: number;
  /** Reads the argument. @throws KvmError EFAULT for a pointer that leads nowhere. */
  decode(arg: DataView, user: UserSpace): OpMap[N]['arg'];
  /** Writes the argument; what it points to goes into the memory of the VMM process. */
  encode(arg: OpMap[N]['arg'], out: DataView, user: UserSpace): void;
  /** Writes a result into the struct, or where it points (KVM_GET_*). Without it the result is ioctl's own. */
  result?(r: OpMap[N]['result'], out: DataView, user: UserSpace): void;
  /** What ioctl returns beside a result in the structure (KVM_GET_MSRS: how many). Default 0. */
  ret?(r: OpMap[N]['result']): number;
  /** What KVM writes although the operation is refused (E2BIG: how much room is needed). */
  refused?(target: Vm | Vcpu, out: DataView): void;
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
  /** For an ioctl whose argument is a plain number instead of a structure. */
  readonly immediate?: (arg: bigint) => OpMap[N]['arg'];
  /**
   * Carries it out. Throws KvmError with KVM's errno to refuse; a refused operation changes nothing unless its
   * documentation says so.
   */
  readonly run: (
    target: OpMap[N]['on'] extends 'vcpu' ? Vcpu : Vm,
    arg: OpMap[N]['arg'],
  ) => OpMap[N]['result'] | Task<OpMap[N]['result']>;
}

/** What an ioctl returned. */
export interface IoctlResult {
  /** -1 with `errno`, else the operation's number. */
  readonly ret: number;
  readonly errno?: Errno;
  /** The structure afterwards. */
  readonly bytes: Uint8Array;
}

/** The operations of a VM and its vCPUs. */
export class Ops {
  // biome-ignore lint/suspicious/noExplicitAny: operations of any name
  readonly #defs = new Map<string, OpDef<any>>();
  constructor(plugins: readonly AnyPlugin[]) {
    for (const d of CORE_OPS) this.#defs.set(d.name, d);
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
   * @throws FaultyardError FY_OP_UNKNOWN, FY_ARGUMENT for one of the other kind of target; KvmError with KVM's errno
   * (ENOTTY without its capability, EIO on a dead VM).
   */
  call<N extends OpName>(target: Vm | Vcpu, name: N, arg: OpMap[N]['arg']): OpMap[N]['result'] {
    const d = this.#defs.get(name) as OpDef<N> | undefined;
    if (!d)
      throw new FaultyardError('FY_OP_UNKNOWN', {
        op: name,
        known: [...this.#defs.keys()].sort().join(', '),
      });
    const on = 'vcpus' in target ? 'vm' : 'vcpu';
    if (d.on !== on)
      throw new FaultyardError('FY_ARGUMENT', {
        what: 'operation',
        value: name,
        why: `is one of a ${d.on}, not of a ${on}`,
        fix: d.on === 'vcpu' ? `call vm.vcpus[n].op('${name}', …)` : `call vm.op('${name}', …)`,
      });
    const vm = 'vcpus' in target ? target : target.vm;
    if (d.cap !== undefined && vm.caps.check(d.cap) === 0)
      throw new KvmError(d.kvm, 'ENOTTY', `capability ${d.cap} is not supported here`);
    if (vm.bugged) throw new KvmError(d.kvm, 'EIO', 'the VM is dead after KVM_BUG_ON');
    const r = d.run(target as never, arg);
    return isTask(r) ? drive(r) : r;
  }
  /**
   * The byte-level door: ioctl(fd, number, arg). `arg` is the structure, or the number itself where KVM takes no
   * pointer. Nothing is thrown for what KVM refuses: `ret` is -1 and `errno` says why (EINVAL for an unknown number,
   * as arm64's KVM answers; EFAULT for a structure that is too short).
   */
  ioctl(target: Vm | Vcpu, number: number, arg: Uint8Array | bigint | number = 0): IoctlResult {
    // a Buffer's slice would share the memory
    const bytes = arg instanceof Uint8Array ? Uint8Array.from(arg) : new Uint8Array();
    const on = 'vcpus' in target ? 'vm' : 'vcpu';
    const user = userSpace('vcpus' in target ? target : (target.vm as Vm));
    let refused: (() => void) | undefined;
    try {
      const d = this.all.find((x) => x.ioctl === number && x.on === on) as OpDef<OpName> | undefined;
      const refuse = (errno: Errno, why: string): never => {
        throw new KvmError(d?.kvm ?? `ioctl 0x${number.toString(16)}`, errno, why);
      };
      if (!d) return refuse('EINVAL', `no such operation of a ${on}`);
      const { codec, immediate } = d;
      if (immediate) {
        if (typeof arg !== 'bigint' && !Number.isInteger(arg))
          return refuse('EINVAL', 'it takes a whole number');
        const n = BigInt(arg as bigint | number);
        return { ret: Number(this.call(target, d.name, immediate(n))), bytes };
      }
      if (!codec) return refuse('ENOTTY', 'it has no form in bytes');
      if (bytes.length < codec.size) refuse('EFAULT', `its structure has ${codec.size} bytes`);
      const view = new DataView(bytes.buffer);
      refused = codec.refused && ((): void => codec.refused?.(target, view));
      const r = this.call(target, d.name, codec.decode(view, user));
      if (codec.result) codec.result(r, view, user);
      return { ret: codec.ret?.(r) ?? (codec.result || typeof r !== 'number' ? 0 : r), bytes };
    } catch (e) {
      if (e instanceof Error && e.name === 'KvmError') {
        refused?.();
        return { ret: -1, errno: (e as KvmError).errno, bytes };
      }
      throw e;
    }
  }
}

function isTask<R>(r: R | Task<R>): r is Task<R> {
  return typeof r === 'object' && r !== null && typeof (r as { next?: unknown }).next === 'function';
}

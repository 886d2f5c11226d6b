/** Exits: what KVM_RUN returned, as plain data (architecture: decision 1). */
import type { Gpa } from './address.ts';
import type { Errno } from './errors.ts';

/**
 * Payloads by exit kind. Plugins add theirs by declaration merging:
 * `declare module '@faultyard/core' { interface ExitMap { 'arm-sea': { … } } }`.
 */
export interface ExitMap {
  /** KVM_EXIT_MMIO (6): access to a gpa without memory; `size` bytes, `value` little-endian. */
  mmio: { readonly gpa: Gpa; readonly size: 1 | 2 | 4 | 8; readonly write: boolean; readonly value: bigint };
  /** KVM_EXIT_IO (2): `count` accesses of `size` bytes to an x86 I/O port; `data` are the values of a write. */
  io: {
    readonly port: number;
    readonly size: 1 | 2 | 4;
    readonly write: boolean;
    readonly count: number;
    readonly data: readonly number[];
  };
  /** KVM_EXIT_HLT (5): the vCPU halted, and no interrupt controller in the kernel could wake it. */
  hlt: Record<never, never>;
  /** KVM_EXIT_INTR (10), always with -1/EINTR: a signal, `immediateExit`, or a vCPU that nothing will ever wake. */
  intr: Record<never, never>;
  /** The one kind KVM lacks: the instruction budget of this run is used up. */
  budget: { readonly retired: number };
  /** KVM_EXIT_DEBUG (4): guest debugging stopped the vCPU. */
  debug: { readonly why: 'breakpoint' | 'watchpoint' | 'step'; readonly arch?: DebugExitArch };
  /** KVM_EXIT_SYSTEM_EVENT (24): 1 shutdown, 2 reset, 3 crash, 4 wakeup, 5 suspend. */
  'system-event': { readonly type: number; readonly data: readonly bigint[] };
  /** KVM_EXIT_MEMORY_FAULT (39), with -1 and EFAULT or EHWPOISON. `size` in bytes. */
  'memory-fault': { readonly flags: bigint; readonly gpa: Gpa; readonly size: bigint };
  /** KVM_EXIT_ARM_NISV (28): a data abort without syndrome outside memory. */
  'arm-nisv': { readonly esrIss: bigint; readonly faultIpa: Gpa };
  /** KVM_EXIT_SHUTDOWN (8): the vCPU cannot go on (on x86 a triple fault), or the host went down with it; `why` says it. */
  shutdown: { readonly why: string };
  /** KVM_EXIT_INTERNAL_ERROR (17): KVM gave up; `suberror` is KVM_INTERNAL_ERROR_*, `data` what it adds. */
  'internal-error': { readonly suberror: number; readonly data: readonly bigint[] };
  /** KVM_RUN failed and exit_reason means nothing (it reads 0 or is stale). */
  'run-error': Record<never, never>;
}

/** struct kvm_debug_exit_arch: each architecture merges its own under its name (`x86`, …). */
export interface DebugExitArch {}

/** Names of exits. */
export type ExitKind = keyof ExitMap;

/** An exit of kind `K`: what every exit has, and its payload. */
export type Exit<K extends ExitKind = ExitKind> = {
  [P in K]: {
    readonly kind: P;
    /** Which vCPU. */
    readonly vcpu: number;
    /** KVM_RUN's result. */
    readonly ret: 0 | -1;
    /** With `ret: -1`. */
    readonly errno?: Errno;
  } & Readonly<ExitMap[P]>;
}[K];

/** Kinds that core itself brings. */
export type CoreExit =
  | 'mmio'
  | 'io'
  | 'hlt'
  | 'intr'
  | 'budget'
  | 'debug'
  | 'system-event'
  | 'memory-fault'
  | 'arm-nisv'
  | 'shutdown'
  | 'internal-error'
  | 'run-error';

/** How an exit stands in `struct kvm_run`. Offsets are from the start of the structure. */
export interface ExitCodec<K extends ExitKind = ExitKind> {
  readonly kind: K;
  /** KVM's name, `KVM_EXIT_MMIO`. */
  readonly name: string;
  /** Number of the exit; a function of knob values where designs differ. */
  number(knobs: Readonly<Record<string, unknown>>): number;
  /** Writes the payload at `run` (the whole structure is behind it; exit_reason is written by core). */
  encode(e: Exit<K>, run: DataView, knobs: Readonly<Record<string, unknown>>): void;
  /** Reads the payload back. */
  decode(run: DataView, knobs: Readonly<Record<string, unknown>>): ExitMap[K];
}

/**
 * Where fault plugins decide. The arch computes what happened; these points say what host and KVM make of it.
 * Without a plugin KVM is the oldest upstream: every external abort of the guest becomes an SError.
 */
import { definePoint, type Exit, firstOf, listOf, type Point, type Task, type Vcpu } from '@faultyard/core';
import type { Form } from './isa/form.ts';
import type { SysregDef } from './sysregs/def.ts';

/** What kind of access met the error (DDI 0487 D20.4: each may be reported differently). */
export type AbortClass = 'load' | 'store' | 'fetch' | 'walk' | 'cmo' | 'atomic';

/** How the CPU reports an error met by one class of access: at the instruction, as an SError later, or not at all. */
export type Delivery = 'sync' | 'async' | 'none';

/** What really happened when an access met a poisoned granule, before anybody reports it. */
export interface ExternalAbort {
  readonly cls: AbortClass;
  /** Whether the access wrote (atomics: also true). */
  readonly write: boolean;
  /** Guest virtual address of the access (for a walk: of the access that needed it). */
  readonly va: bigint;
  /** Guest physical address of the granule that is bad. */
  readonly gpa: bigint;
  /** For `walk`: whose table, and its level 0..3. */
  readonly walk?: {
    readonly stage: 1 | 2;
    readonly level: number;
    /** Whether the CPU says so: ESR.S1PTW (a stage-2 table reported on its descriptor's address has it clear). */
    readonly s1ptw: boolean;
  };
  /** The access was made for an instruction fetch (a fetch, or the walk for one). */
  readonly forFetch: boolean;
  /** Interrupted at EL0? */
  readonly el0: boolean;
  /** A cache maintenance or AT instruction (ESR.CM). */
  readonly cm: boolean;
}

/** The syndrome that EL2 reads (ESR_EL2, FAR_EL2, HPFAR_EL2), and what KVM saved of it. */
export interface FaultInfo {
  /** ESR_EL2[31:0]. */
  readonly esr: number;
  /** FAR_EL2. */
  readonly far: bigint;
  /** HPFAR_EL2 as KVM saved it; 0 = no IPA. */
  readonly hpfar: bigint;
}

/** Fixed behaviour of host CPU and KVM that differs between versions; resolved once per VM. */
export interface KvmRules {
  /** The host CPU has FEAT_RAS: HCR_EL2.TEA routes guest aborts to EL2. Without it they go straight to EL1. */
  readonly hostRas: boolean;
  /** ID_AA64PFR0_EL1.RAS that the VM advertises; `undefined`: the model's. */
  readonly vmRas: 0 | 1 | 2 | 3 | undefined;
  /** ERR* registers of a VM without RAS: read as zero, or UNDEFINED (6.17). */
  readonly rasRegisters: 'RAZ' | 'UNDEF';
  /** Delivery by class. `none` lets the access complete with the data that stand there. */
  readonly delivery: Readonly<Record<AbortClass, Delivery>>;
  /** ESR_EL1 of an injected SEA. */
  readonly injectFnV: '0' | 'copy';
  readonly injectLevel: 's1ptwOnly' | 'copy';
  readonly injectIL: 'copyTrapped' | 'always1';
  /** KVM_SET_VCPU_EVENTS: when an event is built; before KVM_ARM_VCPU_INIT; whether all is checked first. */
  readonly eventsCommit: 'immediate' | 'nextRun';
  readonly eventsUninit: 'ENOEXEC' | 'allow';
  readonly eventsAtomic: boolean;
  /** The proposed ext_iabt_pending / ext_abt_esr extension exists. */
  readonly eventsWithIabt: boolean;
  /** SError injection: built at once when it can be taken (6.17), or always through HCR_EL2.VSE. */
  readonly serror: 'softwareEntry' | 'vseOnly';
  /** Top byte of ESR_EL1 for a software SError entry: BD (IL missing) or BF. */
  readonly serrorTopByte: 0xbd | 0xbf;
  /** A second SError before the first is delivered. */
  readonly serrorWhilePending: 'mergeIntoOne' | 'queue';
}

/** The oldest upstream, and a CPU that reports loads, fetches, walks and atomics synchronously. */
export const OLDEST_RULES: KvmRules = {
  hostRas: true,
  vmRas: undefined,
  rasRegisters: 'RAZ',
  delivery: { load: 'sync', store: 'none', fetch: 'sync', walk: 'sync', cmo: 'sync', atomic: 'sync' },
  injectFnV: '0',
  injectLevel: 's1ptwOnly',
  injectIL: 'copyTrapped',
  eventsCommit: 'nextRun',
  eventsUninit: 'allow',
  eventsAtomic: false,
  eventsWithIabt: false,
  serror: 'vseOnly',
  serrorTopByte: 0xbd,
  serrorWhilePending: 'mergeIntoOne',
};

/** Rules of this VM: later contributions override earlier ones; what nobody says is {@link OLDEST_RULES}. */
export const kvmRules: Point<void, Partial<KvmRules>> & {
  /** Joins contributions over `OLDEST_RULES`. */
  combine(f: readonly (() => Partial<KvmRules>)[]): () => KvmRules;
} = {
  id: 'arm64.kvm-rules',
  combine: (fns) => () => Object.assign({}, OLDEST_RULES, ...fns.map((f) => f())) as KvmRules,
};

/** What a fault plugin may do with a vCPU (`Arm64Vcpu` implements it): the raw primitives, no policy. */
export interface FaultPort {
  /** Core's vCPU. */
  readonly core: Vcpu;
  /** What KVM saved of the last abort; injection uses it. State (a cell). */
  fault: FaultInfo;
  /** The VM advertises RAS (ID_AA64PFR0_EL1.RAS != 0). */
  readonly hasRas: boolean;
  /**
   * The CPU itself takes a synchronous external abort to EL1 (no KVM): vector, ESR_EL1, FAR_EL1 per DDI 0487 D1.10.
   * `esr` is the EL2 form (EC 0x20/0x24); the EC is re-based to the interrupted level.
   */
  takeExternalAbort(esr: number, far: bigint): void;
  /** Time passes without an instruction: that of `n` instructions. */
  owe(n: number): void;
  /** Sets or clears a guard bit that a plugin claimed ({@link guards}). State (a cell). @throws FaultyardError FY_ARGUMENT. */
  setGuard(bit: number, on: boolean): void;
  /** AT S1E1R on an address, walking the tables afresh: the IPA, or nothing when it fails. Changes nothing. */
  translateEl1Read(va: bigint): Task<bigint | undefined>;
  /** kvm_inject_serror: ISS given, or IDS=1 (0x1000000). */
  injectSError(iss?: number): void;
  /** kvm_inject_sea: a data (or instruction) abort at `far` by {@link KvmRules}; `false` when KVM injects nothing. */
  injectSea(iabt: boolean, far: bigint): boolean;
}

/** Question of {@link externalAbort}. */
export interface ExternalAbortQuestion {
  readonly vcpu: FaultPort;
  readonly abort: ExternalAbort;
  /** A synthetic abort brings its own report (ESR_EL2, FAR_EL2), e.g. EC 0x25 on the VNCR page; no capture is made. */
  readonly report?: { readonly esr: number; readonly far: bigint };
  /** The vCPU is in hypervisor context (vEL2, or host EL0 under vHCR.E2H/TGE); only with a synthetic abort. */
  readonly hypContext?: boolean;
}

/**
 * A synchronous external abort of the guest with a host that has FEAT_RAS: report it, capture it at EL2, and route
 * it. The first contribution decides alone. The default is kvm_inject_serror for everything.
 */
export const externalAbort: Point<ExternalAbortQuestion, Task<Exit | undefined>> = definePoint(
  'arm64.external-abort',
  (fns) => fns[0] ?? legacyExternalAbort,
);

// biome-ignore lint/correctness/useYield: KVM's legacy path has no point where another task could run
function* legacyExternalAbort(q: ExternalAbortQuestion): Task<Exit | undefined> {
  q.vcpu.injectSError();
  return undefined;
}

/**
 * The host could not resolve a guest access inside a memslot (an error pfn other than a plain fault that KVM
 * repeats). Contributions may return the exit to make of it; the default is what KVM does: SIGBUS and EINTR for
 * poison, EFAULT for the rest.
 */
export interface ErrorPfnQuestion {
  readonly vcpu: FaultPort;
  readonly pfn: 'fault' | 'hwpoison' | 'ro-fault' | 'sigpending' | 'needs-io';
  /** Page of the fault IPA. */
  readonly gpa: number;
  readonly write: boolean;
  readonly fetch: boolean;
  readonly walk: boolean;
}

/**
 * What becomes of a guest access that the host could not resolve (an error pfn). Default: SIGBUS and EINTR for poison,
 * EFAULT for the rest.
 */
export const errorPfn: Point<ErrorPfnQuestion, Exit | undefined> = definePoint(
  'arm64.error-pfn',
  (fns) => (q) => {
    for (const f of fns) {
      const e = f(q);
      if (e) return e;
    }
    return undefined;
  },
);

/**
 * Rows that plugins add to the instruction table, before the interpreter is emitted. A word that another row takes fails
 * when the VM is made (FY_PLUGIN_CLASH). Give the same objects every time: VMs with the same rows share their compiled
 * interpreter. A row that accesses memory says `access` ({@link MemoryForm}).
 */
export const instructions: Point<void, readonly Form[]> = listOf('arm64.instructions');

/**
 * System registers that plugins add; encodings and names must be free (FY_PLUGIN_CLASH). A register that EL1 may write
 * and that has neither `read` nor `write` gets a slot of its own: it is reset, saved and hashed with the vCPU, and known
 * to debuggers, ONE_REG and the assembler.
 */
export const systemRegisters: Point<void, readonly SysregDef[]> = listOf('arm64.system-registers');

/** A guard bit that a plugin claims: one condition under which instructions or registers are intercepted. */
export interface GuardDef {
  /** 16 to 31. */
  readonly bit: number;
  /** One line: when it is set. */
  readonly doc: string;
}

/** Guard bits by plugin; {@link FaultPort.setGuard} takes only these. Two claims of one bit are a FY_PLUGIN_CLASH. */
export const guards: Point<void, readonly GuardDef[]> = listOf('arm64.guards');

/**
 * A guard bit that a plugin owns was set when an instruction asked for it (`Builder.guard`), or a register ({@link SysregDef.guard}).
 */
export interface InterceptQuestion {
  readonly vcpu: FaultPort;
  /** The guard's number. */
  readonly guard: number;
  /** The instruction. */
  readonly word: number;
}

/**
 * What becomes of a guarded instruction: an exit (pc stays at the instruction), `undefined-instruction` (the guest
 * takes EC 0), or `skip` (it is retired without effect). The first contribution that answers decides; nobody: UNDEFINED.
 */
export const intercept: Point<InterceptQuestion, Exit | 'undefined-instruction' | 'skip' | undefined> =
  firstOf<InterceptQuestion, Exit | 'undefined-instruction' | 'skip' | undefined>(
    'arm64.intercept',
    () => 'undefined-instruction',
  );

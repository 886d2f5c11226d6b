/** What a row of the MSR table says, and how accesses answer. Rules are KVM's (arch/x86/kvm/x86.c, svm.c, vmx.c). */
import type { X86Vcpu } from '../vcpu.ts';

/**
 * What became of an access. KVM refuses some values and indices (`Refused`: #GP, exit reason INVAL) and does not know
 * others (`Unsupported`: #GP, exit reason UNKNOWN; hosts read 0 and may write 0 where the index is in the list of
 * KVM_GET_MSR_INDEX_LIST).
 */
export const MsrResult = { Ok: 0, Refused: 1, Unsupported: 2, Filtered: 3 } as const;
/** One of {@link MsrResult}. */
export type MsrResultCode = 0 | 1 | 2 | 3;

/** One access: filled by the caller, and by reads. One object, reused. */
export interface MsrAccess {
  readonly vcpu: X86Vcpu;
  index: number;
  /** By KVM_GET_MSRS or KVM_SET_MSRS, not by the guest. */
  host: boolean;
  /** Value: to be written, or as read. */
  lo: number;
  hi: number;
}

/** A named field of a register: `[name, high bit, low bit]`. */
export type FieldDef = readonly [name: string, high: number, low: number];

/** One model-specific register, or `count` of one kind. */
export interface MsrDef {
  readonly index: number;
  /** Number of consecutive indices that this row stands for; default 1. Such rows have no storage of their own. */
  readonly count?: number;
  /** Upper-case name after IA32_ or MSR_: `EFER`, `TSC_AUX`. Rows with a count take `name<n>`. */
  readonly name: string;
  /** One line: what it holds. */
  readonly doc: string;
  readonly fields?: readonly FieldDef[];
  /** In KVM_GET_MSR_INDEX_LIST. */
  readonly listed?: boolean;
  /** Slot of `SR` that stores it; rows without slot, `read` and `write` get storage of their own. */
  readonly slot?: number;
  /** Value after RESET. INIT leaves it where {@link keepsOnInit}. */
  readonly reset?: bigint;
  readonly keepsOnInit?: boolean;
  /** Reads it, in place of storage. */
  readonly read?: (a: MsrAccess) => MsrResultCode;
  /** Writes it, in place of storage. */
  readonly write?: (a: MsrAccess) => MsrResultCode;
  /** Looks at a write before it is stored; may change `lo` and `hi`. */
  readonly check?: (a: MsrAccess) => MsrResultCode;
  /** Called after it was stored. */
  readonly changed?: (a: MsrAccess) => void;
  /** Whether the vCPU has it; where not, it is unsupported. */
  readonly exists?: (v: X86Vcpu) => boolean;
}

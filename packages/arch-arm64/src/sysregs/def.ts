/** What a row of the system register table says. */
import type { Model } from '../model.ts';
import type { Arm64State, Pair } from '../state.ts';

/** The vCPU as system registers see it: state, and what depends on a register and must follow a write. */
export interface SysregContext {
  readonly state: Arm64State;
  readonly model: Model;
  /** A register that steers translation changed (SCTLR, TCR, TTBRn, MAIR): derived translations go. */
  translationChanged(): void;
  /** PSTATE.PAN or UAO changed: fast translations of what they govern go. */
  privilegeChanged(): void;
  /** Guard bits depend on what changed (SCTLR, CPACR, PSTATE). */
  guardsChanged(): void;
  /** Masks or pending state of interrupts and SErrors changed. */
  interruptsChanged(): void;
  /** What software step depends on changed (MDSCR_EL1, the OS lock, PSTATE.D). */
  stepChanged(): void;
  /** Timer registers. */
  readonly timer: TimerPort;
  /** Sets or clears a guard bit that a plugin claimed (`arm64.guards`). */
  setGuard(bit: number, on: boolean): void;
  /** Whether a guard bit is set. */
  guarded(bit: number): boolean;
  /** ISR_EL1: pending interrupts and SErrors, bits A 8, I 7, F 6. */
  isr(): number;
}

/** The generic timer as its registers see it. */
export interface TimerPort {
  /** CNTPCT_EL0 and CNTVCT_EL0 in ticks. */
  count(virtual: boolean, out: Pair): void;
  /** A CTL or CVAL register changed. */
  changed(): void;
  /** Whether the timer condition holds (CTL.ISTATUS). */
  condition(virtual: boolean): boolean;
}

/** A named field of a register: `[name, high bit, low bit]`. */
export type FieldDef = readonly [name: string, high: number, low: number];

/** One system register. */
export interface SysregDef {
  readonly name: string;
  /** Encoding: op0, op1, CRn, CRm, op2. */
  readonly enc: readonly [op0: number, op1: number, crn: number, crm: number, op2: number];
  /** One line: what it holds. */
  readonly doc: string;
  /** What EL1 may do. */
  readonly el1: 'rw' | 'ro' | 'wo';
  /** What EL0 may do; absent: UNDEFINED at EL0. */
  readonly el0?: 'rw' | 'ro';
  /** EL0 access that is allowed by {@link el0} traps to EL1 (EC 0x18) when this says so. */
  readonly trapEl0?: (c: SysregContext, write: boolean) => boolean;
  /** Accesses that EL1 (or EL0) may make ask this guard bit of the plugin's; set: `arm64.intercept` decides. */
  readonly guard?: number;
  /** Accesses are subject to CPACR_EL1.FPEN (EC 0x07). */
  readonly fp?: boolean;
  /** Whether the model has it; absent: always. Where it does not exist the encoding is UNDEFINED. */
  readonly exists?: (m: Model) => boolean;
  /** Slot that stores it; the architecture's own only, those of plugins get one where they need it. */
  readonly slot?: number;
  /** Value after reset; of a read-only register without slot: its value. */
  readonly value?: bigint | ((m: Model) => bigint);
  /** Bits a write changes. Default: all. */
  readonly mask?: bigint | ((m: Model) => bigint);
  /** Bits that read as one whatever is written. */
  readonly res1?: bigint | ((m: Model) => bigint);
  /** Reads it, in place of {@link slot}. */
  readonly read?: (c: SysregContext, out: Pair) => void;
  /** Writes it, in place of {@link slot}. */
  readonly write?: (c: SysregContext, lo: number, hi: number) => void;
  /** Called after {@link slot} was written, and for registers of plugins at reset, with the new value. */
  readonly changed?: (c: SysregContext, lo: number, hi: number) => void;
  /** Not kept as vCPU state and not offered to debuggers (it mirrors another register). */
  readonly mirror?: boolean;
  readonly fields?: readonly FieldDef[];
}

/** op0:op1:CRn:CRm:op2 in 16 bits: the low half of the register's ONE_REG id. */
export function sysregKey(enc: SysregDef['enc']): number {
  const [op0, op1, crn, crm, op2] = enc;
  return (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
}

/**
 * Exception entry and return at EL1 (DDI 0487, D1.3 and J1: AArch64.TakeException, AArch64.ExceptionReturn).
 * One function serves hardware and KVM's software entry (arch/arm64/kvm/hyp/exception.c), which differs in one rule.
 */
import { type Arm64State, PS, SR } from '../state.ts';
import type { SysregContext } from '../sysregs/def.ts';

/** Exception classes, ESR_EL1.EC (DDI 0487, D19.2.37). */
export const EC = {
  Unknown: 0x00,
  Wfx: 0x01,
  Fp: 0x07,
  IllegalState: 0x0e,
  Svc: 0x15,
  Hvc: 0x16,
  Smc: 0x17,
  Sysreg: 0x18,
  InstructionAbortLower: 0x20,
  InstructionAbort: 0x21,
  PcAlignment: 0x22,
  DataAbortLower: 0x24,
  DataAbort: 0x25,
  SpAlignment: 0x26,
  SError: 0x2f,
  StepLower: 0x32,
  Step: 0x33,
  Brk: 0x3c,
} as const;

/** Vector offsets within a group of four. */
export const VECTOR = { Sync: 0x000, Irq: 0x080, Fiq: 0x100, SError: 0x180 } as const;
/** One of {@link VECTOR}. */
export type VectorOffset = 0 | 0x80 | 0x100 | 0x180;

/** Bits of SCTLR_EL1 that entry looks at. */
const SPAN = 1 << 23;
const IESB = 1 << 21;
/** SCTLR_EL1.DSSBS, bit 44. */
const DSSBS = 1 << 12;
/** MDSCR_EL1.KDE. */
const KDE = 1 << 13;
/** SCTLR2_EL1.EASE. */
const EASE = 1 << 5;

/** The vCPU as exception entry sees it. */
export interface ExceptionContext extends SysregContext {
  /** Exception level, SPSel or masks changed: access context, guards and interrupts follow. */
  modeChanged(): void;
  /** ERET and the like open the exclusive monitor. */
  clearExclusive(): void;
  /** An exception was entered at this offset from VBAR_EL1. */
  entered(offset: number): void;
  /** Moves a pending, masked virtual SError to VDISR (ESB; DDI 0487, D20 and sea.md 2.3). */
  errorSynchronization(): void;
}

/** An ESR value: EC, IL and ISS. */
export function esr(ec: number, iss: number, il: 0 | 1 = 1): number {
  return (ec << 26) | (il << 25) | iss | 0;
}

/** Where an exception starts and by whose rules it is entered. */
export interface EntryRules {
  /**
   * `hardware`: PAN is set by SPAN only where FEAT_PAN exists. `kvm`: enter_exception64() sets PAN whenever SPAN is 0,
   * without asking for the feature.
   */
  readonly by: 'hardware' | 'kvm';
}
const HARDWARE: EntryRules = { by: 'hardware' };

/**
 * Enters EL1 at `vector`: ELR, SPSR, PSTATE and PC. ESR and FAR are the caller's. The preferred return address is the
 * pc: instructions that return behind themselves advance it first.
 */
export function enterException(
  c: ExceptionContext,
  vector: VectorOffset,
  rules: EntryRules = HARDWARE,
): void {
  const s = c.state;
  const from = s.pstate;
  const group = s.el === 0 ? 0x400 : s.ps & 1 ? 0x200 : 0;
  s.put(SR.ELR_EL1, s.pcLo, s.pcHi);
  s.put(SR.SPSR_EL1, from, 0);
  const sctlr = s.lo(SR.SCTLR_EL1);
  const forced = (sctlr & SPAN) === 0 && (c.model.pan || rules.by === 'kvm');
  const ssbs = s.hi(SR.SCTLR_EL1) & DSSBS ? PS.SSBS : 0;
  s.setPs(PS.EL1h | PS.DAIF | (from & (PS.DIT | PS.PAN)) | (forced ? PS.PAN : 0) | ssbs);
  s.setPc(s.lo(SR.VBAR_EL1) + group + vector, s.hi(SR.VBAR_EL1));
  if (sctlr & IESB) c.errorSynchronization();
  c.modeChanged();
  c.entered(group + vector);
}

/** Synchronous exception with a syndrome; FAR keeps its value. */
export function takeSync(c: ExceptionContext, ec: number, iss: number, il: 0 | 1 = 1): void {
  c.state.put(SR.ESR_EL1, esr(ec, iss, il), 0);
  enterException(c, VECTOR.Sync);
}

/** What an instruction or data abort reports to EL1. */
export interface AbortSyndrome {
  readonly fetch: boolean;
  /** ISS without EC: FSC, WnR, CM, EA, FnV, SET … */
  readonly iss: number;
  readonly farLo: number;
  readonly farHi: number;
  /** A synchronous external abort: SCTLR2_EL1.EASE sends it to the SError vector. */
  readonly external: boolean;
}

/**
 * Instruction or data abort. EC tells the level it came from; `il` is 1 as the architecture has it, or what KVM
 * copied from the trapped syndrome.
 */
export function takeAbort(
  c: ExceptionContext,
  a: AbortSyndrome,
  rules: EntryRules = HARDWARE,
  il: 0 | 1 = 1,
): void {
  const s = c.state;
  const lower = s.el === 0;
  const ec = a.fetch
    ? lower
      ? EC.InstructionAbortLower
      : EC.InstructionAbort
    : lower
      ? EC.DataAbortLower
      : EC.DataAbort;
  s.put(SR.ESR_EL1, esr(ec, a.iss, il), 0);
  s.put(SR.FAR_EL1, a.farLo, a.farHi);
  const ease = a.external && c.model.df2 && (s.lo(SR.SCTLR2_EL1) & EASE) !== 0;
  enterException(c, ease ? VECTOR.SError : VECTOR.Sync, rules);
}

/** SError with this ISS; `il` as delivered (KVM's software entry has had it 0, see the knob `serrorIl`). */
export function takeSError(
  c: ExceptionContext,
  iss: number,
  rules: EntryRules = HARDWARE,
  il: 0 | 1 = 1,
): void {
  c.state.put(SR.ESR_EL1, esr(EC.SError, iss, il), 0);
  enterException(c, VECTOR.SError, rules);
}

/** Whether debug exceptions are enabled in a state: OS lock released; from EL0 always, at EL1 with KDE and D clear. */
function debugEnabled(s: Arm64State, ps: number): boolean {
  if (s.lo(SR.OSLSR_EL1) & 2) return false;
  return (ps & 0xc) === 0 || ((s.lo(SR.MDSCR_EL1) & KDE) !== 0 && (ps & PS.D) === 0);
}
/** Whether software step is active in a state of PSTATE (DDI 0487, D2.12). */
export function stepping(s: Arm64State, ps: number): boolean {
  return (s.lo(SR.MDSCR_EL1) & 1) !== 0 && debugEnabled(s, ps);
}

/** Whether SPSR.M names a state that EL1 may return to: AArch64, EL0t, EL1t or EL1h. */
function legalMode(spsr: number): boolean {
  const m = spsr & 0x1f;
  return m === PS.EL0t || m === PS.EL1t || m === PS.EL1h;
}

/** ERET: PC and PSTATE from ELR_EL1 and SPSR_EL1; an illegal mode sets PSTATE.IL and keeps level and stack pointer. */
export function exceptionReturn(c: ExceptionContext): void {
  const s = c.state;
  const spsr = s.lo(SR.SPSR_EL1);
  if (s.lo(SR.SCTLR_EL1) & IESB) c.errorSynchronization();
  const kept = PS.DAIF | PS.IL | PS.SS | (c.model.pan ? PS.PAN : 0) | (c.model.uao ? PS.UAO : 0);
  const legal = legalMode(spsr);
  const mode = legal ? spsr & 0xf : s.ps & 0xf;
  // DebugExceptionReturnSS: SS comes in where stepping is active there and debug exceptions were off here
  const target = mode | (spsr & PS.D);
  const ss = !debugEnabled(s, s.ps) && stepping(s, target) ? spsr & PS.SS : 0;
  s.nzcv = spsr;
  const pcLo = s.lo(SR.ELR_EL1);
  const pcHi = s.hi(SR.ELR_EL1);
  s.setPs(mode | (spsr & kept & ~PS.SS) | ss | (legal ? 0 : PS.IL));
  s.setPc(pcLo, pcHi);
  c.clearExclusive();
  c.modeChanged();
}

/** ISS of EC 0x18 for a register key (op0:op1:CRn:CRm:op2) and Rt. */
export function sysregIss(key: number, rt: number, read: boolean): number {
  const op0 = key >> 14;
  const op1 = (key >> 11) & 7;
  const crn = (key >> 7) & 15;
  const crm = (key >> 3) & 15;
  const op2 = key & 7;
  return (op0 << 20) | (op2 << 17) | (op1 << 14) | (crn << 10) | (rt << 5) | (crm << 1) | Number(read);
}

/** Which function performs which system instruction (Slow.System, Slow.Port). */
import { type Instruction, Mnemonic } from 'iced-x86';
import { RETURN_OPERATIONS } from '../events/return.ts';
import { SMM_OPERATIONS } from '../events/smm.ts';
import { SOFTWARE_OPERATIONS } from '../events/software.ts';
import type { Machine } from '../machine.ts';
import { rdmsr, wrmsr } from '../msr/instructions.ts';
import type { NextStep } from '../next.ts';
import { FAR_OPERATIONS } from '../segments/far.ts';
import { INSPECT_OPERATIONS } from '../segments/inspect.ts';
import { movSegment, SEGMENT_OPERATIONS } from '../segments/load.ts';
import type { X86Vcpu } from '../vcpu.ts';
import { CACHE_OPERATIONS } from './cache.ts';
import { CONTROL_OPERATIONS, isControlRegister, movControl } from './control.ts';
import { CPUID_OPERATIONS } from './cpuid.ts';
import { isDebugRegister, movDebug } from './debug-registers.ts';
import { ENTER_OPERATIONS } from './enter.ts';
import { FAST_CALL_OPERATIONS } from './fast-calls.ts';
import { HALT_OPERATIONS } from './halt.ts';
import { HYPERCALL_OPERATIONS } from './hypercall.ts';
import { INTERRUPT_FLAG_OPERATIONS } from './interrupt-flag.ts';
import { MMX_OPERATIONS } from './mmx.ts';
import { isSegmentRegister } from './operand.ts';
import type { Operation, Operations } from './operation.ts';
import { PORT_OPERATIONS } from './port.ts';
import { PROTECTION_KEY_OPERATIONS } from './protection-keys.ts';
import { RANDOM_OPERATIONS } from './random.ts';
import { TIME_OPERATIONS } from './time.ts';
import { TLB_OPERATIONS } from './tlb.ts';
import { WAITING_OPERATIONS } from './waiting.ts';
import { X87_OPERATIONS } from './x87.ts';
import { XSAVE_OPERATIONS } from './xsave.ts';

/** MOV by the class of its registers. */
function mov(m: Machine, i: Instruction): NextStep {
  const a = i.op0Register;
  const b = i.op1Register;
  if (isControlRegister(a) || isControlRegister(b)) return movControl(m, i);
  if (isDebugRegister(a) || isDebugRegister(b)) return movDebug(m, i);
  if (isSegmentRegister(a) || isSegmentRegister(b)) return movSegment(m, i);
  return m.raise(6);
}

/** RDMSR and WRMSR are for CPL 0; the rest is the vCPU's, which alone implements {@link Machine}. */
const msrAccess =
  (access: (v: X86Vcpu) => NextStep): Operation =>
  (m) =>
    m.state.cpl === 0 ? access(m as X86Vcpu) : m.raise(13, 0);

const HERE: Operations = new Map([
  [Mnemonic.Mov, mov],
  [Mnemonic.Rdmsr, msrAccess(rdmsr)],
  [Mnemonic.Wrmsr, msrAccess(wrmsr)],
]);

const TABLE: ReadonlyMap<Mnemonic, Operation> = new Map(
  [
    HERE,
    SEGMENT_OPERATIONS,
    FAR_OPERATIONS,
    INSPECT_OPERATIONS,
    CONTROL_OPERATIONS,
    FAST_CALL_OPERATIONS,
    INTERRUPT_FLAG_OPERATIONS,
    SOFTWARE_OPERATIONS,
    RETURN_OPERATIONS,
    SMM_OPERATIONS,
    HYPERCALL_OPERATIONS,
    RANDOM_OPERATIONS,
    CPUID_OPERATIONS,
    TIME_OPERATIONS,
    HALT_OPERATIONS,
    WAITING_OPERATIONS,
    TLB_OPERATIONS,
    CACHE_OPERATIONS,
    PROTECTION_KEY_OPERATIONS,
    PORT_OPERATIONS,
    XSAVE_OPERATIONS,
    X87_OPERATIONS,
    MMX_OPERATIONS,
    ENTER_OPERATIONS,
  ].flatMap((chapter) => [...chapter]),
);

/** Mnemonics that {@link dispatch} knows: rows hand exactly these to Slow.System. */
export const SYSTEM_MNEMONICS: ReadonlySet<Mnemonic> = new Set(TABLE.keys());

/** Performs the instruction at pc; #UD for what nobody knows. */
export function dispatch(m: Machine, i: Instruction): NextStep {
  const f = TABLE.get(i.mnemonic);
  return f ? f(m, i) : m.raise(6);
}

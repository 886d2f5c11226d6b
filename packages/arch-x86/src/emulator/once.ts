/** One execution of an instruction inside KVM's emulator: on the slow path, with device accesses where memory is not. */
import { Leave } from '@faultyard/engine';
import { FlowControl, type Instruction, OpKind } from 'iced-x86';
import { Cause } from '../memory/access-fault.ts';
import { Next, type NextStep } from '../next.ts';
import { guard, slow } from '../slow.ts';
import type { X86Vcpu } from '../vcpu.ts';
import type { DeviceAccesses } from './accesses.ts';
import { Once, type OnceResult } from './emulator.ts';

/**
 * Whether KVM takes its operand's gpa from the hardware's exit where the offsets agree: not for two memory operands, nor
 * for repeated strings (arch/x86/kvm/emulate.c emulator_can_use_gpa).
 */
function usesKnownGpa(i: Instruction): boolean {
  if (i.isStringInstruction) return !(i.hasRepPrefix || i.hasRepnePrefix || twoOperands(i));
  return !(i.isStackInstruction && i.op0Kind === OpKind.Memory && i.flowControl === FlowControl.Next);
}
/** MOVS and CMPS. */
const twoOperands = (i: Instruction): boolean => isMemory(i.op0Kind) && isMemory(i.op1Kind);
const isMemory = (kind: OpKind): boolean => kind >= OpKind.MemorySegSI && kind <= OpKind.Memory;

/** Carries out `Emulated.executeOnce`. What KVM's tables do not have (`Row.notEmulated`) does not begin. */
export function executeOnce(v: X86Vcpu, accesses: DeviceAccesses): OnceResult {
  const { cpu, port } = v;
  const i = v.instruction();
  if (v.isa.table.codes[i.code]?.row.notEmulated) return Once.Cannot;
  if (!v.memoryRules.walkGpaReuseQuirk || !usesKnownGpa(i)) accesses.reuse = -1;
  const { events } = v;
  port.emulating = accesses;
  events.emulating = true;
  events.taken = false;
  const leave = cpu.step();
  let next: NextStep = Next.Run;
  if (leave === Leave.Slow) next = slow(v, cpu.slowOp);
  else if (leave === Leave.Guard) next = guard(v, cpu.slowOp);
  else if (leave === Leave.Fault && !accesses.wanted) next = v.faulted();
  port.emulating = undefined;
  events.emulating = false;
  if (accesses.wanted) return Once.Device;
  if (next === Next.Device) return Once.Port;
  if (next === Next.Handle && v.deferred) {
    v.mapped = true;
    v.attend();
    return Once.Done;
  }
  if (next === Next.Handle) {
    const { cause } = port.fault;
    return cause === Cause.Device ? Once.Cannot : Once.Map;
  }
  // an exception costs when it is delivered, as anywhere
  if (events.taken) v.mapped = true;
  else v.owe(1);
  v.emulated();
  return Once.Done;
}

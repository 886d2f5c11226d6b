/** One execution of an instruction inside KVM's emulator: on the slow path, with device accesses where memory is not. */
import { Leave } from '@faultyard/engine';
import { Cause } from '../memory/access-fault.ts';
import { Next, type NextStep } from '../next.ts';
import { guard, slow } from '../slow.ts';
import type { X86Vcpu } from '../vcpu.ts';
import type { DeviceAccesses } from './accesses.ts';
import { Once, type OnceResult } from './emulator.ts';

/** Carries out `Emulated.executeOnce`. What KVM's tables do not have (`Row.notEmulated`) does not begin. */
export function executeOnce(v: X86Vcpu, accesses: DeviceAccesses): OnceResult {
  const { cpu, port } = v;
  if (v.isa.table.codes[v.instruction().code]?.row.notEmulated) return Once.Cannot;
  port.emulating = accesses;
  const leave = cpu.step();
  let next: NextStep = Next.Run;
  if (leave === Leave.Slow) next = slow(v, cpu.slowOp);
  else if (leave === Leave.Guard) next = guard(v, cpu.slowOp);
  else if (leave === Leave.Fault && !accesses.wanted) next = v.faulted();
  port.emulating = undefined;
  if (accesses.wanted) return Once.Device;
  if (next === Next.Handle) {
    const { cause } = port.fault;
    return cause === Cause.Device ? Once.Cannot : Once.Map;
  }
  v.owe(1);
  v.emulated();
  return Once.Done;
}

/** Device accesses that plain moves make: what KVM's emulator does with them is known without a second execution. */
import type { X86Vcpu } from '../vcpu.ts';
import { completeLoad } from './simple.ts';

/** Whether the access that failed last was a single one of a device, and nobody wants to see more of its instruction. */
function single(v: X86Vcpu): boolean {
  return v.port.deviceFilled && !v.port.emulating && !v.events.debug.careful;
}

/**
 * A plain move to or from a device of the kernel that is only served outside generated code. `false`: it is another
 * access, or KVM's emulator is to take it.
 */
export function servesOutside(v: X86Vcpu): boolean {
  const d = v.core.device;
  const { bus } = v.vm;
  if (!single(v) || !bus.outside(d.gpa, d.size)) return false;
  if (d.write) {
    const { length } = v.cpu;
    if (!v.port.plainStore || length === 0) return false;
    if (!bus.store(d.gpa, d.size, v.id, d.lo, d.hi)) return false;
    v.state.advance(length);
  } else {
    const known = v.code.known();
    const a = known && v.code.cache.simple(known);
    if (!a || !bus.load(d.gpa, d.size, v.id, d)) return false;
    completeLoad(v.state, a, d.lo, d.hi);
    v.state.advance(a.length);
  }
  v.retired++;
  return true;
}

/** A device access that a plain move made leaves as it stands. `false`: KVM's emulator is to take it. */
export function leavesSimply(v: X86Vcpu): boolean {
  if (!single(v)) return false;
  const { length } = v.cpu;
  if (v.port.plainStore && length !== 0) {
    v.emulator.leaveSimply(undefined);
    v.state.advance(length);
    v.retired++;
    return true;
  }
  const known = v.code.known();
  const a = known && v.code.cache.simple(known);
  if (!a || v.core.device.write) return false;
  v.emulator.leaveSimply(a);
  return true;
}

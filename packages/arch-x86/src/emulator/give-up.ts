/** What becomes of an instruction that KVM's emulator cannot do (arch/x86/kvm/x86.c handle_emulation_failure). */
import type { Exit } from '@faultyard/core';
import { Vector } from '../events/vectors.ts';
import { MAX_INSTRUCTION } from '../isa/decode.ts';
import type { AccessFault } from '../memory/access-fault.ts';
import type { X86Vcpu } from '../vcpu.ts';
import { emulationFailure, hardwareExit } from './failure.ts';

/** #UD in user code, else KVM_EXIT_INTERNAL_ERROR; `f` is the access that led to the emulator. */
export function giveUp(v: X86Vcpu, f: Readonly<AccessFault>): Exit | undefined {
  const { state } = v;
  if (state.cpl === 3) {
    v.raise(Vector.UD);
    return undefined;
  }
  const bytes = new Uint8Array(MAX_INSTRUCTION);
  const n = v.code.bytes(state.pcLo, state.pcHi, bytes);
  return emulationFailure(v.id, bytes.subarray(0, n), hardwareExit(v.model.vendor, f));
}

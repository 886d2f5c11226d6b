/** What KVM says when its emulator gives up (arch/x86/kvm/x86.c prepare_emulation_failure_exit, handle_emulation_failure). */
import type { Exit } from '@faultyard/core';
import { Access } from '@faultyard/engine';
import type { AccessFault } from '../memory/access-fault.ts';

/** KVM_INTERNAL_ERROR_*. */
const Suberror = {
  Emulation: 1,
  SimultaneousExceptions: 2,
  DeliveryEvent: 3,
  UnexpectedExit: 4,
} as const;
/** KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES: data[1] and data[2] hold the instruction's bytes. */
const FLAG_BYTES = 1n;
/** Longest instruction, and what fills the rest of the 15 bytes. */
const INSTRUCTION_BYTES = 15;
const NOP = 0x90;

/** The hardware exit that made KVM emulate, as it reports it: exit code and the two information words. */
export interface HardwareExit {
  readonly code: bigint;
  readonly info1: bigint;
  readonly info2: bigint;
}

/**
 * The nested page fault, or EPT violation, of an access.
 * SVM: exit code 400h, EXITINFO1 like the error code of #PF with bit 32 (final address) or 33 (a table), EXITINFO2 the
 * gpa (AMD64 APM volume 2, 15.25.6). VMX: reason 48, exit qualification, gpa (SDM volume 3C, table 28-7).
 */
export function hardwareExit(vendor: 'AMD' | 'Intel', f: AccessFault): HardwareExit {
  const fetch = f.kind === Access.Exec && !f.walk;
  const gpa = BigInt(f.gpa);
  if (vendor === 'AMD') {
    const error = (f.write ? 2n : 0n) | 4n | (fetch ? 0x10n : 0n);
    return { code: 0x400n, info1: error | (f.walk ? 1n << 33n : 1n << 32n), info2: gpa };
  }
  const access = fetch ? 4n : f.write ? 2n : 1n;
  return { code: 48n, info1: access | 0x80n | (f.walk ? 0n : 0x100n), info2: gpa };
}

/** KVM_EXIT_INTERNAL_ERROR, suberror 1; `bytes`: the instruction as far as it was fetched, none if nothing was. */
export function emulationFailure(vcpu: number, bytes: Uint8Array, h: HardwareExit): Exit<'internal-error'> {
  const words = [h.code, h.info1, h.info2, 0n, 0n];
  if (bytes.length === 0) {
    return { kind: 'internal-error', vcpu, ret: 0, suberror: Suberror.Emulation, data: [0n, ...words] };
  }
  const image = new Uint8Array(16).fill(NOP);
  image[0] = Math.min(bytes.length, INSTRUCTION_BYTES);
  image.set(bytes.subarray(0, INSTRUCTION_BYTES), 1);
  const v = new DataView(image.buffer);
  const data = [FLAG_BYTES, v.getBigUint64(0, true), v.getBigUint64(8, true), ...words];
  return { kind: 'internal-error', vcpu, ret: 0, suberror: Suberror.Emulation, data };
}

/** KVM_EXIT_INTERNAL_ERROR, suberror 3: an event could not be delivered because its stack or table is not memory. */
export function deliveryFailure(vcpu: number, h: HardwareExit, gpa: number): Exit<'internal-error'> {
  const data = [h.info2, h.code, h.info1, BigInt(gpa), BigInt(vcpu)];
  return { kind: 'internal-error', vcpu, ret: 0, suberror: Suberror.DeliveryEvent, data };
}

/**
 * Errors that the host meets when it touches guest memory itself (arch/arm64/mm/fault.c do_sea): none of them ever
 * becomes exit 41.
 */
import { drive, type Vm } from '@faultyard/core';
import type { SeaKnobs } from './knobs.ts';

/** What a load by the host gave. */
export type HostLoad =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** SIGBUS to the VMM's thread; a record of it is in `vm.signals`. */
  | { readonly kind: 'signal'; readonly code: 'BUS_OBJERR' | 'BUS_MCEERR_AR' }
  /** The host kernel died: do_sea asks APEI in user mode only, and has no fixup. */
  | { readonly kind: 'oops' };

/** A host. */
export interface HostSide {
  readonly vm: Vm;
  readonly knobs: SeaKnobs;
}

/** A load by the VMM in user mode: claimed errors are BUS_MCEERR_AR, unclaimed ones BUS_OBJERR. */
export function vmmLoad(h: HostSide, gpa: bigint, length: number): HostLoad {
  const { vm, knobs } = h;
  const got = vm.memory.load(gpa, length);
  if (got instanceof Uint8Array) return { kind: 'bytes', bytes: got };
  const known = got?.code === 'BUS_MCEERR_AR';
  const claimed = knobs.apei === 'claims';
  if (claimed && !known) drive(vm.memory.memoryFailure(gpa, 'main', () => {}));
  const code = known || claimed ? 'BUS_MCEERR_AR' : 'BUS_OBJERR';
  vm.signals.send({
    signal: 'SIGBUS',
    code,
    ...(got ? { addr: got.addr } : {}),
    ...(code === 'BUS_MCEERR_AR' ? { lsb: got?.lsb ?? vm.memory.backingShift(gpa) } : {}),
    to: 'main',
  });
  return { kind: 'signal', code };
}

/** A copy by the host kernel: an error that nobody knows of yet is an oops, whether firmware would claim it or not. */
export function kernelCopy(h: HostSide, gpa: bigint, length: number): HostLoad {
  const got = h.vm.memory.load(gpa, length);
  if (got instanceof Uint8Array) return { kind: 'bytes', bytes: got };
  return got?.code === 'BUS_MCEERR_AR' ? { kind: 'signal', code: 'BUS_MCEERR_AR' } : { kind: 'oops' };
}

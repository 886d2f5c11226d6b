/** What KVM saved of the last abort at EL2 (struct kvm_vcpu_fault_info); device accesses stay numbers until asked for. */
import { Access } from '@faultyard/engine';
import { ISS } from '../events/inject.ts';
import type { FaultInfo } from '../points.ts';
import { join } from '../state.ts';
import type { AccessFault } from './port.ts';

/** ESR_EL2 of a data abort from a lower level: translation fault, level 2, IL set. */
const DABT_TRANSLATION = 0x9200_0006;

/** The record. */
export class SavedFault {
  #info: FaultInfo = { esr: 0, far: 0n, hpfar: 0n };
  /** {@link info} is that of the last device access. */
  #stale = false;
  #lo = 0;
  #hi = 0;
  #gpa = 0;
  #write = false;

  /** The record as registers. */
  get info(): FaultInfo {
    if (this.#stale) {
      this.info = {
        esr: (DABT_TRANSLATION | (this.#write ? ISS.WnR : 0)) >>> 0,
        far: join(this.#lo, this.#hi),
        hpfar: BigInt(Math.floor(this.#gpa / 4096)) << 4n,
      };
    }
    return this.#info;
  }
  set info(f: FaultInfo) {
    this.#stale = false;
    this.#info = f;
  }
  /** Notes a device access. */
  device(f: AccessFault): void {
    this.#stale = true;
    this.#lo = f.lo;
    this.#hi = f.hi;
    this.#gpa = f.gpa;
    this.#write = f.kind !== Access.Read;
  }
}

/**
 * SErrors of a guest: HCR_EL2.VSE with VSESR_EL2, delivery, and ESB (DDI 0487, D1.13 and D20; sea.md 2.3, 4.5).
 * All of them are virtual: KVM routes physical SErrors to itself.
 */

import type { KvmRules } from '../points.ts';
import { PS, SR } from '../state.ts';
import { type ExceptionContext, takeSError } from './exceptions.ts';

/** ISS of an SError whose syndrome is not an architected RAS one: IDS = 1. */
export const IDS = 0x100_0000;
/** DISR_EL1.A. */
const DISR_A = 1 << 31;
/** SCTLR2_EL1.NMEA. */
const NMEA = 1 << 2;

/** The virtual SError of one vCPU. */
export class SErrors {
  readonly #c: ExceptionContext;
  readonly #rules: KvmRules;
  /** HCR_EL2.VSE. */
  pending = false;
  /** Syndromes of further SErrors, where `serrorWhilePending` is `queue`. */
  queue: number[] = [];

  constructor(c: ExceptionContext, rules: KvmRules) {
    this.#c = c;
    this.#rules = rules;
  }

  /** ISS in VSESR_EL2. */
  get syndrome(): number {
    return this.#c.state.lo(SR.VSESR);
  }
  get #masked(): boolean {
    return (this.#c.state.ps & PS.A) !== 0;
  }

  /** kvm_inject_serror_esr: a software entry where it can be taken now (6.17; `true`), else VSE. */
  inject(iss: number): boolean {
    const c = this.#c;
    const nmea = c.model.df2 && (c.state.lo(SR.SCTLR2_EL1) & NMEA) !== 0;
    if (this.#rules.serror === 'softwareEntry' && (!this.#masked || nmea)) {
      takeSError(c, iss, { by: 'kvm' }, this.#rules.serrorTopByte === 0xbf ? 1 : 0);
      return true;
    }
    if (this.pending && this.#rules.serrorWhilePending === 'queue') this.queue.push(iss);
    else this.pend(iss);
    c.interruptsChanged();
    return false;
  }
  /** Sets VSE and VSESR. */
  pend(iss: number): void {
    this.pending = true;
    this.#c.state.put(SR.VSESR, iss, 0);
  }
  /** Clears VSE; the next queued one follows. */
  clear(): void {
    this.pending = false;
    this.#c.state.put(SR.VSESR, 0, 0);
    const next = this.queue.shift();
    if (next !== undefined) this.pend(next);
  }
  /** Hardware takes the virtual SError once PSTATE.A is 0. */
  deliver(): boolean {
    if (!this.pending || this.#masked) return false;
    const iss = this.syndrome & 0x1ff_ffff;
    this.clear();
    takeSError(this.#c, iss);
    return true;
  }
  /** ESB: a pending masked virtual SError moves to VDISR_EL2, which the guest reads as DISR_EL1. */
  synchronize(): void {
    if (!this.pending || !this.#masked) return;
    const iss = this.syndrome;
    // the architected fields of DISR_EL1, or the whole implementation defined syndrome
    const fields = iss & IDS ? iss & 0x1ff_ffff : iss & 0x1e3f;
    this.#c.state.put(SR.VDISR, DISR_A | fields, 0);
    this.clear();
    this.#c.interruptsChanged();
  }
}

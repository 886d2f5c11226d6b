/** Aborts that a lab makes up: accesses this CPU model has no registers for, such as the VNCR page of FEAT_NV2. */
import type { Cell, Plain } from '@faultyard/core';
import type { ExternalAbortQuestion } from '../points.ts';

/** An abort with its own report, as {@link externalAbort} is asked about it. */
export type PresentedAbort = Omit<ExternalAbortQuestion, 'vcpu'>;

/** The abort that the next instruction of one vCPU is made to meet; state. */
export class Presented {
  #next: PresentedAbort | undefined;
  /** Whether one waits. */
  get waits(): boolean {
    return this.#next !== undefined;
  }
  /** Makes the next instruction abort; the last one given counts. */
  present(a: PresentedAbort): void {
    this.#next = { ...a };
  }
  /** Takes it. */
  take(): PresentedAbort | undefined {
    const a = this.#next;
    this.#next = undefined;
    return a;
  }
  /** As a cell of vCPU `id`. */
  cell(id: number): Cell {
    return {
      name: `arm64.presented#${id}`,
      version: 1,
      side: 'guest',
      read: () => (this.#next ?? null) as unknown as Plain,
      write: (v) => {
        this.#next = (v ?? undefined) as unknown as PresentedAbort | undefined;
      },
    };
  }
}

/** APEI: the host firmware's chance to claim an error before KVM does anything with it. */
import type { ExternalAbort, FaultPort } from '@faultyard/arch-arm64';
import type { Cell, Task } from '@faultyard/core';
import type { SeaKnobs } from './knobs.ts';

/** Nanoseconds within which an identical record is a duplicate (drivers/acpi/apei/ghes.c, 10 s). */
const DUPLICATE_WINDOW = 10_000_000_000;
/** Entries of the cache of printed records. */
const CACHE = 4;

/** What the firmware interface made of an error. */
export type Claim = 'claimed' | 'unclaimed' | 'panic';

/** The firmware interface of one VM's host. */
export class Claims {
  readonly #knobs: SeaKnobs;
  #printed: { readonly gpa: bigint; readonly time: number }[] = [];
  constructor(knobs: SeaKnobs) {
    this.#knobs = knobs;
  }

  /** State: the records printed lately. */
  get cell(): Cell {
    return {
      name: 'sea.claims',
      version: 1,
      side: 'guest',
      read: () => this.#printed.map((p) => ({ ...p })),
      write: (v) => {
        this.#printed = (v as unknown as { gpa: bigint; time: number }[]).map((p) => ({ ...p }));
      },
    };
  }

  /** The host printed a record of this page just now: the next identical one is a duplicate. */
  printed(gpa: bigint, time: number): void {
    this.#printed = [...this.#printed, { gpa: gpa & ~0xfffn, time }].slice(-CACHE);
  }

  /**
   * Offers an abort. A claimed one has its memory section handled before the guest is entered again:
   * memory_failure() with MF_ACTION_REQUIRED, which signals the vCPU's thread.
   */
  *offer(vcpu: FaultPort, abort: ExternalAbort): Task<Claim> {
    switch (this.#knobs.apei) {
      case 'absent':
      case 'fails':
        return 'unclaimed';
      case 'fatal':
        return 'panic';
      case 'duplicate':
        if (this.#duplicate(abort.gpa & ~0xfffn, vcpu.core.now)) return 'unclaimed';
        break;
      case 'claims':
        break;
    }
    // a stage 2 table is the host's own page: memory_failure cannot recover it, and signals nobody
    if (abort.walk?.stage === 2) return 'claimed';
    const { vm, id } = vcpu.core;
    yield* vm.memory.memoryFailure(abort.gpa, { vcpu: id }, (s) => vm.signals.send(s));
    return 'claimed';
  }

  #duplicate(gpa: bigint, time: number): boolean {
    this.#printed = this.#printed.filter((p) => time - p.time < DUPLICATE_WINDOW);
    if (this.#printed.some((p) => p.gpa === gpa)) return true;
    this.#printed = [...this.#printed, { gpa, time }].slice(-CACHE);
    return false;
  }
}

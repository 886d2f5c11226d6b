/** Signals that KVM or the host sends to the VMM process, as plain records (architecture: decision 9). */
import type { Hva } from './address.ts';

/** A SIGBUS (include/uapi/asm-generic/siginfo.h). */
export interface Signal {
  readonly signal: 'SIGBUS';
  /** si_code: ADRERR 2, OBJERR 3, MCEERR_AR 4, MCEERR_AO 5, SI_KERNEL 0x80. */
  readonly code: 'BUS_ADRERR' | 'BUS_OBJERR' | 'BUS_MCEERR_AR' | 'BUS_MCEERR_AO' | 'SI_KERNEL';
  /** si_addr; absent when the kernel gives none. */
  readonly addr?: Hva;
  /** si_addr_lsb: log2 of the granule that is gone. */
  readonly lsb?: number;
  /** The thread it is sent to: a vCPU's, or the VMM's main thread. */
  readonly to: { readonly vcpu: number } | 'main';
}

/** Numbers of si_code. */
export const SI_CODE: Readonly<Record<Signal['code'], number>> = {
  BUS_ADRERR: 2,
  BUS_OBJERR: 3,
  BUS_MCEERR_AR: 4,
  BUS_MCEERR_AO: 5,
  SI_KERNEL: 0x80,
};

/** Signals and kicks that wait. */
export interface SignalImage {
  readonly queue: readonly Signal[];
  /** Numbers of the vCPUs whose threads are kicked. */
  readonly kicks: readonly number[];
}

/** Pending signals in order. */
export class SignalQueue {
  #queue: Signal[] = [];
  readonly #kicks = new Set<number>();
  /** Queues one; a vCPU's thread is kicked out of (or kept from entering) the guest once. */
  send(s: Signal): void {
    this.#queue.push(s);
    if (s.to !== 'main') this.#kicks.add(s.to.vcpu);
  }
  /** Kicks a vCPU's thread without a record: its next (or current) KVM_RUN returns -1/EINTR. */
  kick(vcpu: number): void {
    this.#kicks.add(vcpu);
  }
  /**
   * Asked before every entry, so at least once in a million instructions: whether whoever runs this VM wants its threads
   * back (Ctrl-C in a session). While it says so, every KVM_RUN returns -1/EINTR. Set by apps; not state.
   */
  interrupted: (() => boolean) | undefined;
  /** Whether a kick waits for this vCPU; takes it. */
  takeKick(vcpu: number): boolean {
    if (this.interrupted?.()) return true;
    return this.#kicks.size > 0 && this.#kicks.delete(vcpu);
  }
  /** Whether one waits for this vCPU's thread. */
  pendingFor(vcpu: number): boolean {
    return this.#queue.some((s) => s.to !== 'main' && s.to.vcpu === vcpu);
  }
  /** Everything pending, oldest first, without taking it. */
  pending(): readonly Signal[] {
    return this.#queue;
  }
  /** Takes the pending signals (of one thread, or all). */
  drain(of?: Signal['to']): readonly Signal[] {
    const same = (s: Signal): boolean =>
      of === undefined || (of === 'main' ? s.to === 'main' : s.to !== 'main' && s.to.vcpu === of.vcpu);
    const out = this.#queue.filter(same);
    this.#queue = this.#queue.filter((s) => !same(s));
    return out;
  }
  /** For snapshots. */
  save(): SignalImage {
    return { queue: [...this.#queue], kicks: [...this.#kicks].sort((a, b) => a - b) };
  }
  /** For snapshots. */
  restore(s: SignalImage): void {
    this.#queue = [...s.queue];
    this.#kicks.clear();
    for (const k of s.kicks) this.#kicks.add(k);
  }
}

/** Typed events in a ring buffer. Listeners observe and return nothing; what decides is a point. */

/** Event payloads by name (KVM's tracepoint names where one exists); packages add theirs by declaration merging. */
export interface TraceMap {
  /** A vCPU enters the guest. */
  kvm_entry: { readonly pc: bigint };
  /** A vCPU left the guest. */
  kvm_exit: { readonly reason: string; readonly pc: bigint };
  /** A guest access met a stage 2 fault. */
  kvm_guest_fault: { readonly pc: bigint; readonly gpa: bigint; readonly write: boolean };
  /** A device of the VMM served an access of `size` bytes. */
  kvm_mmio: { readonly gpa: bigint; readonly size: number; readonly write: boolean; readonly value: bigint };
  /** KVM_RUN returned to userspace; `kind` is the exit, `ret` 0 or -1. Only while `vm.traced` is set. */
  kvm_userspace_exit: { readonly kind: string; readonly ret: number };
  /** A memslot was created, moved, deleted or had its flags changed. */
  memslot: { readonly slot: number; readonly what: string };
  /** A signal was queued for the VMM; `hva` is si_addr. */
  signal: { readonly code: string; readonly hva: bigint };
  /** The VMM read guest memory that is not there; it got ones. */
  unmapped_read: { readonly gpa: bigint; readonly size: number };
}

/** An event: when (virtual ns), which vCPU (-1 = none), what. */
export type TraceEvent<K extends keyof TraceMap = keyof TraceMap> = {
  [P in K]: { readonly name: P; readonly time: number; readonly vcpu: number } & TraceMap[P];
}[K];

/** A ring buffer of events with listeners. */
export class Trace {
  readonly capacity: number;
  readonly #ring: TraceEvent[] = [];
  #next = 0;
  readonly #listeners = new Set<(e: TraceEvent) => void>();
  constructor(capacity: number = 4096) {
    this.capacity = capacity;
  }
  /** Adds an event. */
  emit(e: TraceEvent): void {
    this.#ring[this.#next++ % this.capacity] = e;
    for (const l of this.#listeners) l(e);
  }
  /** Calls `listener` for every later event; returns the disposer. */
  on(listener: (e: TraceEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
  /** The last events, oldest first. */
  events(): readonly TraceEvent[] {
    const n = this.#next;
    if (n <= this.capacity) return this.#ring.slice(0, n);
    const cut = n % this.capacity;
    return [...this.#ring.slice(cut), ...this.#ring.slice(0, cut)];
  }
}

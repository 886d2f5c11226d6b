/** Typed events in a ring buffer. Listeners observe and return nothing; what decides is a point. */

/** Event payloads by name (KVM's tracepoint names where one exists); packages add theirs by declaration merging. */
export interface TraceMap {
  kvm_entry: { readonly pc: bigint };
  kvm_exit: { readonly reason: string; readonly pc: bigint };
  kvm_guest_fault: { readonly pc: bigint; readonly gpa: bigint; readonly write: boolean };
  kvm_mmio: { readonly gpa: bigint; readonly size: number; readonly write: boolean; readonly value: bigint };
  kvm_userspace_exit: { readonly kind: string; readonly ret: number };
  memslot: { readonly slot: number; readonly what: string };
  signal: { readonly code: string; readonly hva: bigint };
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

/** Synchronous external aborts and SErrors as KVM on arm64 routes them, and what a VMM can answer. */
export {};

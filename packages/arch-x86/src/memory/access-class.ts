/** Classes of accesses as sites name them (`AccessOptions.cls` of the engine), bits. */
export const AccessClass = {
  /**
   * The CPU's own access (descriptor tables, TSS, event delivery): a full linear address in compatibility mode, too, and
   * no alignment check.
   */
  System: 1,
  /** KVM's emulator cannot do the instruction: no device answers it in place. */
  NotEmulated: 2,
  /** A store by an instruction that does nothing else (MOV). */
  Plain: 4,
} as const;

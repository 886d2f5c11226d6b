/**
 * Access classes: `AccessOptions.cls` of every access the A64 rows make, as bit flags (a u8, 0..255). The fast path
 * ignores them; walks, permission checks and abort syndromes read them in `AccessInfo.cls`. What does not fit in eight
 * bits (SAS, SRT, the FAR of DC ZVA) is derived from the instruction word: see `syndrome.ts`.
 */
export const AccessClass: {
  /**
   * A stage 2 abort reports ISV=0: register pairs, writeback, SIMD registers, exclusives, atomics, cache operations
   * (DDI 0487 D24.2.40, ISS of a Data Abort, field ISV).
   */
  readonly NoIsv: 1;
  /** One atomic read-modify-write (LSE, or the store half of an exclusive): WnR is UNKNOWN for external aborts. */
  readonly Atomic: 2;
  /** Load-exclusive or store-exclusive: CONSTRAINED UNPREDICTABLE or an abort (FSC 0x35) on Device memory. */
  readonly Exclusive: 4;
  /** Acquire or release semantics; alignment is demanded whatever SCTLR_EL1.A says. */
  readonly Ordered: 8;
  /** LDTR/STTR: made with EL0's permissions unless UAO is in force. */
  readonly Unprivileged: 16;
  /** Cache maintenance by address: ESR.CM=1, and WnR=1 although nothing is written. */
  readonly Cm: 32;
  /** From or to SIMD&FP registers. */
  readonly Simd: 64;
  /** DC ZVA: a store of 64 aligned bytes, CM=0; an Alignment fault on Device memory. */
  readonly Zva: 128;
} = {
  NoIsv: 1,
  Atomic: 2,
  Exclusive: 4,
  Ordered: 8,
  Unprivileged: 16,
  Cm: 32,
  Simd: 64,
  Zva: 128,
};

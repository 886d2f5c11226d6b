/** Which guest: choices of the program. */

/** What the guest does; data/README.md tells more. */
export type GuestKind = 'destat' | 'fixed' | 'handler' | 'holds' | 'keeps' | 'idle' | 'cmci' | 'probe';

/** Choices of the program. */
export interface GuestSetup {
  readonly kind: GuestKind;
  /** Banks that the handler looks at: those with STATUS bit 56, or with bit 61. */
  readonly scan: 'S' | 'UC';
  /** Privilege level of the main program. */
  readonly cpl: 0 | 3;
  /** CR4.MCE. */
  readonly cr4mce: boolean;
  /** The main program waits for a second error. */
  readonly second: boolean;
  /** An address that the main program loads from. */
  readonly touch?: number;
  /** Written to MCG_CTL and MC9_CTL. */
  readonly mcgCtl?: bigint;
  readonly mcCtl?: bigint;
  /** Writes MCG_EXT_CTL 1. */
  readonly lmce: boolean;
  /** `probe`: what it writes and reads. */
  readonly hwcr?: bigint;
  readonly featCtl?: bigint;
  readonly write?: { readonly msr: number; readonly value: bigint };
  readonly read?: number;
  /** `cmci`: MC9_CTL2 bit 30, and the mask of LVT CMCI. */
  readonly ctl2: boolean;
  readonly masked: boolean;
}

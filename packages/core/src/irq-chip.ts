/** Interrupt controllers in the kernel (KVM_CREATE_IRQCHIP): an optional part of an architecture. */

/** What KVM_IRQ_LINE_STATUS says of a line change. */
export const IrqLine: {
  /** The input is masked, or nobody is there: ignored. */
  readonly Ignored: -1;
  /** Merged into an interrupt that was pending already. */
  readonly Coalesced: 0;
} = { Ignored: -1, Coalesced: 0 };

/** An interrupt controller as core's operations see it. */
export interface IrqChip {
  readonly name: string;
  /** Sets the level of a global interrupt; how many vCPUs were told, or one of {@link IrqLine}. */
  setLine(gsi: number, level: boolean): number;
  /** A message-signalled interrupt; how many vCPUs were told (KVM_SIGNAL_MSI). */
  signalMsi(address: bigint, data: number): number;
}

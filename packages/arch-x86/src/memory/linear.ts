/**
 * Guest memory as TypeScript reaches it through a linear address: slow instructions, event delivery, descriptor tables.
 *
 * An operation opens a transaction, reads and writes, and commits. Reads happen at once, writes are only translated
 * and kept; nothing of a transaction that failed becomes visible, so the instruction or delivery simply happens again
 * once its cause is dealt with. After a failure every read gives 0 and every write is ignored: an operation may go on
 * and ask {@link Transaction.failed} once, before it changes any state of its own.
 */

/** One linear access or several, all or nothing. */
export interface Transaction {
  /** Something could not be served: the fault stands in the port (`AccessFault`), the transaction will not commit. */
  readonly failed: boolean;
  /**
   * The failure is not the guest's (stage 2, an external abort, a device): the operation happens again once `handle`
   * dealt with it, so nothing of it may remain. False while the guest's own fault (or none) stands.
   */
  readonly hostFault: boolean;
  /** Access context of the accesses that follow: far transfers reach tables and stacks in one transaction. */
  ctx: number;
  /**
   * Reads `size` bytes (1, 2, 4, 8); the low half is returned, the high half of 8 bytes is in {@link hi}. `forWrite`: the
   * instruction will write there, too; the permission is checked now, and a #PF says W = 1.
   */
  read(lo: number, hi: number, size: number, forWrite?: boolean): number;
  /** High half of the last 8-byte read. */
  readonly hi: number;
  /** Writes the low `size` bytes (1, 2, 4, 8). Later reads of the same transaction see it. */
  write(lo: number, hi: number, size: number, valueLo: number, valueHi?: number): void;
  /** Reads bytes into `to` (FXSAVE areas, TSS). */
  readBytes(lo: number, hi: number, to: Uint8Array): void;
  /**
   * Reads 8 bytes at an aligned guest physical address, the high half in {@link hi}: PAE's page-directory pointers, which
   * MOV CR3 loads. It fails only with {@link hostFault}.
   */
  readPhysical(pa: number): number;
  /** Writes bytes. */
  writeBytes(lo: number, hi: number, from: Uint8Array): void;
  /** Makes the writes visible. Only when not failed. */
  commit(): void;
}

/** Guest memory of one vCPU. */
export interface LinearMemory {
  /**
   * Opens the transaction (there is one, reused). `ctx`: access context, see `isa/layout.ts`; default the current one.
   * Explicit accesses of instructions use the default; descriptor tables, TSS and event delivery CTX_SUPERVISOR.
   */
  begin(ctx?: number): Transaction;
}

/** The engine's side of a vCPU: its block in host memory, and running it. */

/** Why generated code was left. */
export const Leave: {
  /** The budget is used up; pc is the next instruction. */
  readonly Budget: 0;
  /** An access or fetch could not be served ({@link AccessPort} said so); pc is the instruction, nothing done. */
  readonly Fault: 1;
  /** A slow operation: `slowOp` and `slowArgs` say which. */
  readonly Slow: 2;
  /** A guard bit is set: `slowOp` is the guard's number. */
  readonly Guard: 3;
} = { Budget: 0, Fault: 1, Slow: 2, Guard: 3 };
/** One of {@link Leave}. */
export type LeaveReason = 0 | 1 | 2 | 3;

/** Kinds of access as the slow path sees them. */
export const Access: { readonly Read: 0; readonly Write: 1; readonly Exec: 2; readonly ReadWrite: 3 } = {
  Read: 0,
  Write: 1,
  Exec: 2,
  ReadWrite: 3,
};
/** One of {@link Access}. */
export type AccessKind = 0 | 1 | 2 | 3;

/** Result of {@link AccessPort.resolve}. */
export const Resolved: { readonly Ram: 0; readonly Device: 1; readonly Fault: -1 } = {
  Ram: 0,
  Device: 1,
  Fault: -1,
};

/** Filled by {@link AccessPort.resolve}. One object, reused. */
export interface Resolution {
  /** Ram: byte offset in host memory of the start of the 4 KiB frame. */
  frame: number;
  /**
   * Ram: the fast TLB may keep the translation for this kind of access (never with poison, dirty logging …).
   * Device: naturally aligned accesses of one element by instructions of the same form, to this page and in this
   * context, may go straight to the device, without `check` and `resolve`, until {@link Cpu.flush} or
   * {@link Cpu.dropPage}. The engine sets it to false before it asks.
   */
  cache: boolean;
  /** Device: guest physical address of the first byte (a number below 2^53). */
  gpa: number;
}

/** One memory access as it reaches the slow path. */
export interface AccessInfo {
  /** Guest virtual address of the first byte, as two int32 halves. */
  lo: number;
  hi: number;
  /** Bytes of the whole access (all elements). */
  size: number;
  kind: AccessKind;
  /** Access context index, see Isa.contexts. */
  ctx: number;
  /** ISA-defined class, see AccessOptions.cls. */
  cls: number;
  /** Ordinal of this access within its instruction, from 0. */
  ordinal: number;
  /** Alignment the instruction demands in bytes (1 = none). */
  align: number;
}

/**
 * Where the engine takes a fast-TLB miss: the vCPU (stage 1 from the arch, stage 2 from core).
 * Called from inside wasm: must not throw, run a point, or make a new mapping; it refills, names a device, or
 * records the fault for itself and answers `Resolved.Fault`.
 */
export interface AccessPort {
  /**
   * Resolves the page that holds `a`'s first byte (`a.size` bytes from there stay within one 4 KiB page; of an access
   * that crosses pages, each part is resolved, both before a byte moves). Kind ReadWrite wants both permissions.
   * A fetch cannot be served by a device: for kind Exec record the fault instead of answering Device.
   */
  resolve(a: AccessInfo, out: Resolution): number;
  /**
   * Called first on every slow access, with the whole access (alignment, watchpoints, completion). 0 = go on.
   * For a fetch (kind Exec) it may also rewrite the pc in the vCPU block (AArch64: strip a tag); the engine then
   * starts the fetch over. A misaligned pc that it lets pass leaves with Fault all the same.
   */
  check(a: AccessInfo): number;
  /** Device load of `size` bytes: 0 = served, value in `value`; < 0 = leave with Fault. */
  deviceLoad(gpa: number, size: number, a: AccessInfo, value: { lo: number; hi: number }): number;
  /** Device store: 0 = served (or queued), < 0 = leave with Fault. */
  deviceStore(gpa: number, size: number, a: AccessInfo, lo: number, hi: number): number;
}

/** A vCPU on the engine. All addresses are byte offsets into the host's memory. */
export interface Cpu {
  readonly port: AccessPort;
  /** Start of the vCPU block. */
  readonly block: number;
  /** Offsets of registers and state within host memory (absolute), for the arch's accessors. */
  regAddr(file: string, index: number): number;
  /** Offset of a state variable of {@link Isa.state}. */
  stateAddr(name: string): number;
  /** Program counter, as halves in host memory. */
  readonly pcAddr: number;
  /** Guard word (u32). */
  readonly guardAddr: number;
  /** Selects the current access context; takes effect at the next {@link run}. */
  setContext(ctx: number): void;
  /** Decode mode, see DecodeSite.mode. */
  setMode(mode: number): void;
  /**
   * Runs at most `budget` (>= 1, <= 2^30) instructions, exactly that many unless it leaves earlier.
   * `retired` tells how many completed.
   */
  run(budget: number): LeaveReason;
  /**
   * Runs one instruction with every access on the slow path (completion of device loads, watchpoints): no fast
   * TLB is consulted. Same result convention as {@link run}.
   */
  step(): LeaveReason;
  /** Instructions completed by the last run or step. */
  retired: number;
  /** After Leave.Slow / Leave.Guard. */
  slowOp: number;
  /** Up to four 64-bit arguments of the slow operation, in host memory at this address. */
  readonly slowArgs: number;
  /** Bytes of the instruction that was left for a fault or slow operation, with `Isa.unit` 1; 0 where it is not at hand. */
  readonly length: number;
  /** Host offset of the instruction at the pc, where its fast translation is at hand; else -1. */
  codeAt(): number;
  /** Drops every fast translation of this vCPU (all contexts, or one). */
  flush(ctx?: number): void;
  /** Drops fast translations that lead to the host frame (of any kind, or only writes). */
  dropFrame(frame: number, writesOnly?: boolean): void;
  /** Drops fast translations of one guest virtual page (any context). */
  dropPage(lo: number, hi: number): void;
  /** Drops every write translation of this vCPU (a snapshot was taken, dirty logging was turned on). */
  dropWrites(): void;
  /** Gives the block back. */
  dispose(): void;
}

/**
 * Where everything lies: what the VMM puts where in guest physical memory, and where the guest's tables map it.
 *
 * The kernel, its data and the code of its processes live in the upper half (TTBR1), the victims in the lower half
 * (TTBR0). So every table of the victims, the root included, can be taken away under a running process.
 */

/** Main memory: gpa and size in bytes. One memslot. */
export const RAM = { gpa: 0x8000_0000n, size: 0x40_0000n } as const;
/** VA of the first byte of main memory; 2 MiB less one page of it are mapped. */
export const KERNEL = 0xffff_0000_0000_0000n;
/** Offsets in main memory. */
export const AT = {
  /** Entry point, MMU off; also mapped one to one while the MMU is switched on. */
  boot: 0x0_0000n,
  /** Kernel text; the vectors are at {@link VECTORS}. */
  text: 0x1_0000n,
  /** Data shared by all CPUs. */
  shared: 0x2_0000n,
  /** One area for each CPU, `areaSize` apart: counters, processes, the ring of records. */
  areas: 0x2_1000n,
  /** Bytes of one area. */
  areaSize: 0x6000n,
  /** Stacks, 4 KiB each, growing down from the end. */
  stacks: 0x3_8000n,
  /** Text of the processes. */
  user: 0x4_0000n,
  /** Tables of the one-to-one mapping: levels 0 to 3, a page each. */
  identity: 0x5_0000n,
  /** Tables of the upper half: levels 0 to 3. */
  upper: 0x5_4000n,
  /** Tables of the victims: level 0, 1, 2, 3, and the level 3 behind it. */
  victims: 0x6_0000n,
  /** A page nobody touches; its checksum ends the report. */
  untouched: 0x7_0000n,
} as const;
/** VBAR_EL1. */
export const VECTORS: bigint = KERNEL + 0x1_0800n;

/** The debug port: a page without memory, so that a store is an exit. */
export const PORT: { readonly gpa: bigint; readonly va: bigint } = {
  gpa: 0x0900_0000n,
  va: KERNEL + 0x1f_f000n,
};
/** What a store to the port says; the CPU's number is in bits 15:8. */
export const SAYS = {
  /** A CPU is about to touch its victim: the lab poisons now. */
  ready: 1,
  /** All processes are done: the report is in the ring. */
  report: 2,
  /** An abort was taken at EL1 without a fixup: the kernel is dead. */
  dead: 3,
  /** An SError was taken. */
  serror: 4,
  /** Enough timer interrupts came while a process did not move. */
  stuck: 5,
} as const;

/** Victim pages by name: VA, and the gpa behind it. */
export const VICTIMS = {
  /** User data, the page of the reference vectors. */
  D: { va: 0x40_0000n, gpa: 0x8012_3000n },
  /** Kernel data. */
  K: { va: 0x41_0000n, gpa: 0x8013_0000n },
  /** User code. */
  F: { va: 0x42_0000n, gpa: 0x8014_0000n },
  /** A page of a passed-through device. */
  device: { va: 0x43_0000n, gpa: 0x0a00_0000n },
  /** Mapped by stage 1, but in no memslot. */
  outside: { va: 0x44_0000n, gpa: 0xc000_0000n },
} as const;
/** Offset of the touched word in D, K and the device page, as in the reference vectors. */
export const OFFSET = 0x128n;

/** gpa of the table of one level that translates the victims; level 3 is D's, K's and F's. */
export function tableGpa(level: number): bigint {
  return RAM.gpa + AT.victims + BigInt(level) * 0x1000n;
}

/** Fields of the shared page. */
export const SHARED = {
  /** Set by CPU 1 when it is up. */
  up: 0x00,
  /** Set by the lab: CPU n may touch (8 bytes each). */
  go: 0x10,
  /** CPU 1 is asked to take D's descriptor away; it answers in the next word. */
  unmap: 0x20,
  unmapped: 0x28,
} as const;

/** Fields of a CPU's area. */
export const AREA = {
  /** Records written. */
  count: 0x00,
  /** Address of the current process. */
  current: 0x08,
  /** Armed fixup label, or 0. */
  fixup: 0x10,
  /** Timer interrupts taken. */
  ticks: 0x18,
  cpu: 0x20,
  /** Processes, `processSize` bytes each, at most 4. */
  processes: 0x40,
  processSize: 0x40,
  /** The ring. */
  ring: 0x200,
  recordSize: 0x40,
} as const;
/** Fields of a process. */
export const PROCESS = { pc: 0x00, sp: 0x08, pstate: 0x10, x0: 0x18, alive: 0x20, deaths: 0x28 } as const;
/** Records a ring holds. */
export const RING = 256;

/** gpa of a CPU's area. */
export function areaGpa(cpu: number): bigint {
  return RAM.gpa + AT.areas + BigInt(cpu) * AT.areaSize;
}

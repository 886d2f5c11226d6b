/** Bits of the vCPU block's guard word (`b.guard(n)`); 16 to 31 belong to plugins. */
export const Guard = {
  /** CR0.EM or CR0.TS or CR4.OSFXSR = 0: SSE instructions leave (`#NM` or `#UD`). */
  Sse: 0,
  /** CR0.EM or CR0.TS: x87 and MMX instructions leave. */
  X87: 1,
  /** CPL > IOPL or virtual-8086 rules: CLI, STI, PUSHF, POPF leave. */
  Iopl: 2,
  /** CR4.TSD and CPL > 0, or a plugin intercepts it: RDTSC, RDTSCP leave. They always leave; kept for intercepts. */
  Rdtsc: 3,
  /** PUSHF and POPF leave: a plugin intercepts them. */
  Pushf: 4,
  /** PAUSE leaves: a plugin intercepts it. */
  Pause: 5,
  /** Real or virtual-8086 mode: instructions with a VEX prefix leave (#UD). */
  Vex: 6,
} as const;
/** First guard bit that a plugin may claim. */
export const PLUGIN_GUARDS = 16;

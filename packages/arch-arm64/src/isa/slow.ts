/**
 * Slow operations: what generated code leaves to the vCPU (`Builder.slow`). The vCPU performs the instruction, takes
 * its exception, or retires it. Arguments are listed per entry; all are 64-bit in `Cpu.slowArgs`.
 */
export const Slow: {
  /** Unallocated encoding: Undefined Instruction exception (EC 0). No arguments. */
  readonly Undefined: 0;
  /** SVC, HVC, SMC, BRK, HLT: imm16. */
  readonly Svc: 1;
  readonly Hvc: 2;
  readonly Smc: 3;
  readonly Brk: 4;
  readonly Hlt: 5;
  /** MRS: register key (op0:op1:CRn:CRm:op2, 16 bits), Rt slot. MSR: key, value, Rt slot. */
  readonly Mrs: 6;
  readonly Msr: 7;
  /** MSR (immediate): op1:op2 (6 bits), CRm. */
  readonly MsrImm: 8;
  /** SYS (DC, IC, AT, TLBI …): key (op0 = 1), value, Rt slot. SYSL: key, Rt slot. */
  readonly Sys: 9;
  readonly Sysl: 10;
  readonly Eret: 11;
  readonly Wfi: 12;
  readonly Wfe: 13;
  readonly Sev: 14;
  readonly Sevl: 15;
  readonly Esb: 16;
  readonly Isb: 17;
  readonly Yield: 18;
  /** DCPS1..3: level, imm16. DRPS: none. */
  readonly Dcps: 19;
  readonly Drps: 20;
  /** PC alignment fault: the misaligned target has become the pc. No arguments. */
  readonly PcAlignment: 21;
} = {
  Undefined: 0,
  Svc: 1,
  Hvc: 2,
  Smc: 3,
  Brk: 4,
  Hlt: 5,
  Mrs: 6,
  Msr: 7,
  MsrImm: 8,
  Sys: 9,
  Sysl: 10,
  Eret: 11,
  Wfi: 12,
  Wfe: 13,
  Sev: 14,
  Sevl: 15,
  Esb: 16,
  Isb: 17,
  Yield: 18,
  Dcps: 19,
  Drps: 20,
  PcAlignment: 21,
};

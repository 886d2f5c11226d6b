/**
 * Guard bits of the vCPU block (`Builder.guard`, `Cpu.guardAddr`). The arch keeps each bit equal to its condition: it
 * recomputes them when the exception level, the stack pointer selection or the register named here changes. When
 * generated code leaves with `Leave.Guard`, pc is the instruction, nothing of it is done, and the vCPU takes the
 * exception named here. Bits 16..31 are free for plugins.
 *
 * Generated code also owns state that the vCPU must read and write in the block (`Cpu.stateAddr`): TPIDR_EL0,
 * TPIDRRO_EL0, TPIDR_EL1 and the SP_EL0 that is not in use (`SYSTEM_STATE` in `system.ts`), and the exclusive monitor
 * (`EXCLUSIVE_STATE` in `exclusive.ts`; ERET opens it by clearing `exclusiveSize`).
 */

/** FP/SIMD access traps at the current exception level (CPACR_EL1.FPEN): EC 0x07, ISS 0x1e00000 (CV=1, COND=14). */
export const GUARD_FP = 0;
/** SP alignment is checked here (SCTLR_EL1.SA at EL1, SA0 at EL0). Asked only once SP is misaligned: EC 0x26. */
export const GUARD_SP = 1;
/** The vCPU is at EL0. Asked by instructions that EL0 does not have: UNDEFINED (EC 0x00). */
export const GUARD_EL0 = 2;
/** SP_EL0 is not accessible by name: the vCPU is at EL0, or PSTATE.SP is 0. UNDEFINED (EC 0x00). */
export const GUARD_SP_EL0 = 3;
/** DC ZVA traps: the vCPU is at EL0 and SCTLR_EL1.DZE is 0. EC 0x18, the ISS of a system instruction. */
export const GUARD_ZVA = 4;

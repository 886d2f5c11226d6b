/** An AArch64 vCPU for Faultyard: registers, instructions, stage 1 walks, exceptions, timers and PSCI. */
export {};
